/**
 * Checks the ConsumeQueue files, and the blocks of light queues in the arena: every entry names a record that says it
 * belongs there, and every record of the log has its entries.
 */
import { join } from "node:path";
import { BLOCK_BYTES, BLOCK_ENTRIES, BLOCK_HEADER, isBlockOf } from "./arena.ts";
import { type CatalogHandler, type CatalogName, textOf } from "./catalog.ts";
import { type LogFacts, type QueueRange, queueKey } from "./check-log.ts";
import { FileCheck } from "./check-report.ts";
import { ENTRY_SIZE } from "./page-pool.ts";
import { QUEUE_FILE_BYTES } from "./page-writer.ts";
import { isFiller, LIGHT_PREFIX } from "./record.ts";
import type { RecordProbe } from "./record-probe.ts";
import { offsetName, offsetOfName } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";

const TWO_POW_32 = 2 ** 32;
/** Whole entries and whole pages of the file system. */
const CHUNK = 2048 * ENTRY_SIZE;
const PAGE = 4096;
const ZEROS = Buffer.alloc(CHUNK);

interface CatalogQueue {
  readonly number: number;
  readonly topic: string;
  readonly queueId: number;
  readonly isLight: boolean;
  minOffset: number;
  maxOffset: number;
  /** Entries from here on are in the catalog: the file may have none. */
  tailFrom: number;
  /** All entries of a light queue, where the catalog has them. */
  kept: Buffer | null;
  /** Page number to block of the arena. */
  readonly blocks: Map<number, number>;
}

/** What the catalog says, for the check. */
export class CatalogView implements CatalogHandler {
  readonly #byNumber = new Map<number, CatalogQueue>();

  *queues(): Generator<CatalogQueue> {
    yield* this.#byNumber.values();
  }
  define(number: number, name: CatalogName, queueId: number, isLight: boolean): void {
    const topic = textOf(name);
    const blocks = new Map<number, number>();
    this.#byNumber.set(number, {
      number,
      topic,
      queueId,
      isLight,
      minOffset: 0,
      maxOffset: 0,
      tailFrom: Number.POSITIVE_INFINITY,
      kept: null,
      blocks,
    });
  }
  state(number: number, minOffset: number, maxOffset: number): void {
    const queue = this.#byNumber.get(number);
    if (queue === undefined) return;
    queue.minOffset = minOffset;
    queue.maxOffset = maxOffset;
    queue.tailFrom = Number.POSITIVE_INFINITY;
    queue.kept = null;
  }
  kept(number: number, minOffset: number, bytes: Buffer, at: number, count: number): void {
    const queue = this.#byNumber.get(number);
    if (queue === undefined) return;
    queue.minOffset = minOffset;
    queue.maxOffset = minOffset + count;
    queue.kept = bytes.subarray(at, at + count * ENTRY_SIZE);
  }
  tail(number: number, minOffset: number, from: number, first: number, entries: Buffer): void {
    const queue = this.#byNumber.get(number);
    if (queue === undefined) return;
    queue.minOffset = minOffset;
    queue.maxOffset = first + entries.length / ENTRY_SIZE;
    queue.tailFrom = from;
  }
  dropped(number: number): void {
    this.#byNumber.delete(number);
  }
  block(number: number, pageNumber: number, block: number): void {
    this.#byNumber.get(number)?.blocks.set(pageNumber, block);
  }
  free(number: number, pageNumber: number): void {
    this.#byNumber.get(number)?.blocks.delete(pageNumber);
  }

  moved(): void {}

  /** The offsets of a topic's queue that its files hold at least. */
  rangeOf(topic: string, queueId: number): QueueRange {
    for (const queue of this.#byNumber.values()) {
      if (!queue.isLight && queue.topic === topic && queue.queueId === queueId) {
        const to = Math.min(queue.maxOffset, queue.tailFrom);
        return { from: Math.min(queue.minOffset, to), to };
      }
    }
    return { from: 0, to: 0 };
  }
}

