/**
 * Empties one segment after the other: reads its records in order, and appends those that are still owed once more
 * (moved-record.ts). A few at a time:
 *
 *   1 append copies           the queues' entries still name the originals
 *   2 the copies are durable  now the entries are changed, in memory and in the queues' files
 *   3 a checkpoint            both are durable; only then retention may remove the segment
 *
 * A crash before 2 leaves copies that no entry names, unless recovery meets them: then it does 2 itself, from the log.
 * No checkpoint is made between 1 and 2, so whatever became of the queues' files, the log from the checkpoint on
 * says the same. The original is never changed.
 */
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import { fastBuffer } from "../util/copy-memory.ts";
import { KnownBytes } from "../util/known-bytes.ts";
import type { CommitLog } from "./commit-log.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import type { FanWriter } from "./fan-writer.ts";
import { ListSeams } from "./list-seams.ts";
import type { EntryBatch, OwedMask } from "./message-store.ts";
import { MovedRecord } from "./moved-record.ts";
import { PendingSwitches } from "./pending-switches.ts";
import type { QueueTable } from "./queue-table.ts";
import {
  BLANK_SIZE,
  checkRecord,
  isFiller,
  LIGHT_PREFIX,
  MAGIC_BLANK,
  MIN_RECORD_SIZE,
} from "./record.ts";
import { RecordDispatch } from "./record-dispatch.ts";
import { isRecordAt, recordPlace } from "./record-place.ts";
import type { SegmentList } from "./segment-list.ts";

const CHUNK = 1 << 20;
/** Bytes appended in one step, and most that wait to be durable. */
const STEP_BYTES = 1 << 20;
const PENDING_BYTES = 8 << 20;
/** The clock is read after so many records. */
const RECORDS_PER_LOOK = 64;

/** Queues of one record looked at, or entries changed, before the clock is read. */
const QUEUES_PER_LOOK = 64;
/** Longest time in which entries are changed in one go. */
const SWITCH_MS = 3;

/** Who owes a record, as far as its light queues were looked at. One object is used for all of them. */
class Gathering {
  /** The record; -1: none is being looked at. */
  at = -1;
  /** Queues dropped by then: when it is another number now, what was found may be wrong. */
  drops = 0;
  /** Does the queue owe it that its topic and queueId name? */
  keepsHome = false;
  tagHash = 0;
  /** The next of its light queues. */
  next = 0;
  /** By their place in the list, those that owe it. */
  lights: number[] = [];
  queues: ConsumeQueue[] = [];

  clear(): void {
    this.at = -1;
    this.keepsHome = false;
    if (this.lights.length > 0) this.lights = [];
    if (this.queues.length > 0) this.queues = [];
  }
}

/** Both magics of records begin with these bytes, and so far behind the beginning of the record. */
const MAGIC_PREFIX = Buffer.from([0xda, 0xa3, 0x20]);
const MAGIC_AT = 4;

const NONE: readonly number[] = [];
const NO_CHUNK = Buffer.alloc(0);

export interface MoverHost {
  readonly table: QueueTable;
  readonly segments: SegmentList;
  readonly log: CommitLog;
  readonly fan: FanWriter;
  /** More light queues than this are named by fan records. */
  readonly fanAbove: number;
  readonly ringBytes: number;
  readonly owed: OwedMask;
  /** The entry of this offset names this place from now on. */
  onMoved(
    queue: ConsumeQueue,
    offset: number,
    physicalOffset: number,
    size: number,
    sizeBefore: number,
  ): void;
  /** The disk refused to give something: what is owed there stays where it is. Throws what is no such error. */
  onReadError(error: unknown): void;
}

export class SegmentMover {
  readonly #host: MoverHost;
  readonly #segmentBytes: number;
  /** Next place to look at, and the end of the segment; -1: none is being emptied. */
  #at = -1;
  #end = 0;
  #chunk: Buffer = NO_CHUNK;
  /** For records of every day: where copies and checksums are fast, from the first segment on. */
  #usual: Buffer = NO_CHUNK;
  #chunkView: DataView = new DataView(new ArrayBuffer(0));
  #chunkFrom = 0;
  #chunkTo = 0;
  #isReading = false;
  readonly #switches = new PendingSwitches();
  readonly #gathering = new Gathering();
  /** The topic of the record looked at last: mostly the next one has the same. */
  readonly #topicBytes = new KnownBytes();
  #topic = "";
  #until = 0;
  readonly #view = new RecordView();
  readonly #dispatch = new RecordDispatch();
  readonly #copy = new MovedRecord();
  readonly #seams: ListSeams;
  readonly #mask = new Uint8Array(1);
  readonly #entry = entryBatch();
  records = 0;
  bytes = 0;
  /** Segments with a record that cannot be moved. */
  readonly stuck = new Set<number>();

