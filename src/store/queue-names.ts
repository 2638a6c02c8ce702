/**
 * All ConsumeQueues of the store by name. Those that nobody uses are packed (resting-queues.ts) once all of them is in
 * the files, and become objects again when they are asked for.
 */
import type { CatalogLoader, CatalogTail } from "./catalog-loader.ts";
import { ConsumeQueue } from "./consume-queue.ts";
import type { QueueRange } from "./message-store.ts";
import { RestingQueues } from "./resting-queues.ts";

/** Who has the entries of the queues. */
export interface QueueHolder {
  /** Nobody uses it: what of it is not in the files for good is to get there. */
  release(queue: ConsumeQueue): void;
  isInFiles(queue: ConsumeQueue): boolean;
  /** Before it is packed: its pages go, and entries that are in no file stay beside it (`kept`). */
  fold(queue: ConsumeQueue): void;
  /** Entries that it was packed with are in a page again. */
  unfold(queue: ConsumeQueue): void;
  /** There will be no object for it for a while. */
  forget(queue: ConsumeQueue): void;
}

export class QueueNames {
  readonly #holder: QueueHolder;
  readonly #topics = new Map<string, Map<number, ConsumeQueue>>();
  readonly #light = new Map<string, ConsumeQueue>();
  readonly #resting = new RestingQueues();
  /** Let go by their owner, but not yet in the files. */
  #leaving: ConsumeQueue[] = [];
  /** ... of which more may be in the files since the last checkpoint. */
  #packing: ConsumeQueue[] = [];
  /** A new catalog file is being written: queues that became objects since, for they may not be met where they rest. */
  #woken: Map<number, ConsumeQueue> | null = null;
  #nextNumber = 1;

  constructor(holder: QueueHolder) {
    this.#holder = holder;
  }