export function checkQueues(
  storage: Storage,
  directory: string,
  facts: LogFacts,
  catalog: CatalogView,
  probe: RecordProbe,
  onFile: (path: string) => void,
): FileCheck[] {
  const files: FileCheck[] = [];
  const root = join(directory, "consumequeue");
  const known = new Set<string>();
  for (const topic of folders(storage, root)) {
    for (const id of folders(storage, join(root, topic))) {
      const path = `consumequeue/${topic}/${id}`;
      onFile(path);
      const queueId = Number(id);
      const key = queueKey(topic, queueId);
      known.add(key);
      const isLight = topic.startsWith(LIGHT_PREFIX);
      const range = isLight
        ? facts.lights.get(topic.slice(LIGHT_PREFIX.length))
        : facts.queues.get(key);
      const sure = catalog.rangeOf(topic, queueId);
      const first = Math.max(range?.from ?? 0, sure.from);
      const check = new QueueCheck(storage, directory, path, topic, queueId, probe);
      // RocketMQ keeps light queues in files; here they are in the arena, and such files only from a store it wrote.
      files.push(...check.run(first, sure.to, isLight ? 0 : (range?.to ?? 0)));
    }
  }
  for (const [key, range] of facts.queues) {
    if (known.has(key)) continue;
    const [topic, id] = [key.slice(0, key.lastIndexOf("/")), key.slice(key.lastIndexOf("/") + 1)];
    const sure = catalog.rangeOf(topic, Number(id));
    const report = new FileCheck(`consumequeue/${key}`, "consumequeue", 0);
    if (sure.to > Math.max(sure.from, range.from)) {
      report.damaged(`missing, with ${sure.to - sure.from} entries`);
    } else if (range.to > sure.to) {
      report.unfinished(`no file yet: ${range.to - range.from} entries are made at the next start`);
    } else {
      continue; // Everything in it was trimmed.
    }
    files.push(report);
  }
  return files;
}

const folders = (storage: Storage, path: string): string[] =>
  storage
    .list(path)
    .filter((entry) => entry.isDirectory)
    .map((entry) => entry.name)
    .sort();

class QueueCheck {
  readonly #storage: Storage;
  readonly #directory: string;
  readonly #path: string;
  readonly #topic: string;
  readonly #queueId: number;
  readonly #probe: RecordProbe;
  /** Offset behind the last entry seen. */
  #end = 0;
  /** Offsets below it that are wanted and have no entry, not yet reported. */
  #missing = 0;
  /** Offset behind the last entry that has to be here or will be. */
  #last = 0;

  constructor(
    storage: Storage,
    directory: string,
    path: string,
    topic: string,
    queueId: number,
    probe: RecordProbe,
  ) {
    this.#storage = storage;
    this.#directory = directory;
    this.#path = path;
    this.#topic = topic;
    this.#queueId = queueId;
    this.#probe = probe;
  }

