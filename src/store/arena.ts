/**
 * Blocks of the arena: `queues/arena`, one file for the entries of all light queues, cut into blocks of 4096 bytes.
 *
 *   at  size  one block, big-endian
 *    0     4  "SLQB"
 *    4     4  queue number
 *    8     4  page number within the queue: entries 200 * page .. 200 * page + 199
 *   12     4  CRC-32 of bytes 0..12
 *   16    80  zeros
 *   96  4000  200 entries of 20 bytes, as in a ConsumeQueue file (consume-queue.ts)
 *
 * Which block holds which page, and how many of its entries count, is in the catalog; a queue with a few entries has all of
 * them there, and no block. A block whose header names
 * another page is missing; its entries are rebuilt by recovery when the catalog is removed.
 *
 * A block that was given back is used again only after a checkpoint has recorded that: until then a crash
 * may bring back the state in which its old entries were still wanted.
 */
import { crc32 } from "../util/crc32.ts";

export const BLOCK_BYTES = 4096;
export const BLOCK_HEADER = 96;
export const BLOCK_ENTRIES = 200;
const BLOCK_MAGIC = 0x534c5142; // "SLQB"

export function writeBlockHeader(bytes: Buffer, queue: number, page: number): void {
  bytes.fill(0, 0, BLOCK_HEADER);
  bytes.writeUInt32BE(BLOCK_MAGIC, 0);
  bytes.writeUInt32BE(queue, 4);
  bytes.writeUInt32BE(page, 8);
  bytes.writeUInt32BE(crc32(bytes, 0, 12), 12);
}

/** Do these bytes begin the block of this page? */
export function isBlockOf(bytes: Buffer, queue: number, page: number): boolean {
  return (
    bytes.readUInt32BE(0) === BLOCK_MAGIC &&
    bytes.readUInt32BE(4) === queue &&
    bytes.readUInt32BE(8) === page &&
    bytes.readUInt32BE(12) === crc32(bytes, 0, 12)
  );
}

export class Arena {
  /** Blocks from here on were never used. */
  #end = 0;
  #free: number[] = [];
  /** Given back since the last checkpoint was begun. */
  #returned: number[] = [];
  /** Given back before that. */
  #settling: number[] = [];

  allocate(): number {
    return this.#free.pop() ?? this.#end++;
  }

  release(block: number): void {
    this.#returned.push(block);
  }

  /** A checkpoint begins: what was given back so far is free once it is done. */
  beginCheckpoint(): void {
    if (this.#settling.length === 0) {
      this.#settling = this.#returned;
      this.#returned = [];
    }
  }
  endCheckpoint(): void {
    for (const block of this.#settling) this.#free.push(block);
    this.#settling = [];
  }

  /** After the catalog is read: of all blocks below the highest that is told, those that are not told are free. */
  restore(forEachUsed: (tell: (block: number) => void) => void): void {
    let end = 0;
    forEachUsed((block) => {
      end = Math.max(end, block + 1);
    });
    const isUsed = new Uint8Array(end);
    forEachUsed((block) => {
      isUsed[block] = 1;
    });
    this.#end = end;
    this.#free = [];
    for (let block = end - 1; block >= 0; block--) if (isUsed[block] === 0) this.#free.push(block);
  }

  /** The file is at least this long while blocks are in use: the last one may end with its entries. */
  get minFileBytes(): number {
    return this.#end === 0 ? 0 : (this.#end - 1) * BLOCK_BYTES + BLOCK_HEADER;
  }
}
