/** Serves browsers: they look at what is there without taking it, a share of the turn at a time. */
import { STATE } from "./ack-state.ts";
import type { Consumer } from "./consumer.ts";
import { type EntrySource, RUN_MAX, RUNS_PER_TURN, type Run } from "./delivery-run.ts";
import { isReady, type RunPrefix } from "./run-prefix.ts";

export class Browsing {
  readonly #entries: EntrySource;
  readonly #run: Run;
  readonly #prefix: RunPrefix;
  readonly #request: () => void;
  #waiting: Consumer[] = [];

  /** `request`: `run` is to be called in the next turn. */
  constructor(entries: EntrySource, run: Run, prefix: RunPrefix, request: () => void) {
    this.#entries = entries;
    this.#run = run;
    this.#prefix = prefix;
    this.#request = request;
  }

  get hasWork(): boolean {
    return this.#waiting.length > 0;
  }

  schedule(consumer: Consumer): void {
    if (consumer.isBrowseScheduled) return;
    consumer.isBrowseScheduled = true;
    this.#waiting.push(consumer);
    this.#request();
  }

  run(): void {
    const browsers = this.#waiting;
    this.#waiting = [];
    for (const consumer of browsers) {
      consumer.isBrowseScheduled = false;
      if (!consumer.isClosed) this.#browse(consumer);
    }
  }

  /** A browser sees everything not settled, acquired or not, up to the end it found when it came. */
  #browse(consumer: Consumer): void {
    const run = this.#run;
    this.#prefix.isKeyed = false;
    let runs = 0;
    for (const shard of consumer.group.shards) {
      const { state, queue } = shard;
      const end = consumer.scanEnd[shard.index] ?? 0;
      let at = Math.max(consumer.scan[shard.index] ?? 0, state.low);
      while (at < end && consumer.isReady) {
        if (runs++ === RUNS_PER_TURN) {
          this.schedule(consumer);
          return;
        }
        let count = state.gatherOwed(at, end, Math.min(RUN_MAX, consumer.credit), run.offsets);
        if (count === 0) {
          consumer.scan[shard.index] = end;
          break;
        }
        at = run.offsets[0]!;
        count = run.load(this.#entries, queue, count);
        const isRead = count > 0;
        if (isRead) count = this.#prefix.sound(shard, count);
        if (count === 0) {
          if (state.stateOf(at) === STATE.SETTLED) continue;
          if (!isRead || isReady(shard, at)) break;
          // It cannot be read, by nobody: the others can be looked at, also in the next turn.
          consumer.scan[shard.index] = ++at;
          continue;
        }
        at = run.offsets[count - 1]! + 1;
        const own = this.#prefix.own(shard, consumer, count, count);
        const sent = own === 0 ? 0 : this.#prefix.withinBytes(own);
        if (sent < own) at = run.offsets[sent]!;
        consumer.scan[shard.index] = at;
        if (sent === 0) continue;
        run.assign(shard, consumer, sent);
        consumer.sink.deliver(run);
      }
    }
  }
}