  /** Offsets from `first` to `sure` must have an entry, those up to `end` get one at the next start. */
  run(first: number, sure: number, end: number): FileCheck[] {
    const folder = join(this.#directory, this.#path);
    const reports: FileCheck[] = [];
    const starts: number[] = [];
    for (const { name } of this.#storage.list(folder)) {
      const start = offsetOfName(name);
      if (start >= 0 && start % QUEUE_FILE_BYTES === 0) {
        starts.push(start);
        continue;
      }
      const other = new FileCheck(`${this.#path}/${name}`, "other", 0);
      other.state = "unknown";
      reports.push(other);
    }
    this.#end = first;
    this.#last = Math.max(sure, end);
    for (const start of starts.sort((a, b) => a - b)) {
      reports.push(this.#file(start, first));
    }
    const last = reports.findLast((report) => report.kind === "consumequeue");
    if (this.#end < Math.max(sure, end)) {
      const report = last ?? new FileCheck(this.#path, "consumequeue", 0);
      if (last === undefined) reports.push(report);
      if (this.#end < sure) report.damaged(`${sure - this.#end} entries at its end are missing`);
      if (sure < end) report.unfinished(`${end - sure} entries are made at the next start`);
    }
    return reports;
  }

  #file(start: number, first: number): FileCheck {
    const name = offsetName(start);
    const path = join(this.#directory, this.#path, name);
    const bytes = this.#storage.stat(path)?.size ?? 0;
    const report = new FileCheck(`${this.#path}/${name}`, "consumequeue", bytes);
    if (bytes !== QUEUE_FILE_BYTES) {
      const what = `${bytes} bytes long, expected ${QUEUE_FILE_BYTES}`;
      if (bytes === 0) report.unfinished(what);
      else report.damaged(what);
    }
    const file = this.#storage.open(path, "read");
    const chunk = Buffer.alloc(CHUNK);
    const fileFirst = start / ENTRY_SIZE;
    const usedBytes = this.#storage.stat(path)?.usedBytes ?? Number.POSITIVE_INFINITY;
    let seenBytes = 0;
    for (let at = 0; at < Math.min(bytes, QUEUE_FILE_BYTES); at += CHUNK) {
      const offset = fileFirst + at / ENTRY_SIZE;
      // Nothing more is wanted, and everything that takes space was seen: the rest was never written.
      if (offset >= this.#last && seenBytes >= usedBytes) break;
      const got = file.readInto(chunk, 0, CHUNK, at);
      for (let page = 0; page < got; page += PAGE) {
        if (chunk.compare(ZEROS, 0, PAGE, page, page + PAGE) !== 0) seenBytes += PAGE;
      }
      if (offset >= first && chunk.compare(ZEROS, 0, got, 0, got) === 0) {
        this.#missing += Math.floor(got / ENTRY_SIZE); // Most of most files is not used yet.
        continue;
      }
      for (let i = 0; i + ENTRY_SIZE <= got; i += ENTRY_SIZE) {
        this.#entry(report, chunk, i, offset + i / ENTRY_SIZE, first);
      }
    }
    file.close();
    return report;
  }

  #entry(report: FileCheck, bytes: Buffer, at: number, offset: number, first: number): void {
    const size = bytes.readInt32BE(at + 8);
    const physicalOffset = readOffset(bytes, at);
    if (size === 0 && physicalOffset === 0) {
      if (offset >= first) this.#missing++;
      return;
    }
    if (offset >= first && this.#missing > 0) {
      report.damaged(`${this.#missing} entries before offset ${offset} are empty`);
    }
    this.#missing = 0;
    this.#end = Math.max(this.#end, offset + 1);
    // A place whose record was damaged, or was never there.
    if (isFiller(size) || offset < first || this.#probe.isExpired(physicalOffset)) {
      report.items++;
      return;
    }
    const fault = this.#probe.look(physicalOffset, size) ?? this.#mismatch(offset, bytes, at);
    if (fault === null) report.items++;
    else report.damaged(`entry of offset ${offset} ${fault}`);
  }

  #mismatch(offset: number, bytes: Buffer, at: number): string | null {
    const { view, dispatch } = this.#probe;
    if (this.#topic.startsWith(LIGHT_PREFIX)) {
      return isDispatchedTo(this.#probe, this.#topic.slice(LIGHT_PREFIX.length), offset);
    }
    const { topic, queueId } = view;
    if (topic !== this.#topic || queueId !== this.#queueId) {
      return `points to a record of ${topic}/${queueId}`;
    }
    if (view.queueOffset !== offset) return `points to the record of offset ${view.queueOffset}`;
    if (bytes.readInt32BE(at + 16) !== dispatch.tagHash) return "has the hash of another tag";
    return null;
  }
}

export function checkArena(
  storage: Storage,
  directory: string,
  facts: LogFacts,
  catalog: CatalogView,
  probe: RecordProbe,
): FileCheck[] {
  const path = join(directory, "queues", "arena");
  const size = storage.stat(path)?.size;
  const report = new FileCheck("queues/arena", "arena", size ?? 0);
  const file = size === undefined ? null : storage.open(path, "read");
  const bytes = Buffer.alloc(BLOCK_BYTES);
  const known = new Set<string>();
  for (const queue of catalog.queues()) {
    if (!queue.isLight) continue;
    known.add(queue.topic);
    const behind = (facts.lights.get(queue.topic)?.to ?? 0) - queue.maxOffset;
    if (behind > 0) {
      report.unfinished(`light queue ${queue.topic}: ${behind} entries are made at the next start`);
    }
    const { kept } = queue;
    if (kept !== null) {
      const placeOf = (offset: number): number => (offset - queue.minOffset) * ENTRY_SIZE;
      checkEntries(report, kept, placeOf, queue, queue.minOffset, queue.maxOffset, probe);
      continue;
    }
    for (let offset = queue.minOffset; offset < queue.maxOffset; ) {
      const page = Math.floor(offset / BLOCK_ENTRIES);
      const end = Math.min(queue.maxOffset, (page + 1) * BLOCK_ENTRIES);
      const block = queue.blocks.get(page);
      const what = `light queue ${queue.topic}: page ${page}`;
      if (block === undefined) {
        report.damaged(`${what} has no block`);
      } else {
        const got = file?.readInto(bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES) ?? 0;
        bytes.fill(0, got);
        if (!isBlockOf(bytes, queue.number, page)) {
          report.damaged(`${what} should be in block ${block}, which holds something else`);
        } else {
          checkEntries(report, bytes, placeInBlock, queue, offset, end, probe);
        }
      }
      offset = end;
    }
  }
  for (const [name, range] of facts.lights) {
    if (known.has(name)) continue;
    report.unfinished(
      `light queue ${name}: ${range.to - range.from} entries are made at the next start`,
    );
  }
  file?.close();
  return size === undefined && report.findingCount === 0 ? [] : [report];
}

const placeInBlock = (offset: number): number =>
  BLOCK_HEADER + (offset % BLOCK_ENTRIES) * ENTRY_SIZE;

function checkEntries(
  report: FileCheck,
  bytes: Buffer,
  placeOf: (offset: number) => number,
  queue: CatalogQueue,
  from: number,
  to: number,
  probe: RecordProbe,
): void {
  for (let offset = from; offset < to; offset++) {
    const at = placeOf(offset);
    const physicalOffset = readOffset(bytes, at);
    const size = bytes.readInt32BE(at + 8);
    if (isFiller(size) || (size > 0 && probe.isExpired(physicalOffset))) {
      report.items++;
      continue;
    }
    const fault =
      size === 0
        ? "is empty"
        : (probe.look(physicalOffset, size) ?? isDispatchedTo(probe, queue.topic, offset));
    if (fault === null) report.items++;
    else report.damaged(`light queue ${queue.topic}: entry of offset ${offset} ${fault}`);
  }
}

/** Does the record that the probe looks at lie in this light queue at this offset? */
function isDispatchedTo(probe: RecordProbe, name: string, offset: number): string | null {
  const { view, dispatch } = probe;
  if (view.topic === LIGHT_PREFIX + name && view.queueOffset === offset) return null;
  for (const [i, light] of dispatch.lightNames.entries()) {
    if (light === name && dispatch.lightOffsets[i] === offset) return null;
  }
  if (probe.isFannedTo(name, offset)) return null;
  return "points to a record that was not dispatched there";
}

const readOffset = (bytes: Buffer, at: number): number =>
  bytes.readInt32BE(at) * TWO_POW_32 + bytes.readUInt32BE(at + 4);
