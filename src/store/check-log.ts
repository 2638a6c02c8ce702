/**
 * Checks the CommitLog: every record of every segment, and gathers from the records what the derived files must say.
 */
import { join } from "node:path";
import { RecordView } from "../model/record-view.ts";
import { FileCheck } from "./check-report.ts";
import { DROP_TOPIC, parseDrop } from "./drop-record.ts";
import { FanBook } from "./fan-book.ts";
import { LogScanner } from "./log-scanner.ts";
import type { Quarantine } from "./quarantine.ts";
import { LIGHT_PREFIX } from "./record.ts";
import { RecordDispatch } from "./record-dispatch.ts";
import { offsetOfName, type SegmentList } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";

/** The offsets of one queue that have a record in the log: `[from, to)`, apart from damage. */
export interface QueueRange {
  from: number;
  to: number;
}

export interface LogFacts {
  end: number;
  records: number;
  /** By `queueKey` and by name. */
  readonly queues: Map<string, QueueRange>;
  readonly lights: Map<string, QueueRange>;
  /** Index entries that the records up to each of the asked places call for. */
  readonly keyCounts: number[];
  /** Names in lists of many light queues. */
  readonly fans: FanBook;
}

export const queueKey = (topic: string, queueId: number): string => `${topic}/${queueId}`;

/** Names of the light queues of a record as the catalog has them. */
export const lightName = (topic: string): string =>
  topic.startsWith(LIGHT_PREFIX) ? topic.slice(LIGHT_PREFIX.length) : topic;

/** How many entries the Index needs for a record. */
export function keyCount(dispatch: RecordDispatch): number {
  let count = dispatch.uniqueKey === "" ? 0 : 1;
  for (const word of dispatch.keys.split(" ")) if (word !== "") count++;
  return count;
}

const ROLLED_BACK = 12;
/** Progress is told after so much of the log. */
const PROGRESS_BYTES = 16 << 20;

/**
 * `keyLimits`: physical offsets, ascending; `keyCounts` tells the keys of records after the last limit up to and
 * including each, and at last of all later ones.
 */
export async function checkLog(
  storage: Storage,
  segments: SegmentList,
  quarantine: Quarantine,
  keyLimits: readonly number[],
  onProgress: (path: string, doneBytes: number, totalBytes: number) => void,
): Promise<{ facts: LogFacts; files: FileCheck[] }> {
  const files = new Map<number, FileCheck>();
  const others: FileCheck[] = [];
  for (const { name } of storage.list(segments.directory)) {
    const start = offsetOfName(name);
    const path = `commitlog/${name}`;
    const bytes = storage.stat(join(segments.directory, name))?.size ?? 0;
    const file = new FileCheck(path, start < 0 ? "other" : "commitlog", bytes);
    if (start < 0) {
      file.state = "unknown";
      others.push(file);
      continue;
    }
    files.set(start, file);
    if (bytes !== segments.segmentBytes) {
      const what = `${bytes} bytes long, expected ${segments.segmentBytes}`;
      if (bytes === 0) file.unfinished(what);
      else file.damaged(what);
    }
  }
  const collector = new FactCollector(keyLimits, segments.minOffset);
  const { segmentBytes } = segments;
  // What was never written takes no time: it is not read.
  let total = 0;
  for (const start of files.keys()) total += segments.usedEnd(start);
  const scanner = new LogScanner(segments);
  let current: FileCheck | undefined;
  let currentEnd = 0;
  let toldAt = 0;
  const fileOf = (offset: number): FileCheck | undefined => files.get(segments.startOf(offset));
  const end = await scanner.scan(segments.minOffset, {
    onRecord: (buffer, at, offset) => {
      if (offset >= currentEnd) {
        current = fileOf(offset);
        currentEnd = segments.startOf(offset) + segmentBytes;
        toldAt = -PROGRESS_BYTES;
      }
      const done = offset - segments.minOffset;
      if (done - toldAt >= PROGRESS_BYTES) {
        toldAt = done;
        onProgress(current?.path ?? "", done, total);
      }
      if (current !== undefined) current.items++;
      collector.add(buffer, at, offset);
    },
    onDamage: (from, to, reason) => {
      const sentence = `${to - from} bytes at offset ${from} are no valid record (${reason})`;
      const isKnown = quarantine.has(from) && quarantine.has(to - 1);
      let isReported = false;
      for (const [start, file] of files) {
        if (start >= to || start + segmentBytes <= from) continue;
        if (isKnown) file.note(`${sentence}; set aside in quarantine/ before`);
        else file.damaged(sentence);
        isReported = true;
      }
      if (isReported || isKnown) return;
      const missing = new FileCheck(
        `commitlog/${String(segments.startOf(from)).padStart(20, "0")}`,
        "commitlog",
        0,
      );
      missing.damaged(`missing: ${sentence}`);
      files.set(segments.startOf(from), missing);
    },
  });
  const facts = collector.finish(end);
  for (const { from, to } of collector.incomplete) {
    const sentence = `the records from offset ${from} to ${to} are a part of an atomic batch: none of them counts`;
    const file = fileOf(from);
    if (quarantine.has(from)) file?.note(`${sentence}; set aside in quarantine/ before`);
    else file?.damaged(sentence);
  }
  if (facts.end < end) {
    fileOf(facts.end)?.unfinished(
      `an atomic batch at offset ${facts.end} has no end: it is cut off`,
    );
  }
  for (const [start, file] of files) checkTail(storage, segments, start, end, file);
  return {
    facts,
    files: [...[...files].sort(([a], [b]) => a - b).map(([, file]) => file), ...others],
  };
}

