/**
 * What becomes of messages that are not simply delivered: expired, pushed out, tried too often, to be tried later, damaged,
 * or not given by the disk just now. Each ends as a dead letter, dropped and counted, or comes back to its place.
 */
import type { Draft } from "../model/draft.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Turn } from "../util/turn.ts";
import { DeadLetters, type DeathReason, deadLetterQueueOf } from "./dead-letter.ts";
import type { EntrySource } from "./delivery-run.ts";
import { HeldBack } from "./held-back.ts";
import type { Node } from "./node.ts";
import type { PrefixHost } from "./run-prefix.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Superseded } from "./superseded.ts";
import { Undeliverable, type UndeliverableHost } from "./undeliverable.ts";

export interface UndeliveredHost extends UndeliverableHost {
  readonly turn: Turn;
  readonly superseded: Superseded;
}

/** Entries of a queue that the disk refuses to give are asked for again after this. */
const ENTRIES_AGAIN_MS = 1000;

export class Undelivered implements PrefixHost {
  readonly #host: UndeliveredHost;
  readonly #deadLetters: DeadLetters;
  readonly #undeliverable: Undeliverable;
  readonly #heldBack: HeldBack;
  /** What could not be read first. */
  readError: string | null = null;

  constructor(host: UndeliveredHost, entries: Pick<EntrySource, "read">, logger: Logger) {
    this.#host = host;
    this.#heldBack = new HeldBack(host.turn);
    const undeliverable = new Undeliverable(host, logger);
    this.#undeliverable = undeliverable;
    this.#deadLetters = new DeadLetters({
      store: host.store,
      entries,
      deadLetterQueueOf,
      publishDead: (node: Node, name: string, draft: Draft) =>
        undeliverable.publishDead(node, name, draft),
      unreadable: (shard, offset) => this.unreadable(shard, offset),
      noteDeath: (shard, reason) => undeliverable.noteDeath(shard, reason),
      superseded: host.superseded,
      tally: host.tally,
    });
  }

  bury(shard: ShardProgress, offset: number, reason: DeathReason): void {
    this.#deadLetters.bury(shard, offset, reason, this.#host.turn.now);
  }

  expired(shard: ShardProgress, offset: number): void {
    this.bury(shard, offset, "expired");
  }

  /** Pushed out by what was stored at `position`. */
  drop(shard: ShardProgress, offset: number, reason: DeathReason, position: number): void {
    const { node } = shard.group;
    if (node.settings.overflow === "dead-letter") this.bury(shard, offset, reason);
    else {
      node.counters.dropped++;
      this.#host.tally.dropped[reason]++;
      this.#host.superseded.add(shard, offset, position);
    }
  }

  retryLater(shard: ShardProgress, offset: number, delayMs: number): void {
    this.#heldBack.retryLater(shard, offset, delayMs);
  }

  unreadable(shard: ShardProgress, offset: number): void {
    this.#heldBack.setAside(shard, offset);
  }

  damaged(shard: ShardProgress, offset: number, physicalOffset: number): void {
    this.#undeliverable.damaged(shard, offset, physicalOffset);
  }

  /** Entries of `queue`, or a record (null), that the disk refuses to give. */
  onReadError(reason: string, queue: StoreQueue | null): void {
    const { turn, registry } = this.#host;
    this.#undeliverable.unreadable(reason, turn.now);
    if (queue === null) return;
    this.readError ??= reason;
    turn.clock.after(ENTRIES_AGAIN_MS, () => registry.ofShard(queue)?.scheduleShard(queue));
  }

  onLeftover(reason: string): void {
    this.#undeliverable.notRemoved(reason);
  }

  close(): void {
    this.#heldBack.close();
  }
}
