/**
 * The owner's journal on the event loop: entries into a small shared ring, replay at the start, snapshots.
 * Formats and what recovery makes of them: journal-format.ts. Writing and syncing: journal-writer.ts.
 */
import { join } from "node:path";
import { JournalAhead, readAhead } from "./journal-ahead.ts";
import {
  FRAME_HEADER,
  isCompleteSnapshot,
  JOURNAL_HEADER,
  type JournalFrames,
  journalHeader,
  MAX_ENTRY_BYTES,
  parseJournal,
  SNAPSHOT_END,
  sealFrame,
} from "./journal-format.ts";
import type { OwnerJournal } from "./message-store.ts";
import type { Quarantine } from "./quarantine.ts";
import { offsetName, offsetOfName } from "./segment-list.ts";
import { POSITION, type SharedControl } from "./shared-control.ts";
import type { Storage } from "./storage-file.ts";
import { claimJournal } from "./store-identity.ts";
import { TailRing } from "./tail-ring.ts";
import type { ToWriter } from "./writer-messages.ts";

const RING_BYTES = 1 << 20;
const OVERHANG = MAX_ENTRY_BYTES + FRAME_HEADER;
const SNAPSHOT_CHUNK = 1 << 20;
/** Most snapshots are small. */
const FIRST_SNAPSHOT_CHUNK = OVERHANG;

/** Frames of a file that count, one after the other. */
interface ReplayRun {
  readonly frames: JournalFrames;
  readonly from: number;
  to: number;
}

export class Journal implements OwnerJournal {
  readonly ring: TailRing;
  readonly #control: SharedControl;
  readonly #post: (message: ToWriter) => void;
  readonly #logEnd: () => number;
  /** End of the journal; `#inRing`: of what the ring holds; the rest waits. */
  #end = 0;
  #inRing = 0;
  #published = 0;
  #waiting: Buffer[] = [];
  #syncTo = 0;
  #snapshotAt = 0;
  #snapshotBytes = 0;
  #file = 0;
  /** What was read at the start, until it is replayed: frames of files, then what was not in any of them. */
  #replay: ReplayRun[] = [];
  #replayLast: readonly Buffer[] = [];
  #isReplayed = false;
  #ahead: JournalAhead | null = null;
  written = 0;
  durable = 0;

  constructor(
    control: SharedControl,
    post: (message: ToWriter) => void,
    /** Where the log ends now: a snapshot speaks of records up to there. */
    logEnd: () => number,
    ringBytes = RING_BYTES,
  ) {
    this.ring = new TailRing(ringBytes, OVERHANG);
    this.#control = control;
    this.#post = post;
    this.#logEnd = logEnd;
  }

  /** Number of the file that the writer begins, and the position at which. */
  get nextFile(): number {
    return this.#file;
  }
  get end(): number {
    return this.#end;
  }

