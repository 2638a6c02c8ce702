/**
 * The store seam in memory, for tests of what stands above it. Records have their real layout. Durability is automatic
 * (the next round of the event loop) or, with `isManual`, comes when the test calls `sync`.
 */
import { FLAG, type RecordView } from "../../src/model/record-view.ts";
import type {
  EntryBatch,
  MessageStore,
  OpenReport,
  OwnerJournal,
  QueueRange,
  RecordFields,
  StoreEvents,
  StoreHealth,
  StoreQueue,
} from "../../src/store/message-store.ts";
import type { Random } from "./random.ts";

interface Entry {
  readonly physicalOffset: number;
  readonly size: number;
  readonly tagHash: number;
  readonly storedAt: number;
}

class MemoryQueue implements StoreQueue {
  readonly topic: string;
  readonly queueId: number;
  readonly isLight: boolean;
  readonly entries: Entry[] = [];
  minOffset = 0;
  owner: unknown = undefined;

  constructor(topic: string, queueId: number, isLight: boolean) {
    this.topic = topic;
    this.queueId = queueId;
    this.isLight = isLight;
  }
  get maxOffset(): number {
    return this.entries.length;
  }
}

export class MemoryStore implements MessageStore {
  readonly watermarks = { appended: 0, written: 0, durable: 0 };
  health: StoreHealth = { state: "ok" };
  /** Nothing becomes durable before `sync`. */
  isManual = false;
  lastSize = 0;
  /** What `hasRoom` answers. */
  isFull = false;
  readonly journal: OwnerJournal;
  readonly #queues = new Map<string, MemoryQueue>();
  readonly #records = new Map<number, Buffer>();
  #journalEntries: Array<{ bytes: Buffer; end: number }> = [];
  /** The journal before a snapshot that is not safe yet. */
  #journalBefore: Array<{ bytes: Buffer; end: number }> | null = null;
  #journalEnd = 0;
  /** Ends of batches and single records, in order: where a crash may cut. */
  #ends: number[] = [0];
  #isInBatch = false;
  #journalDurable = 0;
  #events: StoreEvents | null = null;
  #isScheduled = false;

