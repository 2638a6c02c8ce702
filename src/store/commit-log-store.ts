/**
 * The MessageStore on local files: CommitLog, ConsumeQueues, journal, in RocketMQ's formats and folders.
 *
 *   commitlog/    segments (record.ts)                 journal/     the owner's journal (journal.ts)
 *   consumequeue/ entries per topic and queue          quarantine/  damaged ranges of the log, with a report each
 *   abort         there while the store is open        lock         who has it open
 *
 * The event loop appends to shared memory and reads; the store thread writes and syncs (store-writer.ts).
 */
import assert from "node:assert/strict";
import { join, resolve } from "node:path";
import type { RecordView } from "../model/record-view.ts";
import { BlockReader } from "./block-reader.ts";
import { CommandRing } from "./command-ring.ts";
import { CommitLog } from "./commit-log.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { LogScanner } from "./log-scanner.ts";
import type {
  EntryBatch,
  MessageStore,
  OpenReport,
  OwnerJournal,
  RecordFields,
  StoreEvents,
  StoreHealth,
  StoreQueue,
  StoreWatermarks,
} from "./message-store.ts";
import { PageWriter } from "./page-writer.ts";
import { QueueTable } from "./queue-table.ts";
import { MAGIC_V1, MAGIC_V2, SYS_FLAG } from "./record.ts";
import { Redo } from "./redo.ts";
import { SegmentList } from "./segment-list.ts";
import { POSITION, SharedControl, WORD } from "./shared-control.ts";
import { fileSystem, type Storage } from "./storage-file.ts";
import { TailRing } from "./tail-ring.ts";
import { type InlineSchedule, startInline, startThread, type WriterLink } from "./writer-link.ts";
import type { ToWriter, WriterStart } from "./writer-messages.ts";

export interface StoreOptions {
  /** The store's folder, made when it is not there. */
  readonly directory: string;
  /** Length of a CommitLog segment; RocketMQ's default is 1 GiB. */
  readonly segmentBytes?: number;
  /** Size of the tail ring, a power of two. */
  readonly ringBytes?: number;
  /** Bytes of records too large for the ring that may wait for the store thread. */
  readonly sideBytes?: number;
  /** Queue pages of 4 KiB kept in memory. */
  readonly queuePages?: number;
  /** While records keep arriving, syncs begin at least this far apart. */
  readonly syncSpacingMs?: number;
  /** Goes into the records: address (4 or 16 bytes) and port (int 4). */
  readonly storeHost?: Buffer;
  /** Below this much free space the store takes no more records. */
  readonly minFreeBytes?: number;
  readonly readMode?: "auto" | "mapped" | "positioned";
  /** For tests: run the writer on the calling thread, on this storage. */
  readonly inlineOn?: Storage;
  /** For simulations: decides when the inline writer runs, and when the loop hears from it. */
  readonly inlineSchedule?: InlineSchedule;
}

const DEFAULT_SEGMENT = 2 ** 30;
const DEFAULT_RING = 32 << 20;
const DEFAULT_SIDE = 256 << 20;
const DEFAULT_PAGES = 4096;
const MAX_RING_RECORD = (4 << 20) + (128 << 10);
const JOURNAL_RING = 1 << 20;
const COMMANDS = 8192;
const LOCALHOST = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);
const RECOVERY_COMMANDS = 256;

class Watermarks implements StoreWatermarks {
  appended = 0;
  written = 0;
  durable = 0;
}

