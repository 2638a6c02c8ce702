/**
 * Opening a store: finds the last checkpoint that holds, reads the log from there to its end, builds what the queues
 * miss, and leaves files in which every byte before the end is durable and every byte behind it is zero.
 *
 *   checkpoint and catalog good   read the log from the checkpoint
 *   otherwise                     remove all derived files and read the whole log
 *   invalid, valid records after  damage: quarantine that range, keep what follows
 *   invalid, nothing valid after  the end: cut there (a torn record, or a batch without its end)
 */
import { join } from "node:path";
import { RecordView } from "../model/record-view.ts";
import { isCatalog, readCatalog } from "./catalog.ts";
import { CatalogLoader } from "./catalog-loader.ts";
import { type Checkpoint, CheckpointFile } from "./checkpoint.ts";
import { catalogPath } from "./checkpointer.ts";
import type { CommandRing } from "./command-ring.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { wantedRebuild } from "./doubts.ts";
import type { IndexShape } from "./index-format.ts";
import { IndexStore } from "./index-store.ts";
import { LogScanner } from "./log-scanner.ts";
import { PageWriter } from "./page-writer.ts";
import type { Quarantine } from "./quarantine.ts";
import { doubtfulQueue } from "./queue-proof.ts";
import type { QueueTable } from "./queue-table.ts";
import { Redo } from "./redo.ts";
import { checkHeads, foreignSegments } from "./segment-heads.ts";
import { forgetIdentitiesFrom, identityOf, readIdentities } from "./segment-identities.ts";
import type { SegmentList } from "./segment-list.ts";
import type { Storage, StorageFile } from "./storage-file.ts";
import { StoreOpenError } from "./store-lock.ts";
import type { ToWriter } from "./writer-messages.ts";

const COMMANDS_AT_ONCE = 256;

export interface RecoveryContext {
  readonly storage: Storage;
  readonly directory: string;
  readonly segments: SegmentList;
  readonly table: QueueTable;
  readonly commands: CommandRing;
  readonly quarantine: Quarantine;
  /** Somebody had the store open and did not close it: there may be stale bytes behind the end. */
  readonly wasAborted: boolean;
  readonly indexShape?: IndexShape;
  /** Slabs and folders that the table announces while recovery writes its pages. */
  readonly announced: ToWriter[];
}

export interface Recovered {
  readonly end: number;
  /** The checkpoint that was used, null after a full rebuild. */
  readonly checkpoint: Checkpoint | null;
  readonly lastStoreTimestamp: number;
  readonly scannedBytes: number;
  readonly truncatedBytes: number;
  readonly quarantined: number;
  readonly wasClean: boolean;
  /** Queues that may differ from what was known at the last checkpoint. */
  readonly changed: readonly ConsumeQueue[];
  readonly unsynced: { files: string[]; folders: string[] };
  readonly warnings: string[];
}

