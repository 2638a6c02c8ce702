/**
 * The catalog: which queues there are, which offsets they hold, and which blocks of the arena belong to light queues.
 * Derived data: without it the whole log is read again. A file `queues/catalog-<number>` is a list of batches; each
 * checkpoint adds one batch with what changed since the last. When a file has grown to several times what it says, a
 * new one is written beside it, a piece per checkpoint.
 *
 *   at  size  one batch, big-endian          at  size  one entry
 *    0     4  CRC-32 of the rest              0     1  kind
 *    4     4  length of the entries           1     4  queue number
 *    8     -  entries                         5     -  by kind:
 *
 *   DEFINE  1 flags (1 = light), 4 queueId, 2 length, name    the queue exists
 *   STATE   8 minOffset, 8 maxOffset (doubles)                entries before maxOffset are in its file
 *   TAIL    8 minOffset, 8 from, 8 first (doubles),           these entries follow; its file may have none from `from` on
 *           4 count, 20 each: entries
 *   DROP                                                      the queue is gone, with its blocks
 *   BLOCK   4 page number, 4 block                            this block of the arena holds that page
 *   FREE    4 page number                                     the page is gone, its block may be used again
 *   MOVED   8 offset (double)                                 entries before it may name records that were moved
 *   KEPT    8 minOffset (double), 1 count, 20 each: entries   all that a light queue has: it needs no block for them
 *
 * Valid: the checkpoint (checkpoint.ts) names the file and a length; every batch up to there has its CRC. Otherwise
 * recovery behaves as if there were no catalog.
 */
import { crc32 } from "../util/crc32.ts";
import { ENTRY_SIZE } from "./page-pool.ts";

const BATCH_HEADER = 8;
const KIND = {
  DEFINE: 1,
  STATE: 2,
  DROP: 3,
  BLOCK: 4,
  FREE: 5,
  MOVED: 6,
  TAIL: 7,
  KEPT: 8,
} as const;
/** A light queue with no more entries than these may have them here. */
export const KEPT_MAX = 8;
const KEPT_HEADER = 9;
const TAIL_HEADER = 28;
const SHORT_BYTES = 400;

export class CatalogBatch {
  #bytes = Buffer.allocUnsafeSlow(4096);
  #used = BATCH_HEADER;

  get isEmpty(): boolean {
    return this.#used === BATCH_HEADER;
  }
  get size(): number {
    return this.#used;
  }

  define(number: number, topic: string, queueId: number, isLight: boolean): void {
    const length = Buffer.byteLength(topic);
    const at = this.#entry(KIND.DEFINE, number, 7 + length);
    this.#bytes[at] = isLight ? 1 : 0;
    this.#bytes.writeInt32BE(queueId, at + 1);
    this.#bytes.writeUInt16BE(length, at + 5);
    this.#bytes.write(topic, at + 7);
  }
  state(number: number, minOffset: number, maxOffset: number): void {
    const at = this.#entry(KIND.STATE, number, 16);
    this.#bytes.writeDoubleBE(minOffset, at);
    this.#bytes.writeDoubleBE(maxOffset, at + 8);
  }
  /** Returns where the entries go, which follow at once. */
  tail(number: number, minOffset: number, from: number, first: number, count: number): number {
    const length = count * ENTRY_SIZE;
    const at = this.#entry(KIND.TAIL, number, TAIL_HEADER + length);
    this.#bytes.writeDoubleBE(minOffset, at);
    this.#bytes.writeDoubleBE(from, at + 8);
    this.#bytes.writeDoubleBE(first, at + 16);
    this.#bytes.writeUInt32BE(count, at + 24);
    return at + TAIL_HEADER;
  }
  /** Entries of a tail. Returns where the next go. */
  put(from: Uint8Array, start: number, end: number, at: number): number {
    const bytes = this.#bytes;
    const length = end - start;
    // Mostly a few: a copy byte by byte is done before a native one has begun.
    if (length > SHORT_BYTES) bytes.set(from.subarray(start, end), at);
    else for (let i = 0; i < length; i++) bytes[at + i] = from[start + i]!;
    return at + length;
  }
  /** The same for all entries that a light queue has. */
  kept(number: number, minOffset: number, count: number): number {
    const at = this.#entry(KIND.KEPT, number, KEPT_HEADER + count * ENTRY_SIZE);
    this.#bytes.writeDoubleBE(minOffset, at);
    this.#bytes[at + 8] = count;
    return at + KEPT_HEADER;
  }
  drop(number: number): void {
    this.#entry(KIND.DROP, number, 0);
  }
  block(number: number, pageNumber: number, block: number): void {
    const at = this.#entry(KIND.BLOCK, number, 8);
    this.#bytes.writeUInt32BE(pageNumber, at);
    this.#bytes.writeUInt32BE(block, at + 4);
  }
  free(number: number, pageNumber: number): void {
    const at = this.#entry(KIND.FREE, number, 4);
    this.#bytes.writeUInt32BE(pageNumber, at);
  }