/** Bytes behind the end of the log: a torn record, or worse. */
function checkTail(
  storage: Storage,
  segments: SegmentList,
  start: number,
  end: number,
  report: FileCheck,
): void {
  const from = Math.max(0, end - start);
  const written = Math.min(report.bytes, segments.usedEnd(start, from));
  if (start + segments.segmentBytes <= end || written <= from) return;
  const file = storage.open(segments.path(start), "read");
  const chunk = Buffer.alloc(1 << 20);
  const zeros = Buffer.alloc(1 << 20);
  let used = 0;
  for (let at = from; at < written; at += chunk.length) {
    const got = file.readInto(chunk, 0, Math.min(chunk.length, written - at), at);
    if (chunk.compare(zeros, 0, got, 0, got) === 0) continue;
    for (let i = got - 1; i >= 0; i--) {
      if (chunk[i] === 0) continue;
      used = at + i + 1 - from;
      break;
    }
  }
  file.close();
  if (used === 0) return;
  const what = `${used} bytes behind the end of the log (offset ${end}) are no valid record`;
  // A whole segment of rubbish was not torn off by a crash.
  if (from === 0 && start > segments.minOffset) report.damaged(what);
  else report.unfinished(what);
}

class FactCollector {
  readonly incomplete: QueueRange[] = [];
  readonly #facts: LogFacts;
  readonly #limits: readonly number[];
  readonly #logStart: number;
  readonly #view = new RecordView();
  readonly #dispatch = new RecordDispatch();
  #limit = 0;
  #batchId = -1;
  #batchNext = 0;
  #batchStart = 0;
  #batchEnd = 0;
  #batch: Array<() => void> = [];

