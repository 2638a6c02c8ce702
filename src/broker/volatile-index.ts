/**
 * An index in memory: entries (place of a record in the log, its size, its tag hash) for a reader that ends with its
 * connection. It stands where a ConsumeQueue stands, so that groups and the dispatcher need not know the difference.
 * 16 bytes per waiting message; chunks that nobody needs any more are dropped as new ones are taken. What all of them
 * take together is counted: session-overflow.ts keeps it within bounds.
 */
import type { EntryBatch, StoreQueue } from "../store/message-store.ts";

/** Entries of a chunk. */
export const CHUNK = 256;
const SPARE_MAX = 256;

class Chunk {
  readonly physicalOffset = new Float64Array(CHUNK);
  readonly size = new Int32Array(CHUNK);
  readonly tagHash = new Int32Array(CHUNK);
}

const spare: Chunk[] = [];

/** What the indexes of one broker take. */
export class IndexMemory {
  chunks = 0;
  /** Indexes in which more waits than one chunk holds. */
  holders = 0;

  /** An index that had so many chunks has so many now. */
  change(before: number, after: number): void {
    this.chunks += after - before;
    this.holders += Number(after > 1) - Number(before > 1);
  }
}

export class VolatileIndex implements StoreQueue {
  readonly topic: string;
  readonly queueId = 0;
  readonly isLight = true;
  owner: unknown = null;
  minOffset = 0;
  maxOffset = 0;
  /** Null: nothing of it is owed any more, and something before it is. */
  readonly #chunks: Array<Chunk | null> = [];
  /** The last of them. */
  #tail: Chunk | null = null;
  /** How many of them there are. */
  #held = 0;
  /** Number of the first chunk held. */
  #firstChunk = 0;
  /** First offset still owed, told by the group. */
  readonly #low: () => number;

  readonly #memory: IndexMemory;

  constructor(name: string, memory: IndexMemory, low: () => number) {
    this.topic = name;
    this.#memory = memory;
    this.#low = low;
  }

  push(physicalOffset: number, size: number, tagHash: number): void {
    const slot = this.maxOffset & (CHUNK - 1);
    if (slot === 0) this.#turnOver();
    const chunk = this.#tail!;
    chunk.physicalOffset[slot] = physicalOffset;
    chunk.size[slot] = size;
    chunk.tagHash[slot] = tagHash;
    this.maxOffset++;
  }

  /** As MessageStore.read. */
  read(from: number, max: number, into: EntryBatch): number {
    const end = Math.min(this.maxOffset, from + max);
    const { physicalOffset, size, tagHash } = into;
    let count = 0;
    for (let at = Math.max(from, this.minOffset); at < end; ) {
      const chunk = this.#chunks[Math.floor(at / CHUNK) - this.#firstChunk];
      let slot = at & (CHUNK - 1);
      const stop = Math.min(CHUNK, slot + end - at);
      at += stop - slot;
      if (chunk == null) {
        for (; slot < stop; slot++, count++) {
          physicalOffset[count] = -1;
          size[count] = 0;
          tagHash[count] = 0;
        }
      } else {
        for (; slot < stop; slot++, count++) {
          physicalOffset[count] = chunk.physicalOffset[slot]!;
          size[count] = chunk.size[slot]!;
          tagHash[count] = chunk.tagHash[slot]!;
        }
      }
    }
    return count;
  }

  /** As MessageStore.readEach. */
  readEach(offsets: Float64Array, count: number, into: EntryBatch): number {
    const { physicalOffset, size, tagHash } = into;
    let i = 0;
    for (; i < count && offsets[i]! < this.maxOffset; i++) {
      const at = offsets[i]!;
      const chunk = this.#chunks[Math.floor(at / CHUNK) - this.#firstChunk];
      const slot = at & (CHUNK - 1);
      physicalOffset[i] = chunk == null ? -1 : chunk.physicalOffset[slot]!;
      size[i] = chunk == null ? 0 : chunk.size[slot]!;
      tagHash[i] = chunk == null ? 0 : chunk.tagHash[slot]!;
    }
    return i;
  }

  #turnOver(): void {
    const before = this.#held;
    const low = Math.floor(this.#low() / CHUNK);
    while (this.#firstChunk < low && this.#chunks.length > 0) {
      this.#giveBack(this.#chunks.shift()!);
      this.#firstChunk++;
      this.minOffset = this.#firstChunk * CHUNK;
    }
    this.#tail = spare.pop() ?? new Chunk();
    this.#chunks.push(this.#tail);
    this.#held++;
    this.#memory.change(before, this.#held);
  }

  #giveBack(chunk: Chunk | null): void {
    if (chunk === null) return;
    this.#held--;
    if (spare.length < SPARE_MAX) spare.push(chunk);
  }

  /**
   * Entries up to `end` were settled, some of them from `from` on, although something before them is still owed: chunks
   * of which `isOwed` knows nothing are given back.
   */
  release(from: number, end: number, isOwed: (offset: number) => boolean): void {
    const before = this.#held;
    const stop = Math.floor(end / CHUNK);
    for (let number = Math.floor(from / CHUNK); number < stop; number++) {
      const at = number - this.#firstChunk;
      const chunk = at < 0 ? null : (this.#chunks[at] ?? null);
      if (chunk === null) continue;
      let offset = number * CHUNK;
      while (offset < (number + 1) * CHUNK && !isOwed(offset)) offset++;
      if (offset < (number + 1) * CHUNK) continue;
      this.#chunks[at] = null;
      this.#giveBack(chunk);
    }
    this.#memory.change(before, this.#held);
  }

  clear(): void {
    this.#memory.change(this.#held, 0);
    this.#held = 0;
    this.#chunks.length = 0;
    this.#tail = null;
  }
}
