/**
 * Pairs what is ready with who has credit, once per turn: shards and consumers that changed are collected while input is
 * read, then each gets runs of messages until messages, credit or its share of the turn is used up.
 */
import type { MessageStore } from "../store/message-store.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import { WorkList } from "../util/work-list.ts";
import { Browsing } from "./browsing.ts";
import type { Consumer } from "./consumer.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { type EntrySource, RUN_MAX, RUNS_PER_TURN, Run } from "./delivery-run.ts";
import { isReady, mayHaveKeysFrom, type PrefixHost, RunPrefix } from "./run-prefix.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Tally } from "./tally.ts";
import type { Visibility } from "./visibility.ts";

/**
 * Messages, and KiB read for them, sent in one turn: a few milliseconds, and no more of the log than is kept where it can be
 * read again (segment-reader.ts). Then sockets are read and written, so that a large
 * fan-out keeps neither its producer waiting for confirms nor anybody else.
 */
const WORK_PER_TURN = 8192;
/** Messages with ordering keys looked at in one turn and shard. */
const KEYED_PER_TURN = 4096;
export interface DispatchHost extends PrefixHost {
  readonly tally: Tally;
  /** `isBehind` became false. */
  caughtUp(): void;
}

export class Dispatcher implements TurnTask {
  readonly #entries: EntrySource;
  readonly #visibility: Visibility;
  readonly #turn: Turn;
  readonly #host: DispatchHost;
  readonly #run: Run;
  readonly #prefix: RunPrefix;
  readonly #browsing: Browsing;
  /** Messages given to consumers so far. */
  delivered = 0;
  /** For the next round. */
  #shards = new WorkList<ShardProgress>();
  /** Being served, in as many turns as it takes. */
  #round = new WorkList<ShardProgress>();
  #roundAt = 0;
  /** Those who were held back come first: the next round begins a turn later. */
  #isPausing = false;
  /** What is left of this turn's work. */
  #left = 0;
  #drains: Consumer[] = [];
  #isRequested = false;

  constructor(
    store: MessageStore,
    entries: EntrySource,
    visibility: Visibility,
    turn: Turn,
    host: DispatchHost,
  ) {
    this.#entries = entries;
    this.#visibility = visibility;
    this.#turn = turn;
    this.#host = host;
    this.#run = new Run(store);
    this.#prefix = new RunPrefix(store, turn, host, this.#run);
    this.#browsing = new Browsing(entries, this.#run, this.#prefix, () => this.#request());
  }

  /** In the middle of a round that is too much for one turn: publishers wait until everybody was served once. */
  get isBehind(): boolean {
    return this.#roundAt > 0;
  }

  /** The caller has set `shard.isScheduled`. */
  schedule(shard: ShardProgress): void {
    this.#shards.push(shard);
    this.#request();
  }

  scheduleDrain(consumer: Consumer): void {
    if (consumer.isDrainScheduled) return;
    consumer.isDrainScheduled = true;
    this.#drains.push(consumer);
    this.#request();
  }

  scheduleBrowse(consumer: Consumer): void {
    this.#browsing.schedule(consumer);
  }

  #request(): void {
    if (this.#isRequested) return;
    this.#isRequested = true;
    this.#turn.request(PHASE.DISPATCH, this);
  }

  runTurn(): void {
    this.#isRequested = false;
    if (this.#isPausing) {
      this.#isPausing = false;
      this.#request();
    } else this.#runRound();
    if (this.#browsing.hasWork) this.#browsing.run();
    if (this.#drains.length > 0) this.#runDrains();
  }

  #runRound(): void {
    const wasBehind = this.isBehind;
    if (!wasBehind) {
      const next = this.#shards;
      this.#shards = this.#round;
      this.#round = next;
    }
    const round = this.#round;
    let at = this.#roundAt;
    for (this.#left = WORK_PER_TURN; at < round.length && this.#left > 0; at++) {
      const shard = round.at(at);
      shard.isScheduled = false;
      const { levels } = shard.group;
      if (levels === null) this.#dispatchOne(shard);
      else this.#dispatchLevels(levels);
    }
    if (at < round.length) {
      this.#roundAt = at;
      this.#request();
      return;
    }
    round.clear();
    this.#roundAt = 0;
    if (!wasBehind) return;
    if (this.#shards.length > 0) {
      this.#isPausing = true;
      // What was scheduled in the turns of this round was asked for by turns that are over.
      this.#request();
    }
    this.#host.caughtUp();
  }

  #dispatchOne(shard: ShardProgress): void {
    if (shard.group.isSelective) this.#dispatchSelective(shard);
    else if (mayHaveKeysFrom(shard, shard.next)) this.#dispatchKeyed(shard);
    else this.#dispatchShard(shard);
  }

