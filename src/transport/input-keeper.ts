/**
 * Bytes a protocol did not use yet, in one growing piece. Grows by doubling as bytes really arrive, so that a length a
 * peer merely claims costs nothing; owns no memory while empty.
 */
import { copyBytes } from "../util/copy-memory.ts";
import type { BufferPool } from "./buffer-pool.ts";

export class InputKeeper {
  bytes: Buffer | null = null;
  start = 0;
  end = 0;

  get length(): number {
    return this.end - this.start;
  }
  get capacity(): number {
    return this.bytes === null ? 0 : this.bytes.length;
  }

  append(pool: BufferPool, from: Buffer, start: number, end: number): void {
    const count = end - start;
    const kept = this.bytes;
    if (kept === null) {
      this.bytes = pool.take(count);
    } else if (kept.length - this.end < count) {
      const length = this.length;
      if (kept.length - length >= count && this.start >= length) {
        kept.copyWithin(0, this.start, this.end);
      } else {
        this.bytes = pool.take(Math.max(length + count, kept.length * 2));
        copyBytes(kept, this.start, this.end, this.bytes, 0);
        pool.release(kept);
      }
      this.start = 0;
      this.end = length;
    }
    copyBytes(from, start, end, this.bytes!, this.end);
    this.end += count;
  }

  /** Drops the first `count` bytes; the memory goes back when nothing is left. */
  consume(pool: BufferPool, count: number): void {
    this.start += count;
    if (this.start === this.end) this.clear(pool);
  }

  clear(pool: BufferPool): void {
    if (this.bytes !== null) pool.release(this.bytes);
    this.bytes = null;
    this.start = 0;
    this.end = 0;
  }
}
