/**
 * `sluice store check`: walks a store that nobody has open, reads every file of it, and changes nothing.
 *
 * The log is the truth: its records are checked one by one. Everything else is compared with them. Repairing is
 * repair.ts, reading the messages out is export.ts.
 */
import { join, relative, resolve } from "node:path";
import { checkLog } from "./check-log.ts";
import { checkArena, checkQueues } from "./check-queues.ts";
import {
  type CheckProgress,
  FileCheck,
  type FileKind,
  type StoreReport,
  worstState,
} from "./check-report.ts";
import { checkCheckpoint, checkIndex, checkJournal, indexFiles } from "./check-side-files.ts";
import { ForgivingStorage } from "./forgiving-storage.ts";
import { Quarantine } from "./quarantine.ts";
import { RecordProbe } from "./record-probe.ts";
import { findForeign } from "./segment-heads.ts";
import { identityOf, readIdentities } from "./segment-identities.ts";
import { offsetName, SegmentList } from "./segment-list.ts";
import { fileSystem, type Storage } from "./storage-file.ts";
import { StoreLock, StoreOpenError } from "./store-lock.ts";

export interface CheckOptions {
  /** The store's folder: the one with `commitlog` in it. */
  readonly directory: string;
  /** Default: the file system. */
  readonly storage?: Storage;
  readonly onProgress?: (progress: CheckProgress) => void;
}

/** Throws StoreOpenError, a sentence for a person, when there is no store or a broker has it open. */
export async function checkStore(options: CheckOptions): Promise<StoreReport> {
  return withStore(options, (directory, storage, segments) =>
    check(directory, storage, segments, options),
  );
}

async function check(
  directory: string,
  storage: ForgivingStorage,
  segments: SegmentList,
  options: CheckOptions,
): Promise<StoreReport> {
  const begun = performance.now();
  const onProgress = (path: string, doneBytes = 0, totalBytes = 0): void =>
    options.onProgress?.({ path, doneBytes, totalBytes });
  const index = indexFiles(storage, directory);
  const limits = index.map(({ header }) => header?.endPhysicalOffset ?? -1);
  // A file of no use must not hide the keys of the next.
  for (let i = 1; i < limits.length; i++) limits[i] = Math.max(limits[i]!, limits[i - 1]!);
  const { facts, files } = await checkLog(
    storage,
    segments,
    new Quarantine(storage, directory),
    limits,
    onProgress,
  );
  noteForeign(storage, directory, segments, files);
  const probe = new RecordProbe(segments, facts.end, facts.fans);
  const { files: checkpoints, catalog } = checkCheckpoint(storage, directory);
  const queues = checkQueues(storage, directory, facts, catalog, probe, onProgress);
  onProgress("queues/arena");
  const arena = checkArena(storage, directory, facts, catalog, probe);
  onProgress("index");
  const indexes = checkIndex(storage, directory, index, facts, probe);
  onProgress("journal");
  const journal = checkJournal(storage, directory);
  const quarantine = storage.list(join(directory, "quarantine")).map(({ name }) => {
    const bytes = storage.stat(join(directory, "quarantine", name))?.size ?? 0;
    return new FileCheck(`quarantine/${name}`, "quarantine", bytes);
  });
  const all = [
    ...files,
    ...checkpoints,
    ...queues,
    ...arena,
    ...indexes,
    ...journal,
    ...quarantine,
  ];
  noteRefusals(all, directory, storage);
  return {
    directory,
    state: worstState(all),
    files: all,
    logStart: segments.minOffset,
    logEnd: facts.end,
    records: facts.records,
    queues: facts.queues.size,
    lightQueues: facts.lights.size,
    journalEntries: journal.reduce((sum, file) => sum + file.items, 0),
    quarantined: quarantine.filter((file) => file.path.endsWith(".json")).length,
    durationMs: performance.now() - begun,
  };
}

/** Segments that begin with another record than this log had there. */
function noteForeign(
  storage: Storage,
  directory: string,
  segments: SegmentList,
  files: readonly FileCheck[],
): void {
  const known = readIdentities(storage, directory);
  const { foreign } = findForeign(segments, Number.POSITIVE_INFINITY, known, (path) =>
    identityOf(storage, path),
  );
  for (const start of foreign) {
    files
      .find(({ path }) => path.endsWith(offsetName(start)))
      ?.damaged("begins with another record than this log has there: it is of another store");
  }
}

/** Files that could not be read are not what their checks took them for: the reason comes first. */
function noteRefusals(files: FileCheck[], directory: string, storage: ForgivingStorage): void {
  for (const [path, refusal] of storage.refusals) {
    const name = relative(directory, path);
    const known = files.find((file) => file.path === name);
    const file = known ?? new FileCheck(name, kindOf(name), 0);
    if (known === undefined) files.push(file);
    file.damaged(refusal);
    file.findings.unshift(...file.findings.splice(file.findings.indexOf(refusal), 1));
  }
}

const KINDS: Readonly<Record<string, FileKind>> = {
  commitlog: "commitlog",
  consumequeue: "consumequeue",
  index: "index",
  journal: "journal",
};
const kindOf = (name: string): FileKind => KINDS[name.split("/")[0]!] ?? "catalog";

/** Runs `work` on a store that is there and that nobody else has open. What cannot be read of it reads as zeros. */
export async function withStore<T>(
  options: CheckOptions,
  work: (directory: string, storage: ForgivingStorage, segments: SegmentList) => Promise<T>,
): Promise<T> {
  const directory = resolve(options.directory);
  const storage = new ForgivingStorage(options.storage ?? fileSystem);
  const commitlog = join(directory, "commitlog");
  if (storage.stat(commitlog)?.isDirectory !== true) {
    throw new StoreOpenError(
      `store ${directory}: no folder commitlog in it, expected a data directory of Sluice or RocketMQ`,
    );
  }
  const isOnDisk = (options.storage ?? fileSystem) === fileSystem;
  const lock = isOnDisk ? new StoreLock(directory) : null;
  let isLocked = false;
  try {
    await lock?.acquire();
    isLocked = lock !== null;
  } catch (error) {
    // Where nothing may be written nobody else writes either, as far as this user can know.
    if (!isReadOnlyError(error)) throw error;
  }
  const bytes = SegmentList.lengthOnDisk(storage, commitlog);
  const segments = new SegmentList(storage, commitlog, bytes ?? 2 ** 30);
  segments.minOffset = segments.starts()[0] ?? 0;
  try {
    return await work(directory, storage, segments);
  } finally {
    segments.close();
    if (isLocked) lock?.release();
  }
}

const isReadOnlyError = (error: unknown): boolean =>
  ["EROFS", "EACCES", "EPERM"].includes(String((error as { code?: unknown }).code));
