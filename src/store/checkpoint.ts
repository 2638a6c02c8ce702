/**
 * Where recovery begins: `queues/checkpoint`, four slots of 512 bytes.
 *
 *   at  size  field, big-endian
 *    0     4  CRC-32 of bytes 4..128
 *    4     4  version, 1
 *    8     8  sequence number: the largest valid one of its kind counts
 *   16     8  physical offset up to which queue files, arena and Index hold everything
 *   24     8  number of the catalog file
 *   32     8  bytes of it that belong to this checkpoint
 *   40     8  end of the log when it was closed in order; -1 while it is open
 *   48     8  length of a segment
 *   56     8  store timestamp of the newest record, ms
 *   64    36  boot id of the machine, or zeros
 *  104     8  physical offset of the last record in the Index, -1 for none
 *
 * Numbers of 8 bytes are doubles. Slots 0 and 1, in turn: what was written, good as long as the machine runs (its page
 * cache survives the process). Slots 2 and 3: what was synced, good after a power cut too. One of each kind is always
 * whole, whatever is torn. RocketMQ's own `checkpoint` file is kept beside the log for its tools.
 */
import { readFileSync } from "node:fs";
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
}

/** Changes with each start of the machine; empty where the system does not tell: then only synced slots count. */
export function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim().slice(0, 36);
  } catch {
    return "";
  }
}

export class CheckpointFile {
  readonly #storage: Storage;
  readonly #path: string;
  readonly #boot: string;
  #file: StorageFile | null = null;
  #sequence = 0;
  readonly #slot = Buffer.alloc(SLOT_BYTES);
  /** Index of the newest slot of each kind, by the kind's first slot. */
  readonly #newest: Record<0 | 2, number> = { 0: -1, 2: -1 };

  constructor(storage: Storage, path: string, boot: string) {
    this.#storage = storage;
    this.#path = path;
    this.#boot = boot;
  }

  /** Offset of the newest synced checkpoint found by `read`: nothing before it can be lost by a power cut. */
  syncedOffset = 0;

  /** The newest checkpoint that holds on this boot of the machine, or null. */
  read(): Checkpoint | null {
    if (this.#storage.stat(this.#path) === undefined) return null;
    const file = this.#storage.open(this.#path, "read");
    const bytes = Buffer.alloc(4 * SLOT_BYTES);
    file.readInto(bytes, 0, bytes.length, 0);
    file.close();
    let best: Checkpoint | null = null;
    let bestSequence = -1;
    const newest = { 0: -1, 2: -1 };
    for (let slot = 0; slot < 4; slot++) {
      const at = slot * SLOT_BYTES;
      if (crc32(bytes, at + 4, at + FIELDS_END) !== bytes.readUInt32BE(at)) continue;
      if (bytes.readUInt32BE(at + 4) !== VERSION) continue;
      const sequence = bytes.readDoubleBE(at + 8);
      this.#sequence = Math.max(this.#sequence, sequence);
      const kind = slot < 2 ? 0 : 2;
      if (sequence > newest[kind]) {
        newest[kind] = sequence;
        if (kind === 2) this.syncedOffset = bytes.readDoubleBE(at + 16);
        this.#newest[kind] = slot;
      }
      const boot = bytes.toString("latin1", at + 64, at + 100).replace(/\0+$/, "");
      if (slot < 2 && (boot === "" || boot !== this.#boot)) continue;
      if (sequence <= bestSequence) continue;
      bestSequence = sequence;
      best = {
        offset: bytes.readDoubleBE(at + 16),
        catalogFile: bytes.readDoubleBE(at + 24),
        catalogBytes: bytes.readDoubleBE(at + 32),
        closedAt: bytes.readDoubleBE(at + 40),
        segmentBytes: bytes.readDoubleBE(at + 48),
        storeTimestamp: bytes.readDoubleBE(at + 56),
        indexEnd: bytes.readDoubleBE(at + 104),
      };
    }
    return best;
  }

  /** Writes the next slot of the kind; `isSynced`: everything it speaks of is durable, and the slot will be. */
  write(checkpoint: Checkpoint, isSynced: boolean): void {
    if (this.#file === null) {
      // The numbering goes on where the last process was.
      this.read();
      this.#file = this.#storage.open(this.#path, "create");
    }
    const slot = this.#slot.fill(0);
    const sequence = ++this.#sequence;
    slot.writeUInt32BE(VERSION, 4);
    slot.writeDoubleBE(sequence, 8);
    slot.writeDoubleBE(checkpoint.offset, 16);
    slot.writeDoubleBE(checkpoint.catalogFile, 24);
    slot.writeDoubleBE(checkpoint.catalogBytes, 32);
    slot.writeDoubleBE(checkpoint.closedAt, 40);
    slot.writeDoubleBE(checkpoint.segmentBytes, 48);
    slot.writeDoubleBE(checkpoint.storeTimestamp, 56);
    slot.write(this.#boot, 64, "latin1");
    slot.writeDoubleBE(checkpoint.indexEnd, 104);
    slot.writeUInt32BE(crc32(slot, 4, FIELDS_END), 0);
    // Never over the newest of its kind: that one stays whole if this write is torn.
    const kind = isSynced ? 2 : 0;
    const index = this.#newest[kind] === kind ? kind + 1 : kind;
    this.#newest[kind] = index;
    this.#file.write(slot, 0, SLOT_BYTES, index * SLOT_BYTES);
    if (isSynced) this.#file.sync();
  }

  close(): void {
    this.#file?.close();
    this.#file = null;
  }
}
