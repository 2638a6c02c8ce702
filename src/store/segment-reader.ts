/**
 * Finds the bytes of a record: `locate(position, size, end)` sets `buffer` and `offset`, without allocating anything
 * in the ordinary case. One reader per thread and log.
 *
 * How a miss is served depends on how the log is being read:
 *  - in order (a queue being drained): blocks are read ahead, 4 KiB first, then up to 1 MiB: as cheap as a mapping. A
 *    block thrown out half unread halves the read-ahead, one read to its end doubles it: too many drains at once do not
 *    thrash;
 *  - here and there (search by key, redelivery, delayed messages): small blocks, 3 µs each.
 *
 * Nothing is mapped. Looking here and there into a mapping of a few MiB is cheaper (0.5 µs), wider than that it was much
 * dearer (50 µs, for changing views), and a sector that cannot be read, or a file that somebody cuts off, would end the
 * process, where a read is an error or comes back short.
 *
 * A block is this process's own copy: a record that was found intact in it stays so (`isIntact`).
 *
 * The bytes stay as they are until `endTurn`: a buffer that was looked into in a turn is not used again in it. Only what
 * lies before `end` (written and never changed again) is read or kept. Memory is bounded by `cacheBytes`, plus what one
 * turn reads, plus one record larger than a block.
 */

import { fastBuffer } from "../util/copy-memory.ts";
import type { StorageFile } from "./storage-file.ts";

export interface ReadableSegment {
  /** Position in the log of the file's first byte. */
  readonly base: number;
  readonly size: number;
  readonly file: StorageFile;
}

export interface SegmentReaderOptions {
  /** All segments but the last have this size; a segment's base is a multiple of it. */
  readonly segmentSize: number;
  /** Default 8 MiB. */
  readonly cacheBytes?: number;
  /** So many of the largest blocks lie where copies and checksums are fast (copy-memory.ts), for good. Default 0. */
  readonly fastBlocks?: number;
  /** A block was read in order from this position on, or as if in order. */
  readonly onRead?: (position: number) => void;
}

/** Block sizes; the last is the largest read-ahead. */
const CLASSES = [4096, 32_768, 262_144, 1_048_576] as const;
const LARGEST = CLASSES.length - 1;
/** So large are only blocks that go on where others ended. */
const IN_ORDER = 2;
/** Largest blocks that fit into the cache: what a drain reads them for. */
export const CACHE_BYTES = 8_388_608;
export const CACHED_BLOCKS = CACHE_BYTES / CLASSES[LARGEST]!;
/** A miss so close behind the end of a block goes on reading it. */
const SEQUENTIAL_GAP = 65_536;
/** They are searched one by one. */
const MAX_BLOCKS = 64;
/**
 * Retired buffers kept for use after the turn, beside those that lie where copies are fast: so many bytes. A turn of a drain
 * may read 20 MiB; buffers of a megabyte that are let go of and made anew each turn pile up to 40 MiB before they are collected.
 */
const SPARE_BYTES = 12_582_912;

/** Each record begins in a grain of its own: none is as short. */
const GRAIN_SHIFT = 6;
const GRAIN_MASK = 63;

/** A buffer, and what was found out about the bytes that were read into it. */
interface Room {
  readonly buffer: Buffer;
  /** Per grain, 1 + where in it a record begins that was found intact; 0 for none. */
  readonly intact: Uint8Array;
}

const roomIn = (buffer: Buffer): Room => ({
  buffer,
  intact: new Uint8Array((buffer.length >> GRAIN_SHIFT) + 1),
});

/** A range of the log that was read. */
class Extent implements Room {
  readonly start: number;
  end: number;
  readonly buffer: Buffer;
  readonly intact: Uint8Array;
  /** Index in CLASSES, -1 for one that is larger than all of them. */
  readonly sizeClass: number;
  /** End of the furthest record taken out of it. */
  usedTo: number;
  lastUse = 0;

  constructor(start: number, end: number, { buffer, intact }: Room, sizeClass: number) {
    this.start = start;
    this.end = end;
    this.buffer = buffer;
    this.intact = intact;
    this.sizeClass = sizeClass;
    this.usedTo = start;
  }
}

const NOTHING = new Extent(0, 0, roomIn(Buffer.alloc(0)), -1);

export class SegmentReader {
  /** Where `locate` found the record. */
  buffer: Buffer = NOTHING.buffer;
  offset = 0;
  /** For metrics. */
  blockReads = 0;
  blockReadBytes = 0;

  readonly #segmentSize: number;
  readonly #cacheBytes: number;
  #fastBlocks: number;
  readonly #onRead: (position: number) => void;
  readonly #segments = new Map<number, ReadableSegment>();
  readonly #blocks: Extent[] = [];
  #heldBytes = 0;
  #hot = NOTHING;
  /** Of what was located last. */
  #intact = NOTHING.intact;
  #clock = 0;
  /** What was last used before this was not used in this turn. */
  #turnBegan = 0;
  #readAhead: number = LARGEST;
  /** The last record that was too large for a block; until the end of the turn. */
  #large: Extent | null = null;
  #retired: Extent[] = [];
  readonly #spare: Room[][] = CLASSES.map(() => []);
  /** Of those that can be given back. */
  #spareBytes = 0;

