/**
 * Walks the CommitLog record by record and checks each; tells a torn tail from damage in the middle.
 *
 * Where a record is not valid, the rest of the log is searched for the next one that is (magic, own offset, lengths,
 * checksums). If there is one, what lies between is damage: it is reported and skipped. If there is none, the log ends
 * there. The walk yields to the event loop every few MiB.
 */
import { BLANK_SIZE, checkRecord, MAGIC_BLANK, MIN_RECORD_SIZE } from "./record.ts";
import type { SegmentList } from "./segment-list.ts";

const WINDOW = 1 << 20;
const YIELD_BYTES = 8 << 20;
/** Both record magics begin with these three bytes; the fourth is A7 or AB. */
const MAGIC_PREFIX = Buffer.from([0xda, 0xa3, 0x20]);

export interface ScanHandler {
  /** A valid record; the bytes are good during the call only. */
  onRecord(buffer: Buffer, at: number, physicalOffset: number, size: number): void;
  /** Bytes `[from, to)` are no records, but valid ones follow. */
  onDamage(from: number, to: number, reason: string): void;
}

export class LogScanner {
  readonly #segments: SegmentList;
  readonly #starts: number[];
  #buffer: Buffer;
  #view: DataView;
  #from = 0;
  #to = 0;
  #yieldAt = YIELD_BYTES;
  scannedBytes = 0;

  constructor(segments: SegmentList) {
    this.#segments = segments;
    this.#starts = segments.starts();
    this.#buffer = Buffer.allocUnsafeSlow(Math.min(WINDOW, segments.segmentBytes));
    this.#view = new DataView(this.#buffer.buffer);
  }

  /** Walks from a record boundary to the end of the log; returns the end. */
  async scan(from: number, handler: ScanHandler): Promise<number> {
    const { segmentBytes } = this.#segments;
    let offset = from;
    for (;;) {
      const segmentEnd = this.#segments.startOf(offset) + segmentBytes;
      let fault: string;
      if (!this.#load(offset, BLANK_SIZE, segmentEnd)) {
        fault = "missing";
      } else if (this.#isBlank(offset, segmentEnd)) {
        this.scannedBytes += BLANK_SIZE;
        offset = segmentEnd;
        continue;
      } else {
        const found = this.#check(offset, segmentEnd);
        if (typeof found === "number") {
          handler.onRecord(this.#buffer, offset - this.#from, offset, found);
          offset += found;
          this.scannedBytes += found;
          if (this.scannedBytes >= this.#yieldAt) {
            this.#yieldAt += YIELD_BYTES;
            await new Promise((resolve) => setImmediate(resolve));
          }
          continue;
        }
        fault = found;
      }
      const next = this.findNext(offset);
      if (next < 0) return offset;
      handler.onDamage(offset, next, fault);
      offset = next;
    }
  }

  /** Offset of the first valid record after `offset`, -1 when there is none. */
  findNext(offset: number): number {
    const { segmentBytes } = this.#segments;
    for (const start of this.#starts) {
      const end = start + segmentBytes;
      if (end <= offset) continue;
      // Overlapping windows: a magic may lie across their border.
      const stop = start + this.#segments.usedEnd(start, offset - start);
      for (let from = Math.max(start, offset + 1); from < stop; from += WINDOW - 64) {
        for (let at = 0; ; at++) {
          // A check of a candidate may have loaded another window.
          if (this.#from !== from || this.#to === from) this.#from = this.#to = 0;
          if (!this.#load(from, 1, end)) break;
          at = this.#buffer.subarray(0, this.#to - from).indexOf(MAGIC_PREFIX, at);
          if (at < 0) break;
          const candidate = from + at - 4;
          if (candidate <= offset || candidate < start) continue;
          if (typeof this.#check(candidate, end) === "number") return candidate;
        }
      }
    }
    return -1;
  }

  #isBlank(offset: number, segmentEnd: number): boolean {
    const at = offset - this.#from;
    return (
      this.#view.getInt32(at + 4) === MAGIC_BLANK && this.#view.getInt32(at) === segmentEnd - offset
    );
  }

  #check(offset: number, segmentEnd: number): number | string {
    if (!this.#load(offset, MIN_RECORD_SIZE, segmentEnd)) return "size";
    for (;;) {
      const at = offset - this.#from;
      const found = checkRecord(
        this.#buffer,
        this.#view,
        at,
        this.#to - this.#from,
        segmentEnd - this.#from - BLANK_SIZE,
        offset,
      );
      if (found !== "more") return found;
      if (!this.#load(offset, this.#view.getInt32(at), segmentEnd)) return "size";
    }
  }

  /** Makes sure that `[offset, offset + size)` is in the buffer. False when the segment does not have it. */
  #load(offset: number, size: number, segmentEnd: number): boolean {
    if (offset >= this.#from && offset + size <= this.#to) return true;
    const start = segmentEnd - this.#segments.segmentBytes;
    const file = this.#segments.file(start);
    if (file === undefined) return false;
    const length = Math.min(Math.max(size, WINDOW), segmentEnd - offset);
    if (length < size) return false;
    if (this.#buffer.length < length) {
      this.#buffer = Buffer.allocUnsafeSlow(length);
      this.#view = new DataView(this.#buffer.buffer);
    }
    this.#to = this.#from = offset;
    this.#to = offset + file.readInto(this.#buffer, 0, length, offset - start);
    return offset + size <= this.#to;
  }
}
