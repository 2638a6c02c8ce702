/**
 * Chunks for connections that have something to say or a partial frame to keep; idle connections own none. Sizes are
 * powers of four from 1 KiB to 256 KiB; what is larger is allocated for the occasion and never pooled. The number of free
 * chunks kept per size is bounded.
 */
const SIZES = [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18] as const;
const FREE_MAX = [1024, 256, 128, 32, 8] as const;

export const LARGEST_CHUNK = 1 << 18;

export class BufferPool {
  readonly #free: Buffer[][] = SIZES.map(() => []);
  /** Bytes of chunks that are out. */
  takenBytes = 0;

  /** A chunk of at least `bytes`; its content is arbitrary. */
  take(bytes: number): Buffer {
    const index = sizeIndex(bytes);
    let chunk: Buffer | undefined;
    if (index >= 0) chunk = this.#free[index]!.pop();
    chunk ??= Buffer.allocUnsafeSlow(index < 0 ? bytes : SIZES[index]!);
    this.takenBytes += chunk.length;
    return chunk;
  }

  /** Gives a chunk of `take` back; nobody may touch it afterwards. */
  release(chunk: Buffer): void {
    this.takenBytes -= chunk.length;
    const index = sizeIndex(chunk.length);
    if (index < 0 || SIZES[index] !== chunk.length) return;
    const free = this.#free[index]!;
    if (free.length < FREE_MAX[index]!) free.push(chunk);
  }

  /** A chunk of `take` that somebody may still be reading: not to be used again. */
  forget(chunk: Buffer): void {
    this.takenBytes -= chunk.length;
  }

  /** Drops what is free: called when the broker has been quiet for a while. */
  shrink(): void {
    for (const free of this.#free) free.length = Math.min(free.length, 4);
  }
}

function sizeIndex(bytes: number): number {
  for (let i = 0; i < SIZES.length; i++) if (bytes <= SIZES[i]!) return i;
  return -1;
}