  constructor(options: SegmentReaderOptions) {
    this.#segmentSize = options.segmentSize;
    this.#cacheBytes = options.cacheBytes ?? CACHE_BYTES;
    this.#fastBlocks = options.fastBlocks ?? 0;
    this.#onRead = options.onRead ?? (() => {});
  }

  add(segment: ReadableSegment): void {
    this.#segments.set(Math.floor(segment.base / this.#segmentSize), segment);
  }

  /** Forgets a segment; the caller closes and removes the file. Bytes located in this turn stay valid. */
  remove(base: number): void {
    const segment = this.#segments.get(Math.floor(base / this.#segmentSize));
    if (segment === undefined) return;
    this.#segments.delete(Math.floor(base / this.#segmentSize));
    this.invalidate(segment.base, segment.base + segment.size);
  }

  /** Forgets what is kept of this range, because it was changed on disk. */
  invalidate(from: number, to: number): void {
    this.#hot.lastUse = ++this.#clock;
    this.#hot = NOTHING;
    for (let i = this.#blocks.length - 1; i >= 0; i--) {
      const block = this.#blocks[i]!;
      if (block.start < to && block.end > from) this.#drop(i);
    }
    this.#large = null;
  }

  /**
   * Sets `buffer` and `offset` to the `size` bytes at `position`. False when they are not there: before the first
   * segment, after `end`, in a removed segment, or the file is shorter than it should be. Throws what reading throws.
   */
  locate(position: number, size: number, end: number): boolean {
    if (this.locateHot(position, size)) return true;
    if (position + size > end) return false;
    const found = this.#find(position, size) ?? this.#fetch(position, size, end);
    if (found === null) return false;
    // The hot one may have been used until now: it says so when it stops being it.
    this.#hot.lastUse = ++this.#clock;
    found.lastUse = ++this.#clock;
    if (position + size > found.usedTo) found.usedTo = position + size;
    if (found !== this.#large) this.#hot = found;
    this.buffer = found.buffer;
    this.offset = (position - found.start) | 0;
    this.#intact = found.intact;
    return true;
  }

  /** Was the record that was located last found intact before, in these very bytes? */
  get isIntact(): boolean {
    const { offset } = this;
    return this.#intact[offset >> GRAIN_SHIFT] === (offset & GRAIN_MASK) + 1;
  }

  /** The record that was located last is intact. Remembered as long as its bytes are kept. */
  noteIntact(): void {
    this.#intact[this.offset >> GRAIN_SHIFT] = (this.offset & GRAIN_MASK) + 1;
  }

  /** As `locate`, where it lies in what was used last; it does not throw. */
  locateHot(position: number, size: number): boolean {
    const hot = this.#hot;
    const usedTo = position + size;
    if (position < hot.start || usedTo > hot.end) return false;
    if (usedTo > hot.usedTo) hot.usedTo = usedTo;
    this.buffer = hot.buffer;
    // A small integer, as offsets in the ring are: all that is computed from it stays one.
    this.offset = (position - hot.start) | 0;
    this.#intact = hot.intact;
    return true;
  }

  /** Nobody looks at what was located before: call at the end of a turn, however it went. */
  endTurn(): void {
    this.#large = null;
    this.#turnBegan = ++this.#clock;
    if (this.#retired.length === 0) return;
    for (const extent of this.#retired) this.#keepForLater(extent, extent.sizeClass);
    this.#retired = [];
  }

  #takeRoom(sizeClass: number): Room {
    const spare = this.#spare[sizeClass]!.pop();
    if (spare !== undefined) {
      if (!isShared(spare.buffer)) this.#spareBytes -= spare.buffer.length;
      spare.intact.fill(0);
      return spare;
    }
    const size = CLASSES[sizeClass]!;
    if (sizeClass < LARGEST || this.#fastBlocks === 0) return roomIn(Buffer.allocUnsafeSlow(size));
    this.#fastBlocks--;
    return roomIn(fastBuffer(size));
  }

  #keepForLater({ buffer, intact }: Room, sizeClass: number): void {
    if (!isShared(buffer)) {
      if (this.#spareBytes + buffer.length > SPARE_BYTES) return;
      this.#spareBytes += buffer.length;
    }
    this.#spare[sizeClass]!.push({ buffer, intact });
  }

  /** Lets go of the buffers that are kept for the next reads. */
  relax(): void {
    for (const [sizeClass, rooms] of this.#spare.entries()) {
      // What is taken of the shared memory cannot be given back.
      this.#spare[sizeClass] = rooms.filter(({ buffer }) => isShared(buffer));
    }
    this.#spareBytes = 0;
  }

  /** Bytes of blocks held, for metrics and tests. */
  get cachedBytes(): number {
    return this.#heldBytes;
  }

  #find(position: number, size: number): Extent | null {
    for (let i = 0; i < this.#blocks.length; i++) {
      const block = this.#blocks[i]!;
      if (position >= block.start && position + size <= block.end) return block;
    }
    return null;
  }

  #fetch(position: number, size: number, end: number): Extent | null {
    const large = this.#large;
    if (large !== null && large.start === position && large.end >= position + size) return large;
    const segment = this.#segments.get(Math.floor(position / this.#segmentSize));
    if (segment === undefined || position + size > segment.base + segment.size) return null;
    if (size > CLASSES[LARGEST]!) return this.#readLarge(segment, position, size);
    const before = this.#blockBefore(position);
    // Goes on where a block ended: read further ahead than that one did.
    const sizeClass = before === null ? 0 : before.sizeClass + 1;
    return this.#readBlock(segment, position, size, end, sizeClass);
  }

  /** The block that a reader at `position` has just come to the end of. */
  #blockBefore(position: number): Extent | null {
    for (let i = 0; i < this.#blocks.length; i++) {
      const block = this.#blocks[i]!;
      if (block.usedTo <= position && position <= block.end + SEQUENTIAL_GAP) return block;
    }
    return null;
  }