  constructor(keyLimits: readonly number[], logStart: number) {
    this.#limits = keyLimits;
    this.#logStart = logStart;
    this.#facts = {
      end: 0,
      records: 0,
      queues: new Map(),
      lights: new Map(),
      keyCounts: new Array<number>(keyLimits.length + 1).fill(0),
      fans: new FanBook(),
    };
  }

  add(buffer: Buffer, at: number, offset: number): void {
    const view = this.#view.open(buffer, at);
    const dispatch = this.#dispatch.read(view);
    this.#facts.fans.note(view);
    this.#facts.records++;
    this.#countKeys(view, offset);
    if (this.#batchId >= 0 && dispatch.batchId !== this.#batchId) this.#abandon();
    if (dispatch.movedFrom >= 0) {
      this.#moved(view);
      return;
    }
    const isWhole = dispatch.isWhole || view.preparedTransactionOffset < this.#logStart;
    if (dispatch.batchId < 0) {
      if (isWhole) this.#apply(view);
      else this.incomplete.push({ from: offset, to: offset + buffer.readInt32BE(at) });
      return;
    }
    if (this.#batchId < 0) {
      this.#batchId = dispatch.batchId;
      this.#batchNext = 0;
      this.#batchStart = offset;
    }
    this.#batchEnd = offset + buffer.readInt32BE(at);
    this.#batchNext = dispatch.batchIndex === this.#batchNext && isWhole ? this.#batchNext + 1 : -1;
    this.#batch.push(this.#places(view));
    if (!dispatch.isBatchEnd) return;
    if (this.#batchNext < 0) {
      this.#abandon();
      return;
    }
    for (const apply of this.#batch) apply();
    this.#batch = [];
    this.#batchId = -1;
  }

  finish(end: number): LogFacts {
    this.#facts.end = end;
    if (this.#batchId >= 0) {
      if (this.#batchId === this.#batchStart) this.#facts.end = this.#batchStart;
      else this.incomplete.push({ from: this.#batchStart, to: this.#batchEnd });
    }
    return this.#facts;
  }

  #abandon(): void {
    this.incomplete.push({ from: this.#batchStart, to: this.#batchEnd });
    this.#batch = [];
    this.#batchId = -1;
  }

  #countKeys(view: RecordView, offset: number): void {
    if ((view.sysFlag & ROLLED_BACK) === ROLLED_BACK) return;
    while (this.#limit < this.#limits.length && offset > this.#limits[this.#limit]!) this.#limit++;
    this.#facts.keyCounts[this.#limit]! += keyCount(this.#dispatch);
  }

  #apply(view: RecordView): void {
    const { topic } = view;
    if (topic === DROP_TOPIC) {
      const dropped = parseDrop(view.buffer.toString("utf8", view.bodyStart, view.bodyEnd));
      if (dropped === null) return;
      if (dropped.isLight) this.#facts.lights.delete(dropped.topic);
      else this.#facts.queues.delete(queueKey(dropped.topic, dropped.queueId));
      return;
    }
    this.#places(view)();
  }

  /** A moved record may be all that is left of what its queues began with. */
  #moved(view: RecordView): void {
    const { keepsHome, lightNames, lightOffsets } = this.#dispatch;
    const { topic, queueId, queueOffset } = view;
    const { queues, lights } = this.#facts;
    if (keepsHome) {
      if (topic.startsWith(LIGHT_PREFIX)) widenBoth(lights, lightName(topic), queueOffset);
      else widenBoth(queues, queueKey(topic, queueId), queueOffset);
    }
    for (const [i, name] of lightNames.entries()) widenBoth(lights, name, lightOffsets[i]!);
  }

  /** Notes the record's places, now or when its batch is whole. */
  #places(view: RecordView): () => void {
    const { isDispatched, lightNames, lightOffsets } = this.#dispatch;
    if (!isDispatched) return () => {};
    const { topic, queueId, queueOffset } = view;
    const { queues, lights } = this.#facts;
    return () => {
      if (topic.startsWith(LIGHT_PREFIX)) widen(lights, lightName(topic), queueOffset);
      else widen(queues, queueKey(topic, queueId), queueOffset);
      for (const [i, name] of lightNames.entries()) widen(lights, name, lightOffsets[i]!);
    };
  }
}

function widen(ranges: Map<string, QueueRange>, key: string, offset: number): void {
  const range = ranges.get(key);
  if (range === undefined) ranges.set(key, { from: offset, to: offset + 1 });
  else if (offset >= range.to) range.to = offset + 1;
}

function widenBoth(ranges: Map<string, QueueRange>, key: string, offset: number): void {
  widen(ranges, key, offset);
  const range = ranges.get(key)!;
  range.from = Math.min(range.from, offset);
}
