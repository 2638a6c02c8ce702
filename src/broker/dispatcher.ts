/**
 * Pairs what is ready with who has credit, once per turn: shards and consumers that changed are collected while input is
 * read, then each gets runs of messages until messages, credit or its share of the turn is used up.
 */
import { ENCODING, FLAG } from "../model/record-view.ts";
import type { MessageStore } from "../store/message-store.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import { STATE } from "./ack-state.ts";
import type { Consumer } from "./consumer.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { RUN_MAX, RUN_MAX_BYTES, Run } from "./delivery-run.ts";
import { type MessageFilter, VERDICT } from "./filter.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Visibility } from "./visibility.ts";

/** Runs a shard may send in one turn before others get theirs. */
const RUNS_PER_TURN = 16;
/**
 * Messages, and KiB of them, sent in one turn: a few milliseconds. Then sockets are read and written, so that a large
 * fan-out keeps neither its producer waiting for confirms nor anybody else.
 */
const WORK_PER_TURN = 8192;
/** Messages with ordering keys looked at in one turn and shard. */
const KEYED_PER_TURN = 4096;
/** Where entries of queues come from: the store, or an index in memory. */
export type EntrySource = Pick<MessageStore, "read">;

export interface DispatchHost {
  /** A record cannot be read any more: count it, say so, settle it. */
  damaged(shard: ShardProgress, offset: number, physicalOffset: number): void;
  /** The disk refuses to give a record: it is set aside for a while. */
  unreadable(shard: ShardProgress, offset: number): void;
  /** Its time is over: dead-letter or drop it, then settle. */
  expired(shard: ShardProgress, offset: number): void;
  /** `isBehind` became false. */
  caughtUp(): void;
}

export class Dispatcher implements TurnTask {
  readonly #store: MessageStore;
  readonly #entries: EntrySource;
  readonly #visibility: Visibility;
  readonly #turn: Turn;
  readonly #host: DispatchHost;
  readonly #run: Run;
  /** For the next round. */
  #shards: ShardProgress[] = [];
  /** Being served, in as many turns as it takes. */
  #round: ShardProgress[] = [];
  #roundAt = 0;
  /** Those who were held back come first: the next round begins a turn later. */
  #isPausing = false;
  /** What is left of this turn's work. */
  #left = 0;
  #drains: Consumer[] = [];
  #browsers: Consumer[] = [];
  #isRequested = false;

  constructor(
    store: MessageStore,
    entries: EntrySource,
    visibility: Visibility,
    turn: Turn,
    host: DispatchHost,
  ) {
    this.#store = store;
    this.#entries = entries;
    this.#visibility = visibility;
    this.#turn = turn;
    this.#host = host;
    this.#run = new Run(store);
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
    if (consumer.isBrowseScheduled) return;
    consumer.isBrowseScheduled = true;
    this.#browsers.push(consumer);
    this.#request();
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
    if (this.#browsers.length > 0) this.#runBrowsers();
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
      const shard = round[at]!;
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
    round.length = 0;
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
    else if (mayHaveKeys(shard)) this.#dispatchKeyed(shard);
    else this.#dispatchShard(shard);
  }

  /** Higher priorities first; a level that has more than its share of the turn holds the lower ones back. */
  #dispatchLevels(levels: readonly ShardProgress[]): void {
    for (const shard of levels) {
      this.#dispatchOne(shard);
      if (shard.isScheduled) return;
    }
  }

