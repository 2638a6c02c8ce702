/**
 * A snapshot of the journal collected in steps, while the broker goes on. Entries describe each thing as it was when its
 * turn came; what is journaled meanwhile is collected as well and comes after them. Replayed in this order they amount to
 * the present: entries say where things are now, never by how much they moved.
 */
/** Most snapshots are small. */
const FIRST_CHUNK_BYTES = 1 << 14;
const CHUNK_BYTES = 1 << 20;

class Entries {
  readonly #chunks: Buffer[] = [];
  #used = 0;

  /** Each entry behind its length. */
  append(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || this.#used + 4 + length > chunk.length) {
      if (chunk !== undefined)
        this.#chunks[this.#chunks.length - 1] = chunk.subarray(0, this.#used);
      const size = chunk === undefined ? FIRST_CHUNK_BYTES : CHUNK_BYTES;
      chunk = Buffer.allocUnsafe(Math.max(size, 4 + length));
      this.#chunks.push(chunk);
      this.#used = 0;
    }
    chunk.writeUInt32LE(length, this.#used);
    chunk.set(bytes.subarray(start, end), this.#used + 4);
    this.#used += 4 + length;
    return 0;
  }

  /** Each chunk goes as soon as it was read: of a deep queue of which half is settled they are many. */
  *taken(): Generator<Uint8Array> {
    for (let chunk = this.#chunks.shift(); chunk !== undefined; chunk = this.#chunks.shift()) {
      const end = this.#chunks.length === 0 ? this.#used : chunk.length;
      for (let at = 0; at < end; ) {
        const length = chunk.readUInt32LE(at);
        yield chunk.subarray(at + 4, at + 4 + length);
        at += 4 + length;
      }
    }
  }
}

export class SnapshotCollector {
  /** What there is, as entries. */
  readonly state = new Entries();
  /** What was journaled since the collection began. */
  readonly meanwhile = new Entries();

  /** To be gone through once: nothing is left of them. */
  *entries(): Generator<Uint8Array> {
    yield* this.state.taken();
    yield* this.meanwhile.taken();
  }
}