  #readBlock(
    segment: ReadableSegment,
    position: number,
    size: number,
    end: number,
    wantedClass: number,
  ): Extent | null {
    let sizeClass = Math.min(wantedClass, this.#readAhead);
    while (CLASSES[sizeClass]! < size) sizeClass++;
    const available = Math.min(segment.base + segment.size, end) - position;
    const length = Math.min(CLASSES[sizeClass]!, available);
    this.#makeRoom(CLASSES[sizeClass]!);
    const room = this.#takeRoom(sizeClass);
    const count = readWhatCan(segment.file, room.buffer, length, size, position - segment.base);
    this.blockReads++;
    this.blockReadBytes += count;
    if (count < size) {
      this.#keepForLater(room, sizeClass);
      return null;
    }
    if (sizeClass >= IN_ORDER) this.#onRead(position);
    const block = new Extent(position, position + count, room, sizeClass);
    this.#blocks.push(block);
    this.#heldBytes += CLASSES[sizeClass]!;
    return block;
  }

  #readLarge(segment: ReadableSegment, position: number, size: number): Extent | null {
    const buffer = Buffer.allocUnsafeSlow(size);
    const count = segment.file.readInto(buffer, 0, size, position - segment.base);
    this.blockReadBytes += count;
    if (count < size) return null;
    this.#large = new Extent(position, position + size, roomIn(buffer), -1);
    return this.#large;
  }

  #makeRoom(bytes: number): void {
    while (
      this.#blocks.length >= MAX_BLOCKS ||
      (this.#blocks.length > 0 && this.#heldBytes + bytes > this.#cacheBytes)
    ) {
      const index = oldest(this.#blocks);
      const block = this.#blocks[index]!;
      const length = block.end - block.start;
      if (block.sizeClass > 0) {
        // Was reading so far ahead worth it?
        if (block.usedTo - block.start < length / 2) {
          this.#readAhead = Math.max(0, Math.min(this.#readAhead, block.sizeClass) - 1);
        } else if (block.usedTo - block.start > length * 0.75) {
          this.#readAhead = Math.min(LARGEST, this.#readAhead + 1);
        }
      }
      this.#drop(index);
    }
  }

  #drop(index: number): void {
    const blocks = this.#blocks;
    const block = blocks[index]!;
    blocks[index] = blocks[blocks.length - 1]!;
    blocks.pop();
    const isHot = this.#hot === block;
    if (isHot) this.#hot = NOTHING;
    this.#heldBytes -= CLASSES[block.sizeClass]!;
    // Nobody looked into it in this turn: it may be written to at once. A drain goes from one to the next like that.
    if (isHot || block.lastUse > this.#turnBegan) this.#retired.push(block);
    else this.#keepForLater(block, block.sizeClass);
  }
}

const isShared = (buffer: Buffer): boolean =>
  (buffer.buffer as unknown) instanceof SharedArrayBuffer;

/** Reads ahead if it can; a bad sector further on must not cost this record. */
function readWhatCan(
  file: StorageFile,
  buffer: Buffer,
  length: number,
  size: number,
  position: number,
): number {
  try {
    return file.readInto(buffer, 0, length, position);
  } catch (error) {
    if (length === size) throw error;
    return file.readInto(buffer, 0, size, position);
  }
}

function oldest(extents: readonly Extent[]): number {
  let index = 0;
  for (let i = 1; i < extents.length; i++) {
    if (extents[i]!.lastUse < extents[index]!.lastUse) index = i;
  }
  return index;
}
