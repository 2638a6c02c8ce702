/**
 * How much may wait for one session (or shared subscription): a limit for indexes on disk, another for those in memory,
 * which must have one. In-flight messages do not count.
 *
 * What is too much is found where entries are added and taken away once per turn, after the dispatcher: a burst that the
 * client takes at once never was too much.
 */
import { BrokerError } from "../model/errors.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import { STATE } from "./ack-state.ts";
import type { Node } from "./node.ts";
import type { SessionLimits } from "./session-facade.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Superseded } from "./superseded.ts";
import type { Tally } from "./tally.ts";
import type { Indexes } from "./topic-routes.ts";
import { CHUNK, IndexMemory, VolatileIndex } from "./volatile-index.ts";

const DEFAULT_SESSION_LIMITS: SessionLimits = {
  maxQueued: 0,
  maxQueuedInMemory: 1_000_000,
  overflow: "drop-oldest",
};

/**
 * Entries that all lists in memory hold together (64 MiB of them). Beyond, those in which much waits share the room, down
 * to the smallest share.
 */
const MEMORY_ENTRIES = 4 * 1024 * 1024;
const SHARE_MIN = 1024;
/** Large limits are looked at once in so many messages. */
const LOOK_EVERY = 64;
const LARGE = 1024;

export class SessionOverflow implements TurnTask {
  readonly #turn: Turn;
  readonly #superseded: Superseded;
  readonly #tally: Tally;
  /** The dispatcher is in the middle of its round. */
  readonly #isBehind: () => boolean;
  readonly #over = new Set<ShardProgress>();
  #isRequested = false;
  #limits = DEFAULT_SESSION_LIMITS;
  #durableMax = Number.POSITIVE_INFINITY;
  #volatileMax = DEFAULT_SESSION_LIMITS.maxQueuedInMemory;
  readonly memory = new IndexMemory();
  memoryEntries = MEMORY_ENTRIES;
  /** Messages that a session did not get. */
  dropped = 0;
  /** False while the broker publishes by itself. */
  isRefusing = true;

  constructor(turn: Turn, superseded: Superseded, tally: Tally, isBehind: () => boolean) {
    this.#tally = tally;
    this.#turn = turn;
    this.#superseded = superseded;
    this.#isBehind = isBehind;
  }

  get limits(): SessionLimits {
    return this.#limits;
  }

  set limits(limits: SessionLimits) {
    this.#limits = limits;
    this.#durableMax = limits.maxQueued === 0 ? Number.POSITIVE_INFINITY : limits.maxQueued;
    this.#volatileMax = Math.min(limits.maxQueuedInMemory, this.#durableMax);
  }

  /** Throws queue-full when the new message is to be refused. */
  admit(indexes: Indexes): void {
    if (this.#limits.overflow !== "reject" || !this.isRefusing) return;
    const full =
      indexes.durableProgress.find((one) => isFull(one, this.#durableMax)) ??
      indexes.volatileProgress.find((one) => isFull(one, this.#volatileLimit));
    if (full === undefined) return;
    this.#tally.refused.session_full++;
    throw new BrokerError(
      "queue-full",
      `'${full.group.node.address.name}' has ${full.readyCount} messages waiting, as many as a session may have (mqtt.queuedMax): its client has to take some`,
    );
  }

  /** An entry was added to this index. */
  noteDurable(progress: ShardProgress): void {
    this.#note(progress, this.#durableMax);
  }
  noteVolatile(progress: ShardProgress): void {
    this.#note(progress, this.#volatileLimit);
  }

  get #volatileLimit(): number {
    const { chunks, holders } = this.memory;
    if (chunks * CHUNK <= this.memoryEntries) return this.#volatileMax;
    const share = Math.floor(this.memoryEntries / Math.max(1, holders));
    return Math.min(this.#volatileMax, Math.max(SHARE_MIN, share));
  }

  /**
   * A subscriber of a topic that ends with its link has no list of its own; what it does not take keeps the log. It may
   * fall behind as far as others, and no further.
   */
  limit(node: Node): void {
    for (const group of node.groups.awake()) {
      if (!group.settings.isVolatile) continue;
      for (const progress of group.shards) {
        const excess = progress.readyCount - this.#volatileMax;
        if (excess <= 0) continue;
        this.#dropOldest(progress, excess);
        this.#tally.dropped.slow_reader += excess;
        node.counters.dropped += excess;
      }
    }
  }

  #note(progress: ShardProgress, max: number): void {
    if (max === Number.POSITIVE_INFINITY) return;
    if (max >= LARGE && progress.queue.maxOffset % LOOK_EVERY !== 0) return;
    if (progress.readyCount <= max) return;
    this.#over.add(progress);
    this.#request();
  }

  #request(): void {
    if (this.#isRequested) return;
    this.#isRequested = true;
    this.#turn.request(PHASE.ENCODE, this);
  }

  runTurn(): void {
    this.#isRequested = false;
    if (this.#isBehind()) {
      this.#request();
      return;
    }
    for (const progress of this.#over) {
      const { node } = progress.group;
      if (node.isDeleted) continue;
      const isVolatile = !progress.group.isDurable;
      const excess = progress.readyCount - (isVolatile ? this.#volatileLimit : this.#durableMax);
      if (excess <= 0) continue;
      // Where publishers are refused, it is a will or the like: what was accepted before it stays.
      if (this.#limits.overflow === "drop-oldest") this.#dropOldest(progress, excess);
      else dropNewest(progress, excess);
      node.counters.dropped += excess;
      this.#tally.dropped.session_full += excess;
      this.dropped += excess;
    }
    this.#over.clear();
  }

  /** What pushed them out is at the end of the log, or before it. */
  #dropOldest(progress: ShardProgress, excess: number): void {
    const { state, queue, group } = progress;
    const from = state.findReady(state.low, queue.maxOffset);
    let at = from;
    for (let left = excess; left > 0; ) {
      at = state.findReady(at, queue.maxOffset);
      if (at >= queue.maxOffset) break;
      const count = group.isDurable ? 1 : state.readyRun(at, Math.min(left, queue.maxOffset - at));
      if (group.isDurable) this.#superseded.add(progress, at);
      else progress.settle(at, count);
      left -= count;
      at += count;
    }
    // Before them lies what the client has and does not acknowledge.
    if (queue instanceof VolatileIndex && state.low < from) {
      queue.release(from, at, (offset) => state.stateOf(offset) !== STATE.SETTLED);
    }
  }
}

/** A client that is there takes what it has credit for. */
function isFull(progress: ShardProgress, max: number): boolean {
  if (max === Number.POSITIVE_INFINITY) return false;
  let credit = 0;
  for (const member of progress.group.members) credit += member.credit;
  return progress.readyCount >= max + credit;
}

function dropNewest(progress: ShardProgress, excess: number): void {
  const { state, queue } = progress;
  let left = excess;
  for (let at = queue.maxOffset - 1; left > 0 && at >= state.low; at--) {
    const one = state.stateOf(at);
    if (one !== STATE.READY && one !== STATE.READY_AGAIN) continue;
    progress.settle(at, 1);
    left--;
  }
}