  /** Higher priorities first; a level that has more than its share of the turn holds the lower ones back. */
  #dispatchLevels(levels: readonly ShardProgress[]): void {
    for (const shard of levels) {
      this.#dispatchOne(shard);
      if (shard.isScheduled) return;
    }
  }

  /** Reads ready messages from `at` on, at most `max`, whatever lies between them; returns how many. */
  #load({ queue, state }: ShardProgress, at: number, end: number, max: number): number {
    const run = this.#run;
    const count = state.gatherReady(at, end, Math.min(RUN_MAX, max), run.offsets);
    return run.load(this.#entries, queue, count);
  }

  /** The plain path: any member may take anything the group wants. */
  #dispatchShard(shard: ShardProgress): void {
    const { group, queue, state } = shard;
    const { offsets } = this.#run;
    const end = this.#visibility.endOf(queue);
    for (let runs = 0; runs < RUNS_PER_TURN && this.#left > 0; runs++) {
      const at = state.findReady(shard.next, end);
      shard.next = at;
      if (at >= end) return;
      const consumer = this.#pick(group, shard);
      if (consumer === null) return;
      const share = group.only !== null ? RUN_MAX : this.#shareOf(group, shard);
      let count = this.#load(shard, at, end, Math.min(consumer.credit, share));
      if (count === 0) return;
      count = this.#prefix.sound(shard, count);
      if (count === 0) {
        // What cannot be read was settled or set aside: go on behind it. What is still on its way: wait for it.
        if (isReady(shard, at)) return;
        continue;
      }
      count = this.#prefix.wanted(shard, count);
      if (count === 0) continue;
      count = this.#prefix.withinBytes(count);
      shard.next = offsets[count - 1]! + 1;
      this.#deliver(shard, consumer, count);
    }
    group.schedule(shard);
  }

  /**
   * Messages may carry ordering keys: each key goes to one consumer while anything of it is outstanding. Keys whose
   * consumer is busy are passed over; the search begins again at the first of them.
   */
  #dispatchKeyed(shard: ShardProgress): void {
    const { group, queue, state } = shard;
    const run = this.#run;
    const end = this.#visibility.endOf(queue);
    let at = state.findReady(shard.next, end);
    let firstHeld = -1;
    let isStuck = false;
    let work = KEYED_PER_TURN;
    while (at < end && work > 0 && this.#left > 0 && !isStuck) {
      let count = this.#load(shard, at, end, work);
      if (count > 0) count = this.#prefix.sound(shard, count);
      if (count === 0) {
        if (isReady(shard, at)) break;
        at = state.findReady(at, end);
        continue;
      }
      work -= count;
      const behind = run.offsets[count - 1]! + 1;
      while (count > 0) {
        at = run.offsets[0]!;
        if (this.#prefix.unkeyed(1) === 0) {
          const outcome = this.#dispatchKey(shard);
          isStuck = outcome === "no-credit";
          if (isStuck) break;
          if (outcome === "held" && firstHeld < 0) firstHeld = at;
        } else {
          const left = this.#dispatchUnkeyed(shard, count);
          isStuck = left === at;
          // What was cut off is read again.
          if (left >= 0) {
            at = left;
            break;
          }
        }
        const { looked } = this.#prefix;
        count -= looked;
        if (count > 0) run.shift(looked, count);
        else at = behind;
      }
      at = state.findReady(at, end);
    }
    shard.next = firstHeld >= 0 ? firstHeld : at;
    if ((work <= 0 || this.#left <= 0) && at < end && !isStuck) group.schedule(shard);
  }

  /**
   * Sends what leads the run and has no key. Returns the first offset that has to wait, which is the run's first where nobody
   * takes any; -1 when all that was looked at is done with.
   */
  #dispatchUnkeyed(shard: ShardProgress, count: number): number {
    const { group } = shard;
    const { offsets } = this.#run;
    const consumer = this.#pick(group, shard);
    if (consumer === null) return offsets[0]!;
    const most = Math.min(count, consumer.credit, this.#shareOf(group, shard));
    const wanted = this.#prefix.wanted(shard, this.#prefix.unkeyed(most));
    if (wanted === 0) return -1;
    const sent = this.#prefix.withinBytes(wanted);
    this.#deliver(shard, consumer, sent);
    return sent < wanted ? offsets[sent]! : -1;
  }

  /** Sends the run's first message to its key's consumer. */
  #dispatchKey(shard: ShardProgress): "sent" | "held" | "no-credit" {
    const { group } = shard;
    if (this.#prefix.wanted(shard, 1) === 0) return "sent";
    const key = this.#run.record(0).property("__SHARDINGKEY") ?? "";
    const owner = group.keys?.ownerOf(key);
    const consumer =
      owner === undefined
        ? this.#pick(group, shard)
        : (group.members.find((member) => member.id === owner) ?? null);
    if (consumer === null) return owner === undefined ? "no-credit" : "held";
    if (!consumer.isReady) return "held";
    group.takeKey(key, consumer, shard, this.#run.offsets[0]!);
    this.#deliver(shard, consumer, 1);
    return "sent";
  }

  /**
   * Members with filters of their own: each searches the ready messages from its own position. An ordering key still goes
   * to one member at a time; what others would get of it waits until it is free.
   */
  #dispatchSelective(shard: ShardProgress): void {
    const { group } = shard;
    const { members } = group;
    const { isSingleActive } = group.node.settings;
    const count = isSingleActive ? Math.min(1, members.length) : members.length;
    let hasMore = false;
    for (let i = 0; i < count; i++) {
      const consumer = isSingleActive ? members[0]! : members[(group.turn + i) % count]!;
      for (let runs = 0; consumer.isReady; runs++) {
        if (runs === RUNS_PER_TURN) {
          hasMore = true;
          break;
        }
        if (!this.#searchOnce(shard, consumer)) break;
      }
    }
    group.turn++;
    if (hasMore) group.schedule(shard);
  }

  /** Sends what this consumer wants of the next messages that are ready; false when there is nothing more for it. */
  #searchOnce(shard: ShardProgress, consumer: Consumer): boolean {
    const { queue, state } = shard;
    const { offsets } = this.#run;
    const prefix = this.#prefix;
    const end = this.#visibility.endOf(queue);
    const at = state.findReady(Math.max(consumer.scan[shard.index] ?? 0, state.low), end);
    consumer.scan[shard.index] = at;
    if (at >= end) return false;
    prefix.isKeyed = mayHaveKeysFrom(shard, at);
    let count = this.#load(shard, at, end, RUN_MAX);
    if (count > 0) count = prefix.sound(shard, count);
    if (count === 0) return !isReady(shard, at);
    count = prefix.wanted(shard, count);
    let next = offsets[prefix.looked - 1]! + 1;
    const own = prefix.own(shard, consumer, count, consumer.credit);
    if (prefix.looked < count) next = offsets[prefix.looked]!;
    const sent = own === 0 ? 0 : prefix.withinBytes(own);
    if (sent < own) next = offsets[sent]!;
    consumer.scan[shard.index] = next;
    if (sent === 0) return true;
    if (prefix.isKeyed) prefix.takeKeys(shard, consumer, sent);
    this.#deliver(shard, consumer, sent);
    return true;
  }

  #deliver(shard: ShardProgress, consumer: Consumer, count: number): void {
    const run = this.#run;
    const { offsets } = run;
    run.assign(shard, consumer, count);
    const counters = shard.group.node.counters;
    counters.delivered += count;
    this.delivered += count;
    this.#host.tally.delivered += count;
    this.#left -= count + (run.bytesRead(count) >> 10);
    shard.state.acquireRow(offsets, count);
    if (consumer.isPreSettled) {
      consumer.sink.deliver(run);
      shard.settleRow(offsets, 0, count);
      counters.accepted += count;
      this.#host.tally.accepted += count;
    } else {
      consumer.unsettled.push(shard.index, offsets, count);
      if (shard.group.settings.isOrdered) shard.holder = consumer.id;
      consumer.sink.deliver(run);
    }
  }

  /** Next member to serve: best priority first, taking turns among equals; null when nobody is ready. */
  #pick(group: ConsumerGroup, shard: ShardProgress): Consumer | null {
    const { only } = group;
    if (only !== null && (shard.holder < 0 || shard.holder === only.id)) {
      return only.isReady ? only : null;
    }
    const members = group.members;
    if (group.node.settings.isSingleActive) {
      const active = members[0];
      return active?.isReady === true ? active : null;
    }
    if (shard.holder >= 0 && group.settings.isOrdered) {
      const holder = members.find((member) => member.id === shard.holder);
      if (holder !== undefined) return holder.isReady ? holder : null;
      shard.holder = -1;
    }
    let best: Consumer | null = null;
    let bestAt = 0;
    for (let i = 0; i < members.length; i++) {
      const at = (group.turn + i) % members.length;
      const member = members[at]!;
      if (best !== null && member.priority <= best.priority) continue;
      if (!member.isReady) continue;
      best = member;
      bestAt = at;
      if (members[0]!.priority === member.priority) break;
    }
    if (best !== null) group.turn = bestAt + 1;
    return best;
  }

  /** Few messages among many members are shared out rather than given to the first. */
  #shareOf(group: ConsumerGroup, shard: ShardProgress): number {
    return Math.max(1, Math.ceil(shard.readyCount / group.members.length));
  }

  #runDrains(): void {
    const drains = this.#drains;
    this.#drains = [];
    for (const consumer of drains) {
      consumer.isDrainScheduled = false;
      if (consumer.isClosed || !consumer.isDraining) continue;
      if (consumer.credit > 0) {
        // Its wire is full: `resume` brings it back. More is waiting in this shard: the next turn continues.
        if (!consumer.sink.isReady()) continue;
        if (
          consumer.isBrowseScheduled ||
          consumer.group.shards.some((shard) => shard.isScheduled)
        ) {
          this.scheduleDrain(consumer);
          continue;
        }
      }
      consumer.isDraining = false;
      consumer.credit = 0;
      consumer.sink.onDrained();
    }
  }
}