export async function recover(context: RecoveryContext): Promise<Recovered> {
  const { storage, directory, segments, table, quarantine } = context;
  const warnings: string[] = [];
  removeEmptySegments(storage, segments);
  const isFresh = isNewStore(context);
  const found = findCheckpoint(context, warnings);
  if (found !== null && found.logStart >= 0 && found.logStart < segments.minOffset) {
    // What lay there stays owed: it may be put back.
    segments.minOffset = found.logStart;
  }
  if (found !== null && !isLogThere(segments, found.offset)) {
    throw new StoreOpenError(
      `${segments.path(segments.startOf(found.offset - 1))} is missing: the log went on to ${found.offset} when it was ` +
        `stopped. Put it back with what follows it, or go on without by "sluice store repair"`,
    );
  }
  const knownEnd = found?.offset ?? segments.starts().at(-1) ?? 0;
  setForeignAside(context, knownEnd, warnings);
  const heads = checkHeads(segments, knownEnd);
  for (const { from, to } of heads.missing) {
    warnings.push(
      `commitlog: everything from ${from} to ${to} is missing: put these segments back, or give up what they held with "sluice store repair"`,
    );
  }
  const checkpoint = loadQueues(context, found, warnings);
  const { minOffset } = segments;
  const from = Math.max(checkpoint?.offset ?? 0, segments.minOffset);
  const isClosed =
    !context.wasAborted && checkpoint?.closedAt === from && isEndOfLog(segments, from);
  const shape = context.indexShape === undefined ? {} : { shape: context.indexShape };
  const index = new IndexStore({ storage, directory: join(directory, "index"), ...shape });
  const indexedTo = index.open(isClosed, Number.MAX_SAFE_INTEGER);
  const indexFrom = startForIndex(segments, from, checkpoint, indexedTo);

  const pages = new PageWriter(storage, directory, context.commands);
  const scanner = new LogScanner(segments);
  const view = new RecordView();
  let quarantined = 0;
  let known = 0;
  const writePages = (): void => {
    table.flushReplaced();
    for (; known < context.announced.length; known++) announce(pages, context.announced[known]!);
    context.commands.flush();
    while (pages.run(COMMANDS_AT_ONCE, context.commands.head)) context.commands.flush();
  };
  const redo = new Redo(table, minOffset, checkpoint === null, writePages, (offset) =>
    quarantine.has(offset),
  );
  redo.lastStoreTimestamp = checkpoint?.storeTimestamp ?? 0;
  let scannedEnd = from;
  const scanFrom = Math.min(indexFrom, from, heads.damagedFrom);
  if (!isClosed || scanFrom < from) {
    scannedEnd = await scanner.scan(scanFrom, {
      onRecord: (buffer, at, offset, size) => {
        if (offset > indexedTo) putKeys(index, view.open(buffer, at), offset);
        // Before the checkpoint the queues are known, and may have changed their names since.
        if (offset < from) return;
        redo.onRecord(buffer, at, offset, size);
        if (context.commands.issued - context.commands.done >= COMMANDS_AT_ONCE) writePages();
      },
      onDamage: (start, stop, reason) => {
        quarantined++;
        quarantine.add(segments, start, stop, reason);
        warnings.push(
          `commitlog: ${stop - start} bytes at ${start} are damaged (${reason}), kept in quarantine/`,
        );
        redo.onDamage(start);
      },
    });
  }
  const end = redo.finish(scannedEnd);
  writePages();
  pages.close();
  index.close();
  for (const range of redo.incomplete) {
    quarantined++;
    quarantine.add(segments, range.from, range.to, "atomic batch that is not whole");
    warnings.push(`commitlog: an atomic batch at ${range.from} is incomplete and left out`);
  }
  const changed = table.changed;
  table.names.letGo();
  const wasClean = isClosed && end === from;
  if (!wasClean) forgetIdentitiesFrom(storage, directory, end);
  let truncatedBytes = 0;
  if (!wasClean) {
    truncatedBytes = cut(context, end);
    // What the page cache holds of the log may be all there is of it: durable from here on.
    for (const start of segments.starts()) {
      if (start + segments.segmentBytes <= from) continue;
      const segment = storage.open(segments.path(start), "write");
      segment.sync();
      segment.close();
    }
    storage.syncDirectory(segments.directory);
  }
  return {
    end,
    checkpoint,
    lastStoreTimestamp: redo.lastStoreTimestamp,
    scannedBytes: scanner.scannedBytes,
    truncatedBytes,
    quarantined,
    wasClean: wasClean || isFresh,
    changed: wasClean || isFresh ? [] : changed,
    unsynced: pages.takeUnsynced(),
    warnings,
  };
}

/**
 * The newest checkpoint. Where one slot is damaged and the log begins behind what the other one says, the damaged one was the
 * newer: by its word the segments before were removed. What it said goes with it, but the log tells all that is in the log.
 */
