/**
 * What goes between the event loop and the store thread besides the rings: rare things, by message. The posting side
 * counts them in shared memory, so that the other side looks into its port only when something is there.
 */

/** Where the log stands when the writer starts. */
export interface WriterStart {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly control: SharedArrayBuffer;
  readonly ring: SharedArrayBuffer;
  readonly ringBytes: number;
  readonly journalRing: SharedArrayBuffer;
  readonly journalRingBytes: number;
  readonly commands: SharedArrayBuffer;
  readonly commandCapacity: number;
  /** Both watermarks begin here: everything before it was synced by recovery. */
  readonly logEnd: number;
  /** Number of the journal file to append to, and the bytes it holds. */
  readonly journalFile: number;
  readonly journalBytes: number;
  readonly syncSpacingMs: number;
}

export type ToWriter =
  /** Consecutive records that did not go into the ring, beginning at this physical offset. */
  | {
      readonly kind: "side";
      readonly offset: number;
      readonly bytes: ArrayBuffer;
      readonly used: number;
    }
  /** A slab of queue pages. */
  | { readonly kind: "slab"; readonly index: number; readonly memory: SharedArrayBuffer }
  /** The folder of a queue's files, before the first command that names the queue. */
  | { readonly kind: "queue"; readonly number: number; readonly folder: string }
  /** Finish everything, sync, and end. */
  | { readonly kind: "close" };

export type FromWriter =
  | { readonly kind: "health"; readonly state: "ok" | "full" | "failed"; readonly reason: string }
  | { readonly kind: "closed" };
