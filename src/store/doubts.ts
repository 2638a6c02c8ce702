/**
 * What a running store finds of its files that cannot be, and what becomes of it.
 *
 *   a queue's entry is missing, or names no record    the log decides. The next start makes all queues again from it: a file
 *                                                     `queues/rebuild` with the reason asks for that
 *   a record with a wrong checksum                    it is lost. When nothing else in its segment is owed any more, the segment
 *                                                     goes to quarantine/ instead of being removed
 *
 * Until the next start has looked, a message that may be lost is only passed over: nobody settles it.
 */
import { join } from "node:path";
import type { Quarantine } from "./quarantine.ts";
import type { SegmentList } from "./segment-list.ts";
import { isSystemError, type Storage } from "./storage-file.ts";

const rebuildPath = (directory: string): string => join(directory, "queues", "rebuild");

/** Why an earlier run wants all queues to be made again, or null. */
export function wantedRebuild(storage: Storage, directory: string): string | null {
  const path = rebuildPath(directory);
  const size = storage.stat(path)?.size;
  if (size === undefined) return null;
  const file = storage.open(path, "read");
  const text = Buffer.alloc(Math.min(size, 1000));
  const got = file.readInto(text, 0, text.length, 0);
  file.close();
  return text.toString("utf8", 0, got).trim();
}

const ADVICE = "its messages are kept; the next start makes all queues again from the log";

export class Doubts {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #segments: SegmentList;
  readonly #quarantine: Quarantine;
  readonly #tell: (reason: string) => void;
  #isNoted = false;

  constructor(
    storage: Storage,
    directory: string,
    files: { readonly segments: SegmentList; readonly quarantine: Quarantine },
    tell: (reason: string) => void,
  ) {
    this.#storage = storage;
    this.#directory = directory;
    this.#segments = files.segments;
    this.#quarantine = files.quarantine;
    this.#tell = tell;
  }

  /** The entry of a message that is owed is not in its queue's file. */
  entryIsMissing(): void {
    this.#ask("an entry is missing from the file of its queue");
  }

  /** An entry names this place, and there is no such record. False: it is known to be damaged. */
  noRecordAt(physicalOffset: number): boolean {
    if (this.#quarantine.has(physicalOffset)) return false;
    const start = this.#segments.startOf(physicalOffset);
    if (start >= 0 && this.#segments.file(start) === undefined) {
      this.#tell(
        `${this.#segments.path(start)} is missing: put it back, or give up what it held with "sluice store repair"`,
      );
    } else {
      this.#ask(`no record where a queue says, at ${physicalOffset} of the log`);
    }
    return true;
  }

  /** The record is there, and its checksum is wrong. */
  recordIsDamaged(physicalOffset: number, size: number): void {
    this.#attempt(() =>
      this.#quarantine.noteHarm(this.#segments.startOf(physicalOffset), physicalOffset, size),
    );
  }

  #ask(reason: string): void {
    this.#tell(`${reason}: ${ADVICE}`);
    if (this.#isNoted) return;
    this.#isNoted = true;
    this.#attempt(() => {
      const text = Buffer.from(`${reason}\n`);
      const file = this.#storage.open(rebuildPath(this.#directory), "create");
      file.truncate(0);
      file.write(text, 0, text.length, 0);
      file.sync();
      file.close();
    });
  }

  /** A note that cannot be written must not end the process. */
  #attempt(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#tell(`cannot be noted: ${error.message}`);
    }
  }
}
