/**
 * Encoded messages that several peers get alike but for a few bytes: written once, copied in long runs, then patched.
 * A ring of frames in the order of their keys (positions in the log), found by key.
 *
 * A frame is worth its place from the second reader on, so `wants` says no to the first one that asks; to cost next to
 * nothing where everybody gets messages of his own, it looks at one key in eight and takes those behind it for the same.
 * Frames behind the newest are not taken: readers that lag far behind the others must not push out what those are about
 * to copy.
 */
import { fastBuffer } from "./copy-memory.ts";

const ENTRIES = 4096;
const MASK = ENTRIES - 1;
const RING_BYTES = 1 << 20;
/** Longer frames are copied fast enough from where they lie. */
const FRAME_MAX = 32 * 1024;
/** So many frames were too old without one being taken: the readers are somewhere else now. */
const PATIENCE = 1024;

export class FrameRing {
  readonly bytes: Buffer = fastBuffer(RING_BYTES);
  readonly keys = new Float64Array(ENTRIES).fill(-1);
  readonly starts = new Int32Array(ENTRIES);
  readonly lengths = new Int32Array(ENTRIES);
  /** For the owner: frames that are treated alike have the same kind, the place of what differs is told by the detail. */
  readonly kinds = new Int32Array(ENTRIES);
  readonly details = new Int32Array(ENTRIES);
  readonly sizes = new Int32Array(ENTRIES);
  /** Key → sequence number, by hash; what is overwritten is found by nobody. */
  readonly #table = new Int32Array(ENTRIES).fill(-1);
  readonly #asked = new Float64Array(ENTRIES).fill(-1);
  /** Sequence numbers of the oldest frame and the next one: they wrap at 2^30, a multiple of the number of entries. */
  #count = 0;
  #head = 0;
  #at = 0;
  #newest = -1;
  #refused = 0;
  /** Had the key looked at last been asked for before? */
  #wasAsked = false;

  /** Is a frame of this key worth putting here? Asked by a reader that did not find it. */
  wants(key: number, length: number): boolean {
    if (length > FRAME_MAX) return false;
    const mixed = Math.imul(key | 0, 0x9e3779b1) >>> 17;
    if ((mixed & 7) === 0) {
      const place = mixed >>> 3;
      this.#wasAsked = this.#asked[place] === key;
      this.#asked[place] = key;
    }
    if (!this.#wasAsked) return false;
    if (key > this.#newest) return true;
    if (++this.#refused > PATIENCE) this.#newest = -1;
    return false;
  }

  /** Room for a frame; returns where it is to be written. `put` follows before anything else. */
  room(length: number): number {
    let at = this.#at;
    if (at + length > RING_BYTES) at = 0;
    while (this.#count > 0) {
      const oldest = (this.#head - this.#count) & MASK;
      const start = this.starts[oldest]!;
      const isBehind = this.#count === ENTRIES || (at === 0 && this.#at > 0 && start >= this.#at);
      const isHit = start < at + length && start + this.lengths[oldest]! > at;
      if (!isBehind && !isHit) break;
      this.keys[oldest] = -1;
      this.#count--;
    }
    return at;
  }

  /** `detail` and `size` are the owner's. */
  put(
    key: number,
    start: number,
    length: number,
    kind: number,
    detail: number,
    size: number,
  ): void {
    const slot = this.#head & MASK;
    this.keys[slot] = key;
    this.starts[slot] = start;
    this.lengths[slot] = length;
    this.kinds[slot] = kind;
    this.details[slot] = detail;
    this.sizes[slot] = size;
    this.#table[hash(key)] = slot;
    this.#head = (this.#head + 1) & 0x3fffffff;
    this.#count++;
    this.#at = start + length;
    this.#newest = key;
    this.#refused = 0;
  }

  /** The slot of a key's frame, -1 when it is not here. */
  find(key: number): number {
    if (this.#count === 0) return -1;
    const slot = this.#table[hash(key)]!;
    return slot >= 0 && this.keys[slot] === key ? slot : -1;
  }

  /**
   * How many frames from `slot` on lie behind each other, are of its kind, and have the keys that follow in `keys`: at
   * most `max` frames and `maxBytes`.
   */
  runFrom(slot: number, keys: Float64Array, from: number, max: number, maxBytes: number): number {
    const { starts, lengths, kinds } = this;
    const kind = kinds[slot]!;
    const start = starts[slot]!;
    let end = start + lengths[slot]!;
    let count = 1;
    while (count < max) {
      const next = (slot + count) & MASK;
      if (this.keys[next] !== keys[from + count] || kinds[next] !== kind) break;
      if (starts[next] !== end || end + lengths[next]! - start > maxBytes) break;
      end += lengths[next]!;
      count++;
    }
    return count;
  }

  /** The slot of the `n`th frame of a run. */
  slotOf(slot: number, n: number): number {
    return (slot + n) & MASK;
  }
}

/** Positions grow by the length of a record; the low bits of several hundreds in a row are spread well enough. */
function hash(key: number): number {
  return Math.imul(key | 0, 0x9e3779b1) >>> 20;
}
