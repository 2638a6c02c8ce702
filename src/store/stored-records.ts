/**
 * Reads records from wherever they lie: out of the ring as long as they are there, out of the segments afterwards; and knows
 * what there is to know about those that cannot be read. An offset below 0 stands for an entry that is missing.
 */
import type { RecordView } from "../model/record-view.ts";
import type { CommitLog } from "./commit-log.ts";
import { Doubts } from "./doubts.ts";
import { LogReader } from "./log-reader.ts";
import type { Quarantine } from "./quarantine.ts";
import { isFiller, MIN_RECORD_SIZE } from "./record.ts";
import { isRecordAt } from "./record-place.ts";
import type { SegmentList } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";
import type { TailRing } from "./tail-ring.ts";

export interface StoredRecordsParts {
  readonly storage: Storage;
  readonly directory: string;
  readonly segments: SegmentList;
  readonly quarantine: Quarantine;
  readonly log: CommitLog;
  readonly ring: TailRing;
  /** The disk refused to give something. */
  onError(error: unknown): void;
  /** Something is not as it should be, and is kept. */
  onDoubt(reason: string): void;
  /** The log is read in order from here on. */
  onRead(position: number): void;
}

export class StoredRecords {
  readonly #segments: SegmentList;
  readonly #quarantine: Quarantine;
  readonly #log: CommitLog;
  readonly #ring: TailRing;
  readonly #doubts: Doubts;
  readonly #reader: LogReader;

  constructor(parts: StoredRecordsParts) {
    const { storage, directory, segments, quarantine, log, ring } = parts;
    this.#segments = segments;
    this.#quarantine = quarantine;
    this.#log = log;
    this.#ring = ring;
    this.#doubts = new Doubts(storage, directory, { segments, quarantine }, (reason) =>
      parts.onDoubt(reason),
    );
    this.#reader = new LogReader(
      segments,
      (error) => parts.onError(error),
      this.#doubts,
      (position) => parts.onRead(position),
    );
  }

  /** As MessageStore.view. */
  view(physicalOffset: number, size: number, view: RecordView): boolean {
    const index = this.#log.inRing(physicalOffset);
    // A filler names no record, whatever lies there.
    if (index >= 0 && size >= MIN_RECORD_SIZE && !isFiller(size)) {
      view.open(this.#ring.bytes, index);
      return true;
    }
    if (size !== 0) return this.#reader.view(physicalOffset, size, this.#log.written, view);
    const found = this.#sizeAt(physicalOffset, index);
    return found !== 0 && this.view(physicalOffset, found, view);
  }

  #sizeAt(physicalOffset: number, index: number): number {
    if (index < 0) return this.#reader.sizeAt(physicalOffset, this.#log.written);
    const size = this.#ring.view.getInt32(index);
    return isRecordAt(this.#ring.bytes, index, size, physicalOffset) ? size : 0;
  }

  isDamaged(physicalOffset: number): boolean {
    return (
      physicalOffset < this.#segments.minOffset ||
      this.#quarantine.has(physicalOffset) ||
      this.#reader.isDamaged(physicalOffset)
    );
  }

  isUnreadable(physicalOffset: number): boolean {
    if (physicalOffset < 0) this.#doubts.entryIsMissing();
    return physicalOffset < 0 || this.#reader.isUnreadable(physicalOffset);
  }

  isRemoved(physicalOffset: number): boolean {
    return physicalOffset >= 0 && physicalOffset < this.#segments.minOffset;
  }

  /** The segments before this offset are removed. */
  forgetBelow(offset: number): void {
    this.#reader.forgetBelow(offset);
  }

  /** About every second. */
  tick(): void {
    this.#reader.tick();
  }
}