  /** Reads what is there. Returns sentences about what is missing. */
  open(storage: Storage, directory: string, quarantine: Quarantine): string[] {
    const folder = join(directory, "journal");
    storage.makeDirectory(folder);
    const { identity, warnings } = claimJournal(storage, directory, quarantine);
    const names = storage.list(folder).map(({ name }) => name);
    for (const name of names) if (name.endsWith(".new")) storage.remove(join(folder, name));
    const numbers = (suffix: string): number[] =>
      names
        .filter((name) => name.length === 20 + suffix.length && name.endsWith(suffix))
        .map((name) => offsetOfName(name.slice(0, 20)))
        .filter((number) => number >= 0)
        .sort((a, b) => a - b);
    const read = (name: string) => parseJournal(readAll(storage, join(folder, name)));
    const snapshot = numbers(".snapshot").at(-1) ?? -1;
    const files = numbers("").filter((number) => number >= snapshot);
    this.#file = Math.max(snapshot, files.at(-1) ?? 0) + 1;
    let position = 0;
    if (snapshot >= 0) {
      const name = `${offsetName(snapshot)}.snapshot`;
      const found = read(name);
      const isComplete = found !== undefined && isCompleteSnapshot(found);
      if (!isComplete || found.lostBytes > 0) {
        warnings.push(`journal/${name} is damaged: some of what the owner noted in it is lost`);
      }
      if (found !== undefined) {
        const { frames } = found;
        this.#replay.push({ frames, from: 0, to: frames.length - (isComplete ? 1 : 0) });
        this.#snapshotBytes = storage.stat(join(folder, name))?.size ?? 0;
      }
      position = found?.start ?? 0;
    }
    if (snapshot >= 0 && files[0] !== snapshot) {
      // It was there before the snapshot got its name.
      warnings.push(
        `journal/${offsetName(snapshot)} is missing: what the owner noted in it is lost`,
      );
    }
    const next = files[0] === snapshot ? read(offsetName(snapshot)) : undefined;
    if (next !== undefined && next.start !== position) {
      // One of the two headers is damaged. All that is in the file came after the snapshot: leave nothing out.
      warnings.push(`journal/${offsetName(snapshot)} does not begin where its snapshot ends`);
      position = next.start;
    }
    this.#snapshotAt = position;
    position = this.#readFiles(files, position, read, warnings, (number) => {
      const kept = join(directory, "quarantine");
      storage.makeDirectory(kept);
      storage.rename(join(folder, offsetName(number)), join(kept, `journal-${offsetName(number)}`));
      storage.syncDirectory(folder);
    });
    position = this.#takeAhead(storage, folder, position, identity);
    // What was read may be in the page cache only: durable before anybody builds on it.
    for (const number of [...files, this.#file - 1]) {
      const path = join(folder, offsetName(number));
      if (storage.stat(path) !== undefined) syncFile(storage, path);
    }
    storage.syncDirectory(folder);
    this.#removeAhead(storage, folder);
    this.#end = this.#inRing = this.#published = this.written = this.durable = position;
    for (const at of [
      POSITION.JOURNAL_HEAD,
      POSITION.JOURNAL_WRITTEN,
      POSITION.JOURNAL_DURABLE,
      POSITION.JOURNAL_SYNC_TO,
    ]) {
      this.#control.setPosition(at, position);
    }
    this.#ahead = new JournalAhead(storage, directory, this, identity);
    return warnings;
  }

  /** Puts what the store thread had not come to write (journal-ahead.ts) behind what it had. Returns the new end. */
  #takeAhead(storage: Storage, folder: string, end: number, identity: string): number {
    const { frames, entries } = readAhead(storage, folder, end, (name) =>
      readAll(storage, join(folder, name)),
    );
    if (frames.length === 0) return end;
    const bytes = Buffer.concat([journalHeader(end, identity), ...frames]);
    const file = storage.open(join(folder, offsetName(this.#file)), "create");
    file.write(bytes, 0, bytes.length, 0);
    file.close();
    this.#file++;
    this.#replayLast = entries;
    return end + bytes.length - JOURNAL_HEADER;
  }

  /** Once the journal itself has what they held: their positions may soon belong to other entries. */
  #removeAhead(storage: Storage, folder: string): void {
    const { names } = readAhead(storage, folder, Number.POSITIVE_INFINITY, () => Buffer.alloc(0));
    for (const name of names) storage.remove(join(folder, name));
    if (names.length > 0) storage.syncDirectory(folder);
  }

  /** Takes over the frames of the files in order, up to a gap that a power cut has torn. Returns where they end. */
  #readFiles(
    files: number[],
    from: number,
    read: (name: string) => ReturnType<typeof parseJournal>,
    warnings: string[],
    setAside: (number: number) => void,
  ): number {
    const found = files.map((number) => ({ number, file: read(offsetName(number)) }));
    /** A later opener took the journal to end where its own file starts: what lies behind that was torn off then. */
    const limitOf = (index: number): number =>
      Math.min(
        ...found.slice(index + 1).map(({ file }) => file?.start ?? Number.POSITIVE_INFINITY),
      );
    const parts = found.flatMap(({ file }, index) =>
      file === undefined ? [] : [{ frames: file.frames, limit: limitOf(index) }],
    );
    /** What some frame from this one on knew to be durable before itself. */
    const durableFrom = (part: number, index: number): number =>
      Math.max(
        ...parts
          .slice(part)
          .map(({ frames, limit }, i) => frames.durableFrom(i === 0 ? index : 0, limit)),
      );
    let position = from;
    for (const [part, { frames, limit }] of parts.entries()) {
      let run: ReplayRun | null = null;
      for (let i = 0; i < frames.length; i++) {
        const at = frames.position(i);
        if (at >= limit) break;
        // The end of a snapshot in a file that is none: somebody has exchanged names.
        if (at < position || frames.isSnapshotEnd(i)) {
          run = null;
          continue;
        }
        if (at > position) {
          if (durableFrom(part, i) < at) {
            const missing = at - position;
            warnings.push(`journal: ends before a gap of ${missing} bytes that were never synced`);
            for (const { number, file } of found) {
              if (file !== undefined && file.start >= position && number > (files[0] ?? 0)) {
                setAside(number);
              }
            }
            return position;
          }
          warnings.push(`journal: ${at - position} bytes at ${position} are damaged and left out`);
        }
        if (run === null) {
          run = { frames, from: i, to: i };
          this.#replay.push(run);
        }
        run.to = i + 1;
        position = frames.end(i);
      }
    }
    return position;
  }

  replay(entry: (bytes: Buffer) => void): void {
    if (this.#isReplayed) throw new Error("journal: replayed twice, or after an append");
    this.#isReplayed = true;
    const runs = this.#replay;
    const last = this.#replayLast;
    this.#forgetReplay();
    for (const { frames, from, to } of runs) {
      for (let i = from; i < to; i++) entry(frames.entry(i));
    }
    for (const bytes of last) entry(bytes);
  }

  #forgetReplay(): void {
    this.#replay = [];
    this.#replayLast = [];
  }

  append(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length < 1 || length > MAX_ENTRY_BYTES) {
      throw new RangeError(`journal: entry of ${length} bytes, expected 1 to ${MAX_ENTRY_BYTES}`);
    }
    if (!this.#isReplayed) {
      this.#isReplayed = true;
      this.#forgetReplay();
    }
    if (this.#waiting.length > 0 || !this.#fits(length)) {
      this.#waiting.push(Buffer.from(bytes.subarray(start, end)));
    } else {
      this.#put(bytes, start, end);
    }
    this.#end += FRAME_HEADER + length;
    return this.#end;
  }

  requestSync(): void {
    this.#syncTo = this.#end;
  }

  get bytesSinceSnapshot(): number {
    return this.#end - this.#snapshotAt;
  }

  get snapshotBytes(): number {
    return this.#snapshotBytes;
  }

  snapshot(entries: Iterable<Uint8Array>): void {
    this.#isReplayed = true;
    this.#snapshotBytes = 0;
    this.#forgetReplay();
    const chunks: ArrayBuffer[] = [];
    let chunk = Buffer.allocUnsafeSlow(FIRST_SNAPSHOT_CHUNK);
    let used = 0;
    const flush = (): void => {
      // Handed over as it is: a frame without a length is none, and ends it.
      chunk.fill(0, used, Math.min(used + FRAME_HEADER, chunk.length));
      chunks.push(chunk.buffer as ArrayBuffer);
      this.#snapshotBytes += used;
      used = 0;
    };
    const add = (entry: Uint8Array): void => {
      if (entry.length < 1 || entry.length > MAX_ENTRY_BYTES) {
        throw new RangeError(
          `journal: entry of ${entry.length} bytes, expected 1 to ${MAX_ENTRY_BYTES}`,
        );
      }
      if (used + FRAME_HEADER + entry.length > chunk.length) {
        flush();
        chunk = Buffer.allocUnsafeSlow(SNAPSHOT_CHUNK);
      }
      // The store thread seals the frames: checksums of a million nodes take too long for this one.
      chunk.writeUInt32BE(entry.length, used + 4);
      chunk.set(entry, used + FRAME_HEADER);
      used += FRAME_HEADER + entry.length;
    };
    for (const entry of entries) add(entry);
    add(SNAPSHOT_END);
    flush();
    chunk = Buffer.alloc(0);
    this.#file++;
    this.#snapshotAt = this.#end;
    this.#post({
      kind: "snapshot",
      file: this.#file,
      at: this.#end,
      logEnd: this.#logEnd(),
      chunks,
    });
  }

  /** Hands what was appended to the writer. True when there is something. */
  publish(): boolean {
    this.#fill();
    let isWanted = false;
    if (this.#inRing !== this.#published) {
      this.#published = this.#inRing;
      this.#control.setPosition(POSITION.JOURNAL_HEAD, this.#inRing);
      this.#ahead?.arm();
      isWanted = true;
    }
    if (this.#syncTo > this.#control.position(POSITION.JOURNAL_SYNC_TO)) {
      this.#control.setPosition(POSITION.JOURNAL_SYNC_TO, this.#syncTo);
      isWanted = true;
    }
    return isWanted;
  }

  /** Takes over how far the writer is. True when something moved. */
  refresh(): boolean {
    const written = this.#control.position(POSITION.JOURNAL_WRITTEN);
    const durable = this.#control.position(POSITION.JOURNAL_DURABLE);
    if (written <= this.written && durable <= this.durable) return false;
    this.written = Math.max(this.written, written);
    this.durable = Math.max(this.durable, durable);
    return true;
  }

  /** For JournalAhead. */
  writtenTo(): number {
    return this.#control.position(POSITION.JOURNAL_WRITTEN);
  }

  framesFrom(from: number): { readonly position: number; readonly bytes: Buffer } {
    const { ring } = this;
    const durable = this.#control.position(POSITION.JOURNAL_DURABLE);
    const start = Math.max(this.writtenTo(), from);
    const sizeAt = (position: number): number =>
      FRAME_HEADER + ring.view.getUint32(ring.indexOf(position) + 4);
    const bytes = Buffer.allocUnsafe(this.#end - start);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    for (let position = start; position < this.#inRing; position += sizeAt(position)) {
      // Length and entry only: the store thread may be sealing this very frame.
      const index = ring.indexOf(position);
      ring.bytes.copy(bytes, at + 4, index + 4, index + 8);
      ring.bytes.copy(bytes, at + FRAME_HEADER, index + FRAME_HEADER, index + sizeAt(position));
      at += sealFrame(bytes, view, at, start + at, durable);
    }
    // Of those that found no place in the ring, the first may have been taken before.
    let position = this.#inRing;
    for (const entry of this.#waiting) {
      if (position >= start) {
        view.setUint32(at + 4, entry.length);
        entry.copy(bytes, at + FRAME_HEADER);
        at += sealFrame(bytes, view, at, start + at, durable);
      }
      position += FRAME_HEADER + entry.length;
    }
    return { position: start, bytes };
  }

  /** For stores without a clock: what the timer does. */
  async lookAhead(): Promise<void> {
    await this.#ahead?.look();
  }

  async close(): Promise<void> {
    await this.#ahead?.close();
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  #fits(length: number): boolean {
    return this.#inRing + FRAME_HEADER + length - this.written <= this.ring.size;
  }

  #put(bytes: Uint8Array, start: number, end: number): void {
    const at = this.ring.indexOf(this.#inRing);
    const length = end - start;
    this.ring.view.setUint32(at + 4, length);
    const target = this.ring.bytes;
    const to = at + FRAME_HEADER;
    if (length > 32) target.set(bytes.subarray(start, end), to);
    else for (let i = 0; i < length; i++) target[to + i] = bytes[start + i]!;
    this.#inRing += FRAME_HEADER + length;
  }

  #fill(): void {
    let moved = 0;
    for (const entry of this.#waiting) {
      if (!this.#fits(entry.length)) break;
      this.#put(entry, 0, entry.length);
      moved++;
    }
    if (moved > 0) this.#waiting.splice(0, moved);
  }
}

function syncFile(storage: Storage, path: string): void {
  const file = storage.open(path, "write");
  file.sync();
  file.close();
}

function readAll(storage: Storage, path: string): Buffer {
  const file = storage.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  const got = file.readInto(bytes, 0, bytes.length, 0);
  file.close();
  return bytes.subarray(0, got);
}
