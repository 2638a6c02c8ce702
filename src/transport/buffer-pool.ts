/**
 * Chunks for connections that have something to say or a partial frame to keep; idle connections own none. Sizes are
 * powers of four from 1 KiB to 256 KiB; what is larger is allocated for the occasion and never pooled.
 *
 * The first chunks of each size are pieces of the memory that copies are fast in, as long as there is room: those are
 * never given up. Beyond them, chunks are ordinary memory, and the number of free ones kept per size is bounded.
 */
import type { CopyMemory } from "../util/copy-memory.ts";

const SIZES = [1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18] as const;
const FREE_MAX = [1024, 256, 128, 32, 8] as const;
/** Most pieces of the copy memory per size. */
const PIECES_MAX = [1024, 512, 192, 64, 32] as const;

/** What the pieces take together. */
export const PIECES_BYTES = SIZES.reduce((sum, size, i) => sum + size * PIECES_MAX[i]!, 0);

export const LARGEST_CHUNK = 1 << 18;

export class BufferPool {
  readonly #free: Buffer[][] = SIZES.map(() => []);
  readonly #memory: CopyMemory | null;
  readonly #pieces: number[] = SIZES.map(() => 0);
  /** Pieces that somebody may still be reading, by age. */
  #forgotten: Buffer[] = [];
  #longForgotten: Buffer[] = [];
  /** Bytes of chunks that are out. */
  takenBytes = 0;

  constructor(memory: CopyMemory | null = null) {
    this.#memory = memory;
  }

  /** A chunk of at least `bytes`; its content is arbitrary. */
  take(bytes: number): Buffer {
    const index = sizeIndex(bytes);
    let chunk: Buffer | undefined;
    if (index >= 0) chunk = this.#free[index]!.pop();
    chunk ??= this.#piece(index) ?? Buffer.allocUnsafeSlow(index < 0 ? bytes : SIZES[index]!);
    this.takenBytes += chunk.length;
    return chunk;
  }

  #piece(index: number): Buffer | null {
    if (this.#memory === null || index < 0) return null;
    if (this.#pieces[index]! >= PIECES_MAX[index]!) return null;
    const piece = this.#memory.takeBuffer(SIZES[index]!);
    if (piece !== null) this.#pieces[index]!++;
    return piece;
  }

  #isPiece(chunk: Buffer): boolean {
    return chunk.buffer === (this.#memory?.memory as unknown);
  }

  /** Gives a chunk of `take` back; nobody may touch it afterwards. */
  release(chunk: Buffer): void {
    this.takenBytes -= chunk.length;
    const index = sizeIndex(chunk.length);
    if (index < 0 || SIZES[index] !== chunk.length) return;
    const free = this.#free[index]!;
    if (free.length < FREE_MAX[index]! || this.#isPiece(chunk)) free.push(chunk);
  }

  /** A chunk of `take` that somebody may still be reading: not to be used again soon. */
  forget(chunk: Buffer): void {
    if (this.#isPiece(chunk)) this.#forgotten.push(chunk);
    else this.takenBytes -= chunk.length;
  }

  /** Once a second: nobody reads any more what was forgotten two calls ago. */
  tick(): void {
    for (const chunk of this.#longForgotten) this.release(chunk);
    this.#longForgotten = this.#forgotten;
    this.#forgotten = [];
  }

  /** Drops what is free: called when the broker has been quiet for a while. */
  shrink(): void {
    for (let i = 0; i < SIZES.length; i++) {
      this.#free[i] = this.#free[i]!.filter((chunk, at) => at < 4 || this.#isPiece(chunk));
    }
  }
}

function sizeIndex(bytes: number): number {
  for (let i = 0; i < SIZES.length; i++) if (bytes <= SIZES[i]!) return i;
  return -1;
}
