/**
 * Builds queue entries again from the records of the log, in log order, from a point at which the queues are known.
 *
 * The records of an atomic batch wait until its end is seen; a batch without an end is left out, as is a record of whose
 * list of light queues (fan-record.ts) something is missing. An offset that no
 * record has (its record was damaged, or left out) becomes a filler entry, so that later ones keep their place.
 *
 * A moved record (moved-record.ts) is no new message: the entry of its offset names its new place from there on. When the
 * whole log is read the original may be gone, with all that lay between: then the queue begins at the moved record.
 */
import { RecordView } from "../model/record-view.ts";
import type { ConsumeQueue } from "./consume-queue.ts";
import { DROP_TOPIC, parseDrop } from "./drop-record.ts";
import type { QueueTable } from "./queue-table.ts";
import { LIGHT_PREFIX, PLACED_FILLER_SIZE } from "./record.ts";
import { RecordDispatch } from "./record-dispatch.ts";

interface Pending {
  readonly queue: ConsumeQueue;
  readonly queueOffset: number;
  readonly physicalOffset: number;
  readonly size: number;
  readonly tagHash: number;
}

/** Fillers written before their pages are carried to the files. */
const FILLERS_AT_ONCE = 20_000;

export class Redo {
  readonly #table: QueueTable;
  /** Nothing was known before: the log is read from its beginning. */
  readonly #isRebuild: boolean;
  /** Carries what was entered so far to the files. */
  readonly #drain: () => void;
  /** Queues that begin before the first record that was found of them: where the gap ends. */
  readonly #gaps = new Map<ConsumeQueue, number>();
  /** The log was cut off before this offset by retention. */
  readonly #logStart: number;
  readonly #view = new RecordView();
  readonly #dispatch = new RecordDispatch();
  readonly #wasLeftOut: (physicalOffset: number) => boolean;
  /** The open batch: its id, the next index, its entries. */
  #batchId = -1;
  #batchNext = 0;
  #batch: Pending[] = [];
  #batchStart = 0;
  #batchEnd = 0;
  /** Where the damage lies that fillers point to. */
  #damage = 0;
  lastStoreTimestamp = 0;
  records = 0;
  /** Ranges of records that belong to incomplete batches, or have incomplete lists of light queues. */
  readonly incomplete: Array<{ from: number; to: number }> = [];

  /** `wasLeftOut`: an earlier start has found that what lies there is no part of the log. */
  constructor(
    table: QueueTable,
    logStart: number,
    isRebuild: boolean,
    drain: () => void,
    wasLeftOut: (physicalOffset: number) => boolean,
  ) {
    this.#table = table;
    this.#wasLeftOut = wasLeftOut;
    this.#isRebuild = isRebuild;
    this.#drain = drain;
    this.#logStart = logStart;
  }

