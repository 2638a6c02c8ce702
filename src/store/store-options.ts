/** What a store can be told when it is made, and what holds when it is not. */
import type { CopyMemory } from "../util/copy-memory.ts";
import type { IndexShape } from "./index-format.ts";
import type { OwedMask } from "./message-store.ts";
import type { ReclaimOptions } from "./reclaimer.ts";
import { LOCALHOST } from "./record.ts";
import type { Storage } from "./storage-file.ts";
import type { InlineSchedule } from "./writer-link.ts";

export interface StoreOptions {
  /** The store's folder, made when it is not there. */
  readonly directory: string;
  /** Length of a CommitLog segment; RocketMQ's default is 1 GiB. A log that is there keeps its own. */
  readonly segmentBytes?: number;
  /** Size of the tail ring, a power of two. */
  readonly ringBytes?: number;
  /** Where the ring is to lie, so that copies into and out of it are fast. */
  readonly memory?: CopyMemory | null;
  /** Bytes of records too large for the ring that may wait for the store thread. */
  readonly sideBytes?: number;
  /** Queue pages of 4,000 bytes kept in memory. */
  readonly queuePages?: number;
  /** Of so many changed queues each checkpoint syncs the files; of more, what is new goes into the catalog. */
  readonly syncedQueues?: number;
  /** While records keep arriving, syncs begin at least this far apart. */
  readonly syncSpacingMs?: number;
  /** Goes into the records: address (4 or 16 bytes) and port (int 4). */
  readonly storeHost?: Buffer;
  /** Below this much free space the store takes no more records. Default: 1 GiB; a quarter of the file system at most. */
  readonly minFreeBytes?: number;
  /** Records for more light queues than this have their list in records of their own (fan-record.ts). */
  readonly fanAbove?: number;
  /** How often checkpoints are made and the free space is looked at; 0 leaves both to `tick`. */
  readonly tickMs?: number;
  /** For simulations: a smaller Index file than RocketMQ's. */
  readonly indexShape?: IndexShape;
  /** When segments are emptied of which little is owed; tests have no time to wait. */
  readonly reclaim?: ReclaimOptions;
  /** For tests: run the writer on the calling thread, on this storage. */
  readonly inlineOn?: Storage;
  /** For simulations: a smaller ring of the journal, which is 1 MiB. */
  readonly journalRingBytes?: number;
  /** For simulations: decides when the inline writer runs, and when the loop hears from it. */
  readonly inlineSchedule?: InlineSchedule;
}

export const DEFAULT = {
  segmentBytes: 2 ** 30,
  ringBytes: 16 << 20,
  sideBytes: 256 << 20,
  queuePages: 4096,
  syncedQueues: 256,
  tickMs: 1000,
  storeHost: LOCALHOST,
  /** A list of this length among the properties costs about a kilobyte. */
  fanAbove: 32,
} as const;
/** Commands for the store thread that its ring holds. */
export const COMMANDS = 8192;
const MAX_RING_RECORD = (4 << 20) + (128 << 10);
/** What the ring has room for behind its end: a record is never cut in two. */
export const overhangOf = (ringBytes: number): number => Math.min(MAX_RING_RECORD, ringBytes >> 2);

/** For an owner that does not say what it owes. */
export const oweAll: OwedMask = (_queue, _from, count, into) => {
  into.fill(1, 0, count);
  return count;
};
