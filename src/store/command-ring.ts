/**
 * Small fixed-size commands from the event loop to the store thread, in order, without an object each: "write these
 * entries of this page". Single producer, single consumer. What does not fit waits in a list on the loop's side.
 *
 *   word  meaning                                word  meaning
 *    0    operation                               4    first offset of the entries, low word
 *    1    queue number                            5    ... high word
 *    2    page in its pool                        6    block of the arena, -1 for a topic queue's file
 *    3    slot of the first entry                 7    number of entries
 */
import { type SharedControl, WORD } from "./shared-control.ts";

const COMMAND_WORDS = 8;

export const COMMAND = {
  /** Write entries into a topic queue's file. */
  FILE: 1,
  /** Write entries into a block of the arena. */
  BLOCK: 2,
  /** The same, into a block that was just allocated: with its header. */
  NEW_BLOCK: 3,
  /** The next checkpoint syncs the files that hold these entries. */
  SYNC: 4,
} as const;

const TWO_POW_32 = 2 ** 32;

export class CommandRing {
  readonly memory: SharedArrayBuffer;
  readonly words: Int32Array;
  readonly #control: SharedControl;
  readonly #capacity: number;
  #waiting: number[] = [];
  #waitingAt = 0;
  /** Commands handed over so far, with those that still wait. Counts on without end. */
  issued = 0;
  #sent = 0;
  #head = 0;

  constructor(control: SharedControl, capacity: number, memory?: SharedArrayBuffer) {
    this.#control = control;
    this.#capacity = capacity;
    this.memory = memory ?? new SharedArrayBuffer(capacity * COMMAND_WORDS * 4);
    this.words = new Int32Array(this.memory);
  }

  /** Loop: queues a command; the store thread sees it after `flush`. Returns its sequence number. */
  push(
    operation: number,
    queue: number,
    page: number,
    slot: number,
    offset: number,
    count: number,
    block: number,
  ): number {
    if (this.#waiting.length > 0 || this.#sent - this.done >= this.#capacity) {
      this.#waiting.push(operation, queue, page, slot, offset, count, block);
    } else {
      this.#put(operation, queue, page, slot, offset, count, block);
    }
    return ++this.issued;
  }

  #put(
    operation: number,
    queue: number,
    page: number,
    slot: number,
    offset: number,
    count: number,
    block: number,
  ): void {
    const { words } = this;
    const at = (this.#head % this.#capacity) * COMMAND_WORDS;
    words[at] = operation;
    words[at + 1] = queue;
    words[at + 2] = page;
    words[at + 3] = slot;
    words[at + 4] = offset | 0;
    words[at + 5] = Math.floor(offset / TWO_POW_32);
    words[at + 6] = block;
    words[at + 7] = count;
    this.#head = (this.#head + 1) % (this.#capacity * 2);
    this.#sent++;
  }

  /** Loop: makes what was pushed visible. True when there is something for the store thread. */
  flush(): boolean {
    const waiting = this.#waiting;
    let at = this.#waitingAt;
    for (; at < waiting.length && this.#sent - this.done < this.#capacity; at += 7) {
      this.#put(
        waiting[at]!,
        waiting[at + 1]!,
        waiting[at + 2]!,
        waiting[at + 3]!,
        waiting[at + 4]!,
        waiting[at + 5]!,
        waiting[at + 6]!,
      );
    }
    this.#waitingAt = at;
    if (at === waiting.length && at > 0) {
      this.#waiting = [];
      this.#waitingAt = 0;
    }
    this.#control.store(WORD.COMMAND_HEAD, this.#head);
    return this.#head !== this.#control.load(WORD.COMMAND_TAIL);
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Loop: commands carried out so far; those with a sequence number up to this are done. */
  get done(): number {
    const tail = this.#control.load(WORD.COMMAND_TAIL);
    const open = (this.#head - tail + this.#capacity * 2) % (this.#capacity * 2);
    return this.#sent - open;
  }

  /** Store thread: where the commands end now, for `peek`. */
  get head(): number {
    return this.#control.load(WORD.COMMAND_HEAD);
  }

  /** Store thread: index of the first word of the `ahead`-th command to come before `head`, or -1. */
  peek(ahead: number, head: number): number {
    const tail = this.#control.load(WORD.COMMAND_TAIL);
    const twice = this.#capacity * 2;
    const open = (head - tail + twice) % twice;
    return ahead < open ? ((tail + ahead) % this.#capacity) * COMMAND_WORDS : -1;
  }

  offset(at: number): number {
    return this.words[at + 5]! * TWO_POW_32 + (this.words[at + 4]! >>> 0);
  }

  /** Store thread: the first `count` commands are carried out, their pages may be used again. */
  complete(count: number): void {
    const tail = this.#control.load(WORD.COMMAND_TAIL);
    this.#control.store(WORD.COMMAND_TAIL, (tail + count) % (this.#capacity * 2));
  }
}
