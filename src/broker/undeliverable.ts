/** What becomes of messages that nobody can take: told in the log, published to a dead-letter queue, passed over. */
import type { Draft } from "../model/draft.ts";
import type { MessageStore } from "../store/message-store.ts";
import type { Logger } from "../telemetry/log.ts";
import type { DeathReason } from "./dead-letter.ts";
import type { Node } from "./node.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { LOOPBACK, RecordTemplate } from "./record-composer.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Tally } from "./tally.ts";

export interface UndeliverableHost {
  readonly store: MessageStore;
  readonly registry: NodeRegistry;
  readonly tally: Tally;
  publishInternal(node: Node, template: RecordTemplate, draft: Draft, bornHost: Buffer): number;
}

const TELL_EVERY_MS = 5000;
const DEAD_TEMPLATE = new RecordTemplate("");

export class Undeliverable {
  readonly #host: UndeliverableHost;
  readonly #log: Logger;
  #readErrors = 0;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(host: UndeliverableHost, log: Logger) {
    this.#host = host;
    this.#log = log;
  }

  /** A copy for the dead-letter queue of this name. */
  publishDead(node: Node, name: string, draft: Draft): number {
    const { registry } = this.#host;
    const { namespace } = node.address;
    const dlq =
      registry.find("queue", namespace, name) ?? registry.create("queue", namespace, name, false);
    return this.#host.publishInternal(dlq, DEAD_TEMPLATE, draft, LOOPBACK);
  }

  /** The disk refuses to give something: it stays where it is, and is asked for again. */
  unreadable(reason: string, now: number): void {
    this.#readErrors++;
    if (now < this.#toldAt + TELL_EVERY_MS) return;
    this.#toldAt = now;
    this.#log.error("store.read-failed", {
      reason,
      count: this.#readErrors,
      message: "what cannot be read is kept and tried again; check the disk",
    });
  }

  notRemoved(reason: string): void {
    this.#log.warn("store.not-removed", {
      reason,
      message: "files that nobody needs stay, and take space until a later start can remove them",
    });
  }

  noteDeath(shard: ShardProgress, reason: DeathReason): void {
    const { node } = shard.group;
    if (reason === "expired") node.counters.expired++;
    if (this.#log.isDebug) {
      this.#log.debug("message.dead", { node: node.address.name, reason });
    }
  }

  /** A record cannot be read any more. */
  damaged(shard: ShardProgress, offset: number, physicalOffset: number): void {
    if (this.#host.store.isRemoved(physicalOffset)) {
      // It was settled by all who were owed it before this group came: nobody has promised to keep it.
      shard.settle(offset, 1);
      return;
    }
    shard.group.node.counters.dropped++;
    this.#host.tally.dropped.damaged++;
    this.#log.error("message.damaged", {
      node: shard.group.node.address.name,
      offset,
      physicalOffset,
      message:
        "the record fails its checksum and was skipped; a report is in the folder quarantine of the data directory",
    });
    shard.settle(offset, 1);
  }
}
