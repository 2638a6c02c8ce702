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

/**
 * The segments before `end` that begin with a whole record of their place, but not with the one that this log has there; and how
 * many begin with just that.
 */
export function findForeign(
  segments: SegmentList,
  end: number,
  known: ReadonlyMap<number, number>,
  identityOf: (path: string) => number,
): { readonly foreign: readonly number[]; readonly own: number } {
  const foreign: number[] = [];
  const head = Buffer.alloc(HEAD_BYTES);
  let own = 0;
  for (const start of segments.starts()) {
    const expected = known.get(start);
    if (start >= end || expected === undefined) continue;
    try {
      if (identityOf(segments.path(start)) === expected) {
        own++;
        continue;
      }
      const got = segments.file(start)?.readInto(head.fill(0), 0, HEAD_BYTES, 0) ?? 0;
      const isSound = got === HEAD_BYTES && recordPlace(head, 0) === start;
      if (isSound && isWhole(segments, start, head, start)) foreign.push(start);
    } catch (error) {
      if (!isSystemError(error) || error.code !== "EIO") throw error;
    }
  }
  return { foreign, own };
}

/** The same. Throws where it cannot be made good by setting them aside: where the log ends in one, or where none is known. */
export function foreignSegments(
  segments: SegmentList,
  end: number,
  known: ReadonlyMap<number, number>,
  identityOf: (path: string) => number,
): readonly number[] {
  const { foreign, own } = findForeign(segments, end, known, identityOf);
  if (foreign.length === 0) return foreign;
  if (own === 0) {
    throw new StoreOpenError(
      `${segments.path(foreign[0]!)} holds the log of another store, as every other file there does that is known: ` +
        `"commitlog" or the file "segments" beside it was exchanged. Put the right one back; remove "segments" if the log is the right one`,
    );
  }
  const last = foreign.find((start) => start + segments.segmentBytes >= end);
  if (last !== undefined) {
    throw new StoreOpenError(
      `${segments.path(last)}, where the log ended when it was stopped, holds the log of another store. Put the right file back, ` +
        `or move this one out of the folder and go on without by "sluice store repair"`,
    );
  }
  return foreign;
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
