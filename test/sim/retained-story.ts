/**
 * The part of a broker's simulated life that is about retained messages: one for each topic, replaced, taken away, over
 * time, stored anew. After a crash a topic has what was confirmed last or something that came later, never what was before.
 */
import type { Broker } from "../../src/broker/broker.ts";
import { RecordView } from "../../src/model/record-view.ts";
import type { Random } from "../support/random.ts";
import { connect, draft, topic } from "../support/test-client.ts";

const TOPICS = ["state", "state/a", "state/b"] as const;
/** The index is tidied when it is this much longer than what it holds. */
const SLACK = 4;

interface Write {
  /** Empty: the topic's message was taken away. */
  readonly text: string;
  readonly expiresAt: number;
  position: number;
  isConfirmed: boolean;
}

const NOTHING: Write = { text: "", expiresAt: 0, position: 0, isConfirmed: true };

export class RetainedStory {
  readonly #random: Random;
  readonly #note: (line: string) => void;
  /** By topic: the last confirmed write, and all that came after it. */
  readonly #writes = new Map<string, Write[]>(TOPICS.map((name) => [name, [NOTHING]]));
  #broker!: Broker;
  #nextText = 0;

  constructor(random: Random, note: (line: string) => void) {
    this.#random = random;
    this.#note = note;
  }

  /** What survived is what it says; all of it is safe now. `mayMiss`: the disk does not give everything. */
  opened(broker: Broker, mayMiss = false): void {
    this.#broker = broker;
    broker.sessions.retained.slackMin = SLACK;
    if (mayMiss) {
      // Which of them are there will be seen in a later life; their places in the log may be others' by then.
      for (const write of [...this.#writes.values()].flat()) {
        if (!write.isConfirmed) write.position = Number.POSITIVE_INFINITY;
      }
      return;
    }
    const { now } = broker.turn;
    for (const [path, writes] of this.#writes) {
      const text = this.#read(path);
      this.#note(`retained: ${path} has '${text}' at ${now}`);
      const survivor = writes.findLast((write) => textAt(write, now) === text);
      if (survivor === undefined) {
        const expected = writes.map((write) => `'${textAt(write, now)}'`).join(", ");
        throw new Error(`retained: ${path} has '${text}', expected one of ${expected}`);
      }
      survivor.isConfirmed = true;
      // Of one that is over nobody can tell which it was: what follows may be any of them.
      const first = text === "" ? writes.findIndex((write) => textAt(write, now) === "") : -1;
      this.#writes.set(path, first < 0 ? [survivor] : [NOTHING]);
    }
  }

  step(mayMiss = false): void {
    const path = this.#random.pick(TOPICS);
    if (this.#random.chance(25)) {
      if (!mayMiss) this.#check(path);
      return;
    }
    if (!this.#broker.hasRoom(4096)) return;
    const { now } = this.#broker.turn;
    const isEnd = this.#random.chance(30);
    const text = isEnd ? "" : `r${this.#nextText++}`;
    const expiresAt = !isEnd && this.#random.chance(15) ? now + this.#random.between(1, 100) : 0;
    const target = connect(this.#broker, "retained").openTarget(topic(path));
    const position = target.publish(draft(text, { isRetained: true, expiresAt }));
    target.close();
    const until = expiresAt === 0 ? "" : ` until ${expiresAt}`;
    this.#note(`retain '${text}' for ${path}${until}, safe at ${position}`);
    // Nothing was there to be taken away.
    if (position === 0) return;
    this.#writes.get(path)!.push({ text, expiresAt, position, isConfirmed: false });
  }

  turn(): void {
    const to = this.#broker.confirmedTo("fsync");
    for (const [path, writes] of this.#writes) {
      for (const write of writes) if (write.position <= to) write.isConfirmed = true;
      const last = writes.findLastIndex(({ isConfirmed }) => isConfirmed);
      this.#writes.set(path, writes.slice(last));
    }
  }

  /** The newest one, for all who ask. */
  checkAll(): void {
    for (const path of TOPICS) this.#check(path);
  }

  /** A stop in order: everything is safe. */
  stopped(): void {
    for (const [path, writes] of this.#writes) this.#writes.set(path, writes.slice(-1));
  }

  #check(path: string): void {
    const found = this.#read(path);
    const last = this.#writes.get(path)!.at(-1)!;
    const expected = textAt(last, this.#broker.turn.now);
    if (found !== expected) {
      throw new Error(`retained: ${path} has '${found}', expected '${expected}'`);
    }
  }

  #read(path: string): string {
    const view = new RecordView();
    const cursor = this.#broker.sessions.retained.cursor("/", path);
    const isThere = cursor.next(view);
    const text = isThere ? view.buffer.toString("utf8", view.bodyStart, view.bodyEnd) : "";
    cursor.close();
    return text;
  }
}

const textAt = ({ text, expiresAt }: Write, now: number): string =>
  expiresAt !== 0 && expiresAt <= now ? "" : text;
