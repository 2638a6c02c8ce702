/** Checks the files beside log and queues: Index, journal, checkpoint and catalog. */
import { join } from "node:path";
import { isCatalog, readCatalog } from "./catalog.ts";
import { keyCount, type LogFacts } from "./check-log.ts";
import { CatalogView } from "./check-queues.ts";
import { FileCheck } from "./check-report.ts";
import { CheckpointFile } from "./checkpoint.ts";
import { catalogPath } from "./checkpointer.ts";
import { applyMarkOf } from "./index-file.ts";
import {
  DEFAULT_SHAPE,
  entryPosition,
  INDEX_ENTRY_SIZE,
  INDEX_HEADER_SIZE,
  type IndexHeader,
  indexFileSize,
  indexKeyHash,
  isIndexFileName,
  readIndexHeader,
  readInt64,
} from "./index-format.ts";
import { isCompleteSnapshot, type JournalFile, parseJournal } from "./journal-format.ts";
import type { RecordProbe } from "./record-probe.ts";
import { offsetOfName } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";
import { foreignJournals, readIdentity } from "./store-identity.ts";

const CHUNK_ENTRIES = 50_000;

// --- Index ----------------------------------------------------------------------------------------------------------

export interface IndexToCheck {
  readonly name: string;
  readonly header: IndexHeader | null;
}

/** The Index files, oldest first, with what their headers say. */
export function indexFiles(storage: Storage, directory: string): IndexToCheck[] {
  // After a kill the newest counts up to its last checkpoint, as it does for the next start.
  const wasClean = storage.stat(join(directory, "abort")) === undefined;
  return storage
    .list(join(directory, "index"))
    .filter((entry) => !entry.isDirectory && isIndexFileName(entry.name))
    .map(({ name }) => name)
    .sort()
    .map((name, i, names) => ({
      name,
      header: headerOf(
        storage,
        join(directory, "index", name),
        !wasClean && i === names.length - 1,
      ),
    }));
}

function headerOf(storage: Storage, path: string, mayBeTorn: boolean): IndexHeader | null {
  const file = storage.open(path, "read");
  try {
    if (file.size() !== indexFileSize(DEFAULT_SHAPE)) return null;
    const bytes = Buffer.alloc(INDEX_HEADER_SIZE);
    file.readInto(bytes, 0, bytes.length, 0);
    const header = readIndexHeader(bytes);
    if (mayBeTorn) applyMarkOf(file, DEFAULT_SHAPE, header);
    if (header.nextEntry > DEFAULT_SHAPE.entries) return null;
    // Nothing counts yet, whatever range its first entries had.
    return header.nextEntry === 1 ? { ...header, endPhysicalOffset: -1 } : header;
  } finally {
    file.close();
  }
}

/** `facts.keyCounts` was gathered with the ends of these files as limits. */
export function checkIndex(
  storage: Storage,
  directory: string,
  files: readonly IndexToCheck[],
  facts: LogFacts,
  probe: RecordProbe,
): FileCheck[] {
  const reports = files.map(({ name, header }, i) => {
    const path = join(directory, "index", name);
    const report = new FileCheck(`index/${name}`, "index", storage.stat(path)?.size ?? 0);
    if (header === null) {
      report.damaged("has another length than an Index file, or a header that cannot be");
      return report;
    }
    const found = checkIndexEntries(storage, path, header, report, probe);
    // RocketMQ 5.5 also indexes tags: more than our keys is no fault.
    const wanted = facts.keyCounts[i]!;
    if (found < wanted) report.damaged(`${wanted - found} keys of the log are not in it`);
    return report;
  });
  const later = facts.keyCounts.at(-1)!;
  if (later > 0) {
    const last = reports.at(-1) ?? new FileCheck("index", "index", 0);
    if (reports.length === 0) reports.push(last);
    last.unfinished(`${later} keys of newer records are not in it yet`);
  }
  return reports;
}

/** Returns how many entries name a record of the log that has such a key. */
function checkIndexEntries(
  storage: Storage,
  path: string,
  header: IndexHeader,
  report: FileCheck,
  probe: RecordProbe,
): number {
  const file = storage.open(path, "read");
  const chunk = Buffer.alloc(CHUNK_ENTRIES * INDEX_ENTRY_SIZE);
  let found = 0;
  let previous = 0;
  for (let first = 1; first < header.nextEntry; first += CHUNK_ENTRIES) {
    const count = Math.min(CHUNK_ENTRIES, header.nextEntry - first);
    const bytes = count * INDEX_ENTRY_SIZE;
    const got = file.readInto(chunk, 0, bytes, entryPosition(DEFAULT_SHAPE, first));
    chunk.fill(0, got, bytes);
    for (let i = 0; i < count; i++) {
      const at = i * INDEX_ENTRY_SIZE;
      const physicalOffset = readInt64(chunk, at + 4);
      const link = chunk.readInt32BE(at + 16);
      if (physicalOffset < previous || link >= first + i || link < 0) {
        report.damaged(`entry ${first + i} is out of order`);
        continue;
      }
      previous = physicalOffset;
      report.items++;
      if (probe.isExpired(physicalOffset)) continue;
      const fault = probe.look(physicalOffset, 0) ?? keyFault(probe, chunk.readInt32BE(at));
      if (fault === null) found++;
      else report.damaged(`entry ${first + i} ${fault}`);
    }
  }
  file.close();
  return found;
}

