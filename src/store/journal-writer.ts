/**
 * The store thread's side of the owner's journal: frames from the journal ring into the current file, files one after
 * the other, snapshots a piece at a time.
 */
import { join } from "node:path";
import { FRAME_HEADER, JOURNAL_HEADER, journalHeader, sealFrame } from "./journal-format.ts";
import { offsetName, offsetOfName } from "./segment-list.ts";
import { removeIfPossible, type Storage, type StorageFile } from "./storage-file.ts";
import { readIdentity } from "./store-identity.ts";
import type { TailRing } from "./tail-ring.ts";

/** What the owner may note while it opens, before its first snapshot. */
const OPENING_BYTES = 64 << 10;

interface Snapshot {
  readonly file: number;
  /** Position from which the file of this number goes on. */
  readonly at: number;
  /** The log has to be durable up to here first: the entries speak of its records. */
  readonly logEnd: number;
  readonly chunks: ArrayBuffer[];
  target: StorageFile | null;
  bytes: number;
  /** Everything is in its file and synced; what may still be missing is the name. */
  isWritten: boolean;
}

export class JournalWriter {
  readonly #storage: Storage;
  readonly #folder: string;
  readonly #ring: TailRing;
  written: number;
  durable: number;
  /** When the oldest unsynced frame was written, on the clock of `step`. */
  unsyncedSince = 0;
  #number: number;
  #file: StorageFile | null = null;
  /** Position of the file's first frame. */
  #fileStart: number;
  #unsynced: StorageFile[] = [];
  #isFolderUnsynced = false;
  readonly #snapshots: Snapshot[] = [];
  /** Of the store: every file begins with it. */
  readonly #identity: string;
  /** Where the journal ended when it was opened. */
  readonly #openedAt: number;

  constructor(storage: Storage, directory: string, ring: TailRing, number: number, end: number) {
    this.#storage = storage;
    this.#folder = join(directory, "journal");
    this.#ring = ring;
    this.#identity = readIdentity(storage, directory);
    this.#number = number;
    this.#fileStart = end;
    this.#openedAt = end;
    this.written = end;
    this.durable = end;
  }

  addSnapshot(file: number, at: number, logEnd: number, chunks: ArrayBuffer[]): void {
    this.#snapshots.push({ file, at, logEnd, chunks, target: null, bytes: 0, isWritten: false });
  }

  writeTo(head: number, now: number): void {
    while (this.written < head) {
      // Each snapshot ends a file: what it replaces can then be removed as a whole.
      const next = this.#snapshots.find(({ file }) => file > this.#number);
      if (next !== undefined && next.at === this.written) this.#rotate(next.file);
      else this.#writeRun(Math.min(head, next?.at ?? head), now);
    }
  }

  sync(): void {
    const to = this.written;
    if (to === this.durable) return;
    while (this.#unsynced.length > 0) {
      this.#unsynced[0]!.sync();
      this.#unsynced.shift()!.close();
    }
    this.#file?.sync();
    if (this.#isFolderUnsynced) this.#storage.syncDirectory(this.#folder);
    this.#isFolderUnsynced = false;
    this.durable = to;
  }

  /**
   * What the owner made of the journal when it was opened comes before anything is confirmed: until then the entries of
   * past lives still count, and some may speak of records that were lost and whose places new ones get.
   */
  runOpeningSnapshot(logDurable: number): void {
    const isOpening = (): boolean => {
      const at = this.#snapshots[0]?.at;
      return at !== undefined && at - this.#openedAt <= OPENING_BYTES;
    };
    while (isOpening() && this.runSnapshot(logDurable));
  }

  /** Does a piece of the oldest snapshot. False when there is nothing to do, or the log is not durable far enough. */
  runSnapshot(logDurable: number): boolean {
    const snapshot = this.#snapshots[0];
    if (snapshot === undefined || logDurable < snapshot.logEnd || this.written < snapshot.at) {
      return false;
    }
    const final = join(this.#folder, `${offsetName(snapshot.file)}.snapshot`);
    const draft = `${final}.new`;
    if (!snapshot.isWritten && this.#writeSome(snapshot, draft)) return true;
    // The file that goes on from here must be there before the name of the snapshot makes the older ones void.
    if (this.#number < snapshot.file) this.#rotate(snapshot.file);
    if (this.#file === null) this.#open(this.#number);
    this.sync();
    this.#file!.sync();
    this.#storage.syncDirectory(this.#folder);
    this.#storage.rename(draft, final);
    this.#storage.syncDirectory(this.#folder);
    this.#snapshots.shift();
    this.#removeBefore(snapshot.file);
    return true;
  }

  /** Writes and syncs a piece of a snapshot. False when that was the last. May be repeated after it threw. */
  #writeSome(snapshot: Snapshot, draft: string): boolean {
    if (snapshot.target === null) {
      this.#storage.remove(draft);
      snapshot.target = this.#storage.open(draft, "create");
      snapshot.bytes = 0;
    }
    if (snapshot.bytes === 0) {
      snapshot.target.write(journalHeader(snapshot.at, this.#identity), 0, JOURNAL_HEADER, 0);
      snapshot.bytes = JOURNAL_HEADER;
    }
    const chunk = snapshot.chunks[0]!;
    const bytes = Buffer.from(chunk);
    const view = new DataView(chunk);
    let end = 0;
    while (end + FRAME_HEADER <= bytes.length && view.getUint32(end + 4) > 0) {
      end += sealFrame(bytes, view, end, 0, 0);
    }
    snapshot.target.write(bytes, 0, end, snapshot.bytes);
    // With each piece: one large sync at the end would hold up every commit.
    snapshot.target.sync();
    snapshot.bytes += end;
    snapshot.chunks.shift();
    if (snapshot.chunks.length > 0) return true;
    snapshot.isWritten = true;
    snapshot.target.close();
    return false;
  }

  get wantsLogDurable(): number {
    return this.#snapshots[0]?.logEnd ?? 0;
  }

  close(): void {
    this.#file?.close();
    for (const file of this.#unsynced) file.close();
  }

  #writeRun(head: number, now: number): void {
    const { bytes, view, size: ringSize } = this.#ring;
    const first = this.#ring.indexOf(this.written);
    let at = first;
    let position = this.written;
    while (position < head && at < ringSize) {
      const size = sealFrame(bytes, view, at, position, this.durable);
      at += size;
      position += size;
    }
    if (this.#file === null) this.#open(this.#number);
    this.#file!.write(bytes, first, at - first, JOURNAL_HEADER + this.written - this.#fileStart);
    if (this.written === this.durable) this.unsyncedSince = now;
    this.written = position;
  }

  #rotate(number: number): void {
    if (this.#file !== null) this.#unsynced.push(this.#file);
    this.#file = null;
    this.#number = number;
    this.#fileStart = this.written;
  }

  #open(number: number): void {
    const file = this.#storage.open(join(this.#folder, offsetName(number)), "create");
    this.#isFolderUnsynced = true;
    try {
      file.write(journalHeader(this.#fileStart, this.#identity), 0, JOURNAL_HEADER, 0);
    } catch (error) {
      // A full disk: without its header the file is none, so the next try begins with it again.
      file.close();
      throw error;
    }
    this.#file = file;
  }

  #removeBefore(number: number): void {
    for (const { name } of this.#storage.list(this.#folder)) {
      const found = offsetOfName(name.slice(0, 20));
      if (found >= 0 && found < number) {
        removeIfPossible(this.#storage, join(this.#folder, name));
      }
    }
  }
}