function findCheckpoint(
  { storage, directory, segments, quarantine }: RecoveryContext,
  warnings: string[],
): Checkpoint | null {
  const path = join(directory, "queues", "checkpoint");
  const file = new CheckpointFile(storage, path);
  const found = file.read();
  const first = segments.starts()[0];
  if (found === null || first === undefined || !file.hasDamagedSlot) return found;
  const isWhole = first <= Math.max(0, found.logStart) && first <= found.offset;
  // No checkpoint, however new, explains an end that is missing.
  if (isWhole || segments.starts().at(-1)! + segments.segmentBytes < found.offset) return found;
  const place = quarantine.setCheckpointAside(path, first);
  warnings.push(
    `queues/checkpoint: the newer of its two slots is damaged (kept as ${place}), and the log begins at ${first}, behind what ` +
      "the older one says: all queues are made again from the log as it is. If you have segments from before, stop the " +
      "broker and put them back",
  );
  return null;
}

/** What lies in another store's file under the right name is not served: the place counts as missing. */
function setForeignAside(
  { storage, directory, segments, quarantine }: RecoveryContext,
  end: number,
  warnings: string[],
): void {
  const known = readIdentities(storage, directory);
  if (known.size === 0) return;
  const foreign = foreignSegments(segments, end, known, (path) => identityOf(storage, path));
  for (const start of foreign) {
    const place = quarantine.setAside(segments, start);
    warnings.push(
      `${segments.path(start)} held the log of another store: it is ${place} now. Put the right file back`,
    );
  }
}

/** Nobody has stored anything here before. */
function isNewStore({ storage, directory, segments, wasAborted }: RecoveryContext): boolean {
  const parts = ["queues", "consumequeue", "index", "journal"];
  return (
    !wasAborted &&
    segments.starts().length === 0 &&
    parts.every((name) => storage.list(join(directory, name)).length === 0)
  );
}

/** Where to begin so that no key is missing in the Index: at the last record that it has for sure, if it should have more. */
function startForIndex(
  segments: SegmentList,
  from: number,
  checkpoint: Checkpoint | null,
  indexedTo: number,
): number {
  if (checkpoint === null || checkpoint.indexEnd <= indexedTo) return from;
  return Math.max(indexedTo, segments.minOffset);
}

function putKeys(index: IndexStore, view: RecordView, offset: number): void {
  index.putRecord(
    view.buffer,
    view.topicStart,
    view.topicEnd,
    view.propertiesStart,
    view.propertiesEnd,
    offset,
    view.storeTimestamp,
  );
}

/** Reads the catalog of the checkpoint. Null when there is none to trust: then nothing derived is left on the disk. */
function loadQueues(
  context: RecoveryContext,
  checkpoint: Checkpoint | null,
  warnings: string[],
): Checkpoint | null {
  const { storage, directory, segments, table } = context;
  if (checkpoint !== null) {
    const bytes = readCatalogFile(storage, directory, checkpoint);
    if (bytes !== null && isCatalog(bytes)) {
      const catalog = new CatalogLoader(bytes);
      readCatalog(bytes, catalog);
      table.restore(catalog);
      const missing =
        wantedRebuild(storage, directory) ??
        missingFiles(context) ??
        doubtfulQueue(table, segments, checkpoint.offset);
      if (missing === null) return checkpoint;
      warnings.push(`queues: ${missing}: rebuilding from the log`);
      table.clear();
    } else {
      warnings.push("queues: the catalog is missing or damaged: rebuilding from the log");
    }
  }
  segments.minOffset = segments.starts()[0] ?? 0;
  // The checkpoint first, and for good: it must not vouch for files of which a crash leaves only some.
  const queues = join(directory, "queues");
  if (storage.stat(queues) !== undefined) {
    storage.remove(join(queues, "checkpoint"));
    storage.syncDirectory(queues);
  }
  storage.removeTree(join(directory, "consumequeue"));
  storage.removeTree(queues);
  storage.makeDirectory(join(directory, "queues"));
  return null;
}

function readCatalogFile(
  storage: Storage,
  directory: string,
  checkpoint: Checkpoint,
): Buffer | null {
  const path = catalogPath(directory, checkpoint.catalogFile);
  if (checkpoint.catalogBytes === 0) return Buffer.alloc(0);
  if (storage.stat(path) === undefined) return null;
  const file = storage.open(path, "read");
  const bytes = Buffer.alloc(checkpoint.catalogBytes);
  const got = file.readInto(bytes, 0, bytes.length, 0);
  file.close();
  return got === bytes.length ? bytes : null;
}

