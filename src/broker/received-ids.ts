/**
 * Exactly-once in, for sessions that survive: each message names its session and packet id, and the same record has an
 * entry in one light queue of all ids received. One record, so message and id are there together or not at all, after any
 * crash. PUBREL settles the entry; what is unsettled after a restart are the ids still open.
 */
import type { Draft } from "../model/draft.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { ClientSession } from "./client-session.ts";
import type { Node } from "./node.ts";
import { mayCome, readOne } from "./read-one.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Superseded } from "./superseded.ts";
import type { Target } from "./target.ts";

/** Session number and packet id of a message published exactly once. */
const PROPERTY = "x-received";

export interface ReceivedHost {
  readonly store: MessageStore;
  lightNode(name: string): Node;
  ownLightNode(name: string): Node | undefined;
  settlePosition(): number;
  /** Stores a record of properties only, for these light queues. */
  appendNote(properties: string, queues: StoreQueue[]): number;
  readonly superseded: Superseded;
}

/** So much of the log may be kept for the sake of an open id. */
const PINNED_MAX = 256 * 1024 * 1024;
const TIDY_BATCH = 256;

const NODE_NAME = "received";

export class ReceivedIds {
  readonly #host: ReceivedHost;
  readonly #view = new RecordView();
  readonly #entry = entryBatch();
  #node: Node | undefined;

  constructor(host: ReceivedHost) {
    this.#host = host;
  }

  get #progress(): ShardProgress {
    this.#node ??= this.#host.lightNode(NODE_NAME);
    return this.#node.ownGroup.shards[0]!;
  }

  publish(session: ClientSession, target: Target, draft: Draft, packetId: number): number {
    const { queue } = this.#progress;
    const offset = queue.maxOffset;
    draft.properties += `${PROPERTY}\x01${session.id} ${packetId}\x02`;
    const position = target.publishOnce(draft, queue);
    // Nobody wanted it: nothing is stored that a second copy could repeat.
    session.receivedIds.set(packetId, queue.maxOffset > offset ? offset : -1);
    return position;
  }

  release(offset: number): number {
    this.#progress.settle(offset, 1);
    return this.#host.settlePosition();
  }

  /** After recovery: open ids go back to their sessions; those of sessions that are gone are settled. */
  restore(sessionOf: (id: number) => ClientSession | undefined): void {
    this.#node = this.#host.ownLightNode(NODE_NAME);
    if (this.#node === undefined) return;
    const { state, queue } = this.#progress;
    const { store } = this.#host;
    const entry = this.#entry;
    const view = this.#view;
    const end = queue.maxOffset;
    for (let at = state.findReady(state.low, end); at < end; at = state.findReady(at + 1, end)) {
      const isThere = readOne(store, store, queue, at, entry, view);
      if (!isThere && mayCome(store, entry)) continue;
      const [id, packetId] = ((isThere && view.property(PROPERTY)) || "0 0").split(" ").map(Number);
      const session = sessionOf(id!);
      if (session === undefined) this.#progress.settle(at, 1);
      else session.receivedIds.set(packetId!, at);
    }
  }

  /** Ids that stay open long are noted anew at the end of the log, without their message, which may then be forgotten. */
  tidy(sessionOf: (id: number) => ClientSession | undefined): void {
    if (this.#node === undefined) return;
    const progress = this.#progress;
    const { state, queue } = progress;
    const { store } = this.#host;
    for (let done = 0; done < TIDY_BATCH; done++) {
      const at = state.findReady(state.low, queue.maxOffset);
      if (at >= queue.maxOffset || store.read(queue, at, 1, this.#entry) !== 1) return;
      const physicalOffset = this.#entry.physicalOffset[0]!;
      if (store.watermarks.appended - physicalOffset < PINNED_MAX || !store.hasRoom(4096)) return;
      if (!store.view(physicalOffset, this.#entry.size[0]!, this.#view)) return;
      const [id, packetId] = (this.#view.property(PROPERTY) ?? "0 0").split(" ").map(Number);
      const session = sessionOf(id!);
      if (session?.receivedIds.get(packetId!) === at) {
        session.receivedIds.set(packetId!, queue.maxOffset);
        const position = this.#host.appendNote(`${PROPERTY}\x01${id} ${packetId}\x02`, [queue]);
        this.#host.superseded.add(progress, at, position);
      } else progress.settle(at, 1);
    }
  }

  /** The session is over. */
  forget(session: ClientSession): void {
    for (const offset of session.receivedIds.values()) {
      if (offset >= 0) this.#progress.settle(offset, 1);
    }
    session.receivedIds.clear();
  }
}
