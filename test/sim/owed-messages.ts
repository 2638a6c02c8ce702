/**
 * What a queue or a durable subscription owes to its consumer, as plain objects, where of messages with the same key only the
 * newest may be owed ("last values") or every one is. Says what is wrong by throwing. Messages are known by number, which
 * they carry as a property, so that one without a body has a name too.
 */
import type { Broker } from "../../src/broker/broker.ts";
import type { ConsumerGroup } from "../../src/broker/consumer-group.ts";
import { type DeliveryRun, OUTCOME } from "../../src/broker/facade.ts";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { Collector } from "../support/test-client.ts";

export const NUMBER_PROPERTY = "number";

export interface Write {
  readonly number: number;
  readonly key: string;
  readonly priority: number;
  /** Without a body: the key's end. */
  readonly isEnd: boolean;
  /** When it was published, or stored. */
  at: number;
  position: number;
  isConfirmed: boolean;
  isHeld: boolean;
  isAcked: boolean;
  ackPosition: number;
  isAckConfirmed: boolean;
  /** It may be gone: the disk was short. */
  mayVanish: boolean;
  /** It was not there after a start. */
  isGone: boolean;
  /** The end of a key that was forgotten before the next one came: it need not make way for that. */
  mayStay: boolean;
}

export const makeWrite = (
  number: number,
  at: number,
  { key = "", isEnd = false, priority = -1 } = {},
): Write => ({
  number,
  key,
  priority,
  isEnd,
  at,
  position: -1,
  isConfirmed: false,
  isHeld: false,
  isAcked: false,
  ackPosition: -1,
  isAckConfirmed: false,
  mayVanish: false,
  isGone: false,
  mayStay: false,
});

/** The time of the record that was appended last, and ends at `position`. */
export function storedAt({ store }: Broker, position: number): number {
  const view = new RecordView();
  const isThere = store.view(position - store.lastSize, store.lastSize, view);
  return isThere ? view.storeTimestamp : 0;
}

export const numberIn = (view: RecordView): number => Number(view.property(NUMBER_PROPERTY) ?? -1);

/** Hands each message over as it comes, with its number. */
export class NumberSink extends Collector {
  readonly numbers: number[] = [];
  readonly onNumber: (number: number, delivery: number) => void;

  constructor(onNumber: (number: number, delivery: number) => void = () => {}) {
    super();
    this.onNumber = onNumber;
  }

  override deliver(run: DeliveryRun): void {
    super.deliver(run);
    for (let i = 0; i < run.count; i++) {
      const number = numberIn(run.record(i));
      this.numbers.push(number);
      this.onNumber(number, run.firstDelivery + i);
    }
  }
}

/** All in order; of each key only the newest; or each key in order, with one reader at a time. */
export type OwedKind = "all" | "last-value" | "keyed";

export class OwedMessages {
  readonly name: string;
  readonly #kind: OwedKind;
  writes: Write[] = [];
  #readers: Array<{ sink: NumberSink; held: Map<number, Write> }> = [];

  constructor(name: string, kind: OwedKind) {
    this.name = name;
    this.#kind = kind;
  }

  get readerCount(): number {
    return this.#readers.length;
  }

  add(write: Write): void {
    this.writes.push(write);
  }

