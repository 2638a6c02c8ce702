/** Records that are not in the ring any more: finds them in the segments, and checks that they are what was asked for. */
import { int32At, type RecordView } from "../model/record-view.ts";
import { isFiller, isIntact, MIN_RECORD_SIZE } from "./record.ts";
import { isRecordAt } from "./record-place.ts";
import type { SegmentList } from "./segment-list.ts";
import { CACHED_BLOCKS, SegmentReader } from "./segment-reader.ts";
import { isSystemError } from "./storage-file.ts";

/** Who judges what cannot be. */
export interface Judge {
  /** An entry names this place, and no record is there. False: it is known to be damaged. */
  noRecordAt(physicalOffset: number): boolean;
  recordIsDamaged(physicalOffset: number, size: number): void;
}

const TRUSTING: Judge = { noRecordAt: () => false, recordIsDamaged() {} };

const IDLE_TICKS = 10;
const MOST_NOTED = 4096;

export class LogReader {
  readonly #segments: SegmentList;
  readonly #reader: SegmentReader;
  readonly #known = new Set<number>();
  /** Offsets at which a read found no sound record although there should be one. */
  readonly #damaged = new Set<number>();
  /** Those that the disk refused to give, or that may be elsewhere. */
  readonly #unreadable = new Set<number>();
  #error: unknown = null;
  readonly #onError: (error: unknown) => void;
  readonly #judge: Judge;
  #isEndScheduled = false;
  #looks = 0;
  #looksBefore = 0;
  /** Ticks without a look. */
  #idleTicks = 0;
  readonly #endTurn = (): void => {
    this.#isEndScheduled = false;
    this.#reader.endTurn();
    if (this.#known.size === 0) this.#reader.relax();
  };

  constructor(
    segments: SegmentList,
    onError: (error: unknown) => void = () => {},
    judge: Judge = TRUSTING,
    onRead: (position: number) => void = () => {},
  ) {
    this.#judge = judge;
    this.#segments = segments;
    this.#onError = onError;
    this.#reader = new SegmentReader({
      segmentSize: segments.segmentBytes,
      fastBlocks: CACHED_BLOCKS,
      onRead,
    });
  }

  /** Positions `view` on the record. False when it is not there: no byte from `written` on is in a file yet. */
  view(physicalOffset: number, size: number, written: number, view: RecordView): boolean {
    const segments = this.#segments;
    if (physicalOffset < segments.minOffset) return false;
    if (isFiller(size)) return this.#giveUp(physicalOffset);
    if (size < MIN_RECORD_SIZE) return this.#doubt(physicalOffset);
    const reader = this.#reader;
    if (reader.locateHot(physicalOffset, size)) {
      this.#looks++;
    } else {
      if (physicalOffset + size > written) return false;
      if (!this.#locate(physicalOffset, size, written)) {
        return this.#error === null ? this.#doubt(physicalOffset) : this.#postpone(physicalOffset);
      }
    }
    const { buffer, offset } = reader;
    if (reader.isIntact) {
      // What begins here is the record of this place; an entry may still speak of another size.
      if (int32At(buffer, offset) !== size) return this.#doubt(physicalOffset);
    } else {
      if (!isRecordAt(buffer, offset, size, physicalOffset)) return this.#doubt(physicalOffset);
      // What lay on a disk is checked before it is handed on: a consumer must not get bytes that nobody sent.
      if (!isIntact(buffer, offset, size)) {
        this.#judge.recordIsDamaged(physicalOffset, size);
        return this.#giveUp(physicalOffset);
      }
      reader.noteIntact();
    }
    if (this.#unreadable.size > 0) this.#unreadable.delete(physicalOffset);
    view.open(buffer, offset);
    return true;
  }

  /** Size of the record that begins here, as it says itself; 0 when none does. */
  sizeAt(physicalOffset: number, written: number): number {
    if (physicalOffset < this.#segments.minOffset) return 0;
    if (!this.#locate(physicalOffset, MIN_RECORD_SIZE, written)) return 0;
    const { buffer, offset } = this.#reader;
    const size = buffer.readInt32BE(offset);
    return isRecordAt(buffer, offset, size, physicalOffset) ? size : 0;
  }

  #locate(physicalOffset: number, size: number, written: number): boolean {
    this.#looks++;
    this.#error = null;
    const start = this.#segments.startOf(physicalOffset);
    const reads = this.#reader.blockReads;
    let isThere = false;
    try {
      if (!this.#known.has(start) && !this.#add(start)) return false;
      isThere = this.#reader.locate(physicalOffset, size, written);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // A sector that cannot be read: this record has to wait, the others have not.
      this.#error = error;
    }
    if (this.#reader.blockReads !== reads) this.#scheduleEnd();
    return isThere;
  }

  /** About every second: when nobody reads for a while, what is kept is given back. */
  tick(): void {
    const isIdle = this.#looks === this.#looksBefore;
    this.#looksBefore = this.#looks;
    this.#idleTicks = isIdle ? this.#idleTicks + 1 : 0;
    if (this.#idleTicks !== IDLE_TICKS || this.#known.size === 0) return;
    for (const start of this.#known) this.#reader.remove(start);
    this.#known.clear();
    this.#scheduleEnd();
  }

  /** A read found no sound record there. */
  isDamaged(physicalOffset: number): boolean {
    return this.#damaged.has(physicalOffset);
  }

  /** Nobody may take it for lost. */
  isUnreadable(physicalOffset: number): boolean {
    return this.#unreadable.has(physicalOffset);
  }

  /** The segments before this offset are removed. */
  forgetBelow(offset: number): void {
    for (const start of this.#known) {
      if (start + this.#segments.segmentBytes > offset) continue;
      this.#reader.remove(start);
      this.#segments.forget(start);
      this.#known.delete(start);
    }
  }

  #add(start: number): boolean {
    const file = this.#segments.file(start);
    if (file === undefined) return false;
    this.#reader.add({ base: start, size: this.#segments.segmentBytes, file });
    this.#known.add(start);
    return true;
  }

  #scheduleEnd(): void {
    if (this.#isEndScheduled) return;
    this.#isEndScheduled = true;
    // Runs when the turn is over, also when that is itself a setImmediate callback.
    setImmediate(this.#endTurn);
  }

  #postpone(physicalOffset: number): false {
    this.#keep(physicalOffset);
    this.#onError(this.#error);
    return false;
  }

  #doubt(physicalOffset: number): false {
    if (!this.#judge.noRecordAt(physicalOffset)) return this.#giveUp(physicalOffset);
    this.#keep(physicalOffset);
    return false;
  }

  #keep(physicalOffset: number): void {
    if (this.#unreadable.size >= MOST_NOTED) this.#unreadable.clear();
    this.#unreadable.add(physicalOffset);
  }

  #giveUp(physicalOffset: number): false {
    if (this.#damaged.size >= MOST_NOTED) this.#damaged.clear();
    this.#damaged.add(physicalOffset);
    return false;
  }
}