  constructor() {
    const store = this;
    this.journal = {
      append(bytes, start, end) {
        store.#journalEnd += end - start;
        store.#journalEntries.push({
          bytes: Buffer.from(bytes.subarray(start, end)),
          end: store.#journalEnd,
        });
        return store.#journalEnd;
      },
      get written() {
        return store.#journalEnd;
      },
      get durable() {
        return store.#journalDurable;
      },
      requestSync: () => this.#schedule(),
      replay: (entry) => {
        for (const { bytes } of this.#journalEntries) entry(bytes);
      },
      get bytesSinceSnapshot() {
        return store.#journalEnd;
      },
      snapshotBytes: Number.POSITIVE_INFINITY,
      snapshot: (entries) => {
        this.#journalBefore ??= this.#journalEntries;
        this.#journalEntries = [...entries].map((entry) => ({ bytes: Buffer.from(entry), end: 0 }));
      },
    };
  }

  open(events: StoreEvents): Promise<OpenReport> {
    this.#events = events;
    return Promise.resolve({
      scannedBytes: 0,
      truncatedBytes: 0,
      quarantinedRecords: 0,
      wasClean: true,
      changed: [...this.#queues.values()],
      warnings: [],
      durationMs: 0,
    });
  }

  rest(): void {}
  owes(): void {}

  close(): Promise<void> {
    this.#events = null;
    return Promise.resolve();
  }

  queue(topic: string, queueId: number): StoreQueue {
    return this.#queue(topic, queueId, false);
  }
  lightQueue(name: string): StoreQueue {
    return this.#queue(name, 0, true);
  }
  rangeOf(topic: string, queueId: number, isLight: boolean, into: QueueRange): void {
    const queue = this.#queues.get(`${isLight}/${topic}/${queueId}`);
    into.minOffset = queue?.minOffset ?? 0;
    into.maxOffset = queue?.maxOffset ?? 0;
  }
  queues(): Iterable<StoreQueue> {
    return this.#queues.values();
  }
  topicQueues(): Iterable<StoreQueue> {
    return [...this.#queues.values()].filter(({ isLight }) => !isLight);
  }
  dropQueue(queue: StoreQueue): void {
    this.#queues.delete(`${queue.isLight}/${queue.topic}/${queue.queueId}`);
  }

  #queue(topic: string, queueId: number, isLight: boolean): MemoryQueue {
    const key = `${isLight}/${topic}/${queueId}`;
    let queue = this.#queues.get(key);
    if (queue === undefined) {
      queue = new MemoryQueue(topic, queueId, isLight);
      this.#queues.set(key, queue);
    }
    return queue;
  }

  hasRoom(): boolean {
    return !this.isFull;
  }

  append(queue: StoreQueue, fields: RecordFields): number {
    const home = queue as MemoryQueue;
    const record = layOut(home, this.watermarks.appended, fields);
    const physicalOffset = this.watermarks.appended;
    this.#records.set(physicalOffset, record);
    this.watermarks.appended += record.length;
    this.lastSize = record.length;
    if (!this.#isInBatch) this.#ends.push(this.watermarks.appended);
    const entry: Entry = {
      physicalOffset,
      size: record.length,
      tagHash: fields.tagHash,
      storedAt: Date.now(),
    };
    home.entries.push(entry);
    for (const light of fields.dispatch ?? []) (light as MemoryQueue).entries.push(entry);
    return this.watermarks.appended;
  }

  beginAtomic(): void {
    this.#isInBatch = true;
  }
  endAtomic(): number {
    this.#isInBatch = false;
    this.#ends.push(this.watermarks.appended);
    return this.watermarks.appended;
  }

  sleep(): void {}

  publish(): void {
    this.#schedule();
  }

  /** Everything appended is durable now. */
  sync(): void {
    this.watermarks.written = this.watermarks.appended;
    this.watermarks.durable = this.watermarks.appended;
    this.#journalDurable = this.#journalEnd;
    this.#journalBefore = null;
    this.#events?.onWatermark();
  }

  /**
   * The power is cut: of what was not synced some first part survives, of the log and of the journal independently,
   * batches wholly or not at all. The store can be opened again.
   */
  crash(random: Random): void {
    this.#events = null;
    const { durable } = this.watermarks;
    const from = this.#ends.findIndex((end) => end >= durable);
    const cut = this.#ends[random.between(from, this.#ends.length - 1)]!;
    this.#ends = this.#ends.filter((end) => end <= cut);
    for (const offset of this.#records.keys()) if (offset >= cut) this.#records.delete(offset);
    for (const queue of this.#queues.values()) {
      const { entries } = queue;
      while (entries.length > 0 && entries.at(-1)!.physicalOffset >= cut) entries.pop();
      queue.minOffset = Math.min(queue.minOffset, entries.length);
    }
    this.watermarks.appended = this.watermarks.written = this.watermarks.durable = cut;
    const journal = this.#journalBefore ?? this.#journalEntries;
    const sure = journal.findLastIndex(({ end }) => end <= this.#journalDurable) + 1;
    this.#journalEntries = journal.slice(0, random.between(sure, journal.length));
    this.#journalBefore = null;
    this.#journalDurable = this.#journalEnd;
    this.#isScheduled = false;
    this.isFull = false;
  }

  /** The disk is full, or fails, or is well again. */
  setHealth(health: StoreHealth): void {
    this.health = health;
    this.isFull = health.state !== "ok";
    this.#events?.onHealth(health);
    if (!this.isFull) this.#events?.onRoom();
  }

  /** There is room again. */
  makeRoom(): void {
    this.isFull = false;
    this.#events?.onRoom();
  }

  #schedule(): void {
    if (this.isManual || this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      if (!this.isManual) this.sync();
    });
  }

  read(queue: StoreQueue, from: number, max: number, into: EntryBatch): number {
    const { entries } = queue as MemoryQueue;
    let count = 0;
    while (count < max && from + count < entries.length) {
      const entry = entries[from + count]!;
      into.physicalOffset[count] = entry.physicalOffset;
      into.size[count] = entry.size;
      into.tagHash[count] = entry.tagHash;
      count++;
    }
    return count;
  }

  readEach(queue: StoreQueue, offsets: Float64Array, count: number, into: EntryBatch): number {
    const { entries } = queue as MemoryQueue;
    let done = 0;
    for (; done < count && offsets[done]! < entries.length; done++) {
      const entry = entries[offsets[done]!]!;
      into.physicalOffset[done] = entry.physicalOffset;
      into.size[done] = entry.size;
      into.tagHash[done] = entry.tagHash;
    }
    return done;
  }

  view(physicalOffset: number, _size: number, view: RecordView): boolean {
    const record = this.#records.get(physicalOffset);
    if (record === undefined) return false;
    view.open(record, 0);
    return true;
  }

  isDamaged(physicalOffset: number): boolean {
    return !this.#records.has(physicalOffset);
  }

  isUnreadable(): boolean {
    return false;
  }

  get atHandFrom(): number {
    return Number.POSITIVE_INFINITY;
  }

  isRemoved(): boolean {
    return false;
  }

  owesAgain(): void {}

  searchByTime(queue: StoreQueue, timestampMs: number): number {
    const { entries } = queue as MemoryQueue;
    const at = entries.findIndex((entry) => entry.storedAt >= timestampMs);
    return at < 0 ? entries.length : at;
  }

  searchByKey(): number[] {
    return [];
  }

  get movedBytes(): number {
    return this.watermarks.appended;
  }

  trim(queue: StoreQueue, offset: number): void {
    (queue as MemoryQueue).minOffset = offset;
  }
}

/** src/model/record-view.ts has the table. */
function layOut(queue: MemoryQueue, physicalOffset: number, fields: RecordFields): Buffer {
  const topic = Buffer.from(queue.topic, "latin1");
  const bodyLength = fields.bodyEnd - fields.bodyStart;
  const head = 68 + fields.bornHost.length + 8;
  const size = head + 4 + bodyLength + 2 + topic.length + 2 + fields.propertiesLength;
  const record = Buffer.alloc(size);
  const hosts = fields.bornHost.length === 20 ? 1 << 4 : 0;
  record.writeInt32BE(size, 0);
  record.writeInt32BE(0xdaa320ab | 0, 4);
  record.writeInt32BE(queue.queueId, 12);
  record.writeInt32BE(fields.flag & (FLAG.RETAIN | 0xffff), 16);
  record.writeBigInt64BE(BigInt(queue.entries.length), 20);
  record.writeBigInt64BE(BigInt(physicalOffset), 28);
  record.writeInt32BE(fields.sysFlag | hosts, 36);
  record.writeBigInt64BE(BigInt(fields.bornTimestamp), 40);
  fields.bornHost.copy(record, 48);
  let at = 48 + fields.bornHost.length;
  record.writeBigInt64BE(BigInt(Date.now()), at);
  at += 8 + 8; // storeTimestamp, storeHost
  record.writeInt32BE(fields.reconsumeTimes, at);
  record.writeBigInt64BE(BigInt(fields.preparedTransactionOffset), at + 4);
  at += 12;
  record.writeInt32BE(bodyLength, at);
  at += 4;
  at += fields.body.copy(record, at, fields.bodyStart, fields.bodyEnd);
  record.writeUInt16BE(topic.length, at);
  at += 2;
  at += topic.copy(record, at);
  record.writeUInt16BE(fields.propertiesLength, at);
  fields.properties.copy(record, at + 2, 0, fields.propertiesLength);
  return record;
}