  /** A new reader; `open` makes its consumer. */
  join(open: (sink: NumberSink) => void): void {
    const held = new Map<number, Write>();
    const sink = new NumberSink((number, delivery) => {
      this.#checkKey(held, number);
      held.set(delivery, this.#delivered(number));
    });
    this.#readers.push({ sink, held });
    open(sink);
  }

  leave(index: number): void {
    const [reader] = this.#readers.splice(index, 1);
    for (const write of reader!.held.values()) write.isHeld = false;
    reader!.held.clear();
    reader!.sink.consumer.close(OUTCOME.RELEASE);
  }

  /** The ends of keys that were forgotten by now. */
  forgetEnds(isOver: (write: Write) => boolean): void {
    for (const write of this.writes) write.mayStay ||= isOver(write);
  }

  /** Settles some of what a reader holds; returns their numbers. */
  settle(index: number, count: number, isAccepted: boolean): number[] {
    const { sink, held } = this.#readers[index]!;
    const taken = [...held].slice(0, count);
    for (const [delivery, write] of taken) {
      held.delete(delivery);
      write.isHeld = false;
      if (isAccepted) write.isAcked = true;
      const outcome = isAccepted ? OUTCOME.ACCEPT : OUTCOME.RELEASE;
      const position = sink.consumer.settle(delivery, delivery, outcome);
      if (isAccepted) write.ackPosition = position;
    }
    return taken.map(([, { number }]) => number);
  }

  setCredit(index: number, credit: number): void {
    this.#readers[index]!.sink.consumer.setCredit(credit);
  }

  confirm(broker: Broker): void {
    const to = broker.confirmedTo("fsync");
    const settled = broker.settledTo();
    for (const write of this.writes) {
      if (write.position >= 0 && write.position <= to) write.isConfirmed = true;
      if (write.ackPosition > 0 && write.ackPosition <= settled) write.isAckConfirmed = true;
    }
  }

  stopped(): void {
    for (const write of this.writes) {
      write.isConfirmed = true;
      if (write.isAcked) write.isAckConfirmed = true;
    }
    this.crashed();
  }

  crashed(): void {
    this.#readers = [];
    for (const write of this.writes) write.isHeld = false;
  }

  /** Nothing of it is there any more, and that is as it should be. */
  reset(): void {
    this.writes = [];
    this.#readers = [];
  }

  /** After a start the group has these ready. */
  recovered(found: readonly number[]): void {
    let last = 0;
    for (const number of found) {
      const write = this.#get(number);
      if (write.isAckConfirmed) throw new Error(`${this.name}: ${number} was acknowledged`);
      if (number < last) throw new Error(`${this.name}: ${number} comes after ${last}`);
      last = number;
    }
    if (this.#kind === "last-value") this.#checkKeys(found);
    else this.#checkAll(found);
    this.writes = this.writes.filter(({ number }) => found.includes(number));
    for (const write of this.writes) {
      Object.assign(write, { isConfirmed: true, position: -1, isAcked: false, ackPosition: -1 });
    }
  }

  #checkAll(found: readonly number[]): void {
    for (const write of this.writes) {
      if (found.includes(write.number) || write.isAcked || !write.isConfirmed) continue;
      throw new Error(`lost: ${this.name} ${write.number}`);
    }
  }

  #checkKeys(found: readonly number[]): void {
    for (const key of new Set(this.writes.map((write) => write.key))) {
      const all = this.writes.filter((write) => write.key === key);
      const there = all.filter(({ number }) => found.includes(number));
      if (there.filter(({ mayStay }) => !mayStay).length > 1) {
        throw new Error(`${this.name}: ${there.map(({ number }) => number)} are all of key ${key}`);
      }
      const confirmed = all.findLast(({ isConfirmed }) => isConfirmed);
      if (confirmed === undefined) continue;
      const newest = there.at(-1);
      if (newest !== undefined && newest.number < confirmed.number && !newest.mayStay) {
        throw new Error(`${this.name}: ${newest.number} is older than ${confirmed.number}`);
      }
      const isTaken = all.some(({ number, isAcked }) => isAcked && number >= confirmed.number);
      if (there.length === 0 && !isTaken) {
        throw new Error(`lost: ${this.name} ${confirmed.number}, the newest of key ${key}`);
      }
    }
  }

  /** Everything has been taken. */
  checkTaken(): void {
    for (const write of this.writes) {
      if (write.isAcked || !write.isConfirmed || write.mayStay || this.#isOld(write)) continue;
      throw new Error(`lost: ${this.name} ${write.number} never came`);
    }
  }

  /** Nobody else works on its key. */
  #checkKey(own: Map<number, Write>, number: number): void {
    if (this.#kind !== "keyed") return;
    const { key } = this.#get(number);
    for (const { held } of this.#readers) {
      if (held === own) continue;
      for (const other of held.values()) {
        if (other.key === key) throw new Error(`${this.name}: ${number} beside ${other.number}`);
      }
    }
  }

  #delivered(number: number): Write {
    const write = this.#get(number);
    if (write.isAcked) throw new Error(`${this.name}: ${number} was acknowledged and came back`);
    if (write.isHeld) throw new Error(`${this.name}: ${number} came twice`);
    if (this.#isOld(write))
      throw new Error(`${this.name}: ${number} came, which is not the newest`);
    const isEarly = (other: Write): boolean =>
      other.number < number &&
      other.priority === write.priority &&
      (this.#kind !== "keyed" || other.key === write.key) &&
      !other.isAcked &&
      !other.isHeld &&
      !other.mayStay &&
      !this.#isOld(other);
    const earlier = this.writes.find(isEarly);
    if (earlier !== undefined) {
      throw new Error(`${this.name}: ${number} overtook ${earlier.number}`);
    }
    write.isHeld = true;
    return write;
  }

  #isOld({ key, number, mayStay }: Write): boolean {
    if (this.#kind !== "last-value" || mayStay) return false;
    return this.writes.some((other) => other.key === key && other.number > number);
  }

  #get(number: number): Write {
    const write = this.writes.find((each) => each.number === number);
    if (write === undefined)
      throw new Error(`${this.name}: ${number} was invented, or is long gone`);
    return write;
  }
}

/** Numbers of what a group is owed and nobody holds, in order. */
export function readyNumbers(broker: Broker, group: ConsumerGroup): number[] {
  const { store } = broker;
  const view = new RecordView();
  const entry = entryBatch(1);
  const found: number[] = [];
  for (const { state, queue } of group.shards) {
    const end = queue.maxOffset;
    for (let at = state.findReady(state.low, end); at < end; at = state.findReady(at + 1, end)) {
      const isThere =
        store.read(queue, at, 1, entry) === 1 &&
        store.view(entry.physicalOffset[0]!, entry.size[0]!, view);
      if (isThere) found.push(numberIn(view));
    }
  }
  return found.sort((a, b) => a - b);
}