/** Somebody has removed derived files: says which. */
function missingFiles({ storage, directory, table }: RecoveryContext): string | null {
  const topics = new Set(storage.list(join(directory, "consumequeue")).map(({ name }) => name));
  for (const topic of table.names.topicsWithFiles()) {
    if (!topics.has(topic)) return `consumequeue/${topic} is missing`;
  }
  const size = storage.stat(join(directory, "queues", "arena"))?.size ?? 0;
  return size < table.arena.minFileBytes ? "queues/arena is missing or too short" : null;
}

/** The checkpoint was written after the log; a log that is shorter was exchanged or cut by hand. */
function isLogThere(segments: SegmentList, offset: number): boolean {
  if (offset === 0 || offset === segments.minOffset) return true;
  // The record before lies in the segment of its last byte.
  return segments.file(segments.startOf(offset - 1)) !== undefined;
}

function isEndOfLog(segments: SegmentList, offset: number): boolean {
  const start = segments.startOf(offset);
  const head = Buffer.alloc(8);
  segments.file(start)?.readInto(head, 0, 8, offset - start);
  return head.every((byte) => byte === 0);
}

/** Makes everything behind the end of the log zero. Returns how many bytes of it were not. */
function cut({ storage, segments, quarantine }: RecoveryContext, end: number): number {
  let dropped = 0;
  for (const start of segments.starts()) {
    if (start + segments.segmentBytes <= end) continue;
    const path = segments.path(start);
    const keep = Math.max(0, end - start);
    const last = lastNonZero(storage, path, keep, segments.usedEnd(start, keep));
    if (last >= keep) {
      dropped += last + 1 - keep;
      // A whole segment of which nothing is valid, behind the one in which the log ends: not ours to destroy.
      if (start > end) quarantine.copyFile(path, `segment-${start}`, last + 1);
    }
    const file = storage.open(path, "write");
    // Stale bytes behind the end could look like records after a later crash.
    writeZeros(file, keep, last + 1);
    if (file.size() < segments.segmentBytes) file.truncate(segments.segmentBytes);
    file.sync();
    file.close();
  }
  return dropped;
}

/** Written, not cut off: the length of a segment never changes. */
function writeZeros(file: StorageFile, from: number, to: number): void {
  const zeros = Buffer.alloc(Math.min(1 << 20, Math.max(0, to - from)));
  for (let at = from; at < to; at += zeros.length) {
    file.write(zeros, 0, Math.min(zeros.length, to - at), at);
  }
}

/** Index of the last byte of `[from, to)` that is not zero, or -1. */
function lastNonZero(storage: Storage, path: string, from: number, to: number): number {
  if (to <= from) return -1;
  const file = storage.open(path, "read");
  const chunk = Buffer.alloc(Math.min(1 << 20, to - from));
  const zeros = Buffer.alloc(chunk.length);
  let last = -1;
  for (let at = from; at < to; at += chunk.length) {
    const got = file.readInto(chunk, 0, Math.min(chunk.length, to - at), at);
    if (chunk.compare(zeros, 0, got, 0, got) === 0) continue;
    for (let i = got - 1; i >= 0; i--) {
      if (chunk[i] === 0) continue;
      last = at + i;
      break;
    }
  }
  file.close();
  return last;
}

/** A crash while a segment was created leaves it without length. */
function removeEmptySegments(storage: Storage, segments: SegmentList): void {
  const starts = segments.starts();
  while (starts.length > 0) {
    const path = segments.path(starts.at(-1)!);
    if (storage.stat(path)!.size > 0) break;
    storage.remove(path);
    starts.pop();
  }
  segments.minOffset = starts[0] ?? 0;
}

function announce(pages: PageWriter, message: ToWriter): void {
  if (message.kind === "slab") pages.addSlab(message.isLight, message.index, message.memory);
  if (message.kind === "drop") pages.drop(message.number, message.folder);
  if (message.kind === "queue") {
    pages.addQueue(message.number, message.folder, message.settledTo);
  }
}