  constructor(host: MoverHost) {
    this.#host = host;
    this.#segmentBytes = host.segments.segmentBytes;
    this.#seams = new ListSeams(host.segments);
  }

  /** Copies wait to be durable, and entries to be changed. */
  get isPending(): boolean {
    return this.#switches.length > 0;
  }
  get isBusy(): boolean {
    return this.#at >= 0;
  }
  /** Entries that wait to be changed. */
  get pending(): number {
    return this.#switches.length;
  }

  begin(start: number): void {
    if (this.#usual === NO_CHUNK) this.#usual = fastBuffer(CHUNK);
    this.#gathering.clear();
    this.#at = start;
    this.#end = start + this.#segmentBytes;
    this.#chunkFrom = this.#chunkTo = start;
  }

  /**
   * The log is durable up to here. True when entries were changed: they are to be handed to the writer. The rest is
   * changed the next time when it takes too long.
   */
  onDurable(durable: number): boolean {
    const switches = this.#switches;
    const until = performance.now() + SWITCH_MS;
    let count = 0;
    while (switches.length > 0 && switches.to + switches.size <= durable) {
      try {
        this.#switch();
      } catch (error) {
        this.#host.onReadError(error);
        this.stuck.add(this.#host.segments.startOf(switches.from));
      }
      switches.shift();
      if (++count % QUEUES_PER_LOOK === 0 && performance.now() >= until) break;
    }
    if (count === 0) return false;
    this.#host.table.flushReplaced();
    this.#letGo();
    return true;
  }

  /** Between two segments no memory is held that takes more than a moment to make again. */
  #letGo(): void {
    if (this.isBusy || this.isPending) return;
    this.#switches.release();
    // A long record's goes.
    this.#chunk = NO_CHUNK;
    this.#chunkFrom = this.#chunkTo = 0;
  }

  #switch(): void {
    const { table } = this.#host;
    const entry = this.#entry;
    const { queue: seen, offset, from, to, size, tagHash } = this.#switches;
    // What was looked at may have been let go of since, or dropped, or be another one of that name.
    const queue = table.names.find(seen.topic, seen.queueId, seen.isLight);
    if (queue === undefined || queue.number !== seen.number) return;
    if (offset < queue.minOffset || offset >= queue.maxOffset) return;
    if (table.read(queue, offset, 1, entry) !== 1 || !names(entry, from)) return;
    const sizeBefore = entry.size[0]!;
    table.replace(queue, offset, to, size, tagHash);
    this.#host.onMoved(queue, offset, to, size, sizeBefore);
  }

