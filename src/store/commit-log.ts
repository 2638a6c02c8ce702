/**
 * The appending half of the CommitLog, on the event loop: gives each record its place, writes it into the tail ring
 * (or, when it is too large or the ring is behind, into a side buffer), and publishes what a turn has appended.
 *
 * Invariants: a byte of the ring is overwritten only when what it held is written to the file; a record never spans two
 * segments, and 8 bytes stay free behind it for a blank record; nothing of an atomic batch is published before its end.
 */
import assert from "node:assert/strict";
import { int32At } from "../model/record-view.ts";
import { copyBytes } from "../util/copy-memory.ts";
import { DispatchList, type ListedQueue } from "./dispatch-list.ts";
import type { RecordFields } from "./message-store.ts";
import type { MovedRecord } from "./moved-record.ts";
import {
  BATCH_END,
  BATCH_MARK_FROM_END,
  BATCH_MORE,
  BATCH_NAME,
  BLANK_SIZE,
  CRC_TAIL_SIZE,
  digitsOf,
  HINT_HAS_KEYS,
  MAGIC_V1,
  MAGIC_V2,
  MAX_PROPERTIES_BYTES,
  recordSize,
  SYS_FLAG,
  writeBlank,
  writeCrcTail,
  writeDecimal,
  writeOffset,
  writeShort,
} from "./record.ts";
import { POSITION, type SharedControl } from "./shared-control.ts";
import type { TailRing } from "./tail-ring.ts";

const SIDE_CHUNK = 1 << 20;
const HOSTS_V6 = SYS_FLAG.BORN_HOST_V6 | SYS_FLAG.STORE_HOST_V6;
/** Side ranges remembered as holes of the ring. */
const MAX_HOLES = 32;

/** What the log needs to know of a queue. */
export interface LogQueue extends ListedQueue {
  /** The topic field of its records; for light queues the name in dispatch lists. */
  readonly topicBytes: Buffer;
}

/** Records outside the ring, in log order, until the writer gets them. */
interface SideChunk {
  readonly offset: number;
  readonly memory: ArrayBuffer;
  readonly bytes: Buffer;
  readonly view: DataView;
  used: number;
  /** Ends with a blank record: nothing of the next segment may follow. */
  isClosed: boolean;
}

export interface CommitLogOptions {
  readonly segmentBytes: number;
  readonly storeHost: Buffer;
  /** Bytes of side buffers that may wait for the writer. */
  readonly sideBytes: number;
  readonly post: (offset: number, bytes: ArrayBuffer, used: number) => void;
}

export class CommitLog {
  readonly #ring: TailRing;
  readonly #control: SharedControl;
  readonly #segmentBytes: number;
  readonly #storeHost: Buffer;
  /** The same in words, of an IPv4 host. */
  readonly #storeAddress: number;
  readonly #storePort: number;
  readonly #sideLimit: number;
  readonly #post: CommitLogOptions["post"];

  /** End of the log. */
  appended: number;
  written: number;
  durable: number;
  #published: number;
  #segmentEnd: number;
  /** Records below are not in the ring any more. */
  #ringFloor: number;
  /** Where the record just appended was put, for its size. */
  lastSize = 0;

  /** Not yet published. */
  #side: SideChunk[] = [];
  /** Posted side chunks, oldest first: until they are written, and as long as the ring has a hole for them. */
  #posted: Array<{ start: number; end: number; bytes: number }> = [];
  #sideBytes = 0;

  #storeTimestamp = 0;
  #lastStoreTimestamp = 0;

  readonly #list = new DispatchList();
  #batchId = -1;
  #batchCount = 0;
  #markBytes: Buffer | null = null;
  #markAt = 0;

