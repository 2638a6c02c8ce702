/**
 * Writes the lists of light queues that do not go into a record's own properties (fan-record.ts): gives names numbers,
 * and lays the list out before anything is appended, so that list and message come to lie in one segment.
 */
import { VARINT_MAX, writeVarint, zigzag } from "../util/varint.ts";
import type { CommitLog } from "./commit-log.ts";
import { ConsumeQueue } from "./consume-queue.ts";
import { FAN_FLAG, FAN_HEADER, FAN_TOPIC, writeFanHeader } from "./fan-record.ts";
import type { RecordFields } from "./message-store.ts";
import { ownRecordFields } from "./own-record.ts";
import { LIGHT_PREFIX, SYS_FLAG } from "./record.ts";

/** A list goes on in another record when it is longer: a record of this size is sealed and written like any other. */
const PIECE_BYTES = 256 << 10;
const RUN_MAX = 3 * VARINT_MAX;
/** Bytes of a record around the body of a fan record, at most, also in a batch. */
const AROUND = 256;
const PREFIX_BYTES = LIGHT_PREFIX.length;

/** Grows; what was written into it stays. */
class Scratch {
  bytes = Buffer.allocUnsafeSlow(4096);
  used = 0;

  room(size: number): void {
    if (this.used + size <= this.bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.used + size, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.used);
    this.bytes = larger;
  }
}

interface Piece {
  readonly body: Buffer;
  readonly beginsEpoch: boolean;
  readonly firstNumber: number;
  readonly nameCount: number;
  /** Where its names end. */
  readonly namesEnd: number;
}

export class FanWriter {
  readonly #log: CommitLog;
  readonly #pieceBytes: number;
  /** Takes part in fan records only; it has no entries and is no queue. */
  readonly #topic = new ConsumeQueue(FAN_TOPIC, 0, false, 0);
  /** Counts epochs: a queue whose `fanEpoch` is another one has no number. */
  #generation = 0;
  /** Where the epoch began, -1 before its first record; it ends with its segment. */
  #epoch = -1;
  #epochEnd = 0;
  #count = 0;
  /** Numbers of queues that are looked at only, by their number in the catalog: each time they are another object. */
  readonly #looked = new Map<number, { readonly number: number; readonly base: number }>();
  /** Numbers below were said before the last list. */
  #repeatedTo = 0;
  readonly #names = new Scratch();
  readonly #runs = new Scratch();
  #pieces: Piece[] = [];
  /** Those of the last list that have names: the next list says them once more. */
  #toRepeat: readonly Piece[] = [];
  #firstNumber = 0;
  #nameCount = 0;
  #runCount = 0;
  #runStart = 0;
  #runEnd = 0;
  #runDistance = 0;
  #lastEnd = 0;
  #lastDistance = 0;

  constructor(log: CommitLog, segmentBytes: number) {
    this.#log = log;
    this.#pieceBytes = Math.min(PIECE_BYTES, segmentBytes >> 2);
    this.endEpoch();
  }

