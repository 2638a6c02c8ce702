/**
 * Who has to wait before publishing, and who is told when waiting is over: room in the store's memory, a full or failed
 * disk, queues whose policy is to hold their producers back.
 */
import type { MessageStore, StoreHealth } from "../store/message-store.ts";
import type { Logger } from "../telemetry/log.ts";
import { isFull } from "./admission.ts";
import type { Connection } from "./connection.ts";
import type { Node } from "./node.ts";

type Blocked = { readonly reason: string } | null;

export class FlowControl {
  readonly #store: MessageStore;
  readonly #log: Logger;
  readonly #connections: ReadonlyMap<number, Connection>;
  readonly #roomCallbacks: Array<() => void> = [];
  readonly #blockedCallbacks = new Set<(blocked: Blocked) => void>();
  /** Queues that hold producers back and gave something away since. */
  readonly #eased = new Set<Node>();
  blocked: Blocked = null;

  constructor(store: MessageStore, log: Logger, connections: ReadonlyMap<number, Connection>) {
    this.#store = store;
    this.#log = log;
    this.#connections = connections;
  }

  hasRoom(bytes: number): boolean {
    return this.#store.hasRoom(bytes);
  }
  waitForRoom(callback: () => void): void {
    this.#roomCallbacks.push(callback);
  }
  onRoom(): void {
    for (const callback of this.#roomCallbacks.splice(0)) callback();
  }

  watch(callback: (blocked: Blocked) => void): () => void {
    this.#blockedCallbacks.add(callback);
    return () => this.#blockedCallbacks.delete(callback);
  }

  onHealth(health: StoreHealth): void {
    const blocked = health.state === "ok" ? null : { reason: health.reason };
    if (blocked === null) this.#log.info("store.resumed", { message: "publishing goes on" });
    else this.#log.error("store.blocked", { state: health.state, message: blocked.reason });
    this.blocked = blocked;
    for (const callback of [...this.#blockedCallbacks]) callback(blocked);
    if (blocked !== null) return;
    for (const connection of this.#connections.values()) {
      for (const target of connection.targets) target.onAllowance?.();
    }
  }

  get hasEased(): boolean {
    return this.#eased.size > 0;
  }

  /** Something was taken from a queue that holds producers back. */
  noteEased(node: Node): void {
    this.#eased.add(node);
  }

  /** Once per turn: producers of queues that have room again get credit. */
  resume(): void {
    for (const node of this.#eased) {
      const held = node.heldTargets;
      const isHeld = node.settings.overflow === "block" && isFull(node, 1);
      if (held === null || isHeld) continue;
      node.heldTargets = null;
      for (const target of held) if (!target.isClosed) target.onAllowance?.();
    }
    this.#eased.clear();
  }
}