  queue(topic: string, queueId: number): ConsumeQueue {
    const shards = this.#shards(topic);
    let queue = shards.get(queueId);
    if (queue === undefined) {
      queue =
        this.#take(topic, queueId, false) ??
        new ConsumeQueue(topic, queueId, false, this.#nextNumber++);
      shards.set(queueId, queue);
    }
    queue.isReleased = false;
    return queue;
  }

  lightQueue(name: string): ConsumeQueue {
    let queue = this.#light.get(name);
    if (queue === undefined) {
      queue = this.#take(name, 0, true) ?? new ConsumeQueue(name, 0, true, this.#nextNumber++);
      this.#light.set(name, queue);
    }
    queue.isReleased = false;
    return queue;
  }

  /** The queue, if it is there, to look at; one that rests is told by an object of the moment. */
  peek(topic: string, queueId: number, isLight: boolean): ConsumeQueue | undefined {
    const awake = isLight ? this.#light.get(topic) : this.#topics.get(topic)?.get(queueId);
    return awake ?? this.#resting.peek(topic, queueId, isLight);
  }

  /** Its range alone; that of no queue is empty. */
  rangeOf(topic: string, queueId: number, isLight: boolean, into: QueueRange): void {
    const awake = isLight ? this.#light.get(topic) : this.#topics.get(topic)?.get(queueId);
    if (awake === undefined && this.#resting.rangeOf(topic, queueId, isLight, into)) return;
    into.minOffset = awake?.minOffset ?? 0;
    into.maxOffset = awake?.maxOffset ?? 0;
  }

  /** The queue, if it is there, to change. One that nobody uses rests again as soon as it can. */
  find(topic: string, queueId: number, isLight: boolean): ConsumeQueue | undefined {
    const awake = isLight ? this.#light.get(topic) : this.#topics.get(topic)?.get(queueId);
    if (awake !== undefined) return awake;
    const queue = this.#take(topic, queueId, isLight);
    if (queue === undefined) return undefined;
    if (isLight) this.#light.set(topic, queue);
    else this.#shards(topic).set(queueId, queue);
    queue.isReleased = true;
    this.#leaving.push(queue);
    return queue;
  }

  /** How many there are, shards of one topic as one while they are awake. */
  get count(): number {
    return this.#resting.size + this.#light.size + this.#topics.size;
  }

  /** The same of those that do not rest. */
  get awakeCount(): number {
    return this.#light.size + this.#topics.size;
  }

  #take(topic: string, queueId: number, isLight: boolean): ConsumeQueue | undefined {
    const queue = this.#resting.take(topic, queueId, isLight);
    if (queue === undefined) return undefined;
    this.#woken?.set(queue.number, queue);
    this.#holder.unfold(queue);
    return queue;
  }

  /** All of them, to look at: those that rest are told by an object of the moment. */
  *queues(): Generator<ConsumeQueue> {
    yield* this.#resting.queues();
    yield* this.awake();
  }

  /** The same with those that have entries, and perhaps some others; null now and then, where there are many others. */
  *withEntries(): Generator<ConsumeQueue | null> {
    yield* this.#resting.withEntries();
    yield* this.awake();
  }

  /** The same without light ones. */
  *topicQueues(): Generator<ConsumeQueue> {
    yield* this.#resting.topicQueues();
    for (const shards of this.#topics.values()) yield* shards.values();
  }

  *awake(): Generator<ConsumeQueue> {
    for (const shards of this.#topics.values()) yield* shards.values();
    yield* this.#light.values();
  }

  /** The same queue as it is now, after it was looked at some time ago; undefined when it is gone. */
  current({ topic, queueId, isLight, number }: ConsumeQueue): ConsumeQueue | undefined {
    const awake = isLight ? this.#light.get(topic) : this.#topics.get(topic)?.get(queueId);
    const found = awake ?? this.#resting.peek(topic, queueId, isLight);
    return found?.number === number ? found : undefined;
  }

  /** Its owner has let go of it, and asks for it by name before using it again. */
  rest(queue: ConsumeQueue): void {
    if (queue.isDropped || queue.isReleased) return;
    queue.isReleased = true;
    this.#holder.release(queue);
    if (!this.#pack(queue)) this.#leaving.push(queue);
  }

  /** False when it has to wait until more of it is in the files. */
  #pack(queue: ConsumeQueue): boolean {
    if (!this.#holder.isInFiles(queue)) return false;
    this.#holder.fold(queue);
    // Of one that never had an entry nothing is to be remembered.
    if (queue.isDefined && !this.#resting.add(queue)) {
      this.#holder.unfold(queue);
      return true;
    }
    // Nobody comes back to this object, wherever it is listed still.
    queue.isReleased = false;
    this.#holder.forget(queue);
    this.remove(queue);
    return true;
  }

  /** It is packed, or dropped. */
  remove({ topic, queueId, isLight }: ConsumeQueue): void {
    if (isLight) {
      this.#light.delete(topic);
      return;
    }
    const shards = this.#topics.get(topic);
    shards?.delete(queueId);
    if (shards?.size === 0) this.#topics.delete(topic);
  }

  /** More of what waits to be packed may be in the files: all of it is looked at once more, by `packSome`. */
  packLeaving(): void {
    this.#packing = this.#packing.concat(this.#leaving);
    this.#leaving = [];
  }

  /** Is there anything left to be looked at? */
  get isPacking(): boolean {
    return this.#packing.length > 0;
  }

  /** Looks at so many. */
  packSome(max: number): void {
    for (let left = Math.min(max, this.#packing.length); left > 0; left--) {
      const queue = this.#packing.pop()!;
      if (!queue.isReleased || queue.isDropped || this.#pack(queue)) continue;
      this.#leaving.push(queue);
    }
    if (!this.isPacking && this.#woken === null) this.#resting.tidy();
  }

  /** Topics of which there are files: for the check that they are. Before anything was appended. */
  *topicsWithFiles(): Generator<string> {
    yield* this.#resting.topics();
    for (const queue of this.awake()) {
      if (!queue.isLight && queue.safeOffset > queue.minOffset) yield queue.topic;
    }
  }

  /** Those that rest and owe something before this place, as far as they know. */
  restingOwedBelow(limit: number, passed: { lowest: number }): Generator<ConsumeQueue> {
    return this.#resting.owedBelow(limit, passed);
  }

  /** Those that rest and have entries that were settled up to this offset at least. */
  restingSettledTo(offset: number): Generator<ConsumeQueue> {
    return this.#resting.settledTo(offset);
  }

  /** After recovery: nobody uses any of them yet. */
  letGo(): void {
    for (const queue of [...this.awake()]) this.rest(queue);
  }

  /**
   * Each queue, for a new catalog file, a part at a time; some twice. Queues may rest and wake meanwhile: objects come first,
   * those that are packed after their turn once more; those woken before theirs come at the end.
   */
  *describing(): Generator<ConsumeQueue> {
    this.#woken = new Map();
    // A list: what comes and goes must not make it endless.
    yield* this.#currentOf([...this.awake()]);
    yield* this.#resting.present();
    const woken = this.#woken;
    this.#woken = null;
    yield* this.#currentOf(woken.values());
  }

  *#currentOf(queues: Iterable<ConsumeQueue>): Generator<ConsumeQueue> {
    for (const queue of queues) {
      const current = this.current(queue);
      if (current !== undefined) yield current;
    }
  }

  clear(): void {
    this.#topics.clear();
    this.#light.clear();
    this.#resting.clear();
    this.#leaving = [];
    this.#packing = [];
    this.#woken = null;
    this.#nextNumber = 1;
  }

  /** Takes over what the catalog says: all of it rests, but for those with entries that only the catalog has. */
  restore(
    catalog: CatalogLoader,
    takeTail: (queue: ConsumeQueue, tail: CatalogTail) => void,
  ): void {
    this.#nextNumber = Math.max(this.#nextNumber, catalog.maxNumber + 1);
    this.#resting.reserve(catalog.size);
    for (const row of catalog.rows()) {
      const tail = catalog.tailOf(row);
      if (tail === undefined && this.#resting.load(catalog, row)) continue;
      const queue = catalog.queue(row);
      if (tail !== undefined) takeTail(queue, tail);
      else if (this.#resting.add(queue)) continue;
      this.#holder.unfold(queue);
      if (queue.isLight) this.#light.set(queue.topic, queue);
      else this.#shards(queue.topic).set(queue.queueId, queue);
    }
  }

  #shards(topic: string): Map<number, ConsumeQueue> {
    let shards = this.#topics.get(topic);
    if (shards === undefined) {
      shards = new Map();
      this.#topics.set(topic, shards);
    }
    return shards;
  }
}
