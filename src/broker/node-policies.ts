/** What settings of a node need around it: watching what is settled, remembering what is stored; also when they change. */
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import type { DestinationRules } from "./broker-options.ts";
import type { FlowControl } from "./flow-control.ts";
import type { Housekeeping } from "./housekeeping.ts";
import type { Node } from "./node.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { restorePolicies } from "./restore-policies.ts";
import { StoredBytes } from "./stored-bytes.ts";

export interface NodePoliciesHost {
  readonly store: MessageStore;
  readonly turn: Turn;
  readonly registry: NodeRegistry;
  requestPublish(): void;
}

export class NodePolicies {
  readonly #host: NodePoliciesHost;
  readonly #housekeeping: Housekeeping;
  readonly #flow: FlowControl;
  readonly #storedBytes: StoredBytes;

  constructor(host: NodePoliciesHost, housekeeping: Housekeeping, flow: FlowControl) {
    this.#host = host;
    this.#housekeeping = housekeeping;
    this.#flow = flow;
    this.#storedBytes = new StoredBytes(host.store);
  }

  /** A node was made, or got other settings: where its policies count what is stored, watch what is settled. */
  apply(node: Node): void {
    node.onSettled = null;
    if (node.hasHistory || node.duplicates !== null) this.#housekeeping.watchHistory(node);
    const { maxLength } = node.settings;
    if (node.kind !== "queue" || (maxLength < 0 && !node.countsBytes)) return;
    node.onSettled = (shard, from, count) => {
      if (node.countsBytes) this.#storedBytes.settled(shard, from, count);
      if (node.heldTargets === null) return;
      this.#flow.noteEased(node);
      this.#host.requestPublish();
    };
  }

  /** What they remember about messages that are there already. */
  restore(node: Node): void {
    const { store, turn } = this.#host;
    restorePolicies(node, store, this.#storedBytes, turn.now);
    this.#housekeeping.restore(node);
  }

  /** Other settings for destinations hold from now on, for those that are there too. Returns how many changed. */
  change(settings: DestinationRules): number {
    let changed = 0;
    this.#host.registry.configure(settings, (node) => {
      changed++;
      this.apply(node);
      this.restore(node);
      node.touch();
      // Who was held back may go on now.
      if (node.heldTargets !== null) this.#flow.noteEased(node);
    });
    this.#host.requestPublish();
    return changed;
  }

  /** The store has moved a record: its size is not the same. */
  moved(queue: StoreQueue, offset: number, change: number): void {
    const node = this.#host.registry.ofShard(queue);
    if (node?.countsBytes) this.#storedBytes.moved(node, queue, offset, change);
  }
}
