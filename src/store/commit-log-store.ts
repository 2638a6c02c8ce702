/**
 * The MessageStore on local files: CommitLog, ConsumeQueues, Index and journal, in RocketMQ's formats and folders where
 * RocketMQ has them.
 *
 *   commitlog/    segments (record.ts)                    journal/     the owner's journal (journal-format.ts)
 *   consumequeue/ entries per topic and queue             quarantine/  damaged ranges of the log, with a report each
 *   index/        keys (index-format.ts)                  checkpoint   RocketMQ's (checkpointer.ts)
 *   queues/       checkpoint, catalog, arena: ours        abort, lock  while the store is open
 *
 * The event loop appends to shared memory and reads; the store thread writes and syncs (store-writer.ts).
 * consumequeue/, index/, queues/ and the checkpoint are derived: removed, they are built again from the log.
 */
import { join, resolve } from "node:path";
import { BrokerError } from "../model/errors.ts";
import type { RecordView } from "../model/record-view.ts";
import { writeAbort } from "./abort-mark.ts";
import { CheckpointPlanner } from "./checkpoint-planner.ts";
import { Checkpoints } from "./checkpoints.ts";
import { CommandRing } from "./command-ring.ts";
import { CommitLog } from "./commit-log.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { dropFields } from "./drop-record.ts";
import { FanWriter } from "./fan-writer.ts";
import { IndexReader } from "./index-store.ts";
import { Journal } from "./journal.ts";
import type {
  EntryBatch,
  MessageStore,
  OpenReport,
  QueueRange,
  ReclaimFigures,
  RecordFields,
  StoreEvents,
  StoreHealth,
  StoreQueue,
} from "./message-store.ts";
import { PageCacheAdvice } from "./page-cache-advice.ts";
import { Quarantine } from "./quarantine.ts";
import { QueueTable } from "./queue-table.ts";
import { DEFAULT_RECLAIM, Reclaimer } from "./reclaimer.ts";
import { SYS_FLAG } from "./record.ts";
import { type Recovered, recover } from "./recovery.ts";
import { SegmentRetention } from "./retention.ts";
import { SegmentList } from "./segment-list.ts";
import { POSITION, SharedControl, WORD } from "./shared-control.ts";
import { SpaceWatch } from "./space-watch.ts";
import { fileSystem, isSystemError, removeIfPossible, type Storage } from "./storage-file.ts";
import { StoreLock, StoreOpenError } from "./store-lock.ts";
import { COMMANDS, DEFAULT, overhangOf, oweAll, type StoreOptions } from "./store-options.ts";
import { StoredRecords } from "./stored-records.ts";
import { TailRing } from "./tail-ring.ts";
import { Tidier } from "./tidier.ts";
import { searchByTime } from "./time-search.ts";
import { Watermarks } from "./watermarks.ts";
import { checkWriteAccess } from "./write-access.ts";
import type { ToWriter } from "./writer-messages.ts";
import { WriterSide } from "./writer-side.ts";

export { StoreOpenError } from "./store-lock.ts";
export type { StoreOptions } from "./store-options.ts";

/** What the system counts reads in (getrusage). */
const DISK_BLOCK = 512;

export class CommitLogStore implements MessageStore {
  readonly #directory: string;
  readonly #options: StoreOptions;
  readonly #fanAbove: number;
  readonly #storage: Storage;
  readonly #lock: StoreLock;
  readonly #control = new SharedControl();
  readonly #ring: TailRing;
  readonly #commands: CommandRing;
  readonly #table: QueueTable;
  readonly journal: Journal;
  readonly watermarks = new Watermarks();
  health: StoreHealth = { state: "ok" };
  #events!: StoreEvents;
  #segments!: SegmentList;
  #quarantine!: Quarantine;
  #log!: CommitLog;
  #fan!: FanWriter;
  #records!: StoredRecords;
  #checkpoints!: Checkpoints;
  #reclaimer!: Reclaimer;
  #advice!: PageCacheAdvice;
  #space!: SpaceWatch;
  #index!: IndexReader;
  readonly #writer: WriterSide;
  /** Queues with entries whose records lie in side buffers, and where those end. */
  #waiting: Array<{ queue: ConsumeQueue; end: number }> = [];
  #wantsRoom = false;
  /** Watermarks moved, and nobody was told yet. */
  #isMoved = false;
  #timer: NodeJS.Timeout | null = null;
  #isOpen = false;
  readonly #tidier: Tidier;

