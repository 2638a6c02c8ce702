/**
 * At a start: does every segment of the log begin as its name says? The log before the last checkpoint is not read again, so
 * that a file in the place of another one, or one that begins with something else, would be found only message by message.
 */
import { BLANK_SIZE, isIntact, MAGIC_BLANK, MIN_RECORD_SIZE } from "./record.ts";
import { recordPlace } from "./record-place.ts";
import { offsetName, type SegmentList } from "./segment-list.ts";
import { isSystemError } from "./storage-file.ts";
import { StoreOpenError } from "./store-lock.ts";

const HEAD_BYTES = 36;
/** A larger first record is not read for this. */
const RECORD_MAX = 32 << 20;

export interface SegmentHeads {
  /** The first segment that does not begin with a record of its place; Infinity when all do. */
  readonly damagedFrom: number;
  /** Ranges between the others that no file is there for. */
  readonly missing: ReadonlyArray<{ readonly from: number; readonly to: number }>;
}

/** Of the log before `end`. Throws where files were exchanged: nothing is given up that can be put back. */
export function checkHeads(segments: SegmentList, end: number): SegmentHeads {
  const head = Buffer.alloc(HEAD_BYTES);
  const missing: Array<{ from: number; to: number }> = [];
  let damagedFrom = Number.POSITIVE_INFINITY;
  let expected = segments.minOffset;
  for (const start of segments.starts()) {
    if (start >= end) break;
    if (start > expected) missing.push({ from: expected, to: start });
    expected = start + segments.segmentBytes;
    let got = 0;
    try {
      got = segments.file(start)?.readInto(head.fill(0), 0, HEAD_BYTES, 0) ?? 0;
    } catch (error) {
      // A sector that the disk refuses: what lies there comes up when it is asked for.
      if (isSystemError(error) && error.code === "EIO") continue;
      throw error;
    }
    const place = recordPlace(head, 0);
    const isBlank = got >= BLANK_SIZE && head.readInt32BE(4) === MAGIC_BLANK;
    if (place === start || isBlank) continue;
    if (
      place >= 0 &&
      place % segments.segmentBytes === 0 &&
      isWhole(segments, start, head, place)
    ) {
      throw new StoreOpenError(
        `${segments.path(start)} holds the segment ${offsetName(place)} of a log: ` +
          `files were exchanged or copied to a wrong place. Give it its name back; ` +
          `where there is no right one any more, move it out of the folder, and what it should hold counts as missing`,
      );
    }
    damagedFrom = Math.min(damagedFrom, start);
  }
  return { damagedFrom, missing };
}

/** Is what begins here a whole record of that place, with another one right behind it: no bit that has flipped? */
function isWhole(segments: SegmentList, start: number, head: Buffer, place: number): boolean {
  const size = head.readInt32BE(0);
  if (size < MIN_RECORD_SIZE || size > Math.min(RECORD_MAX, segments.segmentBytes)) return false;
  const bytes = Buffer.alloc(size + HEAD_BYTES);
  const got = segments.file(start)?.readInto(bytes, 0, bytes.length, 0) ?? 0;
  if (got < size || !isIntact(bytes, 0, size)) return false;
  const next = recordPlace(bytes, size);
  return next < 0 || next === place + size;
}
