/**
 * THE SEAM between the broker and durable bytes. Speaks topics, shards, offsets and records; never queues, groups or
 * acknowledgements. Everything above it must work on an engine that is not a local file: data may have to be fetched,
 * and durability is a watermark that moves later.
 *
 * Positions. Every append returns a position: a number that grows with the order of the log (the physical offset of the
 * record's end). A record is safe at a level once the level's watermark is >= its position.
 * Threads. All methods are called on the event loop that owns the queues; none blocks on the disk, except reads of cold data.
 */
import type { EntryBatch } from "../model/entry-batch.ts";
import type { RecordView } from "../model/record-view.ts";

export type { EntryBatch } from "../model/entry-batch.ts";

/** What an append carries besides its destination. One object is reused; the store keeps nothing of it. */
export interface RecordFields {
  body: Buffer;
  bodyStart: number;
  bodyEnd: number;
  /** The record's `flag` field (model/record-view.ts FLAG). */
  flag: number;
  sysFlag: number;
  /** ms; publisher's clock. */
  bornTimestamp: number;
  /** IPv4 (4 bytes) or IPv6 (16 bytes) and port as int 4: 8 or 20 bytes in all. */
  bornHost: Buffer;
  reconsumeTimes: number;
  preparedTransactionOffset: number;
  /** `name 0x01 value 0x02` repeated, UTF-8, in `properties[0, propertiesLength)`; the store appends the dispatch list and the record CRC. */
  properties: Buffer;
  propertiesLength: number;
  /** Java String.hashCode of the tag, 0 for none: goes into the ConsumeQueue entries. */
  tagHash: number;
  /** Keys for the Index, or null. */
  keys: readonly string[] | null;
  /** Light queues that get an entry for this record too, any number, all or none after a crash; or null. */
  dispatch: readonly StoreQueue[] | null;
}

/** Which entries a queue has: the first, and behind the last. */
export interface QueueRange {
  minOffset: number;
  maxOffset: number;
}

/** One ConsumeQueue: a topic's shard, or a light queue. */
export interface StoreQueue {
  readonly topic: string;
  readonly queueId: number;
  readonly isLight: boolean;
  /** First offset that may still be read. */
  readonly minOffset: number;
  /** Offset that the next append gets. */
  readonly maxOffset: number;
  /** Free for the broker: its own object for this queue. The store only raises it in `onArrival`. */
  owner: unknown;
}

export type DurabilityLevel = "memory" | "os" | "fsync";

export interface StoreWatermarks {
  /** End of the log: everything appended. */
  readonly appended: number;
  /** Given to the kernel: survives a crash of this process. */
  readonly written: number;
  /** Synced: survives a power cut. */
  readonly durable: number;
}

export type StoreHealth =
  | { readonly state: "ok" }
  /** Disk full: appends are refused by `hasRoom`; resumes by itself. */
  | { readonly state: "full"; readonly reason: string }
  /** An I/O error: nothing is confirmed that was not known durable, no more appends. */
  | { readonly state: "failed"; readonly reason: string };

/**
 * Which of the entries `[from, from + count)` of a queue somebody is still owed: writes 1 or 0 for each into `into`, and
 * returns how many are. What is not owed may be gone at any time; an offset that was settled must not be owed again,
 * unless the owner says so with `owesAgain`.
 */
export type OwedMask = (queue: StoreQueue, from: number, count: number, into: Uint8Array) => number;

export interface StoreEvents {
  /** Watermarks moved; called at most once per group commit. */
  onWatermark(): void;
  /** `hasRoom` may be true again. */
  onRoom(): void;
  onHealth(health: StoreHealth): void;
  /** Entries of this queue that `read` could not give at once are here now (engines that fetch). */
  onReadable(queue: StoreQueue): void;
  /** The disk refuses to give something: entries of this queue, or a record (null). What is there stays owed. */
  onReadError?(reason: string, queue: StoreQueue | null): void;
  /** The disk does not let go of something that nobody needs: it takes space until a later start. */
  onLeftover?(reason: string): void;
  /** What of a queue is owed. Absent: everything from its minOffset on. */
  readonly owed?: OwedMask;
  /** The record of this entry lies elsewhere now: the same message, for whoever keeps places in the log, or sizes. */
  onMoved?(
    queue: StoreQueue,
    offset: number,
    physicalOffset: number,
    size: number,
    sizeBefore: number,
  ): void;
}

export interface OpenReport {
  /** Bytes of log scanned, ms taken, what was cut or quarantined: for one log line. */
  readonly scannedBytes: number;
  readonly truncatedBytes: number;
  readonly quarantinedRecords: number;
  readonly wasClean: boolean;
  /** Queues that may hold more, or less, than the last checkpoint said, to look at. */
  readonly changed: readonly StoreQueue[];
  readonly durationMs: number;
  /** Sentences about what was lost, damaged or built anew; empty when all is well. */
  readonly warnings: readonly string[];
}

/** What was done to give space back, for metrics. */
export interface ReclaimFigures {
  /** Where the log begins: everything before was removed. */
  readonly logStart: number;
  readonly movedRecords: number;
  readonly movedBytes: number;
  readonly surveys: number;
  /** As of the last survey: bytes owed in full segments, and the length of those; -1 before the first one. */
  readonly owedBytes: number;
  readonly surveyedBytes: number;
}

export interface MessageStore {
  /** Locks the directory, recovers, replays nothing by itself. Throws StoreOpenError with a sentence for a person. */
  open(events: StoreEvents): Promise<OpenReport>;
  /** Syncs everything and releases the lock. */
  close(): Promise<void>;