  constructor(ring: TailRing, control: SharedControl, end: number, options: CommitLogOptions) {
    this.#ring = ring;
    this.#control = control;
    this.#segmentBytes = options.segmentBytes;
    this.#storeHost = options.storeHost;
    this.#storeAddress = int32At(options.storeHost, 0);
    this.#storePort = int32At(options.storeHost, 4);
    this.#sideLimit = options.sideBytes;
    this.#post = options.post;
    this.appended = end;
    this.written = end;
    this.durable = end;
    this.#published = end;
    this.#ringFloor = end;
    this.#segmentEnd = end - (end % this.#segmentBytes) + this.#segmentBytes;
  }

  /** The newest store timestamp on disk: new ones are not older. */
  set lastStoreTimestamp(timestampMs: number) {
    this.#lastStoreTimestamp = Math.max(this.#lastStoreTimestamp, timestampMs);
  }
  get lastStoreTimestamp(): number {
    return this.#lastStoreTimestamp;
  }

  /** Space for records of `bytes` in all: in the ring, or for large amounts in side buffers. */
  hasRoom(bytes: number): boolean {
    const used = this.appended - this.written;
    if (used + bytes <= this.#ring.size) return true;
    // What can never fit into the ring goes beside it, when nothing else waits there.
    return bytes > this.#ring.maxRecord && this.#sideBytes + bytes <= this.#sideLimit;
  }

  get isInBatch(): boolean {
    return this.#batchId >= 0;
  }

  beginBatch(): void {
    assert(this.#batchId < 0, "beginAtomic: a batch is open already");
    this.#batchId = this.appended;
    this.#batchCount = 0;
    this.#markBytes = null;
  }

  /** Marks the last record as the end of the batch. Returns the position. */
  endBatch(): number {
    assert(this.#batchId >= 0, "endAtomic: no batch is open");
    if (this.#markBytes !== null) this.#markBytes[this.#markAt] = BATCH_END;
    this.#batchId = -1;
    this.#markBytes = null;
    return this.appended;
  }

  /** Bytes that a record takes, at most. */
  sizeOf(queue: LogQueue, fields: RecordFields): number {
    const dispatch = fields.dispatch as readonly LogQueue[] | null;
    return recordSize(
      fields.bodyEnd - fields.bodyStart,
      queue.topicBytes.length,
      this.#propertiesSize(fields, dispatch) + CRC_TAIL_SIZE,
      fields.bornHost.length,
      this.#storeHost.length,
    );
  }

  /** Do the record's own properties hold its dispatch list? */
  canName(fields: RecordFields): boolean {
    const dispatch = fields.dispatch as readonly LogQueue[] | null;
    return this.#propertiesSize(fields, dispatch) <= MAX_PROPERTIES_BYTES;
  }

  #propertiesSize(fields: RecordFields, dispatch: readonly LogQueue[] | null): number {
    let size = fields.propertiesLength + CRC_TAIL_SIZE;
    if (dispatch !== null) size += this.#list.size(dispatch);
    if (this.#batchId >= 0) size += this.#batchSize();
    return size;
  }

  /** Where the segment ends that the log ends in. */
  get segmentEnd(): number {
    return this.#segmentEnd;
  }

  hasRoomInSegment(bytes: number): boolean {
    return bytes + BLANK_SIZE <= this.#segmentEnd - this.appended;
  }

  /** So many bytes of records will lie in one segment, if one can hold them. */
  reserve(bytes: number): void {
    if (!this.hasRoomInSegment(bytes) && bytes + BLANK_SIZE <= this.#segmentBytes) {
      this.#roll(bytes);
    }
  }

  /**
   * Writes one record at the end of the log. `queueOffset` is its place in `queue`; each light queue of the dispatch
   * list takes part with its current maxOffset. Returns the physical offset; `lastSize` is the record's size.
   */
  append(queue: LogQueue, queueOffset: number, fields: RecordFields): number {
    const { bodyStart, bodyEnd, bornHost } = fields;
    const topic = queue.topicBytes;
    const dispatch = fields.dispatch as readonly LogQueue[] | null;
    const propertiesLength = this.#propertiesSize(fields, dispatch);
    if (propertiesLength > MAX_PROPERTIES_BYTES) {
      throw new RangeError(
        `append to ${queue.topic}: ${propertiesLength} bytes of properties, expected at most ${MAX_PROPERTIES_BYTES}`,
      );
    }
    const size = recordSize(
      bodyEnd - bodyStart,
      topic.length,
      propertiesLength,
      bornHost.length,
      this.#storeHost.length,
    );
    if (size + BLANK_SIZE > this.#segmentEnd - this.appended) this.#roll(size);
    const physicalOffset = this.appended;

    let bytes: Buffer;
    let view: DataView;
    let at: number;
    if (size <= this.#ring.maxRecord && physicalOffset + size - this.written <= this.#ring.size) {
      bytes = this.#ring.bytes;
      view = this.#ring.view;
      at = this.#ring.indexOf(physicalOffset);
      const floor = physicalOffset + size - this.#ring.size;
      if (floor > this.#ringFloor) this.#ringFloor = floor;
    } else {
      const chunk = this.#sideChunk(physicalOffset, size);
      bytes = chunk.bytes;
      view = chunk.view;
      at = chunk.used;
      chunk.used += size;
    }

    if (this.#storeTimestamp === 0) this.#readClock();
    const isV2 = topic.length > 127;
    // V8 puts a view's method in line only where no branch lies between it and its arguments.
    const magic = isV2 ? MAGIC_V2 : MAGIC_V1;
    const hints = fields.keys !== null ? HINT_HAS_KEYS : 0;
    const sysFlag = this.#sysFlag(fields.sysFlag, bornHost.length);
    view.setInt32(at, size);
    view.setInt32(at + 4, magic);
    view.setInt32(at + 8, hints);
    view.setInt32(at + 12, queue.queueId);
    view.setInt32(at + 16, fields.flag);
    writeOffset(view, at + 20, queueOffset);
    writeOffset(view, at + 28, physicalOffset);
    view.setInt32(at + 36, sysFlag);
    writeOffset(view, at + 40, fields.bornTimestamp);
    let to = at + 72;
    if ((sysFlag & HOSTS_V6) === 0) {
      view.setInt32(at + 48, int32At(bornHost, 0));
      view.setInt32(at + 52, int32At(bornHost, 4));
      writeOffset(view, at + 56, this.#storeTimestamp);
      view.setInt32(at + 64, this.#storeAddress);
      view.setInt32(at + 68, this.#storePort);
    } else {
      to = this.#writeHosts(bytes, view, at + 48, bornHost);
    }
    view.setInt32(to, fields.reconsumeTimes);
    writeOffset(view, to + 4, fields.preparedTransactionOffset);
    view.setInt32(to + 12, bodyEnd - bodyStart);
    to = copy(bytes, to + 16, fields.body, bodyStart, bodyEnd);
    if (isV2) {
      view.setUint16(to, topic.length);
      to += 2;
    } else {
      bytes[to++] = topic.length;
    }
    to = copy(bytes, to, topic, 0, topic.length);
    view.setUint16(to, propertiesLength);
    to = copy(bytes, to + 2, fields.properties, 0, fields.propertiesLength);
    if (dispatch !== null) to = this.#list.write(bytes, to, dispatch);
    if (this.#batchId >= 0) to = this.#writeBatch(bytes, to);
    to = writeCrcTail(view, to);
    if (to !== at + size) assert.fail(`a record of ${to - at} bytes, expected ${size}`);
    this.appended = physicalOffset + size;
    this.lastSize = size;
    return physicalOffset;
  }

  /** Appends a record that is laid out already. Returns the physical offset. */
  appendLaidOut(record: MovedRecord): number {
    const { bytes, headEnd, tailEnd, body, bodyStart, bodyEnd, size } = record;
    if (size + BLANK_SIZE > this.#segmentEnd - this.appended) this.#roll(size);
    const physicalOffset = this.appended;
    bytes.writeInt32BE(record.hasKeys ? HINT_HAS_KEYS : 0, 8);
    bytes.writeInt32BE(Math.floor(physicalOffset / 2 ** 32), 28);
    bytes.writeInt32BE(physicalOffset | 0, 32);
    let target = this.#ring.bytes;
    let at: number;
    if (size <= this.#ring.maxRecord && physicalOffset + size - this.written <= this.#ring.size) {
      at = this.#ring.indexOf(physicalOffset);
      this.#ringFloor = Math.max(this.#ringFloor, physicalOffset + size - this.#ring.size);
    } else {
      const chunk = this.#sideChunk(physicalOffset, size);
      target = chunk.bytes;
      at = chunk.used;
      chunk.used += size;
    }
    at = copyBytes(bytes, 0, headEnd, target, at);
    at = copyBytes(body, bodyStart, bodyEnd, target, at);
    copyBytes(bytes, headEnd, tailEnd, target, at);
    this.appended = physicalOffset + size;
    this.lastSize = size;
    return physicalOffset;
  }

  /** Makes what was appended visible to the writer. True when there was something. */
  publish(): boolean {
    assert(this.#batchId < 0, "publish: an atomic batch is open");
    this.#storeTimestamp = 0;
    if (this.appended === this.#published) return false;
    // Before the head: when the writer arrives at this offset the bytes are there.
    for (const chunk of this.#side) {
      this.#posted.push({
        start: chunk.offset,
        end: chunk.offset + chunk.used,
        bytes: chunk.memory.byteLength,
      });
      this.#post(chunk.offset, chunk.memory, chunk.used);
    }
    if (this.#side.length > 0) this.#side = [];
    this.#published = this.appended;
    this.#control.setPosition(POSITION.HEAD, this.appended);
    return true;
  }

  /** Takes over how far the writer is. True when something moved. */
  refresh(): boolean {
    const written = this.#control.position(POSITION.WRITTEN);
    const durable = this.#control.position(POSITION.DURABLE);
    if (written <= this.written && durable <= this.durable) return false;
    this.written = Math.max(this.written, written);
    this.durable = Math.max(this.durable, durable);
    if (this.#posted.length > 0) this.#forgetSides();
    return true;
  }

  #forgetSides(): void {
    const posted = this.#posted;
    let gone = 0;
    for (let i = 0; i < posted.length && posted[i]!.end <= this.written; i++) {
      const range = posted[i]!;
      this.#sideBytes -= range.bytes;
      range.bytes = 0;
      // The hole matters while records before it are read from the ring; a long list costs more than reading the file.
      if (posted.length - i > MAX_HOLES) this.#ringFloor = Math.max(this.#ringFloor, range.end);
      if (range.end <= this.#ringFloor) gone = i + 1;
    }
    if (gone > 0) posted.splice(0, gone);
  }

  /** Every record from here on is in the ring. */
  get atHandFrom(): number {
    const hasHoles = this.#posted.length > 0 || this.#side.length > 0;
    return hasHoles ? Number.POSITIVE_INFINITY : this.#ringFloor;
  }

  /** Index of the record in the ring, or -1 when it is not there (any more). */
  inRing(physicalOffset: number): number {
    if (physicalOffset < this.#ringFloor || physicalOffset >= this.appended) return -1;
    if (this.#posted.length > 0 || this.#side.length > 0) {
      if (this.#isInHole(physicalOffset)) return -1;
    }
    return this.#ring.indexOf(physicalOffset);
  }

  /** Is the record in a side buffer: to be read from the file once it is written? */
  isInSide(physicalOffset: number): boolean {
    return physicalOffset >= this.written && this.#isInHole(physicalOffset);
  }

  #isInHole(physicalOffset: number): boolean {
    for (const { start, end } of this.#posted) {
      if (physicalOffset >= start && physicalOffset < end) return true;
    }
    for (const chunk of this.#side) {
      if (physicalOffset >= chunk.offset && physicalOffset < chunk.offset + chunk.used) return true;
    }
    return false;
  }

  /** Are there records that cannot be viewed yet? */
  get hasSide(): boolean {
    return this.#sideBytes > 0;
  }

  #readClock(): void {
    // Never backwards: searching by time relies on it.
    const now = Math.max(Date.now(), this.#lastStoreTimestamp);
    this.#storeTimestamp = now;
    this.#lastStoreTimestamp = now;
  }

  /** The longer way, for addresses of IPv6. Returns where the hosts end. */
  #writeHosts(bytes: Buffer, view: DataView, at: number, bornHost: Buffer): number {
    const to = writeShort(bytes, at, bornHost);
    writeOffset(view, to, this.#storeTimestamp);
    return writeShort(bytes, to + 8, this.#storeHost);
  }

  #sysFlag(sysFlag: number, bornHostBytes: number): number {
    let flag = sysFlag & ~HOSTS_V6;
    if (bornHostBytes === 20) flag |= SYS_FLAG.BORN_HOST_V6;
    if (this.#storeHost.length === 20) flag |= SYS_FLAG.STORE_HOST_V6;
    return flag;
  }

  /** Ends the segment with a blank record. */
  #roll(size: number): void {
    if (size + BLANK_SIZE > this.#segmentBytes) {
      throw new RangeError(
        `append: record of ${size} bytes, expected at most ${this.#segmentBytes - BLANK_SIZE} (one segment)`,
      );
    }
    const at = this.appended;
    const left = this.#segmentEnd - at;
    if (at + BLANK_SIZE - this.written <= this.#ring.size) {
      writeBlank(this.#ring.view, this.#ring.indexOf(at), left);
      this.#ringFloor = Math.max(this.#ringFloor, at + BLANK_SIZE - this.#ring.size);
    } else {
      const chunk = this.#sideChunk(at, BLANK_SIZE);
      writeBlank(chunk.view, chunk.used, left);
      chunk.used += BLANK_SIZE;
      chunk.isClosed = true;
    }
    this.appended = this.#segmentEnd;
    this.#segmentEnd += this.#segmentBytes;
  }

  /** The side chunk that takes `size` bytes at this offset. */
  #sideChunk(offset: number, size: number): SideChunk {
    const last = this.#side.at(-1);
    if (
      last !== undefined &&
      !last.isClosed &&
      last.offset + last.used === offset &&
      last.used + size <= last.memory.byteLength
    ) {
      return last;
    }
    const memory = new ArrayBuffer(Math.max(size, Math.min(SIDE_CHUNK, this.#sideLimit >> 4)));
    const chunk = {
      offset,
      memory,
      bytes: Buffer.from(memory),
      view: new DataView(memory),
      used: 0,
      isClosed: false,
    };
    this.#sideBytes += memory.byteLength;
    this.#side.push(chunk);
    return chunk;
  }

  #batchSize(): number {
    return BATCH_NAME.length + digitsOf(this.#batchId) + digitsOf(this.#batchCount) + 4;
  }

  #writeBatch(bytes: Buffer, at: number): number {
    let to = writeShort(bytes, at, BATCH_NAME);
    to = writeDecimal(bytes, to, this.#batchId);
    bytes[to++] = 0x3a; // ":"
    to = writeDecimal(bytes, to, this.#batchCount++);
    bytes[to++] = 0x3a;
    this.#markBytes = bytes;
    this.#markAt = to;
    bytes[to++] = BATCH_MORE;
    bytes[to++] = 0x02;
    return to;
  }
}

// The mark is found from the end of the record: the CRC tail and one separator follow it.
assert(BATCH_MARK_FROM_END === CRC_TAIL_SIZE + 2);

function copy(to: Buffer, at: number, from: Buffer, start: number, end: number): number {
  const length = end - start;
  if (length > 32) return copyBytes(from, start, end, to, at);
  for (let i = 0; i < length; i++) to[at + i] = from[start + i]!;
  return at + length;
}
