/** What an operator does to nodes: purge, delete, move dead letters back, cancel delayed messages, close connections. */
import { deathsFromText } from "../model/deaths.ts";
import { Draft } from "../model/draft.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { BrokerError } from "../model/errors.ts";
import { propertyText, RECORD_PROPERTY, unescapeText } from "../model/properties.ts";
import { RecordView } from "../model/record-view.ts";
import { STATE } from "./ack-state.ts";
import type { Broker } from "./broker.ts";
import { REDRIVEN_PROPERTY } from "./dead-letter.ts";
import { refuseInternal } from "./internal-queues.ts";
import type { Node } from "./node.ts";
import { LOOPBACK, RecordTemplate } from "./record-composer.ts";
import { redraft } from "./redraft.ts";
import type { ShardProgress } from "./shard-progress.ts";

/** Messages moved before the event loop gets its turn. */
const BATCH = 256;

export interface NodeName {
  readonly kind: "queue" | "topic";
  readonly namespace: string;
  readonly name: string;
}

export class Operations {
  readonly #broker: Broker;
  readonly #view = new RecordView();
  readonly #draft = new Draft();
  readonly #entry = entryBatch();

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  /** Settles everything ready; what consumers hold stays theirs. Returns how many messages. */
  purge(name: NodeName, groupName = ""): number {
    const node = this.#node(name);
    const group = node.groups.get(groupName);
    if (group === undefined) {
      throw new BrokerError("not-found", `no group '${groupName}' on ${name.kind} '${name.name}'`);
    }
    let purged = 0;
    for (const shard of group.shards) {
      const end = shard.queue.maxOffset;
      let at = shard.state.findReady(shard.state.low, end);
      while (at < end) {
        const count = shard.state.readyRun(at, end - at);
        shard.settle(at, count);
        purged += count;
        at = shard.state.findReady(at + count, end);
      }
    }
    return purged;
  }

  /** Deletes a node with its messages; `ifUnused` and `ifEmpty` refuse instead. */
  delete(
    name: NodeName,
    options: { readonly ifUnused?: boolean; readonly ifEmpty?: boolean } = {},
  ): void {
    const node = this.#node(name);
    if (options.ifUnused === true && node.consumerCount > 0) {
      throw new BrokerError(
        "precondition-failed",
        `${name.kind} '${name.name}' has ${node.consumerCount} consumer(s)`,
      );
    }
    if (options.ifEmpty === true && node.backlog > 0) {
      throw new BrokerError(
        "precondition-failed",
        `${name.kind} '${name.name}' holds ${node.backlog} message(s)`,
      );
    }
    this.#broker.directory.delete(node);
  }

  /**
   * Moves ready messages of a queue to another, or, without `to`, each to the queue it died in (the way back from a
   * dead-letter queue). At least once: a message is settled here only when its copy is durable. Returns how many.
   */
  async move(
    from: string,
    to: string | undefined,
    namespace = "/",
    max = Number.POSITIVE_INFINITY,
  ): Promise<number> {
    const source = this.#node({ kind: "queue", namespace, name: from });
    if (to !== undefined) refuseInternal("queue", to);
    let moved = 0;
    for (const shard of source.ownGroup.shards) {
      while (moved < max) {
        const count = await this.#moveBatch(shard, to, namespace, Math.min(BATCH, max - moved));
        if (count === 0) break;
        moved += count;
      }
    }
    return moved;
  }

  async #moveBatch(
    shard: ShardProgress,
    to: string | undefined,
    namespace: string,
    max: number,
  ): Promise<number> {
    const { registry, store } = this.#broker;
    const end = shard.queue.maxOffset;
    const done: number[] = [];
    let position = 0;
    let at = shard.state.findReady(shard.state.low, end);
    while (at < end && done.length < max) {
      if (store.read(shard.queue, at, 1, this.#entry) !== 1) break;
      if (!store.view(this.#entry.physicalOffset[0]!, this.#entry.size[0]!, this.#view)) break;
      if (!store.hasRoom(this.#entry.size[0]! * 2)) break;
      let home = to;
      redraft(this.#view, this.#draft, (name, value) => {
        if (name === RECORD_PROPERTY.DEATHS) home ??= deathsFromText(unescapeText(value))[0]?.queue;
        return name !== REDRIVEN_PROPERTY;
      });
      // Its history stays; going the same way again is not going in circles.
      this.#draft.properties += propertyText(REDRIVEN_PROPERTY, String(this.#broker.turn.now));
      if (home !== undefined) refuseInternal("queue", home);
      let target = home === undefined ? undefined : registry.find("queue", namespace, home);
      if (home === undefined || (target === undefined && /^(topic|sub):/.test(home))) {
        throw new BrokerError(
          "precondition-failed",
          `message ${at} of queue '${shard.group.node.address.name}' does not say which queue it died in${home === undefined ? "" : ` (it died in ${home})`}: name the queue to move to`,
        );
      }
      target ??= registry.create("queue", namespace, home, false);
      position = this.#broker.publishInternal(target, TEMPLATE, this.#draft, LOOPBACK);
      shard.state.park(at, 1);
      done.push(at);
      at = shard.state.findReady(at + 1, end);
    }
    if (done.length > 0) await this.#durable(position);
    for (const offset of done)
      if (shard.state.stateOf(offset) === STATE.PARKED) shard.settle(offset, 1);
    return done.length;
  }

  #durable(position: number): Promise<void> {
    const broker = this.#broker;
    return new Promise((resolve) => {
      const onConfirm = (): boolean => {
        if (broker.confirmedTo("fsync") < position) return true;
        resolve();
        return false;
      };
      broker.awaitConfirm({ onConfirm });
    });
  }

  /** Ends a connection, with the reason told to its peer. False when there is none of that number. */
  closeConnection(id: number, reason: string): boolean {
    const connection = this.#broker.connections.get(id);
    if (connection === undefined) return false;
    connection.request.close(new BrokerError("connection-forced", reason));
    return true;
  }

  #node({ kind, namespace, name }: NodeName): Node {
    refuseInternal(kind, name);
    const node = this.#broker.registry.find(kind, namespace, name);
    if (node === undefined) throw new BrokerError("not-found", `no ${kind} '${name}'`, { name });
    return node;
  }
}

const TEMPLATE = new RecordTemplate("");
