/**
 * `sluice store export`: the messages of a store that nobody has open, in the order of the log, one JSON object per line.
 * A message whose record was moved is told once. Reads the log only, so it works on what is left of a damaged store; ranges that are no records are skipped and counted.
 *
 *   {"topic":"a","queueId":0,"queueOffset":7,"physicalOffset":1234,"storeTimestamp":…,"bornTimestamp":…,
 *    "bornHost":"127.0.0.1:5672","storeHost":…,"flag":0,"sysFlag":0,"reconsumeTimes":0,
 *    "properties":[["name","value"],…],"light":[["name",3],…],"body":"base64"}
 */
import { RecordView } from "../model/record-view.ts";
import { type CheckOptions, withStore } from "./check.ts";
import { DROP_TOPIC } from "./drop-record.ts";
import { FAN_TOPIC } from "./fan-record.ts";
import { LogScanner } from "./log-scanner.ts";
import { RecordDispatch } from "./record-dispatch.ts";

export interface ExportOptions extends CheckOptions {
  /** Only records of this topic (escaped, as on disk). */
  readonly topic?: string;
}

export interface ExportReport {
  readonly records: number;
  /** Ranges of the log that are no valid records. */
  readonly damagedRanges: number;
  /** Atomic batches that are not whole, and so were never visible: left out. */
  readonly incompleteBatches: number;
  /** Files that the disk did not give, or not all of: a sentence each. */
  readonly refusals: readonly string[];
}

/** `write` gets each line without its end. Throws as checkStore does. */
export async function exportStore(
  options: ExportOptions,
  write: (line: string) => void,
): Promise<ExportReport> {
  return withStore(options, async (_directory, storage, segments) => {
    const exporter = new Exporter(options.topic, segments.minOffset, write);
    let damagedRanges = 0;
    const total = segments.starts().length * segments.segmentBytes;
    let current = -1;
    const end = await new LogScanner(segments).scan(segments.minOffset, {
      onRecord: (buffer, at, offset) => {
        exporter.add(buffer, at);
        const start = segments.startOf(offset);
        if (start === current) return;
        current = start;
        options.onProgress?.({
          path: `commitlog/${start}`,
          doneBytes: start - segments.minOffset,
          totalBytes: total,
        });
      },
      onDamage: () => {
        damagedRanges++;
        exporter.abandon();
      },
    });
    exporter.abandon();
    options.onProgress?.({ path: "", doneBytes: end - segments.minOffset, totalBytes: total });
    return {
      records: exporter.records,
      damagedRanges,
      incompleteBatches: exporter.incompleteBatches,
      refusals: [...storage.refusals].map(([path, refusal]) => `${path} ${refusal}`),
    };
  });
}

class Exporter {
  records = 0;
  incompleteBatches = 0;
  readonly #topic: string | undefined;
  readonly #write: (line: string) => void;
  readonly #view = new RecordView();
  readonly #dispatch = new RecordDispatch();
  /** The lines of an open batch: they count when its end is seen. */
  #batchId = -1;
  #batchNext = 0;
  #batch: string[] = [];

  readonly #logStart: number;
  /** First places of moved records whose originals are gone: what was moved twice is told once. */
  readonly #moved = new Set<number>();

  constructor(topic: string | undefined, logStart: number, write: (line: string) => void) {
    this.#topic = topic;
    this.#logStart = logStart;
    this.#write = write;
  }

  add(buffer: Buffer, at: number): void {
    const view = this.#view.open(buffer, at);
    const dispatch = this.#dispatch.read(view);
    if (this.#batchId >= 0 && dispatch.batchId !== this.#batchId) this.abandon();
    const { topic } = view;
    const line =
      topic === DROP_TOPIC ||
      topic === FAN_TOPIC ||
      (dispatch.movedFrom >= 0 && this.#isTold(dispatch.movedFrom)) ||
      (this.#topic !== undefined && this.#topic !== topic)
        ? null
        : lineOf(view, dispatch);
    const isWhole =
      dispatch.isWhole ||
      dispatch.movedFrom >= 0 ||
      view.preparedTransactionOffset < this.#logStart;
    if (dispatch.batchId < 0) {
      if (!isWhole) this.incompleteBatches++;
      else if (line !== null) this.#emit(line);
      return;
    }
    this.#batchId = dispatch.batchId;
    if (dispatch.batchIndex === this.#batchNext && isWhole) this.#batchNext++;
    else this.#batchNext = Number.NaN; // Something is missing before it.
    if (line !== null) this.#batch.push(line);
    if (!dispatch.isBatchEnd) return;
    if (Number.isNaN(this.#batchNext)) {
      this.abandon();
      return;
    }
    for (const each of this.#batch) this.#emit(each);
    this.#reset();
  }

  /** Was this moved record told already, from the place where it lay before? */
  #isTold(firstPlace: number): boolean {
    if (firstPlace >= this.#logStart || this.#moved.has(firstPlace)) return true;
    this.#moved.add(firstPlace);
    return false;
  }

  abandon(): void {
    if (this.#batchId < 0) return;
    this.incompleteBatches++;
    this.#reset();
  }

  #reset(): void {
    this.#batchId = -1;
    this.#batchNext = 0;
    this.#batch = [];
  }

  #emit(line: string): void {
    this.records++;
    this.#write(line);
  }
}

function lineOf(view: RecordView, dispatch: RecordDispatch): string {
  const { buffer, start, sysFlag } = view;
  const bornBytes = sysFlag & 16 ? 20 : 8;
  return JSON.stringify({
    topic: view.topic,
    queueId: view.queueId,
    queueOffset: view.queueOffset,
    physicalOffset: view.physicalOffset,
    storeTimestamp: view.storeTimestamp,
    bornTimestamp: view.bornTimestamp,
    bornHost: hostText(buffer, start + 48, bornBytes),
    storeHost: hostText(buffer, start + 56 + bornBytes, sysFlag & 32 ? 20 : 8),
    flag: view.flag,
    sysFlag,
    reconsumeTimes: view.reconsumeTimes,
    properties: view.properties(),
    light: dispatch.lightNames.map((name, i) => [name, dispatch.lightOffsets[i]]),
    body: buffer.toString("base64", view.bodyStart, view.bodyEnd),
  });
}

function hostText(buffer: Buffer, at: number, length: number): string {
  const port = buffer.readInt32BE(at + length - 4);
  if (length === 8) return `${[...buffer.subarray(at, at + 4)].join(".")}:${port}`;
  const groups = Array.from({ length: 8 }, (_, i) => buffer.readUInt16BE(at + 2 * i).toString(16));
  return `[${groups.join(":")}]:${port}`;
}
