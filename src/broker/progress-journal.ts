/**
 * Writes what groups settled into the owner's journal, once per turn: a low-water mark per touched shard, plus runs
 * settled out of order and attempts that changed. Knows when a turn's settlements are durable.
 */

import type { MessageStore } from "../store/message-store.ts";
import type { Clock } from "../util/turn.ts";
import { WorkList } from "../util/work-list.ts";
import { CatalogWriter } from "./catalog.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { SnapshotCollector } from "./snapshot-collector.ts";

/** Settlements that nobody waits for are handed over after this time: they share an entry and a wake-up. */
const LAZY_MS = 10;

export class ProgressJournal {
  readonly catalog: CatalogWriter;
  readonly #store: MessageStore;
  readonly #clock: Clock;
  readonly #onDue: () => void;
  #isTimed = false;
  #dirty = new WorkList<ShardProgress>();
  #writing = new WorkList<ShardProgress>();
  /** When the first of them came. */
  #dirtySince = 0;
  /** Number of the settlements being collected now; a settle is durable once `settledTo` reaches its epoch. */
  epoch = 1;
  #settledTo = 0;
  /** Epochs written but not known durable: epoch, journal position, … in order. */
  readonly #written: number[] = [];
  #isSyncWanted = false;
  #hasState = false;
  /** While a snapshot is being collected: everything written goes there as well. */
  collector: SnapshotCollector | null = null;

  /** `onDue`: a turn is wanted for what was settled. */
  constructor(store: MessageStore, clock: Clock, onDue: () => void) {
    this.#store = store;
    this.#clock = clock;
    this.#onDue = onDue;
    this.catalog = new CatalogWriter({
      append: (bytes, start, end) => {
        this.collector?.meanwhile.append(bytes, start, end);
        this.#lastPosition = store.journal.append(bytes, start, end);
        this.#hasState = true;
        return this.#lastPosition;
      },
    });
  }

  get hasWork(): boolean {
    return this.#dirty.length > 0 || this.#hasState;
  }

  /** Writes another owner's state at once; durable with the settlements of this turn. Returns their epoch. */
  state(key: string, value: Buffer): number {
    this.catalog.state(key, value);
    return this.epoch;
  }

  /** The epoch that covers all that was written so far; 0 when it is durable. */
  get noted(): number {
    if (this.hasWork) return this.epoch;
    return this.#written.length > 0 ? this.epoch - 1 : 0;
  }

  /** The caller has set `isDirty`. */
  markDirty(shard: ShardProgress): void {
    if (this.#dirty.push(shard) === 1) this.#dirtySince = this.#clock.now();
    if (!this.#isTimed) this.#lookIn(LAZY_MS);
  }

  #lookIn(ms: number): void {
    this.#isTimed = true;
    this.#clock.after(ms, () => {
      this.#isTimed = false;
      if (!this.hasWork) return;
      // What came since another turn took the rest along has time of its own.
      const left = this.#dirtySince + LAZY_MS - this.#clock.now();
      if (!this.#hasState && left > 0 && left <= LAZY_MS) this.#lookIn(left);
      else this.#onDue();
    });
  }

  /** Somebody waits for settlements: the journal is synced with the next group commit. */
  get settledTo(): number {
    if (this.hasWork || this.#written.length > 0) this.#wantSync();
    // All epochs before the current one; the current one may still get a settlement.
    else this.#settledTo = this.epoch - 1;
    return this.#settledTo;
  }

  #wantSync(): void {
    this.#isSyncWanted = true;
  }

  /** True when the turn's entries are to be synced. */
  flush(): boolean {
    const dirty = this.#dirty;
    if (this.hasWork) {
      this.#dirty = this.#writing;
      this.#writing = dirty;
      for (let i = 0; i < dirty.length; i++) this.#write(dirty.at(i));
      dirty.clear();
      this.catalog.endLows();
      this.#hasState = false;
      // An entry after them marks the end of the epoch: its position covers all before it.
      this.#written.push(this.epoch, this.#lastPosition);
      this.epoch++;
    }
    const isSync = this.#isSyncWanted && this.#written.length > 0;
    if (isSync) this.#store.journal.requestSync();
    this.#isSyncWanted = false;
    return isSync;
  }

  #lastPosition = 0;

  #write(shard: ShardProgress): void {
    shard.isDirty = false;
    const { journalId, state } = shard;
    if (state.low !== shard.journaledLow) {
      shard.journaledLow = state.low;
      this.catalog.low(journalId, state.low);
    }
    const { pendingRuns: runs, pendingAttempts } = shard;
    if (runs.length > 0) {
      for (let i = 0; i < runs.length; i += 2) {
        if (runs[i]! + runs[i + 1]! <= state.low) continue;
        this.catalog.run(journalId, runs[i]!, runs[i + 1]!);
      }
      this.catalog.endRuns();
      runs.length = 0;
    }
    if (pendingAttempts.length === 0) return;
    for (const offset of pendingAttempts) {
      const attempts = shard.attempts.get(offset);
      if (attempts === undefined) continue;
      this.catalog.attempts(journalId, offset, attempts.failed, attempts.lost);
    }
    pendingAttempts.length = 0;
  }

  /** The store's watermarks moved. */
  onWatermark(): void {
    const durable = this.#store.journal.durable;
    let done = 0;
    while (done < this.#written.length && this.#written[done + 1]! <= durable) {
      this.#settledTo = this.#written[done]!;
      done += 2;
    }
    if (done > 0) this.#written.splice(0, done);
  }
}