  constructor(options: StoreOptions) {
    this.#options = options;
    this.#fanAbove = options.fanAbove ?? DEFAULT.fanAbove;
    this.#directory = resolve(options.directory);
    this.#storage = options.inlineOn ?? fileSystem;
    this.#lock = new StoreLock(this.#directory);
    const ringBytes = options.ringBytes ?? DEFAULT.ringBytes;
    const overhang = overhangOf(ringBytes);
    const start = options.memory?.take(ringBytes + overhang) ?? -1;
    this.#ring =
      start < 0
        ? new TailRing(ringBytes, overhang)
        : new TailRing(ringBytes, overhang, options.memory!.memory, start);
    this.#commands = new CommandRing(this.#control, COMMANDS);
    this.#writer = new WriterSide({
      onWake: () => this.#refresh(),
      onCheckpoint: () => {
        this.#checkpoints.onDone();
        this.#tidier.run();
      },
      onHealth: () => this.#updateHealth(),
      onLeftover: (reason) => this.#events.onLeftover?.(reason),
    });
    const post = (message: ToWriter): void => this.#writer.post(message);
    this.#table = new QueueTable(
      this.#storage,
      this.#directory,
      this.#commands,
      options.queuePages ?? DEFAULT.queuePages,
      options.syncedQueues ?? DEFAULT.syncedQueues,
      post,
    );
    this.#tidier = new Tidier(
      {
        tidySome: () => this.#table.tidySome(),
        handOver: () => {
          if (this.#commands.flush()) this.#writer.wake();
          this.#askForRings();
        },
        isOpen: () => this.#isOpen,
      },
      this.#storage === fileSystem,
    );
    this.journal = new Journal(
      this.#control,
      post,
      () => this.#log.appended,
      options.journalRingBytes,
    );
  }

  async open(events: StoreEvents): Promise<OpenReport> {
    const begun = performance.now();
    this.#events = events;
    const storage = this.#storage;
    const commitlog = join(this.#directory, "commitlog");
    storage.makeDirectory(commitlog);
    if (storage === fileSystem) await this.#lock.acquire();
    try {
      if (storage === fileSystem) checkWriteAccess(storage, this.#directory);
      const abort = join(this.#directory, "abort");
      const wasAborted = storage.stat(abort) !== undefined;
      this.#segments = new SegmentList(storage, commitlog, this.#segmentBytes(commitlog));
      this.#quarantine = new Quarantine(storage, this.#directory);
      const recovered = await recover({
        storage,
        directory: this.#directory,
        segments: this.#segments,
        table: this.#table,
        commands: this.#commands,
        quarantine: this.#quarantine,
        wasAborted,
        ...(this.#options.indexShape && { indexShape: this.#options.indexShape }),
        announced: this.#writer.announced,
      });
      const warnings = [
        ...recovered.warnings,
        ...this.journal.open(storage, this.#directory, this.#quarantine),
      ];
      // Durable before anything is appended: the next opener trusts its absence.
      writeAbort(storage, abort);
      await this.#start(recovered);
      return {
        scannedBytes: recovered.scannedBytes,
        truncatedBytes: recovered.truncatedBytes,
        quarantinedRecords: recovered.quarantined,
        wasClean: recovered.wasClean,
        changed: recovered.changed,
        durationMs: performance.now() - begun,
        warnings,
      };
    } catch (error) {
      if (storage === fileSystem) this.#lock.release();
      if (!isSystemError(error) || error.code !== "EIO") throw error;
      throw new StoreOpenError(
        `cannot read what it needs to start: ${error.message}. Nothing was given up: mend the disk, or copy the files to a sound one`,
        { cause: error },
      );
    }
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#reclaimer.stop();
    this.publish(true);
    await this.#drainJournal();
    const isWhole = this.#writer.health.state === "ok";
    if (isWhole) this.#checkpoints.make(true);
    this.#askForRings();
    this.#writer.post({ kind: "close" });
    this.#writer.wake();
    await this.#writer.ended;
    await this.journal.close();
    this.#writer.takeReplies();
    this.#table.close();
    this.#segments.close();
    if (isWhole && this.#writer.health.state === "ok" && this.#log.refresh())
      this.#takeWatermarks();
    // Kept when not everything got out, or no checkpoint says that this is the end: then the next start looks closer.
    const isAllDurable = this.watermarks.durable === this.watermarks.appended;
    if (isWhole && isAllDurable && !this.#checkpoints.isRunning) {
      // Where it stays, the next start looks closer.
      removeIfPossible(this.#storage, join(this.#directory, "abort"));
    }
    if (this.#storage === fileSystem) this.#lock.release();
  }

  /** Journal entries that found no room in its ring: all of them have to be in the file before the end. */
  async #drainJournal(): Promise<void> {
    while (this.journal.hasWaiting && this.#writer.health.state === "ok") {
      this.#writer.wake();
      await new Promise((resolve) => setTimeout(resolve, 1));
      this.#refresh();
    }
  }

  queue(topic: string, queueId: number): StoreQueue {
    return this.#table.names.queue(topic, queueId);
  }
  lightQueue(name: string): StoreQueue {
    return this.#table.names.lightQueue(name);
  }
  rangeOf(topic: string, queueId: number, isLight: boolean, into: QueueRange): void {
    this.#table.names.rangeOf(topic, queueId, isLight, into);
  }
  queues(): Iterable<StoreQueue> {
    return this.#table.names.queues();
  }
  topicQueues(): Iterable<StoreQueue> {
    return this.#table.names.topicQueues();
  }

  rest(queue: StoreQueue): void {
    this.#advice.gone(queue as ConsumeQueue);
    this.#table.names.rest(queue as ConsumeQueue);
  }

  dropQueue(queue: StoreQueue): void {
    const own = queue as ConsumeQueue;
    if (own.isDropped) return;
    // The log says so too: a rebuild must not bring it back, nor mix it with a younger one of the same name.
    if (own.maxOffset > 0) {
      this.#log.append(this.#table.dropTopic, 0, dropFields(own));
      this.watermarks.appended = this.#log.appended;
    }
    this.#advice.gone(own);
    this.#table.drop(own, this.#log.appended);
  }

  hasRoom(bytes: number): boolean {
    if (this.#fits(bytes)) return true;
    this.#wantsRoom = true;
    this.#control.store(WORD.WANTS_ROOM, 1);
    // Room may have come between the question and the request: then nobody would wake us.
    if (this.#log.refresh()) this.#isMoved = true;
    if (this.#fits(bytes)) return true;
    // What waits may be pages of queues that were only now handed over.
    if (this.#commands.flush()) this.#writer.wake();
    return false;
  }

  #fits(bytes: number): boolean {
    return this.health.state === "ok" && this.#log.hasRoom(bytes) && !this.#table.isOverfull();
  }

  append(queue: StoreQueue, fields: RecordFields): number {
    if (this.health.state === "failed") {
      throw new BrokerError("store-read-only", `the log takes no records: ${this.health.reason}`);
    }
    const own = queue as ConsumeQueue;
    const log = this.#log;
    const isDispatched = (fields.sysFlag & SYS_FLAG.NOT_DISPATCHED) === 0;
    const dispatch = fields.dispatch as readonly ConsumeQueue[] | null;
    const isFanned =
      dispatch !== null && (dispatch.length > this.#fanAbove || !log.canName(fields));
    const offset = isFanned
      ? this.#fan.append(own, fields, dispatch)
      : log.append(own, isDispatched ? own.maxOffset : 0, fields);
    const size = log.lastSize;
    if (isDispatched) {
      this.#table.append(own, offset, size, fields.tagHash);
      if (dispatch !== null) {
        for (let i = 0; i < dispatch.length; i++) {
          this.#table.append(dispatch[i]!, offset, size, fields.tagHash);
        }
      }
      if (log.hasSide && log.isInSide(offset)) {
        for (const queue of [own, ...(dispatch ?? [])]) {
          this.#waiting.push({ queue, end: log.appended });
        }
      }
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
  keepFree(bytes: number): void {
    this.#space.keepFree(bytes);
  }

  endAtomic(): number {
    return this.#log.endBatch();
  }

  publish(sync: boolean): void {
    let isWanted = this.#log.publish();
    if (this.journal.publish()) isWanted = true;
    this.#checkpoints.onPublish();
    if (this.#commands.flush()) isWanted = true;
    if (sync && this.#control.position(POSITION.SYNC_TO) < this.#log.appended) {
      this.#control.setPosition(POSITION.SYNC_TO, this.#log.appended);
      isWanted = true;
    }
    this.#askForRings();
    if (isWanted) this.#writer.wake();
  }

  sleep(ms: number): void {
    // In line the writer has no thread of its own that could go on meanwhile.
    if (this.#options.inlineOn !== undefined || !this.#isOpen) return;
    this.#control.sleepLoop(ms);
    this.#refresh();
  }

  /** Commands or journal entries found no room in their ring: the writer tells when it has made some. */
  #askForRings(): void {
    if (this.#commands.hasWaiting || this.journal.hasWaiting) {
      this.#control.store(WORD.WANTS_ROOM, 1);
    }
  }

  read(queue: StoreQueue, from: number, max: number, into: EntryBatch): number {
    try {
      return this.#atHand(this.#table.read(queue as ConsumeQueue, from, max, into), into);
    } catch (error) {
      this.#onReadError(error, queue);
      return 0;
    }
  }

  readEach(queue: StoreQueue, offsets: Float64Array, count: number, into: EntryBatch): number {
    try {
      return this.#atHand(this.#table.readEach(queue as ConsumeQueue, offsets, count, into), into);
    } catch (error) {
      this.#onReadError(error, queue);
      return 0;
    }
  }

  #atHand(count: number, into: EntryBatch): number {
    if (!this.#log.hasSide) return count;
    // Entries of records that cannot be viewed before they are written are not here yet.
    for (let i = 0; i < count; i++) if (this.#log.isInSide(into.physicalOffset[i]!)) return i;
    return count;
  }

  view(physicalOffset: number, size: number, view: RecordView): boolean {
    return this.#records.view(physicalOffset, size, view);
  }
  isDamaged(physicalOffset: number): boolean {
    return this.#records.isDamaged(physicalOffset);
  }
  isUnreadable(physicalOffset: number): boolean {
    return this.#records.isUnreadable(physicalOffset);
  }
  isRemoved(physicalOffset: number): boolean {
    return this.#records.isRemoved(physicalOffset);
  }

  get atHandFrom(): number {
    return this.#log.atHandFrom;
  }

  /** What the disk refused to give is still there, as far as anybody knows. */
  #onReadError(error: unknown, queue: StoreQueue | null): void {
    if (!isSystemError(error)) throw error;
    this.#events.onReadError?.(error.message, queue);
  }

  searchByTime(queue: StoreQueue, timestampMs: number): number {
    return searchByTime(this, queue, timestampMs);
  }

  searchByKey(topic: string, key: string, max: number, fromMs: number, toMs: number): number[] {
    return this.#index
      .query(topic, key, max, fromMs, toMs)
      .filter((offset) => offset >= this.#segments.minOffset);
  }

  trim(queue: StoreQueue, offset: number): void {
    this.#table.trim(queue as ConsumeQueue, offset);
  }

  owes(queue: StoreQueue, count: number): void {
    const own = queue as ConsumeQueue;
    if (!own.isDropped) this.#advice.owes(own, count, this.#log.appended);
  }

  get movedBytes(): number {
    return this.#log.appended + this.#advice.readBytes;
  }

  owesReviewed(position: number): void {
    this.#advice.review(position, this.#log.durable);
  }

  owesAgain(queue: StoreQueue): void {
    Object.assign(queue as ConsumeQueue, { owed: -1, isOwedAnew: true });
    this.#checkpoints.owesAgain();
  }

  get reclaimed(): ReclaimFigures {
    return this.#reclaimer.figures;
  }

  /** What the clock does about every second: a checkpoint if something changed, free space, retention. */
  tick(isForced = false): void {
    this.#space.look();
    this.#records.tick();
    this.#updateHealth();
    if (this.#storage !== fileSystem) void this.journal.lookAhead();
    this.#reclaimer.tick();
    this.#checkpoints.tick(isForced);
    this.#askForRings();
    this.#tidier.run();
  }

  #segmentBytes(folder: string): number {
    const wanted = this.#options.segmentBytes ?? DEFAULT.segmentBytes;
    return SegmentList.lengthOnDisk(this.#storage, folder) ?? wanted;
  }

  async #start(recovered: Recovered): Promise<void> {
    const options = this.#options;
    const { end, checkpoint } = recovered;
    this.#log = new CommitLog(this.#ring, this.#control, end, {
      segmentBytes: this.#segments.segmentBytes,
      storeHost: options.storeHost ?? DEFAULT.storeHost,
      sideBytes: options.sideBytes ?? DEFAULT.sideBytes,
      post: (offset, bytes, used) => this.#writer.post({ kind: "side", offset, bytes, used }),
    });
    this.#fan = new FanWriter(this.#log, this.#segments.segmentBytes);
    this.#log.lastStoreTimestamp = recovered.lastStoreTimestamp;
    const table = this.#table;
    table.logEnd = () => this.#log.appended;
    const onError = (error: unknown): void => this.#onReadError(error, null);
    this.#records = new StoredRecords({
      storage: this.#storage,
      directory: this.#directory,
      segments: this.#segments,
      quarantine: this.#quarantine,
      log: this.#log,
      ring: this.#ring,
      onError,
      onDoubt: (reason) => this.#events.onReadError?.(reason, null),
      onRead: (position) => this.#advice.noteRead(position),
    });
    const durable = (): number => this.#log.durable;
    const retention = new SegmentRetention(table, this.#segments, durable, onError);
    this.#advice = new PageCacheAdvice(
      {
        read: (queue, offset, into) => this.read(queue, offset, 1, into) === 1,
        diskReads: () => process.resourceUsage().fsRead * DISK_BLOCK,
        forget: (from, to) => this.#writer.post({ kind: "forget", from, to }),
      },
      this.#segments.minOffset,
      end,
    );
    const { segmentBytes } = this.#segments;
    this.#checkpoints = new Checkpoints({
      planner: new CheckpointPlanner(this.#table, segmentBytes, checkpoint, end),
      retention,
      log: this.#log,
      fan: this.#fan,
      journal: this.journal,
      commands: this.#commands,
      segments: this.#segments,
      records: this.#records,
      writer: this.#writer,
      quarantine: this.#quarantine,
      mayMake: () => this.#isOpen && !this.#reclaimer.isPending,
      isMuch: () => this.#table.isMuch,
    });
    this.#reclaimer = this.#makeReclaimer();
    this.#space = new SpaceWatch(this.#storage, this.#directory, options.minFreeBytes);
    this.#index = new IndexReader({
      storage: this.#storage,
      directory: join(this.#directory, "index"),
      ...(options.indexShape && { shape: options.indexShape }),
    });
    this.#writer.start(
      {
        directory: this.#directory,
        segmentBytes,
        control: this.#control,
        ring: this.#ring,
        memory: options.memory,
        journal: this.journal,
        commands: this.#commands,
        end,
        unsynced: recovered.unsynced,
        indexShape: options.indexShape,
        syncSpacingMs: options.syncSpacingMs,
      },
      options.inlineOn,
      options.inlineSchedule,
    );
    this.#takeWatermarks();
    this.#isOpen = true;
    const tickMs = options.tickMs ?? DEFAULT.tickMs;
    if (tickMs > 0) this.#timer = setInterval(() => this.tick(), tickMs).unref();
  }

  #makeReclaimer(): Reclaimer {
    return new Reclaimer(
      {
        table: this.#table,
        segments: this.#segments,
        log: this.#log,
        fan: this.#fan,
        fanAbove: this.#fanAbove,
        ringBytes: this.#ring.size,
        owed: this.#events.owed?.bind(this.#events) ?? oweAll,
        onMoved: this.#events.onMoved?.bind(this.#events) ?? (() => {}),
        onReadError: (error) => this.#onReadError(error, null),
        activity: () => this.#log.appended + this.journal.end,
        // A disk that is filled by what nobody owes is freed by moving the rest: a little of the reserve is for that.
        isWell: () => this.#writer.health.state === "ok" && !this.#space.isNearlyGone,
        isScarce: () => this.#space.isScarce,
        mayAppend: () => this.#isOpen && !this.#log.isInBatch,
        isCheckpointDue: () => this.#checkpoints.isDue,
        publish: () => {
          this.watermarks.appended = this.#log.appended;
          this.publish(true);
        },
      },
      this.#options.reclaim ?? DEFAULT_RECLAIM,
      this.#options.tickMs !== 0,
    );
  }

  #takeWatermarks(): void {
    this.watermarks.appended = this.#log.appended;
    this.watermarks.written = this.#log.written;
    this.watermarks.durable = this.#log.durable;
  }

  /** The store thread has news. */
  #refresh(): void {
    if (!this.#writer.isStarted) return;
    this.#writer.takeReplies();
    let isMoved = this.#log.refresh() || this.#isMoved;
    if (this.journal.refresh()) isMoved = true;
    this.#isMoved = false;
    this.#takeWatermarks();
    let isWanted = this.#isOpen && this.#reclaimer.onDurable(this.#log.durable);
    if ((isWanted || this.#commands.hasWaiting) && this.#commands.flush()) isWanted = true;
    if (this.journal.hasWaiting && this.journal.publish()) isWanted = true;
    this.#askForRings();
    if (isWanted) this.#writer.wake();
    if (isMoved) {
      this.#events.onWatermark();
      while (this.#waiting.length > 0 && this.#waiting[0]!.end <= this.#log.written) {
        this.#events.onReadable(this.#waiting.shift()!.queue);
      }
    }
    if (this.#wantsRoom && this.health.state !== "full") {
      this.#wantsRoom = false;
      this.#events.onRoom();
    }
  }

  /** The worse of what the writer met and what the disk has left. */
  #updateHealth(): void {
    const low = this.#space.reason;
    let health = this.#writer.health;
    if (health.state === "ok" && low !== null) health = { state: "full", reason: low };
    if (health.state === this.health.state) return;
    this.health = health;
    this.#events.onHealth(health);
    if (health.state === "ok" && this.#wantsRoom) {
      this.#wantsRoom = false;
      this.#events.onRoom();
    }
  }
}
