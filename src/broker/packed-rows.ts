/** Packed nodes as entries of the journal, many in one: keys and values as they lie in memory (packed-node.ts). */
import type { CatalogWriter, ENTRY } from "./catalog.ts";
import { bodyLengthOf, PACKED } from "./packed-node.ts";

/** Of one entry. */
const ROW_BYTES = 60_000;
/** Longest key that fits into an entry together with its node. */
const MAX_KEY = ROW_BYTES / 4;

/** It has to go into a journal entry together with its key. */
export const fitsRow = (key: string): boolean => key.length * 3 <= MAX_KEY;

export class PackedRows {
  readonly #catalog: Pick<CatalogWriter, "packed">;
  readonly #type: typeof ENTRY.RESTING | typeof ENTRY.BORN;
  #bytes = Buffer.allocUnsafe(1024);
  #used = 1;

  constructor(
    catalog: Pick<CatalogWriter, "packed">,
    type: typeof ENTRY.RESTING | typeof ENTRY.BORN,
  ) {
    this.#catalog = catalog;
    this.#type = type;
  }

  /** `writeKey` puts it where it is told and returns its length, `keyLength` at most. True when a row was written. */
  add(
    keyLength: number,
    writeKey: (into: Buffer, at: number) => number,
    value: Buffer,
    body = bodyLengthOf(value),
  ): boolean {
    const room = 4 + keyLength + body;
    const isFull = this.#used > 1 && this.#used + room > ROW_BYTES;
    if (isFull) this.end();
    if (this.#used + room > this.#bytes.length) this.#grow(this.#used + room);
    const bytes = this.#bytes;
    let at = this.#used;
    const length = writeKey(bytes, at + 2);
    bytes.writeUInt16LE(length, at);
    at = bytes.writeUInt16LE(body, at + 2 + length);
    value.copy(bytes, at, 0, body);
    // Counters are this process's own.
    bytes[at]! &= ~PACKED.COUNTERS;
    this.#used = at + body;
    return isFull;
  }

  /** Writes what is left. */
  end(): void {
    if (this.#used > 1) this.#catalog.packed(this.#type, this.#bytes, this.#used);
    this.#used = 1;
  }

  #grow(length: number): void {
    const larger = Buffer.allocUnsafe(Math.max(length, ROW_BYTES));
    this.#bytes.copy(larger, 0, 0, this.#used);
    this.#bytes = larger;
  }
}

/** Tells each node of an entry. */
export function forEachPacked(entry: Buffer, tell: (key: Buffer, value: Buffer) => void): void {
  for (let at = 1; at < entry.length; ) {
    const keyEnd = at + 2 + entry.readUInt16LE(at);
    const end = keyEnd + 2 + entry.readUInt16LE(keyEnd);
    tell(entry.subarray(at + 2, keyEnd), entry.subarray(keyEnd + 2, end));
    at = end;
  }
}
