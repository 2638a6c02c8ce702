/**
 * Makes checkpoints, and removes what nobody needs once one is on the disk. When, and what is in one: checkpoint-planner.ts;
 * which segments may go: retention.ts; the writing: checkpointer.ts, in the store thread.
 */
import type { CheckpointPlanner } from "./checkpoint-planner.ts";
import type { CommandRing } from "./command-ring.ts";
import type { CommitLog } from "./commit-log.ts";
import type { FanWriter } from "./fan-writer.ts";
import type { Journal } from "./journal.ts";
import type { Quarantine } from "./quarantine.ts";
import type { SegmentRetention } from "./retention.ts";
import type { SegmentList } from "./segment-list.ts";
import type { StoredRecords } from "./stored-records.ts";
import type { WriterSide } from "./writer-side.ts";

export interface CheckpointParts {
  readonly planner: CheckpointPlanner;
  readonly retention: SegmentRetention;
  readonly log: CommitLog;
  readonly fan: FanWriter;
  readonly journal: Journal;
  readonly commands: CommandRing;
  readonly segments: SegmentList;
  readonly records: StoredRecords;
  readonly writer: WriterSide;
  readonly quarantine: Quarantine;
  /** Between copying a record and changing its entry a checkpoint would forget the second half. */
  mayMake(): boolean;
  /** Has so much changed that it is better told bit by bit before? */
  isMuch(): boolean;
}

/** Ticks that a checkpoint waits for that. */
const MOST_TICKS = 30;

export class Checkpoints {
  readonly #parts: CheckpointParts;
  #ticksWaited = 0;

  constructor(parts: CheckpointParts) {
    this.#parts = parts;
  }

  /** One was begun that is not on the disk yet. */
  get isRunning(): boolean {
    return this.#parts.planner.running > 0;
  }

  /** By log and clock. */
  get isDue(): boolean {
    const { planner, log } = this.#parts;
    return planner.isDueBy(log.appended);
  }

  /** Somebody is owed more than before. */
  owesAgain(): void {
    this.#parts.retention.forget();
  }

  /** After each publish: one is made when enough of the log has been written. */
  onPublish(): void {
    const { planner, log } = this.#parts;
    if (planner.isDueAt(log.appended) && this.#parts.mayMake()) this.make(false);
  }

  /** About every second. */
  tick(isForced: boolean): void {
    const { planner, retention, log } = this.#parts;
    if (planner.isRunning || log.isInBatch || !this.#parts.mayMake()) return;
    const isWanted = isForced && planner.hasNews(log.appended);
    if (!isForced && this.#waits()) return;
    if (isWanted || planner.isDue(log.appended) || retention.isWanted()) this.make(false);
  }

  /** Much has changed: it is told bit by bit, and then the checkpoint does not keep the event loop. Not for ever. */
  #waits(): boolean {
    if (!this.#parts.isMuch()) {
      this.#ticksWaited = 0;
      return false;
    }
    return ++this.#ticksWaited <= MOST_TICKS;
  }

  make(isClosing: boolean): void {
    const { planner, retention, log, journal, commands, writer } = this.#parts;
    const request = planner.plan(
      log.appended,
      log.lastStoreTimestamp,
      () => commands.issued,
      isClosing,
    );
    // Recovery will read the log from here: it has to meet every name again.
    this.#parts.fan.endEpoch();
    // With it become durable: the trims by which segments are removed afterwards, and what the owner noted of them.
    retention.choose();
    journal.requestSync();
    journal.publish();
    commands.flush();
    writer.post({
      ...request,
      checkpoint: { ...request.checkpoint, logStart: retention.keptFrom },
    });
    writer.wake();
  }

  /** It is on the disk. */
  onDone(): void {
    const { planner, retention, segments, records, writer, quarantine } = this.#parts;
    planner.onDone();
    const { paths, moves } = retention.take((segment) => quarantine.placeFor(segment));
    if (paths.length + moves.length === 0) return;
    records.forgetBelow(segments.minOffset);
    writer.post({ kind: "remove", paths, moves, logStart: segments.minOffset });
    writer.wake();
  }
}
