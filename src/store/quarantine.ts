/**
 * Damaged ranges of the log: copied aside with a report each, and remembered, so that readers get "damaged" and not
 * "not yet". `quarantine/<first offset>-<end offset>.json` is the report, `.bytes` beside it what lay there. A segment with a
 * record that was found damaged while it was in use has a report of its own, `segment-<offset>.json`, and follows it.
 */
import { dirname, join } from "node:path";
import { offsetName, type SegmentList } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";

const MAX_COPY = 64 << 20;
const CHUNK = 1 << 20;

interface Range {
  readonly from: number;
  to: number;
}

const nameOf = (from: number, to: number): string => `${offsetName(from)}-${offsetName(to)}`;

export class Quarantine {
  readonly #storage: Storage;
  readonly #folder: string;
  /** Ascending, apart from each other: what several reports speak of is one range. */
  #ranges: Range[] = [];
  /** By name. */
  readonly #reports = new Set<string>();
  /** Segments in which a record was found damaged while they were in use. */
  readonly #harmed = new Set<number>();

  constructor(storage: Storage, directory: string) {
    this.#storage = storage;
    this.#folder = join(directory, "quarantine");
    for (const { name } of storage.list(this.#folder)) {
      const match = /^(\d{20})-(\d{20})\.json$/.exec(name);
      if (match !== null) this.#note(Number(match[1]), Number(match[2]));
      const segment = /^segment-(\d{20})\.json$/.exec(name);
      if (segment !== null) this.#harmed.add(Number(segment[1]));
    }
    this.#merge();
  }

  has(offset: number): boolean {
    const ranges = this.#ranges;
    if (ranges.length === 0) return false;
    let low = 0;
    let high = ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (ranges[middle]!.to <= offset) low = middle + 1;
      else high = middle;
    }
    return low < ranges.length && offset >= ranges[low]!.from;
  }

  /** Reports. */
  get count(): number {
    return this.#reports.size;
  }

  /** Copies `[from, to)` aside and remembers it. Nothing happens when it is known. */
  add(segments: SegmentList, from: number, to: number, reason: string): void {
    const name = nameOf(from, to);
    if (this.#reports.has(name)) return;
    this.#storage.makeDirectory(this.#folder);
    this.#copy(segments, from, to, join(this.#folder, `${name}.bytes`));
    const report = {
      from,
      to,
      bytes: to - from,
      reason,
      foundAt: new Date().toISOString(),
      note: "These bytes of the CommitLog are no valid records. Records before and after them are intact.",
    };
    this.#report(name, report);
    this.#note(from, to);
    this.#merge();
  }

  #note(from: number, to: number): void {
    this.#reports.add(nameOf(from, to));
    this.#ranges.push({ from, to });
  }

