/**
 * Journal entries that the store thread has not come to write: while it hangs in a long sync, the event loop puts them
 * into a file of their own, so that they are in the page cache, where the end of the process cannot reach them.
 *
 *   journal/ahead-<20-digit position of its first frame>    header and frames as in every journal file (journal-format.ts)
 *
 * Costs one comparison per LOOK_MS while entries are written, and nothing else as long as the disk keeps up. An entry is
 * in such a file at most twice LOOK_MS and the time of one write after it was appended. The files are never synced; they
 * go when the store thread has written what they hold, or at the next start, which takes over what the journal misses.
 */
import { unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { JOURNAL_HEADER, journalHeader, parseJournal } from "./journal-format.ts";
import { offsetName, offsetOfName } from "./segment-list.ts";
import { fileSystem, type Storage } from "./storage-file.ts";

const LOOK_MS = 20;
const RETRY_MS = 1000;
const PREFIX = "ahead-";

/** What the journal tells of the entries that are not written. */
export interface UnwrittenFrames {
  /** Position up to which the store thread has written. */
  writtenTo(): number;
  readonly end: number;
  /** Sealed copies of the frames from this position (or from `writtenTo`, if that is later) to the end. */
  framesFrom(position: number): { readonly position: number; readonly bytes: Buffer };
}

export class JournalAhead {
  readonly #storage: Storage;
  readonly #folder: string;
  readonly #frames: UnwrittenFrames;
  readonly #identity: string;
  /** Everything before this position was there when the store thread was last looked at. */
  #mark = 0;
  /** The file's first position, and up to where it holds everything; -1: there is no file. */
  #start = -1;
  #end = -1;
  #isArmed = false;
  /** Null when somebody else calls `look`. */
  readonly #timer: NodeJS.Timeout | null;
  #retryAt = Number.NEGATIVE_INFINITY;
  /** The write that is under way. */
  #work: Promise<void> | null = null;
  #isClosed = false;

  constructor(storage: Storage, directory: string, frames: UnwrittenFrames, identity: string) {
    this.#storage = storage;
    this.#folder = join(directory, "journal");
    this.#frames = frames;
    this.#identity = identity;
    this.#timer =
      storage === fileSystem ? setTimeout(() => void this.look(), LOOK_MS).unref() : null;
  }

  /** Entries were handed to the store thread: looks later whether it has written them. */
  arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    this.#mark = this.#frames.end;
    this.#timer?.refresh();
  }

  /** Writes what the store thread has not written since the last look. Resolves when that is done. */
  async look(): Promise<void> {
    this.#isArmed = false;
    if (this.#isClosed || this.#work !== null) return;
    const written = this.#frames.writtenTo();
    if (written < this.#mark && performance.now() >= this.#retryAt) {
      this.#work = this.#write().catch(() => {
        // The store thread meets the same and says so. What the file holds is left to the next start.
        this.#start = this.#end = -1;
        this.#retryAt = performance.now() + RETRY_MS;
      });
      await this.#work;
      this.#work = null;
    } else if (this.#start >= 0 && written >= this.#end) {
      this.#work = this.#remove(this.#start).catch(() => undefined);
      this.#start = this.#end = -1;
      await this.#work;
      this.#work = null;
    }
    if (!this.#isClosed && (this.#start >= 0 || this.#frames.writtenTo() < this.#frames.end)) {
      this.arm();
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    await this.#work;
    // What the journal does not have is taken from here at the next start.
    if (this.#start < 0 || this.#frames.writtenTo() < this.#end) return;
    await this.#remove(this.#start).catch(() => undefined);
  }

  async #write(): Promise<void> {
    const { position, bytes } = this.#frames.framesFrom(this.#end);
    const old = this.#start;
    const isNew = old < 0 || position !== this.#end;
    if (isNew) {
      const whole = Buffer.concat([journalHeader(position, this.#identity), bytes]);
      await this.#put(position, whole, 0);
      this.#start = position;
    } else {
      await this.#put(old, bytes, JOURNAL_HEADER + position - old);
    }
    this.#end = position + bytes.length;
    // The journal has what lies before: the newer file stands for itself.
    if (isNew && old >= 0) await this.#remove(old);
  }

  /** Not on this thread: where the disk is slow, even a write that only reaches the page cache may take its time. */
  async #put(start: number, bytes: Buffer, at: number): Promise<void> {
    const path = this.#path(start);
    if (this.#storage === fileSystem) {
      await writeFile(path, bytes, { flag: at === 0 ? "w" : "a", mode: 0o600 });
      return;
    }
    const file = this.#storage.open(path, "create");
    if (at === 0) file.truncate(0);
    file.write(bytes, 0, bytes.length, at);
    file.close();
  }

  async #remove(start: number): Promise<void> {
    const path = this.#path(start);
    if (this.#storage === fileSystem) await unlink(path);
    else this.#storage.remove(path);
  }

  #path(position: number): string {
    return join(this.#folder, `${PREFIX}${offsetName(position)}`);
  }
}

/** The frames that go on where the journal ends, from all such files. */
export function readAhead(
  storage: Storage,
  folder: string,
  from: number,
  read: (name: string) => Buffer,
): { readonly frames: Buffer[]; readonly entries: Buffer[]; readonly names: string[] } {
  const names = storage
    .list(folder)
    .map(({ name }) => name)
    .filter((name) => name.startsWith(PREFIX) && offsetOfName(name.slice(PREFIX.length)) >= 0)
    .sort();
  const frames: Buffer[] = [];
  const entries: Buffer[] = [];
  let position = from;
  for (const name of names) {
    const bytes = read(name);
    const file = parseJournal(bytes);
    // A name that does not fit its contents speaks of another journal.
    if (file === undefined || file.start !== offsetOfName(name.slice(PREFIX.length))) continue;
    for (let i = 0; i < file.frames.length; i++) {
      if (file.frames.position(i) !== position) continue;
      const at = file.header + position - file.start;
      const end = file.frames.end(i);
      frames.push(bytes.subarray(at, at + end - position));
      entries.push(file.frames.entry(i));
      position = end;
    }
  }
  return { frames, entries, names };
}
