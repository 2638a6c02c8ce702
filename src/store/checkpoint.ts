/**
 * Where recovery begins: `queues/checkpoint`, two slots of 512 bytes, written in turn.
 *
 *   at  size  field, big-endian
 *    0     4  CRC-32 of bytes 4..128
 *    4     4  version, 1
 *    8     8  sequence number: the largest valid one counts
 *   16     8  physical offset up to which queue files, arena and Index hold everything, durably
 *   24     8  number of the catalog file
 *   32     8  bytes of it that belong to this checkpoint
 *   40     8  end of the log when it was closed in order; -1 while it is open
 *   48     8  length of a segment
 *   56     8  store timestamp of the newest record, ms
 *   64     8  physical offset of the last record in the Index, -1 for none
 *   72     8  the log may begin up to here, segments before it are done with; plus 1, so that 0 says nothing
 *
 * Numbers of 8 bytes are doubles. A slot is written when everything that it speaks of is durable, and never over the
 * newest one: whatever is torn, one of them is whole. RocketMQ's own `checkpoint` file is kept beside the log for its tools.
 */
import { dirname } from "node:path";
import { crc32 } from "../util/crc32.ts";
import type { Storage, StorageFile } from "./storage-file.ts";

const SLOT_BYTES = 512;
const FIELDS_END = 128;
const VERSION = 1;

export interface Checkpoint {
  readonly offset: number;
  readonly catalogFile: number;
  readonly catalogBytes: number;
  /** -1: the store was not closed. */
  readonly closedAt: number;
  readonly segmentBytes: number;
  readonly storeTimestamp: number;
  readonly indexEnd: number;
  /** Segments before this offset were done with; -1: not known. */
  readonly logStart: number;
}

export class CheckpointFile {
  readonly #storage: Storage;
  readonly #path: string;
  #file: StorageFile | null = null;
  #sequence = 0;
  #newest = 1;
  #isNameSynced = false;
  /** A slot holds something that is no checkpoint: torn by a power cut, or damaged since. Known once it was read. */
  hasDamagedSlot = false;
  readonly #slot = Buffer.alloc(SLOT_BYTES);

  constructor(storage: Storage, path: string) {
    this.#storage = storage;
    this.#path = path;
  }

  /** The newest checkpoint, or null. */
  read(): Checkpoint | null {
    if (this.#storage.stat(this.#path) === undefined) return null;
    const file = this.#storage.open(this.#path, "read");
    const bytes = Buffer.alloc(2 * SLOT_BYTES);
    file.readInto(bytes, 0, bytes.length, 0);
    file.close();
    let best: Checkpoint | null = null;
    let isWhole = true;
    let isEmpty = true;
    for (const slot of [0, 1]) {
      const at = slot * SLOT_BYTES;
      if (crc32(bytes, at + 4, at + FIELDS_END) !== bytes.readUInt32BE(at)) {
        isWhole = false;
        isEmpty &&= bytes.subarray(at, at + SLOT_BYTES).every((byte) => byte === 0);
        continue;
      }
      const sequence = bytes.readDoubleBE(at + 8);
      if (bytes.readUInt32BE(at + 4) !== VERSION || sequence <= this.#sequence) continue;
      this.#sequence = sequence;
      this.#newest = slot;
      best = {
        offset: bytes.readDoubleBE(at + 16),
        catalogFile: bytes.readDoubleBE(at + 24),
        catalogBytes: bytes.readDoubleBE(at + 32),
        closedAt: bytes.readDoubleBE(at + 40),
        segmentBytes: bytes.readDoubleBE(at + 48),
        storeTimestamp: bytes.readDoubleBE(at + 56),
        indexEnd: bytes.readDoubleBE(at + 64),
        logStart: bytes.readDoubleBE(at + 72) - 1,
      };
    }
    // The first checkpoint of a store leaves the other slot empty; none after it does.
    this.hasDamagedSlot = !isWhole && !(isEmpty && this.#sequence <= 1);
    return best;
  }

  /** Writes and syncs a slot. May be repeated after it threw. */
  write(checkpoint: Checkpoint): void {
    if (this.#file === null) {
      // The numbering goes on where the last process was.
      this.read();
      this.#file = this.#storage.open(this.#path, "create");
    }
    const slot = this.#slot.fill(0);
    slot.writeUInt32BE(VERSION, 4);
    slot.writeDoubleBE(this.#sequence + 1, 8);
    slot.writeDoubleBE(checkpoint.offset, 16);
    slot.writeDoubleBE(checkpoint.catalogFile, 24);
    slot.writeDoubleBE(checkpoint.catalogBytes, 32);
    slot.writeDoubleBE(checkpoint.closedAt, 40);
    slot.writeDoubleBE(checkpoint.segmentBytes, 48);
    slot.writeDoubleBE(checkpoint.storeTimestamp, 56);
    slot.writeDoubleBE(checkpoint.indexEnd, 64);
    slot.writeDoubleBE(checkpoint.logStart + 1, 72);
    slot.writeUInt32BE(crc32(slot, 4, FIELDS_END), 0);
    this.#file.write(slot, 0, SLOT_BYTES, (1 - this.#newest) * SLOT_BYTES);
    this.#file.sync();
    if (!this.#isNameSynced) this.#storage.syncDirectory(dirname(this.#path));
    this.#isNameSynced = true;
    this.#newest = 1 - this.#newest;
    this.#sequence++;
  }

  close(): void {
    this.#file?.close();
    this.#file = null;
  }
}
