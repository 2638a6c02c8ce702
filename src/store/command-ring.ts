/**
 * Small fixed-size commands from the event loop to the store thread, in order, without an object each: "write these
 * entries of this page". Single producer, single consumer. What does not fit waits in a list on the loop's side.
 *
 *   word  meaning                                word  meaning
 *    0    operation                               4    last entry + 1
 *    1    queue number                            5    page number within the queue, low word
 *    2    page id in the pool                     6    ... high word
 *    3    first entry                             7    block in the arena (light queues), else 0
 */
import { type SharedControl, WORD } from "./shared-control.ts";

export const COMMAND_WORDS = 8;

export const COMMAND = {
  /** Write entries of a page to the file of its queue. */
  WRITE_PAGE: 1,
  /** Write entries of a page to its block in the arena. */
  WRITE_BLOCK: 2,
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
    from: number,
    to: number,
    pageNumber: number,
    block: number,
  ): number {
    if (this.#waiting.length > 0 || this.#sent - this.done >= this.#capacity) {
      this.#waiting.push(operation, queue, page, from, to, pageNumber, block);
    } else {
      this.#put(operation, queue, page, from, to, pageNumber, block);
    }
    return ++this.issued;
  }

  #put(
    operation: number,
    queue: number,
    page: number,
    from: number,
    to: number,
    pageNumber: number,
    block: number,
  ): void {
    const { words } = this;
    const at = (this.#head % this.#capacity) * COMMAND_WORDS;
    words[at] = operation;
    words[at + 1] = queue;
    words[at + 2] = page;
    words[at + 3] = from;
    words[at + 4] = to;
    words[at + 5] = pageNumber | 0;
    words[at + 6] = Math.floor(pageNumber / TWO_POW_32);
    words[at + 7] = block;
    this.#head = (this.#head + 1) % (this.#capacity * 2);
    this.#sent++;
  }

  /** Loop: makes what was pushed visible. True when there is something for the store thread. */
  flush(): boolean {
    const waiting = this.#waiting;
    while (this.#waitingAt < waiting.length && this.#sent - this.done < this.#capacity) {
      const i = this.#waitingAt;
      this.#put(
        waiting[i]!,
        waiting[i + 1]!,
        waiting[i + 2]!,
        waiting[i + 3]!,
        waiting[i + 4]!,
        waiting[i + 5]!,
        waiting[i + 6]!,
      );
      this.#waitingAt += 7;
    }
    if (this.#waitingAt === waiting.length && waiting.length > 0) {
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

  /** Store thread: index of the next command's first word, or -1. */
  next(): number {
    const tail = this.#control.load(WORD.COMMAND_TAIL);
    if (tail === this.#control.load(WORD.COMMAND_HEAD)) return -1;
    return (tail % this.#capacity) * COMMAND_WORDS;
  }

  pageNumber(at: number): number {
    return this.words[at + 6]! * TWO_POW_32 + (this.words[at + 5]! >>> 0);
  }

  /** Store thread: the command is carried out, its memory may be used again. */
  complete(): void {
    const tail = this.#control.load(WORD.COMMAND_TAIL);
    this.#control.store(WORD.COMMAND_TAIL, (tail + 1) % (this.#capacity * 2));
  }
}