  /** Numbers that were given mean nothing to whoever begins to read here. */
  endEpoch(): void {
    this.#generation++;
    this.#epoch = -1;
    this.#count = 0;
    this.#repeatedTo = 0;
    this.#toRepeat = [];
    if (this.#looked.size > 0) this.#looked.clear();
  }

  /** Appends a new record of `queue` with the list of its light queues before it. Returns where the record lies. */
  append(queue: ConsumeQueue, fields: RecordFields, dispatch: readonly ConsumeQueue[]): number {
    const log = this.#log;
    const { sysFlag, preparedTransactionOffset } = fields;
    fields.dispatch = null;
    fields.preparedTransactionOffset = this.write(dispatch, null, log.sizeOf(queue, fields));
    fields.sysFlag = sysFlag | SYS_FLAG.FANNED;
    const offset = log.append(queue, queue.maxOffset, fields);
    Object.assign(fields, { sysFlag, preparedTransactionOffset, dispatch });
    return offset;
  }

  /**
   * Appends the list for the record of `recordBytes` that is appended next. `offsets`: where the message lies in each
   * queue, each of which is only looked at; null: at its end. Returns where the first record of the list lies.
   */
  write(
    queues: readonly ConsumeQueue[],
    offsets: readonly number[] | null,
    recordBytes: number,
  ): number {
    const log = this.#log;
    if (log.appended >= this.#epochEnd) this.endEpoch();
    let total = this.#layOut(queues, offsets) + recordBytes;
    // One segment has all of it, if one can: it is read, moved and removed together.
    if (!log.hasRoomInSegment(total)) {
      this.endEpoch();
      total = this.#layOut(queues, offsets) + recordBytes;
      log.reserve(total);
    }
    let first = -1;
    for (const [index, { body, beginsEpoch }] of this.#pieces.entries()) {
      const isLast = index === this.#pieces.length - 1;
      body[1] = (isLast ? FAN_FLAG.LAST : 0) | (beginsEpoch ? FAN_FLAG.BEGINS_EPOCH : 0);
      body.writeUInt16BE(index, 2);
      if (!beginsEpoch) body.writeBigInt64BE(BigInt(this.#epoch), 4);
      const at = log.append(this.#topic, 0, ownRecordFields(body));
      if (first < 0) first = at;
      if (!beginsEpoch) continue;
      this.#epoch = at;
      this.#epochEnd = log.segmentEnd;
    }
    this.#toRepeat = this.#pieces.filter(
      ({ firstNumber, nameCount }) => nameCount > 0 && firstNumber >= this.#repeatedTo,
    );
    this.#repeatedTo = this.#count;
    this.#pieces = [];
    return first;
  }

  /** Makes the bodies of the list's records. Returns the bytes they take in the log, or a little more. */
  #layOut(queues: readonly ConsumeQueue[], offsets: readonly number[] | null): number {
    this.#pieces = [];
    for (const piece of this.#toRepeat) this.#repeat(piece);
    this.#beginPiece();
    const limit = this.#pieceBytes;
    for (let i = 0; i < queues.length; i++) {
      const queue = queues[i]!;
      const offset = offsets === null ? queue.maxOffset : offsets[i]!;
      if (queue.fanEpoch !== this.#generation) {
        if (offsets === null || !this.#recall(queue)) this.#define(queue, offset);
        if (offsets !== null) {
          this.#looked.set(queue.number, { number: queue.fanNumber, base: queue.fanBase });
        }
      }
      const number = queue.fanNumber;
      const distance = offset - queue.fanBase;
      if (number === this.#runEnd && distance === this.#runDistance) {
        this.#runEnd++;
        continue;
      }
      this.#endRun();
      if (this.#names.used + this.#runs.used >= limit) {
        this.#endPiece();
        this.#beginPiece();
      }
      this.#runStart = number;
      this.#runEnd = number + 1;
      this.#runDistance = distance;
    }
    this.#endRun();
    this.#endPiece();
    let total = 0;
    for (const { body } of this.#pieces) total += body.length + AROUND;
    return total;
  }

  #recall(queue: ConsumeQueue): boolean {
    const known = this.#looked.get(queue.number);
    if (known === undefined) return false;
    queue.fanEpoch = this.#generation;
    queue.fanNumber = known.number;
    queue.fanBase = known.base;
    return true;
  }

  #repeat({ body, firstNumber, nameCount, namesEnd }: Piece): void {
    const again = Buffer.from(body.subarray(0, namesEnd));
    writeFanHeader(again, { flags: 0, index: 0, epoch: 0, firstNumber, nameCount, runCount: 0 });
    const beginsEpoch = false;
    this.#pieces.push({ body: again, beginsEpoch, firstNumber, nameCount, namesEnd });
  }

  #define(queue: ConsumeQueue, offset: number): void {
    const names = this.#names;
    if (names.used + this.#runs.used >= this.#pieceBytes) {
      this.#endRun();
      this.#endPiece();
      this.#beginPiece();
    }
    const { topicBytes } = queue;
    const length = topicBytes.length - PREFIX_BYTES;
    names.room(length + 2 * VARINT_MAX);
    let at = writeVarint(names.bytes, names.used, length);
    at += topicBytes.copy(names.bytes, at, PREFIX_BYTES);
    names.used = writeVarint(names.bytes, at, offset);
    queue.fanEpoch = this.#generation;
    queue.fanNumber = this.#count++;
    queue.fanBase = offset;
    this.#nameCount++;
  }

  #beginPiece(): void {
    this.#names.used = 0;
    this.#runs.used = 0;
    this.#firstNumber = this.#count;
    this.#nameCount = 0;
    this.#runCount = 0;
    this.#runStart = 0;
    this.#runEnd = 0;
    this.#runDistance = 0;
    this.#lastEnd = 0;
    this.#lastDistance = 0;
  }

  #endRun(): void {
    const count = this.#runEnd - this.#runStart;
    if (count === 0) return;
    const runs = this.#runs;
    runs.room(RUN_MAX);
    let at = writeVarint(runs.bytes, runs.used, zigzag(this.#runStart - this.#lastEnd));
    at = writeVarint(runs.bytes, at, count);
    runs.used = writeVarint(runs.bytes, at, zigzag(this.#runDistance - this.#lastDistance));
    this.#runCount++;
    this.#lastEnd = this.#runEnd;
    this.#lastDistance = this.#runDistance;
    this.#runStart = this.#runEnd = 0;
  }

  #endPiece(): void {
    const names = this.#names;
    const runs = this.#runs;
    const body = Buffer.allocUnsafe(FAN_HEADER + names.used + runs.used);
    writeFanHeader(body, {
      flags: 0,
      index: 0,
      epoch: 0,
      firstNumber: this.#firstNumber,
      nameCount: this.#nameCount,
      runCount: this.#runCount,
    });
    names.bytes.copy(body, FAN_HEADER, 0, names.used);
    runs.bytes.copy(body, FAN_HEADER + names.used, 0, runs.used);
    this.#pieces.push({
      body,
      beginsEpoch: this.#epoch < 0 && this.#pieces.length === 0,
      firstNumber: this.#firstNumber,
      nameCount: this.#nameCount,
      namesEnd: FAN_HEADER + names.used,
    });
  }
}
