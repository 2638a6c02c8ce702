/**
 * Messages that are nobody's for a time and come back to their place by themselves: a retry that is to wait, and a record
 * that the disk refuses to give just now.
 */
import type { Turn } from "../util/turn.ts";
import { STATE } from "./ack-state.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { ShardTimers } from "./shard-timers.ts";

/** A record that the disk refuses to give is asked for again after this. */
const UNREADABLE_AGAIN_MS = 60_000;

export class HeldBack {
  readonly #turn: Turn;
  readonly #timers: ShardTimers;

  constructor(turn: Turn) {
    this.#turn = turn;
    this.#timers = new ShardTimers(turn, (shard, offset) => this.#release(shard, offset));
  }

  retryLater(shard: ShardProgress, offset: number, delayMs: number): void {
    shard.state.park(offset, 1);
    shard.group.keys?.hold(shard.index, offset);
    this.#timers.add(this.#turn.now + delayMs, shard, offset);
  }

  /** Its record may be there, and the disk does not give it: others first. */
  setAside(shard: ShardProgress, offset: number): void {
    this.retryLater(shard, offset, UNREADABLE_AGAIN_MS);
  }

  close(): void {
    this.#timers.close();
  }

  #release(shard: ShardProgress, offset: number): void {
    if (shard.group.node.isDeleted || shard.state.stateOf(offset) !== STATE.PARKED) return;
    this.#turn.touch();
    shard.release(offset, 1);
  }
}