export class CommitLogStore implements MessageStore {
  readonly #directory: string;
  readonly #segmentBytes: number;
  readonly #options: StoreOptions;
  readonly #storage: Storage;
  readonly #segments: SegmentList;
  readonly #blocks: BlockReader;
  readonly #control = new SharedControl();
  readonly #ring: TailRing;
  readonly #commands: CommandRing;
  readonly #table: QueueTable;
  readonly watermarks = new Watermarks();
  health: StoreHealth = { state: "ok" };
  #log!: CommitLog;
  #events!: StoreEvents;
  #link: WriterLink | null = null;
  /** Posted before the writer runs: slabs and folders from recovery. */
  #early: ToWriter[] = [];
  /** Queues with entries whose records lie in side buffers, and where those end. */
  #waiting: Array<{ queue: ConsumeQueue; end: number }> = [];
  #wantsRoom = false;
  /** Watermarks moved, and nobody was told yet. */
  #isMoved = false;
  #isClosed = false;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#directory = resolve(options.directory);
    this.#segmentBytes = options.segmentBytes ?? DEFAULT_SEGMENT;
    this.#storage = options.inlineOn ?? fileSystem;
    this.#segments = new SegmentList(
      this.#storage,
      join(this.#directory, "commitlog"),
      this.#segmentBytes,
    );
    this.#blocks = new BlockReader(this.#segments);
    const ringBytes = options.ringBytes ?? DEFAULT_RING;
    this.#ring = new TailRing(ringBytes, Math.min(MAX_RING_RECORD, ringBytes >> 2));
    this.#commands = new CommandRing(this.#control, COMMANDS);
    this.#table = new QueueTable(
      this.#storage,
      this.#directory,
      this.#commands,
      options.queuePages ?? DEFAULT_PAGES,
      (message) => this.#post(message),
    );
  }

  async open(events: StoreEvents): Promise<OpenReport> {
    const begun = performance.now();
    this.#events = events;
    this.#storage.makeDirectory(this.#segments.directory);
    const starts = this.#segments.starts();
    this.#segments.minOffset = starts[0] ?? 0;
    const pages = new PageWriter(this.#storage, this.#commands);
    this.#early = [];
    const redo = new Redo(this.#table);
    const scanner = new LogScanner(this.#segments);
    let quarantined = 0;
    let early = 0;
    const scanned = await scanner.scan(this.#segments.minOffset, {
      onRecord: (buffer, at, offset, size) => {
        redo.onRecord(buffer, at, offset, size);
        if (this.#commands.issued - this.#commands.done < RECOVERY_COMMANDS) return;
        for (; early < this.#early.length; early++) announce(pages, this.#early[early]!);
        this.#commands.flush();
        pages.run(Number.POSITIVE_INFINITY);
      },
      onDamage: (from) => {
        quarantined++;
        redo.onDamage(from);
      },
    });
    pages.close();
    const end = redo.finish(scanned);
    this.#log = new CommitLog(this.#ring, this.#control, end, {
      segmentBytes: this.#segmentBytes,
      storeHost: this.#options.storeHost ?? LOCALHOST,
      sideBytes: this.#options.sideBytes ?? DEFAULT_SIDE,
      post: (offset, bytes, used) => this.#post({ kind: "side", offset, bytes, used }),
    });
    this.#log.lastStoreTimestamp = redo.lastStoreTimestamp;
    this.#startWriter(end);
    this.#takeWatermarks();
    return {
      scannedBytes: scanner.scannedBytes,
      truncatedBytes: scanned - end,
      quarantinedRecords: quarantined,
      wasClean: true,
      durationMs: performance.now() - begun,
    };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#table.flushAll();
    this.publish(true);
    this.#post({ kind: "close" });
    this.#link!.wake();
    await this.#link!.ended;
    this.#segments.close();
  }

  queue(topic: string, queueId: number): StoreQueue {
    return this.#table.queue(topic, queueId);
  }
  lightQueue(name: string): StoreQueue {
    return this.#table.lightQueue(name);
  }
  queues(): Iterable<StoreQueue> {
    return this.#table.queues();
  }
  dropQueue(queue: StoreQueue): void {
    this.#table.drop(queue as ConsumeQueue);
  }

  hasRoom(bytes: number): boolean {
    if (this.#fits(bytes)) return true;
    this.#wantsRoom = true;
    this.#control.store(WORD.WANTS_ROOM, 1);
    // Room may have come between the question and the request: then nobody would wake us.
    if (this.#log.refresh()) this.#isMoved = true;
    return this.#fits(bytes);
  }

  #fits(bytes: number): boolean {
    return this.health.state === "ok" && this.#log.hasRoom(bytes) && !this.#table.pool.isOverfull;
  }

  append(queue: StoreQueue, fields: RecordFields): number {
    if (this.health.state === "failed") throw new Error(`store: ${this.health.reason}`);
    const own = queue as ConsumeQueue;
    const log = this.#log;
    const isDispatched = (fields.sysFlag & SYS_FLAG.NOT_DISPATCHED) === 0;
    const offset = log.append(own, isDispatched ? own.maxOffset : 0, fields);
    const size = log.lastSize;
    if (isDispatched) {
      this.#table.append(own, offset, size, fields.tagHash);
      const dispatch = fields.dispatch as readonly ConsumeQueue[] | null;
      if (dispatch !== null) {
        for (let i = 0; i < dispatch.length; i++) {
          this.#table.append(dispatch[i]!, offset, size, fields.tagHash);
        }
      }
      if (log.hasSide && log.isInSide(offset)) this.#awaitSide(own, dispatch);
    }
    this.watermarks.appended = log.appended;
    return log.appended;
  }

  get lastSize(): number {
    return this.#log.lastSize;
  }

  beginAtomic(): void {
    this.#log.beginBatch();
  }
  endAtomic(): number {
    return this.#log.endBatch();
  }

  publish(sync: boolean): void {
    const hasRecords = this.#log.publish();
    const hasCommands = this.#commands.flush();
    let isWanted = hasRecords || hasCommands;
    if (sync && this.#control.position(POSITION.SYNC_TO) < this.#log.appended) {
      this.#control.setPosition(POSITION.SYNC_TO, this.#log.appended);
      isWanted = true;
    }
    if (isWanted) this.#link!.wake();
  }

  read(queue: StoreQueue, from: number, max: number, into: EntryBatch): number {
    const count = this.#table.read(queue as ConsumeQueue, from, max, into);
    if (!this.#log.hasSide) return count;
    // Entries of records that cannot be viewed before they are written are not here yet.
    for (let i = 0; i < count; i++) if (this.#log.isInSide(into.physicalOffset[i]!)) return i;
    return count;
  }

  view(physicalOffset: number, size: number, view: RecordView): boolean {
    const log = this.#log;
    const index = log.inRing(physicalOffset);
    if (index >= 0) {
      view.open(this.#ring.bytes, index);
      return true;
    }
    if (physicalOffset + size > log.written || physicalOffset < this.#segments.minOffset) {
      return false;
    }
    const block = this.#blocks.find(physicalOffset, size, log.written);
    if (block === null) return false;
    const { buffer } = block;
    const at = physicalOffset - block.start;
    if (!isRecordAt(buffer, at, size, physicalOffset)) return false;
    view.open(buffer, at);
    return true;
  }

  isDamaged(_physicalOffset: number): boolean {
    return false;
  }

  searchByTime(queue: StoreQueue, _timestampMs: number): number {
    return queue.minOffset;
  }

  searchByKey(): number[] {
    return [];
  }

  trim(queue: StoreQueue, offset: number): void {
    this.#table.trim(queue as ConsumeQueue, offset);
  }

  readonly journal: OwnerJournal = new VolatileJournal();

  #startWriter(end: number): void {
    const start: WriterStart = {
      directory: this.#directory,
      segmentBytes: this.#segmentBytes,
      control: this.#control.memory,
      ring: this.#ring.memory,
      ringBytes: this.#ring.size,
      journalRing: new SharedArrayBuffer(8),
      journalRingBytes: JOURNAL_RING,
      commands: this.#commands.memory,
      commandCapacity: COMMANDS,
      logEnd: end,
      journalFile: 0,
      journalBytes: 0,
      syncSpacingMs: this.#options.syncSpacingMs ?? 0.4,
    };
    for (const at of [POSITION.HEAD, POSITION.WRITTEN, POSITION.DURABLE, POSITION.SYNC_TO]) {
      this.#control.setPosition(at, end);
    }
    const events = {
      onWake: () => this.#refresh(),
      onDeath: (error: Error) => this.#setHealth("failed", `store thread: ${error.message}`),
    };
    this.#link =
      this.#options.inlineOn === undefined
        ? startThread(start, events)
        : startInline(start, events, this.#storage, this.#options.inlineSchedule);
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.#post(message);
  }

  #post(message: ToWriter): void {
    if (this.#link === null) this.#early.push(message);
    else this.#link.post(message);
  }

  #takeWatermarks(): void {
    this.watermarks.appended = this.#log.appended;
    this.watermarks.written = this.#log.written;
    this.watermarks.durable = this.#log.durable;
  }

  #refresh(): void {
    if (this.#link === null) return;
    for (;;) {
      const message = this.#link.take();
      if (message === undefined) break;
      if (message.kind === "health") this.#setHealth(message.state, message.reason);
    }
    const isMoved = this.#log.refresh() || this.#isMoved;
    this.#isMoved = false;
    this.#takeWatermarks();
    if (this.#commands.hasWaiting && this.#commands.flush()) this.#link.wake();
    if (isMoved) {
      this.#events.onWatermark();
      while (this.#waiting.length > 0 && this.#waiting[0]!.end <= this.#log.written) {
        this.#events.onReadable(this.#waiting.shift()!.queue);
      }
    }
    if (this.#wantsRoom) {
      this.#wantsRoom = false;
      this.#events.onRoom();
    }
  }

  #setHealth(state: "ok" | "full" | "failed", reason: string): void {
    if (this.health.state === "failed") return;
    this.health = state === "ok" ? { state } : { state, reason };
    this.#events.onHealth(this.health);
  }

  #awaitSide(queue: ConsumeQueue, dispatch: readonly ConsumeQueue[] | null): void {
    const end = this.#log.appended;
    this.#waiting.push({ queue, end });
    for (const light of dispatch ?? []) this.#waiting.push({ queue: light, end });
  }
}

class VolatileJournal implements OwnerJournal {
  #position = 0;
  #entries: Buffer[] = [];
  append(bytes: Uint8Array, start: number, end: number): number {
    this.#entries.push(Buffer.from(bytes.subarray(start, end)));
    this.#position += end - start + 8;
    return this.#position;
  }
  get written(): number {
    return this.#position;
  }
  get durable(): number {
    return this.#position;
  }
  requestSync(): void {}
  replay(entry: (bytes: Buffer) => void): void {
    for (const bytes of this.#entries) entry(bytes);
  }
  get bytesSinceSnapshot(): number {
    return this.#position;
  }
  snapshot(entries: Iterable<Uint8Array>): void {
    this.#entries = [...entries].map((bytes) => Buffer.from(bytes));
  }
}

function announce(pages: PageWriter, message: ToWriter): void {
  if (message.kind === "slab") pages.addSlab(message.index, message.memory);
  if (message.kind === "queue") pages.addQueue(message.number, message.folder);
}

/** Is this the record that an entry speaks of? The whole check is recovery's; this one keeps a wrong entry from doing harm. */
function isRecordAt(buffer: Buffer, at: number, size: number, physicalOffset: number): boolean {
  const magic = buffer.readInt32BE(at + 4);
  assert(at >= 0 && at + size <= buffer.length);
  return (
    buffer.readInt32BE(at) === size &&
    (magic === MAGIC_V1 || magic === MAGIC_V2) &&
    buffer.readUInt32BE(at + 32) === physicalOffset >>> 0 &&
    buffer.readInt32BE(at + 28) === Math.floor(physicalOffset / 2 ** 32)
  );
}