function keyFault({ view, dispatch }: RecordProbe, hash: number): string | null {
  const { topic } = view;
  const keys = [dispatch.uniqueKey, ...dispatch.keys.split(" ")];
  const tag = view.property("TAGS");
  if (tag !== undefined) keys.push(`T#${tag}`); // RocketMQ 5.5
  if (keyCount(dispatch) === 0 && tag === undefined) return "points to a record without keys";
  return keys.some((key) => key !== "" && indexKeyHash(topic, key) === hash)
    ? null
    : "points to a record with other keys";
}

// --- Journal --------------------------------------------------------------------------------------------------------

export function checkJournal(storage: Storage, directory: string): FileCheck[] {
  const folder = join(directory, "journal");
  const reports: FileCheck[] = [];
  const newest = storage
    .list(folder)
    .map(({ name }) => (name.endsWith(".snapshot") ? offsetOfName(name.slice(0, 20)) : -1))
    .reduce((a, b) => Math.max(a, b), -1);
  let end: number | null = null;
  const { foreign } = foreignJournals(storage, directory, readIdentity(storage, directory));
  const names = storage.list(folder).map(({ name }) => name);
  // A snapshot comes before the file that goes on from it.
  const order = (name: string): string => `${name.slice(0, 20)}${name.length > 20 ? 0 : 1}`;
  for (const name of names.sort((a, b) => (order(a) < order(b) ? -1 : 1))) {
    const path = join(folder, name);
    const report = new FileCheck(`journal/${name}`, "journal", storage.stat(path)?.size ?? 0);
    reports.push(report);
    const isSnapshot = name.endsWith(".snapshot");
    const number = offsetOfName(name.slice(0, 20));
    if (number < 0 || (name.length !== 20 && !isSnapshot)) {
      if (name.endsWith(".new"))
        report.unfinished("a snapshot that was not finished; it is removed");
      else if (name.startsWith("ahead-"))
        report.unfinished("entries that the journal may miss; the next start takes them over");
      else report.state = "unknown";
      continue;
    }
    if (number < newest) {
      report.unfinished("a newer snapshot stands for it; it is removed");
      continue;
    }
    if (foreign.includes(name)) {
      report.damaged("is of another store: the next start sets it aside");
      continue;
    }
    const found = parseJournal(readAll(storage, path));
    if (found === undefined) {
      if (report.bytes === 0) report.unfinished("empty");
      else report.damaged("does not begin as a journal file");
      continue;
    }
    report.items = found.frames.length;
    if (isSnapshot) {
      const isComplete = isCompleteSnapshot(found);
      if (!isComplete || found.lostBytes > 0) report.damaged("some of its entries are missing");
      else report.items--;
      end = found.start;
    } else {
      end = checkJournalFile(report, found, end, number === newest);
    }
  }
  return reports;
}

/** Returns the position at which the next file should begin. */
function checkJournalFile(
  report: FileCheck,
  file: JournalFile,
  from: number | null,
  isAfterSnapshot: boolean,
): number {
  const { frames } = file;
  let position = from ?? file.start;
  if (isAfterSnapshot && from !== null && from !== file.start) {
    report.damaged(`begins at position ${file.start}, its snapshot ends at ${from}`);
    position = file.start;
  }
  // What was durable when some later frame was written is lost by damage, not by a power cut.
  for (let i = 0; i < frames.length; i++) {
    const at = frames.position(i);
    if (at > position) {
      const lost = `${at - position} bytes at position ${position} are no entries`;
      if (frames.durableFrom(i) >= at) report.damaged(lost);
      else report.unfinished(`${lost}; the journal ends there`);
    }
    position = Math.max(position, frames.end(i));
  }
  const tail = file.start + report.bytes - file.header - position;
  if (tail > 0) report.unfinished(`${tail} bytes at its end are no entries`);
  return position;
}

// --- Checkpoint and catalog -----------------------------------------------------------------------------------------

export function checkCheckpoint(
  storage: Storage,
  directory: string,
): { files: FileCheck[]; catalog: CatalogView } {
  const catalog = new CatalogView();
  const path = join(directory, "queues", "checkpoint");
  const size = storage.stat(path)?.size;
  if (size === undefined) return { files: [], catalog };
  const report = new FileCheck("queues/checkpoint", "checkpoint", size);
  const checkpoint = new CheckpointFile(storage, path).read();
  if (checkpoint === null) {
    report.unfinished("holds no checkpoint that counts: the next start reads the whole log");
    return { files: [report], catalog };
  }
  report.items = 1;
  if (checkpoint.catalogBytes === 0) return { files: [report], catalog };
  const name = catalogPath(directory, checkpoint.catalogFile);
  const bytes = storage.stat(name) === undefined ? Buffer.alloc(0) : readAll(storage, name);
  const file = new FileCheck(`queues/catalog-${checkpoint.catalogFile}`, "catalog", bytes.length);
  const part = bytes.subarray(0, checkpoint.catalogBytes);
  if (part.length < checkpoint.catalogBytes || !isCatalog(part)) {
    file.damaged(`missing, short or with a wrong checksum: queues are rebuilt from the whole log`);
  } else {
    readCatalog(part, catalog);
    file.items = [...catalog.queues()].length;
  }
  return { files: [report, file], catalog };
}

function readAll(storage: Storage, path: string): Buffer {
  const file = storage.open(path, "read");
  try {
    const bytes = Buffer.alloc(file.size());
    return bytes.subarray(0, file.readInto(bytes, 0, bytes.length, 0));
  } finally {
    file.close();
  }
}
