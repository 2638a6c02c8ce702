/** For offline checks: looks at single records of the log by position, and says what is wrong with an entry that names one. */
import { RecordView } from "../model/record-view.ts";
import type { FanBook } from "./fan-book.ts";
import { MAGIC_V1, MAGIC_V2, MIN_RECORD_SIZE, SYS_FLAG } from "./record.ts";
import { RecordDispatch } from "./record-dispatch.ts";
import type { SegmentList } from "./segment-list.ts";
import { SegmentReader } from "./segment-reader.ts";

const LOOKS_PER_TURN = 64;

export class RecordProbe {
  readonly view = new RecordView();
  readonly dispatch = new RecordDispatch();
  readonly #fans: FanBook;
  readonly #fan = new RecordView();
  readonly #segments: SegmentList;
  readonly #end: number;
  readonly #reader: SegmentReader;
  #looks = 0;

  /** `end`: where the log ends. `fans`: what all of it says about long dispatch lists. */
  constructor(segments: SegmentList, end: number, fans: FanBook) {
    this.#fans = fans;
    this.#segments = segments;
    this.#end = end;
    this.#reader = new SegmentReader({ segmentSize: segments.segmentBytes });
    for (const start of segments.starts()) {
      const file = segments.file(start);
      if (file !== undefined) {
        this.#reader.add({ base: start, size: segments.segmentBytes, file });
      }
    }
  }

  /** Is it before the oldest segment: removed by retention? */
  isExpired(physicalOffset: number): boolean {
    return physicalOffset < this.#segments.minOffset;
  }

  /** Opens `view` and `dispatch` on the record, or says why there is none. `size` is not checked when it is 0. */
  look(physicalOffset: number, size: number): string | null {
    if (++this.#looks % LOOKS_PER_TURN === 0) this.#reader.endTurn();
    if (physicalOffset < 0 || physicalOffset + Math.max(size, MIN_RECORD_SIZE) > this.#end) {
      return "points beyond the end of the log";
    }
    const fault = this.#open(physicalOffset, size, this.view);
    if (fault === null) this.dispatch.read(this.view);
    return fault;
  }

  /** Is the record that was looked at in this light queue, as the list before it says? */
  isFannedTo(name: string, offset: number): boolean {
    const { view } = this;
    if ((view.sysFlag & SYS_FLAG.FANNED) === 0) return false;
    const end = view.physicalOffset;
    for (let at = view.preparedTransactionOffset; at >= 0 && at < end; ) {
      if (this.#open(at, 0, this.#fan) === null) {
        const isThere = this.#fans.has(this.#fan, name, offset);
        if (isThere !== "more") return isThere;
        at += this.#fan.size;
      } else {
        at = this.#segments.startOf(at) + this.#segments.segmentBytes;
      }
    }
    return false;
  }

  #open(physicalOffset: number, size: number, view: RecordView): string | null {
    try {
      if (!this.#reader.locate(physicalOffset, MIN_RECORD_SIZE, this.#end))
        return "points to a missing segment";
      const length = this.#reader.buffer.readInt32BE(this.#reader.offset);
      const magic = this.#reader.buffer.readInt32BE(this.#reader.offset + 4);
      if (magic !== MAGIC_V1 && magic !== MAGIC_V2) return "points to no record";
      if (size !== 0 && length !== size) return `has size ${size}, the record ${length}`;
      if (length < MIN_RECORD_SIZE || !this.#reader.locate(physicalOffset, length, this.#end)) {
        return "points to no record";
      }
    } catch (error) {
      return `points to bytes that cannot be read (${(error as Error).message})`;
    }
    const { buffer, offset } = this.#reader;
    // Every length is inside of the record, or it is none.
    if (!isShaped(buffer, offset, buffer.readInt32BE(offset))) return "points to no record";
    view.open(buffer, offset);
    return view.physicalOffset === physicalOffset ? null : "points to no record";
  }
}

function isShaped(buffer: Buffer, at: number, size: number): boolean {
  const sysFlag = buffer.readInt32BE(at + 36);
  const hosts = (sysFlag & 16 ? 20 : 8) + (sysFlag & 32 ? 20 : 8);
  const end = at + size;
  let next = at + 68 + hosts;
  if (next + 4 > end) return false;
  const bodyLength = buffer.readInt32BE(next);
  next += 4 + bodyLength;
  if (bodyLength < 0 || next + 2 > end) return false;
  const isV2 = buffer.readInt32BE(at + 4) === MAGIC_V2;
  next += (isV2 ? 2 : 1) + (isV2 ? buffer.readUInt16BE(next) : buffer[next]!);
  return next + 2 <= end && next + 2 + buffer.readUInt16BE(next) === end;
}