  /** Works until `until` (performance.now). True when something was appended: it is to be published, and synced. */
  step(until: number): boolean {
    if (this.#at < 0 || this.#isReading) return false;
    const { log, ringBytes } = this.#host;
    const switches = this.#switches;
    if (switches.length > 0 && log.appended - switches.to > PENDING_BYTES) return false;
    this.#until = until;
    const begun = log.appended;
    for (let count = 1; ; count++) {
      if (this.#at + BLANK_SIZE > this.#end || switches.isFull || !this.#tryOne()) break;
      const appended = log.appended - begun;
      if (appended >= STEP_BYTES || log.appended - log.written > ringBytes / 4) break;
      if (count % RECORDS_PER_LOOK === 0 && performance.now() >= until) break;
    }
    if (this.#at + BLANK_SIZE > this.#end) {
      this.#at = -1;
      this.#letGo();
    }
    return log.appended !== begun;
  }

  #tryOne(): boolean {
    try {
      return this.#one();
    } catch (error) {
      this.#host.onReadError(error);
      return this.#stick();
    }
  }

  /** Looks at one record, or begins to read. False when there is nothing more to do now. */
  #one(): boolean {
    const at = this.#at;
    if (!this.#has(at, BLANK_SIZE)) return this.#read(at, CHUNK);
    const index = at - this.#chunkFrom;
    const view = this.#chunkView;
    if (view.getInt32(index + 4) === MAGIC_BLANK && view.getInt32(index) === this.#end - at) {
      this.#at = this.#end;
      return false;
    }
    if (at + MIN_RECORD_SIZE > this.#end) return this.#stick();
    if (!this.#has(at, MIN_RECORD_SIZE)) return this.#read(at, CHUNK);
    const size = view.getInt32(index);
    if (size < MIN_RECORD_SIZE || at + size > this.#end) return this.#pass(at);
    if (!isRecordAt(this.#chunk, index, size, at)) return this.#pass(at);
    if (!this.#has(at, size)) return this.#read(at, Math.max(size, CHUNK));
    if (!isLaidOut(this.#view.open(this.#chunk, index), index + size)) return this.#pass(at);
    const isSound = this.#move(at, index, size);
    if (isSound === "later") return false;
    this.#at = at + size;
    return isSound || this.#stick();
  }

  /** What is owed here can only stay where it is, and so does the segment. */
  #stick(): false {
    this.stuck.add(this.#end - this.#segmentBytes);
    this.#at = this.#end;
    this.#gathering.clear();
    return false;
  }

  /**
   * Damage: goes on where the next record may begin. Whether what was here is owed is not known: then the segment stays, for
   * the queue's entry says so. If not, it goes like any other, instead of being kept for what lies behind the damage.
   */
  #pass(at: number): true {
    this.stuck.add(this.#end - this.#segmentBytes);
    this.#gathering.clear();
    const from = this.#chunkFrom;
    const known = this.#chunkTo - from;
    let next = Math.max(at + 1, this.#chunkTo - BLANK_SIZE);
    for (let i = at + 1 - from + MAGIC_AT; ; i++) {
      i = this.#chunk.indexOf(MAGIC_PREFIX, i);
      if (i < 0 || i >= known) break;
      const start = i - MAGIC_AT;
      // One whose beginning is not all here is looked at when it is.
      const isHere = start + MIN_RECORD_SIZE <= known;
      if (isHere && recordPlace(this.#chunk, start) !== from + start) continue;
      next = Math.min(next, from + start);
      break;
    }
    this.#at = next;
    return true;
  }

  /** False when the record is owed and cannot be moved. "later": it is in so many queues that time is over. */
  #move(at: number, index: number, size: number): boolean | "later" {
    const view = this.#view;
    const found = this.#gathering;
    if (found.at !== at) {
      // Of every record: what names many light queues lies before the one that has the body.
      if (!this.#dispatch.read(view).isDispatched) return true;
      if (!this.#dispatch.isWhole) this.#retrace(view, at);
      this.#begin(view, at);
    } else if (found.drops !== this.#host.table.drops) {
      this.#begin(view, at);
    }
    if (!this.#gather()) return "later";
    found.at = -1;
    // Some of its queues are not known: they would go on pointing here.
    if (!this.#dispatch.isWhole) return false;
    if (!found.keepsHome && found.lights.length === 0) return true;
    const limit = this.#chunk.length;
    if (checkRecord(this.#chunk, this.#chunkView, index, limit, limit, at) !== size) return false;
    return this.#append(view, at);
  }

  /** A list that began in an earlier segment. */
  #retrace(view: RecordView, at: number): void {
    const from = view.preparedTransactionOffset;
    if (from >= this.#end - this.#segmentBytes) return;
    if (this.#seams.retrace(from, at, this.#dispatch)) this.#dispatch.read(view);
  }

  #begin(view: RecordView, at: number): void {
    const found = this.#gathering;
    found.clear();
    found.at = at;
    found.drops = this.#host.table.drops;
    found.next = 0;
    const home = this.#homeOf(view);
    if (home === undefined || !this.#isOwed(home, view.queueOffset, at)) return;
    found.keepsHome = true;
    found.tagHash = this.#entry.tagHash[0]!;
  }

  /** Looks at the light queues; false when time was over before the last. */
  #gather(): boolean {
    const found = this.#gathering;
    const { lightNames, lightOffsets } = this.#dispatch;
    const { names } = this.#host.table;
    while (found.next < lightNames.length) {
      const i = found.next++;
      const light = names.peek(lightNames[i]!, 0, true);
      if (light !== undefined && this.#isOwed(light, lightOffsets[i]!, found.at)) {
        found.tagHash = this.#entry.tagHash[0]!;
        found.lights.push(i);
        found.queues.push(light);
      }
      if (found.next % QUEUES_PER_LOOK === 0 && performance.now() >= this.#until) return false;
    }
    return true;
  }

  #append(view: RecordView, from: number): boolean {
    const { log, fan, fanAbove } = this.#host;
    const { keepsHome, tagHash, lights, queues } = this.#gathering;
    const dispatch = this.#dispatch;
    const copy = this.#copy;
    const home = keepsHome ? this.#homeOf(view) : undefined;
    const homeEnd = home?.maxOffset ?? 0;
    const isNamed =
      lights.length <= fanAbove && copy.compose(view, dispatch, keepsHome, homeEnd, lights);
    if (!isNamed && !copy.compose(view, dispatch, keepsHome, homeEnd, NONE)) return false;
    const { size } = copy;
    if (size + BLANK_SIZE > this.#segmentBytes) return false;
    const { lightOffsets } = dispatch;
    if (!isNamed) {
      const offsets = lights.map((i) => lightOffsets[i]!);
      copy.setFanned(fan.write(queues, offsets, size));
    }
    const to = log.appendLaidOut(copy);
    this.records++;
    this.bytes += size;
    const switches = this.#switches;
    if (home !== undefined) switches.add(home, view.queueOffset, from, to, size, tagHash);
    for (let i = 0; i < queues.length; i++) {
      switches.add(queues[i]!, lightOffsets[lights[i]!]!, from, to, size, tagHash);
    }
    return true;
  }

  #homeOf(view: RecordView): ConsumeQueue | undefined {
    const { table } = this.#host;
    const topic = this.#topicOf(view);
    return topic.startsWith(LIGHT_PREFIX)
      ? table.names.peek(topic.slice(LIGHT_PREFIX.length), 0, true)
      : table.names.peek(topic, view.queueId, false);
  }

  #topicOf(view: RecordView): string {
    const { topicStart, topicEnd } = view;
    const known = this.#topicBytes;
    if (known.length !== topicEnd - topicStart || !known.isAt(this.#chunk, topicStart)) {
      known.learn(this.#chunk, topicStart, topicEnd);
      this.#topic = view.topic;
    }
    return this.#topic;
  }

  /** Does the queue owe this offset, and is this the record? Leaves the entry in `#entry`. */
  #isOwed(queue: ConsumeQueue, offset: number, physicalOffset: number): boolean {
    if (offset < queue.minOffset || offset >= queue.maxOffset) return false;
    if (this.#host.owed(queue, offset, 1, this.#mask) === 0) return false;
    if (this.#host.table.read(queue, offset, 1, this.#entry) !== 1) return false;
    return names(this.#entry, physicalOffset);
  }

  #has(at: number, size: number): boolean {
    return at >= this.#chunkFrom && at + size <= this.#chunkTo;
  }

  /** A record that is longer than all others has room of its own, until the next read. */
  #makeRoom(length: number): void {
    if (length > CHUNK) {
      if (this.#chunk.length < length) this.#chunk = Buffer.allocUnsafeSlow(length);
    } else if (this.#chunk !== this.#usual) {
      this.#chunk = this.#usual;
    }
    const { buffer, byteOffset, byteLength } = this.#chunk;
    this.#chunkView = new DataView(buffer, byteOffset, byteLength);
  }

  /** Reads from `at` on: at once, or so that a later step finds it. True when it is here. */
  #read(at: number, wanted: number): boolean {
    const start = this.#end - this.#segmentBytes;
    const file = this.#host.segments.file(start);
    const length = Math.min(wanted, this.#end - at);
    if (file === undefined || (at === this.#chunkFrom && this.#chunkTo - at >= length)) {
      return this.#stick();
    }
    this.#makeRoom(length);
    this.#chunkFrom = this.#chunkTo = at;
    if (file.readLater === undefined) {
      this.#chunkTo = at + file.readInto(this.#chunk, 0, length, at - start);
      return true;
    }
    this.#isReading = true;
    file.readLater(this.#chunk, length, at - start, (got) => {
      this.#isReading = false;
      if (got < 0) this.#stick();
      else this.#chunkTo = at + got;
    });
    return false;
  }
}

/** Do the parts of a record that was not checked make up the whole, so that they can be looked at? */
const isLaidOut = ({ bodyStart, bodyEnd, propertiesEnd }: RecordView, end: number): boolean =>
  bodyEnd >= bodyStart && propertiesEnd === end;

/** Is this the place of the record? A filler names no record, though it may point to where a damaged one lies. */
const names = ({ physicalOffset, size }: EntryBatch, at: number): boolean =>
  physicalOffset[0] === at && !isFiller(size[0]!);
