/**
 * Does a list of light queues (fan-record.ts) go on from one segment into the next? One that is longer than a segment does.
 * What comes before the seam has to stay as long as what comes behind it: without it nobody knows, from the log alone, in
 * which queues the message is.
 */
import { RecordView } from "../model/record-view.ts";
import { isFanRecord } from "./fan-reader.ts";
import { readFanHeader } from "./fan-record.ts";
import { BLANK_SIZE, MAGIC_BLANK, MIN_RECORD_SIZE, SYS_FLAG } from "./record.ts";
import type { RecordDispatch } from "./record-dispatch.ts";
import { isRecordAt } from "./record-place.ts";
import type { SegmentList } from "./segment-list.ts";

/** Known seams are kept for so many segments. */
const MAX_KNOWN = 1024;

export class ListSeams {
  readonly #segments: SegmentList;
  readonly #known = new Map<number, boolean>();
  readonly #view = new RecordView();

  constructor(segments: SegmentList) {
    this.#segments = segments;
  }

  /** Does the segment that begins here begin within a list? Also when nothing is there yet. Throws what reading throws. */
  isSeam(start: number): boolean {
    const known = this.#known.get(start);
    if (known !== undefined) return known;
    const head = this.#read(start, BLANK_SIZE);
    if (head === null || head.every((byte) => byte === 0)) return true;
    const record = this.#recordAt(start, head);
    const isSeam = record !== null && isWithinList(this.#view.open(record, 0), start);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(start, isSeam);
    return isSeam;
  }

  /**
   * Tells `dispatch` of all records from `from` on that lie before `to`: a list that began in an earlier segment. False
   * when something of it is not there.
   */
  retrace(from: number, to: number, dispatch: RecordDispatch): boolean {
    const { minOffset, segmentBytes } = this.#segments;
    if (from < minOffset || from >= to) return false;
    for (let at = from; at < to; ) {
      const head = this.#read(at, BLANK_SIZE);
      if (head === null) return false;
      const left = segmentBytes - (at % segmentBytes);
      if (head.readInt32BE(4) === MAGIC_BLANK && head.readInt32BE(0) === left) {
        at += left;
        continue;
      }
      const record = this.#recordAt(at, head);
      if (record === null) return false;
      dispatch.read(this.#view.open(record, 0));
      at += record.length;
    }
    return true;
  }

  #recordAt(at: number, head: Buffer): Buffer | null {
    const size = head.readInt32BE(0);
    const { segmentBytes } = this.#segments;
    if (size < MIN_RECORD_SIZE || size > segmentBytes - (at % segmentBytes)) return null;
    const record = this.#read(at, size);
    return record !== null && isRecordAt(record, 0, size, at) ? record : null;
  }

  #read(at: number, size: number): Buffer | null {
    const start = this.#segments.startOf(at);
    const bytes = Buffer.alloc(size);
    const got = this.#segments.file(start)?.readInto(bytes, 0, size, at - start) ?? 0;
    return got === size ? bytes : null;
  }
}

function isWithinList(view: RecordView, start: number): boolean {
  if (isFanRecord(view)) {
    const header = readFanHeader(view.buffer, view.bodyStart, view.bodyEnd, start);
    return header !== null && header.index > 0;
  }
  return (view.sysFlag & SYS_FLAG.FANNED) !== 0 && view.preparedTransactionOffset < start;
}