  onRecord(buffer: Buffer, at: number, physicalOffset: number, size: number): void {
    const view = this.#view.open(buffer, at);
    const dispatch = this.#dispatch.read(view);
    this.records++;
    this.lastStoreTimestamp = Math.max(this.lastStoreTimestamp, view.storeTimestamp);
    if (this.#batchId >= 0 && dispatch.batchId !== this.#batchId) this.#abandonBatch();
    if (dispatch.movedFrom >= 0) {
      this.#moved(view, physicalOffset, size);
      return;
    }
    const isWhole = dispatch.isWhole || view.preparedTransactionOffset < this.#logStart;
    if (dispatch.batchId < 0) {
      if (isWhole) this.#entries(view, physicalOffset, size, null);
      else this.#leaveOut(physicalOffset, physicalOffset + size);
      return;
    }
    if (this.#batchId < 0) {
      this.#batchId = dispatch.batchId;
      // Of a batch that retention has cut into, what is left counts as whole, unless it was left out before that.
      const isCut = dispatch.batchId < this.#logStart && !this.#wasLeftOut(physicalOffset);
      this.#batchNext = isCut ? dispatch.batchIndex : 0;
      this.#batchStart = physicalOffset;
      this.#batch = [];
    }
    this.#batchEnd = physicalOffset + size;
    // A record that is missing inside makes all of it incomplete, whatever follows.
    if (dispatch.batchIndex === this.#batchNext && isWhole) this.#batchNext++;
    else this.#batchNext = -1;
    this.#entries(view, physicalOffset, size, this.#batch);
    if (!dispatch.isBatchEnd) return;
    if (this.#batchNext < 0) {
      this.#abandonBatch();
      return;
    }
    for (const entry of this.#batch) this.#add(entry);
    this.#batchId = -1;
  }

  onDamage(from: number): void {
    this.#damage = from;
  }

  /** The log ends. Returns where its last complete batch or record ends: `end`, or less when a batch is cut off. */
  finish(end: number): number {
    for (const [queue, to] of this.#gaps) {
      if (queue.isDropped) continue;
      for (let from = queue.minOffset; from < to; from += FILLERS_AT_ONCE) {
        this.#table.fillGap(queue, from, Math.min(to, from + FILLERS_AT_ONCE));
        this.#drain();
      }
    }
    if (this.#batchId < 0) return end;
    const { id, start } = { id: this.#batchId, start: this.#batchStart };
    this.#batchId = -1;
    if (id === start) return start;
    // Its first record is damaged or before the scan: nothing of it may be seen, but the log is not cut through.
    this.incomplete.push({ from: start, to: this.#batchEnd });
    return end;
  }

  #abandonBatch(): void {
    this.#leaveOut(this.#batchStart, this.#batchEnd);
    this.#batchId = -1;
  }

  #leaveOut(from: number, to: number): void {
    this.incomplete.push({ from, to });
    this.#damage = from;
  }

  #entries(view: RecordView, physicalOffset: number, size: number, batch: Pending[] | null): void {
    const dispatch = this.#dispatch;
    const { topic } = view;
    if (!dispatch.isDispatched) {
      if (topic === DROP_TOPIC) this.#drop(view, physicalOffset + size, batch);
      return;
    }
    const queue = topic.startsWith(LIGHT_PREFIX)
      ? this.#table.names.lightQueue(topic.slice(LIGHT_PREFIX.length))
      : this.#table.names.queue(topic, view.queueId);
    this.#entry(queue, view.queueOffset, physicalOffset, size, batch);
    for (let i = 0; i < dispatch.lightNames.length; i++) {
      const light = this.#table.names.lightQueue(dispatch.lightNames[i]!);
      this.#entry(light, dispatch.lightOffsets[i]!, physicalOffset, size, batch);
    }
  }

  #moved(view: RecordView, physicalOffset: number, size: number): void {
    const { tagHash, keepsHome, homeEnd, lightNames, lightOffsets } = this.#dispatch;
    const table = this.#table;
    const { topic, queueId } = view;
    const replace = (queue: ConsumeQueue | undefined, queueOffset: number): void => {
      if (queue !== undefined) {
        this.#replace({ queue, queueOffset, physicalOffset, size, tagHash });
      }
    };
    if (keepsHome) {
      const light = topic.startsWith(LIGHT_PREFIX) ? topic.slice(LIGHT_PREFIX.length) : null;
      let home = table.names.find(light ?? topic, light === null ? queueId : 0, light !== null);
      if (home === undefined && this.#isRebuild) {
        home = light === null ? table.names.queue(topic, queueId) : table.names.lightQueue(light);
      }
      replace(home, view.queueOffset);
      if (home !== undefined) this.#fillTo(home, homeEnd);
    }
    for (let i = 0; i < lightNames.length; i++) {
      const name = lightNames[i]!;
      replace(
        this.#isRebuild ? table.names.lightQueue(name) : table.names.find(name, 0, true),
        lightOffsets[i]!,
      );
    }
  }

  #replace(entry: Pending): void {
    const { queue, queueOffset, physicalOffset, size, tagHash } = entry;
    const table = this.#table;
    if (queueOffset >= queue.maxOffset) {
      this.#add(entry);
      queue.movedTo = queueOffset + 1;
      return;
    }
    if (queueOffset < queue.minOffset) {
      // Trimmed since, as the catalog knows.
      if (!this.#isRebuild) return;
      if (!this.#gaps.has(queue)) this.#gaps.set(queue, queue.minOffset);
      // It begins here, with entries that name no record up to where it began: `finish` writes those.
      queue.minOffset = queueOffset;
    }
    table.replace(queue, queueOffset, physicalOffset, size, tagHash);
  }

  /** Entries that name no record, up to this offset: there were some, of records that are lost. */
  #fillTo(queue: ConsumeQueue, offset: number): void {
    while (queue.maxOffset < offset) {
      this.#table.append(queue, this.#damage, PLACED_FILLER_SIZE, 0);
      if (queue.maxOffset % FILLERS_AT_ONCE === 0) this.#drain();
    }
  }

  #drop(view: RecordView, end: number, batch: Pending[] | null): void {
    const dropped = parseDrop(view.buffer.toString("utf8", view.bodyStart, view.bodyEnd));
    if (dropped === null) return;
    const { topic, queueId, isLight } = dropped;
    const queue = isLight
      ? this.#table.names.lightQueue(topic)
      : this.#table.names.queue(topic, queueId);
    if (batch === null) this.#table.drop(queue, end);
    else batch.push({ queue, queueOffset: -1, physicalOffset: end, size: 0, tagHash: 0 });
  }

  #entry(
    queue: ConsumeQueue,
    queueOffset: number,
    physicalOffset: number,
    size: number,
    batch: Pending[] | null,
  ): void {
    const { tagHash } = this.#dispatch;
    const entry = { queue, queueOffset, physicalOffset, size, tagHash };
    if (batch === null) this.#add(entry);
    else batch.push(entry);
  }

  #add({ queue, queueOffset, physicalOffset, size, tagHash }: Pending): void {
    if (queueOffset < 0) {
      this.#table.drop(queue, physicalOffset);
      return;
    }
    // Known already: the queue was ahead of the point from which the log is read again.
    if (queueOffset < queue.maxOffset) return;
    if (queueOffset > queue.maxOffset) {
      if (queue.maxOffset === queue.minOffset) queue.restore(queueOffset, queueOffset);
      while (queue.maxOffset < queueOffset) {
        this.#table.append(queue, this.#damage, PLACED_FILLER_SIZE, 0);
        if (queue.maxOffset % FILLERS_AT_ONCE === 0) this.#drain();
      }
    }
    this.#table.append(queue, physicalOffset, size, tagHash);
  }
}