  /** A batch that is left out may have damage inside of it: ranges overlap. */
  #merge(): void {
    const merged: Range[] = [];
    for (const range of this.#ranges.sort((a, b) => a.from - b.from)) {
      const last = merged.at(-1);
      if (last !== undefined && range.from <= last.to) last.to = Math.max(last.to, range.to);
      else merged.push(range);
    }
    this.#ranges = merged;
  }

  /** A record of this segment is damaged: the segment will not be removed, but set aside. The first one makes the report. */
  noteHarm(segment: number, offset: number, size: number): void {
    if (this.#harmed.has(segment)) return;
    this.#harmed.add(segment);
    const name = `segment-${offsetName(segment)}`;
    this.#report(name, {
      segment,
      from: offset,
      to: offset + size,
      reason: "checksum",
      foundAt: new Date().toISOString(),
      note:
        "A record of this segment of the CommitLog fails its checksum, and maybe more do. When nobody is owed anything " +
        `in it any more, the whole file is moved here, as ${name}, and may be removed by hand.`,
    });
  }

  /** Where a segment goes that is not needed any more; null when it may be removed. */
  placeFor(segment: number): string | null {
    if (!this.#harmed.delete(segment)) return null;
    return join(this.#folder, `segment-${offsetName(segment)}`);
  }

  /** A whole segment that is not this log's. Returns where it is from now on. */
  setAside(segments: SegmentList, segment: number): string {
    const name = `foreign-${offsetName(segment)}`;
    this.#report(name, {
      segment,
      reason: "another store",
      foundAt: new Date().toISOString(),
      note:
        `The file of this name in commitlog/ began with another record than the one that this log had there ("segments" ` +
        "knows it): it was exchanged for that of another store. The whole file is here; put the right one back into commitlog/.",
    });
    const place = join(this.#folder, name);
    segments.forget(segment);
    this.#storage.rename(segments.path(segment), place);
    this.#storage.syncDirectory(this.#folder);
    this.#storage.syncDirectory(segments.directory);
    return place;
  }

  /** A file of another store's journal. Returns where it is from now on. */
  setJournalAside(path: string, file: string): string {
    const name = `foreign-journal-${file}`;
    this.#report(name, {
      file: `journal/${file}`,
      reason: "another store",
      foundAt: new Date().toISOString(),
      note:
        'The file of this name in journal/ names another store than "identity" does: it was copied from another data ' +
        "directory. The whole file is here; nothing of it was applied.",
    });
    const place = join(this.#folder, name);
    this.#storage.rename(path, place);
    this.#storage.syncDirectory(this.#folder);
    this.#storage.syncDirectory(dirname(path));
    return place;
  }

  /** A checkpoint of which one slot is damaged and the other one out of date. Returns where a copy of it is. */
  setCheckpointAside(path: string, logStart: number): string {
    const name = `checkpoint-${offsetName(logStart)}`;
    this.#report(name, {
      logStart,
      reason: "damaged slot",
      foundAt: new Date().toISOString(),
      note:
        "The newer of the two slots of queues/checkpoint fails its checksum, and segments that the older one counts with are " +
        "gone. All queues were made again from the log, which begins at logStart. Nothing that was in the log is lost.",
    });
    this.copyFile(path, name, this.#storage.stat(path)!.size);
    return join(this.#folder, name);
  }

  /** Keeps a copy of the first bytes of a file. */
  copyFile(path: string, name: string, bytes: number): void {
    this.#storage.makeDirectory(this.#folder);
    const source = this.#storage.open(path, "read");
    const target = this.#storage.open(join(this.#folder, name), "create");
    target.truncate(0);
    const chunk = Buffer.alloc(Math.min(CHUNK, bytes));
    for (let at = 0; at < Math.min(bytes, MAX_COPY); at += CHUNK) {
      const got = source.readInto(chunk, 0, Math.min(CHUNK, bytes - at), at);
      if (got > 0) target.write(chunk, 0, got, at);
    }
    source.close();
    target.sync();
    target.close();
    this.#storage.syncDirectory(this.#folder);
  }

  #report(name: string, report: object): void {
    this.#storage.makeDirectory(this.#folder);
    const text = Buffer.from(`${JSON.stringify(report, null, 2)}\n`);
    const file = this.#storage.open(join(this.#folder, `${name}.json`), "create");
    file.truncate(0);
    file.write(text, 0, text.length, 0);
    file.sync();
    file.close();
    this.#storage.syncDirectory(this.#folder);
  }

  #copy(segments: SegmentList, from: number, to: number, path: string): void {
    const target = this.#storage.open(path, "create");
    target.truncate(0);
    const end = Math.min(to, from + MAX_COPY);
    const chunk = Buffer.alloc(Math.min(CHUNK, end - from));
    for (let at = from; at < end; ) {
      const start = segments.startOf(at);
      const length = Math.min(chunk.length, end - at, start + segments.segmentBytes - at);
      const got = segments.file(start)?.readInto(chunk, 0, length, at - start) ?? 0;
      if (got > 0) target.write(chunk, 0, got, at - from);
      at += length;
    }
    target.sync();
    target.close();
  }
}
