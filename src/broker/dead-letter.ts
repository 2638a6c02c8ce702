/**
 * Messages that nobody may get any more: rejected, failed too often, expired, pushed out. A copy goes to the node's
 * dead-letter queue with its whole history in property `x-deaths` (model/deaths.ts); the original is settled only once
 * the copy is durable (at least once). A message that would go in circles by itself is dropped, and counted.
 */
import { makeAddress, printAddress } from "../model/address.ts";
import {
  addDeath,
  type Death,
  type DeathReason,
  deathsFromText,
  deathsToText,
  isCycle,
} from "../model/deaths.ts";
import { Draft } from "../model/draft.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { propertyText, RECORD_PROPERTY, unescapeText } from "../model/properties.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore } from "../store/message-store.ts";
import type { Node } from "./node.ts";
import { DLQ_PREFIX } from "./policy.ts";
import { mayCome, readOne } from "./read-one.ts";
import { redraft } from "./redraft.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Superseded } from "./superseded.ts";
import type { Tally } from "./tally.ts";

export type { DeathReason } from "../model/deaths.ts";

/** When an operator moved it back, ms: deaths before that do not make a circle. */
export const REDRIVEN_PROPERTY = "__REDRIVEN";

export interface DeadLetterHost {
  readonly store: Pick<MessageStore, "view" | "health" | "isDamaged" | "isUnreadable">;
  /** Of queues and of indexes in memory. */
  readonly entries: Pick<MessageStore, "read">;
  /** Name of the queue that the node's dead letters go to. */
  deadLetterQueueOf(shard: ShardProgress): string;
  publishDead(node: Node, queueName: string, draft: Draft): number;
  noteDeath(shard: ShardProgress, reason: DeathReason): void;
  /** It cannot be read now: it is tried again later. */
  unreadable(shard: ShardProgress, offset: number): void;
  readonly superseded: Superseded;
  readonly tally: Tally;
}

export class DeadLetters {
  readonly #host: DeadLetterHost;
  readonly #draft = new Draft();
  readonly #view = new RecordView();
  readonly #entry = entryBatch();
  constructor(host: DeadLetterHost) {
    this.#host = host;
  }

  bury(shard: ShardProgress, offset: number, reason: DeathReason, now: number): void {
    const { node } = shard.group;
    const to = node.settings.hasDeadLetters ? this.#host.deadLetterQueueOf(shard) : "";
    if (to !== "" && this.#isOutOfReach(shard, offset)) {
      this.#host.unreadable(shard, offset);
      return;
    }
    this.#host.noteDeath(shard, reason);
    if (to === "" || !this.#compose(shard, offset, reason, now, to)) {
      node.counters.dropped++;
      this.#host.tally.dropped[reason]++;
      shard.settle(offset, 1);
      return;
    }
    // Out of reach before its copy is made: what the copy pushes out must not be this one again.
    shard.state.park(offset, 1);
    // The log takes nothing more until somebody has mended the disk: the next start finds it where it is.
    if (this.#host.store.health.state === "failed") return;
    node.counters.deadLettered++;
    this.#host.tally.deadLettered[reason]++;
    const position = this.#host.publishDead(node, to, this.#draft);
    this.#host.superseded.add(shard, offset, position);
  }

  /** May the disk give it another time? */
  #isOutOfReach(shard: ShardProgress, offset: number): boolean {
    const { store, entries } = this.#host;
    if (readOne(entries, store, shard.queue, offset, this.#entry, this.#view)) return false;
    return mayCome(store, this.#entry);
  }

  /** Fills the draft from the record; false when it cannot be read or would go in circles. */
  #compose(
    shard: ShardProgress,
    offset: number,
    reason: DeathReason,
    now: number,
    to: string,
  ): boolean {
    const { store } = this.#host;
    if (this.#host.entries.read(shard.queue, offset, 1, this.#entry) !== 1) return false;
    const view = this.#view;
    if (!store.view(this.#entry.physicalOffset[0]!, this.#entry.size[0]!, view)) return false;
    const draft = this.#draft;
    const { expiresAt, storeTimestamp } = view;
    let history: readonly Death[] = [];
    let redrivenAt = 0;
    let exchange = "";
    let ttlMs = 0;
    const keys: string[] = [];
    redraft(view, draft, (name, value) => {
      switch (name) {
        case RECORD_PROPERTY.DEATHS:
          history = deathsFromText(unescapeText(value));
          return false;
        case REDRIVEN_PROPERTY:
          redrivenAt = Number(value);
          return true;
        case RECORD_PROPERTY.TTL:
          // The copy lives as long as somebody needs it.
          ttlMs = Number(value);
          return false;
        case RECORD_PROPERTY.EXCHANGE:
          exchange = unescapeText(value);
          return true;
        case RECORD_PROPERTY.ROUTING_KEY:
          keys.push(unescapeText(value));
          return true;
        default:
          return !name.startsWith("x-death-");
      }
    });
    const { address } = shard.group.node;
    const isQueue = shard.group.node.kind === "queue" && address.kind !== "sub";
    if (keys.length === 0) keys.push(this.#keyOf(shard));
    const deaths = addDeath(
      history,
      {
        queue: isQueue ? address.name : placeOf(shard),
        reason,
        exchange,
        routingKeys: keys,
        originalTtlMs:
          reason !== "expired" ? 0 : ttlMs > 0 ? ttlMs : Math.max(0, expiresAt - storeTimestamp),
      },
      now,
    );
    if (
      isCycle(
        deaths.filter(({ lastAt }) => lastAt >= redrivenAt),
        to,
      )
    )
      return false;
    draft.properties += propertyText(RECORD_PROPERTY.DEATHS, deathsToText(deaths));
    return true;
  }

  /** What it was published to: a queue's name, or the path of a topic. */
  #keyOf(shard: ShardProgress): string {
    const { node } = shard.group;
    if (node.kind === "queue" && node.address.kind !== "sub") return node.address.name;
    const tag = this.#draft.tag;
    const root = node.kind === "topic" ? node.address.name : "";
    return tag === "" ? root : root === "" ? tag : `${root}/${tag}`;
  }
}

/** `DLQ.` and the name of the node, or of the subscription where that has a node of its own. */
export function deadLetterQueueOf({ group }: ShardProgress): string {
  const { settings, address } = group.node;
  if (settings.deadLetterTo !== "") return settings.deadLetterTo;
  if (address.kind !== "sub") return DLQ_PREFIX + address.name;
  const { identity, path } = group.settings;
  if (identity === null) return DLQ_PREFIX + path;
  const { clientId, name } = identity;
  return DLQ_PREFIX + (clientId === "" ? name : `${clientId}/${name}`);
}

/** How a history names a subscription or group: by what people know it by. */
function placeOf(shard: ShardProgress): string {
  const { group } = shard;
  const { identity } = group.settings;
  if (identity !== null) {
    const owner = identity.clientId === "" ? "~global" : identity.clientId;
    return printAddress(makeAddress("sub", `${owner}/${identity.name}`));
  }
  return printAddress({ ...group.node.address, group: group.name });
}