  moved(number: number, offset: number): void {
    const at = this.#entry(KIND.MOVED, number, 8);
    this.#bytes.writeDoubleBE(offset, at);
  }

  /** The sealed batch; this object is empty again. */
  take(): ArrayBuffer {
    const bytes = this.#bytes;
    bytes.writeUInt32BE(this.#used - BATCH_HEADER, 4);
    bytes.writeUInt32BE(crc32(bytes, 4, this.#used), 0);
    const sealed = bytes.buffer.slice(0, this.#used) as ArrayBuffer;
    this.#used = BATCH_HEADER;
    // A large batch is rare; its memory is not kept.
    if (bytes.length > 1 << 20) this.#bytes = Buffer.allocUnsafeSlow(4096);
    return sealed;
  }

  #entry(kind: number, number: number, size: number): number {
    const at = this.#used;
    const end = at + 5 + size;
    if (end > this.#bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(larger, 0, 0, at);
      this.#bytes = larger;
    }
    this.#bytes[at] = kind;
    this.#bytes.writeUInt32BE(number, at + 1);
    this.#used = end;
    return at + 5;
  }
}

/** Where a name lies in a catalog; the next one has the same object. */
export interface CatalogName {
  readonly bytes: Buffer;
  start: number;
  end: number;
}

export const textOf = ({ bytes, start, end }: CatalogName): string =>
  bytes.toString("utf8", start, end);

export interface CatalogHandler {
  define(number: number, name: CatalogName, queueId: number, isLight: boolean): void;
  state(number: number, minOffset: number, maxOffset: number): void;
  /** `entries` are a view of the catalog's bytes. */
  tail(number: number, minOffset: number, from: number, first: number, entries: Buffer): void;
  /** `count` entries lie at this place of the catalog's bytes. */
  kept(number: number, minOffset: number, bytes: Buffer, at: number, count: number): void;
  dropped(number: number): void;
  block(number: number, pageNumber: number, block: number): void;
  free(number: number, pageNumber: number): void;
  moved(number: number, offset: number): void;
}

/** Are these bytes whole batches with the right checksums? */
export function isCatalog(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; ) {
    if (at + BATCH_HEADER > bytes.length) return false;
    const end = at + BATCH_HEADER + bytes.readUInt32BE(at + 4);
    if (end > bytes.length || crc32(bytes, at + 4, end) !== bytes.readUInt32BE(at)) return false;
    at = end;
  }
  return true;
}

/** Tells everything that the bytes say, in order. They have been checked. */
export function readCatalog(bytes: Buffer, handler: CatalogHandler): void {
  const name: CatalogName = { bytes, start: 0, end: 0 };
  for (let at = 0; at < bytes.length; ) {
    const end = at + BATCH_HEADER + bytes.readUInt32BE(at + 4);
    at += BATCH_HEADER;
    while (at < end) {
      const number = bytes.readUInt32BE(at + 1);
      const kind = bytes[at];
      at += 5;
      switch (kind) {
        case KIND.DEFINE: {
          const length = bytes.readUInt16BE(at + 5);
          name.start = at + 7;
          name.end = at + 7 + length;
          handler.define(number, name, bytes.readInt32BE(at + 1), bytes[at] === 1);
          at += 7 + length;
          break;
        }
        case KIND.STATE:
          handler.state(number, bytes.readDoubleBE(at), bytes.readDoubleBE(at + 8));
          at += 16;
          break;
        case KIND.TAIL: {
          const start = at + TAIL_HEADER;
          const stop = start + bytes.readUInt32BE(at + 24) * ENTRY_SIZE;
          handler.tail(
            number,
            bytes.readDoubleBE(at),
            bytes.readDoubleBE(at + 8),
            bytes.readDoubleBE(at + 16),
            bytes.subarray(start, stop),
          );
          at = stop;
          break;
        }
        case KIND.KEPT: {
          const count = bytes[at + 8]!;
          handler.kept(number, bytes.readDoubleBE(at), bytes, at + KEPT_HEADER, count);
          at += KEPT_HEADER + count * ENTRY_SIZE;
          break;
        }
        case KIND.DROP:
          handler.dropped(number);
          break;
        case KIND.BLOCK:
          handler.block(number, bytes.readUInt32BE(at), bytes.readUInt32BE(at + 4));
          at += 8;
          break;
        case KIND.FREE:
          handler.free(number, bytes.readUInt32BE(at));
          at += 4;
          break;
        case KIND.MOVED:
          handler.moved(number, bytes.readDoubleBE(at));
          at += 8;
          break;
        default:
          throw new Error(
            `catalog: entry of kind ${kind}, expected 1 to 8 (written by a newer version?)`,
          );
      }
    }
  }
}
