/**
 * The tail of a log in shared memory: what was appended last, written by the event loop, read by everybody.
 *
 * The byte of physical offset p lies at index p % size. A record (or frame) is never split: one that starts before the
 * end of the ring runs on into the overhang behind it, and the next starts where it would have started anyway, at
 * (p + length) % size. So every record can be read as one range, and memory costs only the largest record more.
 *
 *   0                                             size          size + overhang
 *   |  next record ...   |   older records ...  | last of a lap ... |
 *
 * The writer of the ring keeps two rules (see commit-log.ts): a range is overwritten only after it was written to the
 * file, and a record is read from here only while `offset >= floor`, the lowest offset not overwritten since.
 */
export class TailRing {
  readonly memory: SharedArrayBuffer;
  /** Where in the memory the ring begins. */
  readonly start: number;
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly size: number;
  /** The longest record that may be put here. */
  readonly maxRecord: number;
  readonly #mask: number;

  /**
   * `size` is a power of two up to 1 GiB. Pages of the memory cost nothing until they are touched. The ring begins at
   * `start` of a memory that is given.
   */
  constructor(size: number, overhang: number, memory?: SharedArrayBuffer, start = 0) {
    if (!(Number.isInteger(size) && size >= 4096 && size <= 2 ** 30 && (size & (size - 1)) === 0)) {
      throw new RangeError(`tail ring: size ${size}, expected a power of two from 4096 to 2^30`);
    }
    this.memory = memory ?? new SharedArrayBuffer(size + overhang);
    this.start = start;
    this.bytes = Buffer.from(this.memory, start, size + overhang);
    this.view = new DataView(this.memory, start, size + overhang);
    this.size = size;
    this.maxRecord = overhang;
    this.#mask = size - 1;
  }

  /** Where the byte of this offset lies. */
  indexOf(offset: number): number {
    // `>>> 0` is modulo 2^32 for any safe integer, and the size divides 2^32.
    return (offset >>> 0) & this.#mask;
  }
}
