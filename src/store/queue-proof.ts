/**
 * At a start, before anything is served: do the files behind the queues hold what the log says? The first and the last entry of
 * some thousand queues are compared with their records; a file that is missing, cut, empty, exchanged with another one or of
 * another store does not pass. Queues that are not looked at here are found out when they are read (doubts.ts).
 */
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import type { QueueTable } from "./queue-table.ts";
import { isFiller, MIN_RECORD_SIZE } from "./record.ts";
import { isRecordAt } from "./record-place.ts";
import type { SegmentList } from "./segment-list.ts";
import { isSystemError } from "./storage-file.ts";

/** A start is to be quick, also on a disk that has to seek. */
const QUEUES_MAX = 4000;
const TIME_MAX_MS = 500;
/** Of larger records only the first fields are compared. */
const RECORD_MAX = 64 << 10;

/** What is wrong with one of them, or null. `end`: where the log ended when the catalog was written. */
export function doubtfulQueue(
  table: QueueTable,
  segments: SegmentList,
  end: number,
): string | null {
  const proof = new QueueProof(table, segments, end);
  const until = performance.now() + TIME_MAX_MS;
  let count = 0;
  for (const queue of table.names.withEntries()) {
    if (queue === null || queue.minOffset >= queue.maxOffset) continue;
    const fault = proof.fault(queue);
    if (fault !== null) return `${nameOf(queue)}: ${fault}`;
    if (++count >= QUEUES_MAX || performance.now() > until) break;
  }
  return null;
}

const nameOf = ({ topic, queueId, isLight }: ConsumeQueue): string =>
  isLight ? `queues/arena, light queue ${topic}` : `consumequeue/${topic}/${queueId}`;

class QueueProof {
  readonly #table: QueueTable;
  readonly #segments: SegmentList;
  readonly #end: number;
  readonly #view = new RecordView();
  #bytes = Buffer.alloc(4096);
  readonly #entry = entryBatch();

  constructor(table: QueueTable, segments: SegmentList, end: number) {
    this.#table = table;
    this.#segments = segments;
    this.#end = end;
  }

  fault(queue: ConsumeQueue): string | null {
    // Of those behind it the catalog has its own copy.
    const last = (queue.isLight ? queue.maxOffset : queue.safeOffset) - 1;
    if (last < queue.minOffset) return null;
    const fault = this.#faultAt(queue, last);
    return fault !== null || last === queue.minOffset
      ? fault
      : this.#faultAt(queue, queue.minOffset);
  }

  #faultAt(queue: ConsumeQueue, offset: number): string | null {
    try {
      this.#table.read(queue, offset, 1, this.#entry);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // A disk that fails is no reason to give up what it may give again.
      return error.code === "EIO" ? null : `it cannot be read (${error.message})`;
    }
    const at = this.#entry.physicalOffset[0]!;
    const size = this.#entry.size[0]!;
    if (at < 0) return `the entry of offset ${offset} is missing`;
    if (isFiller(size) || at < this.#segments.minOffset) return null;
    const isThere =
      size >= MIN_RECORD_SIZE &&
      at + size <= this.#end &&
      this.#isRecordOf(queue, offset, at, size);
    return isThere ? null : `the entry of offset ${offset} names no record of it`;
  }

  #isRecordOf(queue: ConsumeQueue, offset: number, at: number, size: number): boolean {
    const start = this.#segments.startOf(at);
    const file = this.#segments.file(start);
    // A segment that is missing is told, and says nothing about the queue.
    if (file === undefined) return true;
    const length = size <= RECORD_MAX ? size : MIN_RECORD_SIZE;
    if (this.#bytes.length < length) this.#bytes = Buffer.alloc(length);
    const bytes = this.#bytes;
    try {
      if (file.readInto(bytes, 0, length, at - start) < length) return false;
    } catch (error) {
      if (!isSystemError(error)) throw error;
      return true;
    }
    if (!isRecordAt(bytes, 0, size, at)) return false;
    if (queue.isLight) return true;
    if (bytes.readInt32BE(12) !== queue.queueId || bytes.readUInt32BE(24) !== offset >>> 0) {
      return false;
    }
    return length < size || this.#view.open(bytes, 0).topic === queue.topic;
  }
}