  /** Publishing stops when less disk is free. Absent where there is no disk. */
  keepFree?(bytes: number): void;

  readonly watermarks: StoreWatermarks;
  readonly health: StoreHealth;
  /** Absent where there are no segments to give back. */
  readonly reclaimed?: ReclaimFigures;

  /** The queue, created (empty, nothing on disk yet) when it is not there. `topic` is the escaped name (model/names). */
  queue(topic: string, queueId: number): StoreQueue;
  /** A light queue by name: entries only, its records live elsewhere. */
  lightQueue(name: string): StoreQueue;
  /** The range of a queue as it is now, empty where there is none; nothing is made for it. */
  rangeOf(topic: string, queueId: number, isLight: boolean, into: QueueRange): void;
  /** Queues found on disk or opened since, to look at. */
  queues(): Iterable<StoreQueue>;
  /** The same without light ones. */
  topicQueues(): Iterable<StoreQueue>;
  /** The owner lets go of this object, and asks for the queue by name before it uses it again: it may be put away. */
  rest(queue: StoreQueue): void;
  /** Forgets a queue and gives its index space back; its records go with retention. */
  dropQueue(queue: StoreQueue): void;

  /** Is there space for records of `bytes` in all now? When false, hold the producer back until `onRoom`. */
  hasRoom(bytes: number): boolean;
  /**
   * Appends one record. Returns its position. The caller has asked `hasRoom` for this turn's bytes.
   * Throws only on a bug or a failed store.
   */
  append(queue: StoreQueue, fields: RecordFields): number;
  /** Size of the record appended last; it begins so many bytes before the position `append` returned. */
  readonly lastSize: number;
  /** Records appended between these become visible all or none, also after a crash between any two bytes. Not nested. */
  beginAtomic(): void;
  endAtomic(): number;
  /**
   * Hands what was appended in this turn to the store thread and says how safe it has to become. Once per turn.
   * `sync`: somebody waits for the durable watermark; otherwise the write alone is enough for now.
   */
  publish(sync: boolean): void;

  /** Blocks the calling thread for so long while the store goes on with its work; then tells its events. */
  sleep(ms: number): void;

  /**
   * Reads up to `max` entries from `from` on into arrays of the caller's; returns how many. 0 with from < maxOffset means: not here yet, wait for
   * onReadable, or for another try after onReadError.
   */
  read(queue: StoreQueue, from: number, max: number, into: EntryBatch): number;
  /** As `read`, of the first `count` of these offsets: they ascend, and those between them are not looked at. */
  readEach(queue: StoreQueue, offsets: Float64Array, count: number, into: EntryBatch): number;
  /**
   * Positions `view` on a record; size 0: not known (an offset from `searchByKey`). The bytes stay valid until the
   * current turn ends.
   * False when they are not at hand yet or were damaged (then `isDamaged` tells).
   */
  view(physicalOffset: number, size: number, view: RecordView): boolean;
  isDamaged(physicalOffset: number): boolean;
  /** The disk refuses to give this record: it may be there, and is not to be taken for damaged. */
  isUnreadable(physicalOffset: number): boolean;
  /** Records from here on are in memory: `view` finds them, and they are what was appended. */
  readonly atHandFrom: number;
  /** Was the record removed because nobody was owed it? Not when it is damaged. */
  isRemoved(physicalOffset: number): boolean;
  /** First offset of `queue` stored at or after `timestampMs`; maxOffset when none is. */
  searchByTime(queue: StoreQueue, timestampMs: number): number;
  /** Physical offsets of records of `topic` that carry `key`, newest first. Candidates are checked against the record. */
  searchByKey(topic: string, key: string, max: number, fromMs: number, toMs: number): number[];

  /**
   * Entries before `offset` are owed to nobody: segments that nobody needs are removed by retention. Beyond maxOffset
   * the queue goes on from `offset`: for an index that was lost together with the records it spoke of.
   */
  trim(queue: StoreQueue, offset: number): void;

  /**
   * What had better stay in the machine's memory: of the entries that this queue has now, somebody is owed about so many. Absent
   * where the store does not care.
   */
  owes?(queue: StoreQueue, count: number): void;
  /** Bytes of log that were appended, or read in order from the disk; what is counted from does not matter. */
  readonly movedBytes: number;
  /** `owes` was said of every queue that had changed when `position` was the end of the log. */
  owesReviewed?(position: number): void;

  /** Somebody is owed entries of this queue again that were settled (a new group that reads from the beginning). */
  owesAgain(queue: StoreQueue): void;

  /**
   * The owner's journal: opaque entries of at most 64 KiB, written each turn with `publish`, synced with the next group
   * commit when `sync` or within 50 ms. Returns a position on the journal's own scale.
   */
  journal: OwnerJournal;
}

export interface OwnerJournal {
  /** Appends `bytes[start, end)`; copied at once. */
  append(bytes: Uint8Array, start: number, end: number): number;
  readonly written: number;
  readonly durable: number;
  /** Asks for a sync with the coming `publish`: some acknowledgement waits to be confirmed. */
  requestSync(): void;
  /** Calls back with every entry since and including the last snapshot, oldest first. Before the first append. */
  replay(entry: (bytes: Buffer) => void): void;
  /** Bytes since the last snapshot: the owner snapshots when it is worth it. */
  readonly bytesSinceSnapshot: number;
  /** Bytes that the last snapshot took, about. */
  readonly snapshotBytes: number;
  /**
   * Replaces the journal by these entries and what is appended later. They must amount to what was there: after a crash
   * before all of them are on the disk, the old entries and what came later are replayed instead.
   */
  snapshot(entries: Iterable<Uint8Array>): void;
}