  /** The plain path: any member may take anything the group wants. */
  #dispatchShard(shard: ShardProgress): void {
    const { group, queue, state } = shard;
    const run = this.#run;
    const end = this.#visibility.endOf(queue);
    for (let runs = 0; runs < RUNS_PER_TURN; ) {
      const at = state.findReady(shard.next, end);
      shard.next = at;
      if (at >= end) return;
      const consumer = this.#pick(group, shard);
      if (consumer === null) return;
      const share = group.members.length === 1 ? RUN_MAX : this.#shareOf(group, shard);
      const wanted = Math.min(consumer.credit, share, RUN_MAX, end - at);
      let count = this.#entries.read(queue, at, state.readyRun(at, wanted), run);
      if (count === 0) return;
      count = this.#soundPrefix(shard, at, count);
      if (count === 0) {
        // What cannot be read was settled or set aside: go on behind it. What is still on its way: wait for it.
        if (isReady(shard, at)) return;
        continue;
      }
      count = this.#wantedPrefix(shard, at, count);
      if (count <= 0) continue;
      this.#deliver(shard, consumer, at, this.#withinBytes(count));
      runs++;
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
    let work = KEYED_PER_TURN;
    while (at < end && work > 0) {
      let count = this.#entries.read(
        queue,
        at,
        state.readyRun(at, Math.min(RUN_MAX, work, end - at)),
        run,
      );
      if (count > 0) count = this.#soundPrefix(shard, at, count);
      if (count === 0) {
        if (isReady(shard, at)) break;
        at = state.findReady(at, end);
        continue;
      }
      const plain = this.#unkeyedPrefix(count);
      if (plain > 0) {
        const consumer = this.#pick(group, shard);
        if (consumer === null) break;
        const wanted = this.#wantedPrefix(shard, at, Math.min(plain, this.#shareOf(group, shard)));
        if (wanted > 0) {
          const sent = this.#withinBytes(Math.min(wanted, consumer.credit));
          this.#deliver(shard, consumer, at, sent);
          at += sent;
        }
      } else {
        const outcome = this.#dispatchKey(shard, at);
        if (outcome === "no-credit") break;
        if (outcome === "held" && firstHeld < 0) firstHeld = at;
        at++;
      }
      work -= Math.max(1, plain);
      at = state.findReady(at, end);
    }
    shard.next = firstHeld >= 0 ? firstHeld : at;
    if (work <= 0 && at < end) group.schedule(shard);
  }

  /** Sends the run's first message to its key's consumer. */
  #dispatchKey(shard: ShardProgress, at: number): "sent" | "held" | "no-credit" {
    const { group } = shard;
    if (this.#wantedPrefix(shard, at, 1) <= 0) return "sent";
    const key = this.#run.record(0).property("__SHARDINGKEY") ?? "";
    const owner = group.keys?.ownerOf(key);
    const consumer =
      owner === undefined
        ? this.#pick(group, shard)
        : (group.members.find((member) => member.id === owner) ?? null);
    if (consumer === null) return owner === undefined ? "no-credit" : "held";
    if (!consumer.isReady) return "held";
    group.takeKey(key, consumer, shard, at);
    this.#deliver(shard, consumer, at, 1);
    return "sent";
  }

  /** Leading entries without an ordering key; 0 when the first has one. */
  #unkeyedPrefix(count: number): number {
    let length = 0;
    while (length < count) {
      const record = this.#run.record(length);
      if ((record.flag & FLAG.HAS_KEY) !== 0 && record.encoding !== ENCODING.FOREIGN) break;
      length++;
    }
    return length;
  }

  /** Leading entries alive and wanted by the group; what is not is settled away, and the answer is 0 or less then. */
  #wantedPrefix(shard: ShardProgress, at: number, count: number): number {
    const { group } = shard;
    if (group.node.mayExpire) {
      const fresh = this.#freshPrefix(count);
      if (fresh < 0) {
        for (let i = 0; i < -fresh; i++) this.#host.expired(shard, at + i);
        return fresh;
      }
      count = fresh;
    }
    const { filter } = group.settings;
    if (filter === null) return count;
    const matching = this.#matchingPrefix(filter, count);
    if (matching < 0) shard.settle(at, -matching);
    return matching;
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

  /** The shard that is searched may hold ordering keys. */
  #isKeyed = false;

  /** Sends the next run that this consumer wants; false when there is nothing more for it. */
  #searchOnce(shard: ShardProgress, consumer: Consumer): boolean {
    const { queue, state } = shard;
    const end = this.#visibility.endOf(queue);
    this.#isKeyed = mayHaveKeys(shard);
    let at = Math.max(consumer.scan[shard.index] ?? 0, state.low);
    for (;;) {
      at = state.findReady(at, end);
      consumer.scan[shard.index] = at;
      if (at >= end) return false;
      let count = this.#entries.read(
        queue,
        at,
        state.readyRun(at, Math.min(RUN_MAX, end - at)),
        this.#run,
      );
      if (count > 0) count = this.#soundPrefix(shard, at, count);
      if (count === 0) {
        if (isReady(shard, at)) return false;
        continue;
      }
      count = this.#wantedPrefix(shard, at, count);
      if (count <= 0) continue;
      // What it wants may lie scattered: what was read once serves all of it.
      let isSent = false;
      while (count > 0 && consumer.isReady) {
        const own = this.#ownPrefix(shard, consumer, at, count);
        const passed = own > 0 ? this.#withinBytes(Math.min(own, consumer.credit)) : -own;
        consumer.scan[shard.index] = at + passed;
        if (own > 0) {
          if (this.#isKeyed) this.#takeKeys(shard, consumer, at, passed);
          this.#deliver(shard, consumer, at, passed);
        }
        isSent ||= own > 0;
        at += passed;
        count -= passed;
        this.#run.shift(passed, count);
      }
      if (isSent) return true;
    }
  }

  /** Leading entries this consumer wants (positive) or does not want (negative). */
  #ownPrefix(shard: ShardProgress, consumer: Consumer, at: number, count: number): number {
    const first = this.#isOwn(shard, consumer, at, 0);
    let length = 1;
    while (length < count && this.#isOwn(shard, consumer, at, length) === first) length++;
    return first ? length : -length;
  }

  #isOwn(shard: ShardProgress, consumer: Consumer, at: number, index: number): boolean {
    if (consumer.hasRefused(shard, at + index)) return false;
    if (consumer.filter !== null && !this.#matches(consumer.filter, index)) return false;
    return !this.#isKeyed || this.#isKeyFree(shard, consumer, at, index);
  }

  /** Nobody else has the ordering key of this message, or it has none. */
  #isKeyFree(shard: ShardProgress, consumer: Consumer, at: number, index: number): boolean {
    const key = this.#keyOf(index);
    const owner = key === "" ? undefined : shard.group.keys?.ownerOf(key);
    if (owner === undefined || owner === consumer.id) return true;
    consumer.passedOver ??= [];
    const first = consumer.passedOver[shard.index] ?? Number.POSITIVE_INFINITY;
    consumer.passedOver[shard.index] = Math.min(first, at + index);
    return false;
  }

  #takeKeys(shard: ShardProgress, consumer: Consumer, at: number, count: number): void {
    for (let i = 0; i < count; i++) {
      const key = this.#keyOf(i);
      if (key !== "") shard.group.takeKey(key, consumer, shard, at + i);
    }
  }

  #keyOf(index: number): string {
    const record = this.#run.record(index);
    const isKeyed = (record.flag & FLAG.HAS_KEY) !== 0 && record.encoding !== ENCODING.FOREIGN;
    return isKeyed ? (record.property("__SHARDINGKEY") ?? "") : "";
  }

  #matches(filter: MessageFilter, index: number): boolean {
    const verdict = filter.byHash(this.#run.tagHash[index]!);
    if (verdict !== VERDICT.MAYBE) return verdict === VERDICT.YES;
    return filter.byRecord(this.#run.record(index));
  }

  /** Leading entries still alive (positive) or expired (negative). */
  #freshPrefix(count: number): number {
    const { now } = this.#turn;
    const isExpired = (index: number): boolean => {
      const { expiresAt } = this.#run.record(index);
      return expiresAt !== 0 && expiresAt <= now;
    };
    const first = isExpired(0);
    let length = 1;
    while (length < count && isExpired(length) === first) length++;
    return first ? -length : length;
  }

  /** Leading entries that match (positive) or do not (negative). */
  #matchingPrefix(filter: MessageFilter, count: number): number {
    const first = this.#matches(filter, 0);
    let length = 1;
    while (length < count && this.#matches(filter, length) === first) length++;
    return first ? length : -length;
  }

  /**
   * Cold records are checked before anything is promised: damaged ones are settled away, unreadable ones set aside,
   * missing ones cut the run.
   */
  #soundPrefix(shard: ShardProgress, at: number, count: number): number {
    const run = this.#run;
    const hotFrom = this.#store.atHandFrom;
    for (let i = 0; i < count; i++) {
      const physicalOffset = run.physicalOffset[i]!;
      // A moved record lies behind younger ones: each is looked at.
      if (physicalOffset >= hotFrom || run.isAtHand(i)) continue;
      // What somebody holds is his.
      if (i > 0 || !isReady(shard, at)) return i;
      if (this.#store.isUnreadable(physicalOffset)) this.#host.unreadable(shard, at);
      else if (this.#store.isDamaged(physicalOffset)) this.#host.damaged(shard, at, physicalOffset);
      return 0;
    }
    return count;
  }

  #withinBytes(count: number): number {
    const sizes = this.#run.size;
    let bytes = sizes[0]!;
    let fit = 1;
    while (fit < count) {
      bytes += sizes[fit]!;
      if (bytes > RUN_MAX_BYTES) break;
      fit++;
    }
    return fit;
  }

  #deliver(shard: ShardProgress, consumer: Consumer, at: number, count: number): void {
    const run = this.#run;
    run.count = count;
    run.firstOffset = at;
    run.shard = shard;
    run.isPlain = shard.attempts.size === 0;
    run.firstDelivery = consumer.deliveredCount;
    consumer.deliveredCount += count;
    consumer.credit -= count;
    const counters = shard.group.node.counters;
    counters.delivered += count;
    this.#left -= count + ((count * run.size[0]!) >> 10);
    if (consumer.isPreSettled) {
      shard.state.acquire(at, count);
      consumer.sink.deliver(run);
      shard.settle(at, count);
      counters.accepted += count;
    } else {
      shard.state.acquire(at, count);
      consumer.unsettled.push(shard.index, at, count);
      if (shard.group.settings.isOrdered) shard.holder = consumer.id;
      consumer.sink.deliver(run);
    }
    if (shard.next === at) shard.next = at + count;
  }

  /** Next member to serve: best priority first, taking turns among equals; null when nobody is ready. */
  #pick(group: ConsumerGroup, shard: ShardProgress): Consumer | null {
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

  #runBrowsers(): void {
    const browsers = this.#browsers;
    this.#browsers = [];
    for (const consumer of browsers) {
      consumer.isBrowseScheduled = false;
      if (!consumer.isClosed) this.#browse(consumer);
    }
  }

  /** A browser sees everything not settled, acquired or not, up to the end it found when it came. */
  #browse(consumer: Consumer): void {
    const run = this.#run;
    let runs = 0;
    for (const shard of consumer.group.shards) {
      const { state, queue } = shard;
      const end = consumer.scanEnd[shard.index] ?? 0;
      let at = Math.max(consumer.scan[shard.index] ?? 0, state.low);
      while (at < end && consumer.isReady) {
        if (runs++ === RUNS_PER_TURN) {
          this.scheduleBrowse(consumer);
          return;
        }
        let count = 0;
        while (at < end && state.stateOf(at) === STATE.SETTLED) at++;
        const most = Math.min(RUN_MAX, consumer.credit, end - at);
        while (count < most && state.stateOf(at + count) !== STATE.SETTLED) count++;
        if (count > 0) count = this.#entries.read(queue, at, count, run);
        const isRead = count > 0;
        if (isRead) count = this.#soundPrefix(shard, at, count);
        if (count === 0) {
          if (at < end && state.stateOf(at) === STATE.SETTLED) continue;
          if (!isRead || isReady(shard, at)) break;
          // It cannot be read, by nobody: the others can be looked at.
          at++;
          continue;
        }
        const own = this.#ownPrefix(shard, consumer, at, count);
        if (own > 0) {
          const sent = this.#withinBytes(own);
          run.count = sent;
          run.firstOffset = at;
          run.shard = shard;
          run.isPlain = shard.attempts.size === 0;
          run.firstDelivery = consumer.deliveredCount;
          consumer.deliveredCount += sent;
          consumer.credit -= sent;
          at += sent;
          consumer.scan[shard.index] = at;
          consumer.sink.deliver(run);
        } else at -= own;
        consumer.scan[shard.index] = at;
      }
    }
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

function isReady({ state }: ShardProgress, offset: number): boolean {
  const one = state.stateOf(offset);
  return one === STATE.READY || one === STATE.READY_AGAIN;
}

/** Nothing with an ordering key is left when the group has settled all of them: the plain path again. */
function mayHaveKeys({ group, index, state }: ShardProgress): boolean {
  const { node } = group;
  return node.mayHaveKeys && state.low < (node.keyedTo[index] ?? 0);
}
