/**
 * What goes between the event loop and the store thread besides the rings: rare things, by message. The posting side
 * counts them in shared memory, so that the other side looks into its port only when something is there.
 */
import type { MemoryHandle } from "../util/copy-memory.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { IndexShape } from "./index-format.ts";

/** Where everything stands when the writer starts. */
export interface WriterStart {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly control: SharedArrayBuffer;
  readonly ring: SharedArrayBuffer;
  readonly ringStart: number;
  /** The memory that the ring is a piece of, where sums are fast; null where it has its own. */
  readonly memory: MemoryHandle | null;
  readonly ringBytes: number;
  readonly ringOverhang: number;
  readonly journalRing: SharedArrayBuffer;
  readonly journalRingBytes: number;
  readonly commands: SharedArrayBuffer;
  readonly commandCapacity: number;
  /** Commands that recovery has carried out itself. */
  readonly commandsDone: number;
  /** Both watermarks begin here: everything before it was synced by recovery. */
  readonly logEnd: number;
  /** Number of the journal file to begin, and the position at which. */
  readonly journalFile: number;
  readonly journalEnd: number;
  /** Queue files and folders that recovery has written and not synced. */
  readonly unsynced: { readonly files: string[]; readonly folders: string[] };
  readonly syncSpacingMs: number;
  readonly indexShape?: IndexShape;
}

export type ToWriter =
  /** Consecutive records that did not go into the ring, beginning at this physical offset. */
  | {
      readonly kind: "side";
      readonly offset: number;
      readonly bytes: ArrayBuffer;
      readonly used: number;
    }
  /** A slab of queue pages, or, null, that it is no more. */
  | {
      readonly kind: "slab";
      readonly isLight: boolean;
      readonly index: number;
      readonly memory: SharedArrayBuffer | null;
    }
  /** The folder of a queue's files, before the first command that names the queue. Entries before `settledTo` are owed to nobody. */
  | {
      readonly kind: "queue";
      readonly number: number;
      readonly folder: string;
      readonly settledTo: number;
    }
  /** It goes on behind entries that were never written. */
  | { readonly kind: "settled"; readonly number: number; readonly settledTo: number }
  /** Nothing more comes for this queue until its folder is told again. */
  | { readonly kind: "rest"; readonly number: number }
  /** Remove a queue's files, once the log is durable up to `logEnd`. */
  | {
      readonly kind: "drop";
      readonly number: number;
      readonly folder: string;
      readonly logEnd: number;
    }
  | CheckpointRequest
  /** Replace the journal up to position `at`; `file` is the number of the file that goes on from there. */
  | {
      readonly kind: "snapshot";
      readonly file: number;
      readonly at: number;
      readonly logEnd: number;
      readonly chunks: ArrayBuffer[];
    }
  /** Remove these files, and move those away: the log begins at `logStart` now. */
  | {
      readonly kind: "remove";
      readonly paths: string[];
      readonly moves: ReadonlyArray<readonly [from: string, to: string]>;
      readonly logStart: number;
    }
  /** Finish everything, sync, and end. */
  /** Log bytes that are synced and owed to nobody: they may leave the page cache. */
  | { readonly kind: "forget"; readonly from: number; readonly to: number }
  | { readonly kind: "close" };

export interface CheckpointRequest {
  readonly kind: "checkpoint";
  readonly checkpoint: Checkpoint;
  /** Commands up to this count belong to it. */
  readonly commands: number;
  /** Catalog batches, and the file and position of each. */
  readonly batches: ReadonlyArray<{ file: number; at: number; bytes: ArrayBuffer }>;
  /** The files of topic queues have the entries of all records up to this store time. */
  readonly filesTimestamp: number;
}

export type FromWriter =
  | { readonly kind: "health"; readonly state: "ok" | "full" | "failed"; readonly reason: string }
  | { readonly kind: "checkpoint"; readonly offset: number }
  /** Something that nobody needs could not be removed. */
  | { readonly kind: "leftover"; readonly reason: string }
  | { readonly kind: "closed" };
