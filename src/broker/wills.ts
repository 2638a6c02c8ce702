/**
 * Wills: messages published for a client that ended without saying goodbye, at once or after a delay. Those of durable
 * sessions wait as records of an internal queue, so that they are published after a crash too; publishing one and taking
 * it out of the queue is one atomic batch.
 */
import { makeAddress } from "../model/address.ts";
import { Draft } from "../model/draft.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { ClientSession } from "./client-session.ts";
import { type Node, PERMANENT } from "./node.ts";
import { mayCome, readOne } from "./read-one.ts";
import { LOOPBACK, RecordTemplate } from "./record-composer.ts";
import { redraft } from "./redraft.ts";
import type { SessionCore } from "./session-core.ts";
import type { WillMessage } from "./session-facade.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { controlRun } from "./transaction-log.ts";

const NODE_NAME = "~mqtt-wills";
/** Session number, delay in seconds, flags (durable, retained, exactly once), ttl in ms, topic. */
const PROPERTY = "x-will";
/** So much of the log may be kept for the sake of an old will. */
const PINNED_MAX = 256 * 1024 * 1024;
const ROOM = 256 * 1024;
const TIDY_BATCH = 256;

export class Wills {
  readonly #core: SessionCore;
  readonly #template = new RecordTemplate("");
  #node: Node | undefined;

  constructor(core: SessionCore) {
    this.#core = core;
  }

  get #progress(): ShardProgress {
    const { registry } = this.#core;
    this.#node ??=
      registry.find("queue", "/", NODE_NAME) ?? registry.create("queue", "/", NODE_NAME, false);
    this.#node.tenant = PERMANENT;
    return this.#node.ownGroup.shards[0]!;
  }

  /** The session has a will from now on. Returns where the log has to be durable for it, 0 when it is in memory only. */
  store(session: ClientSession, will: WillMessage): number {
    session.will = will;
    if (!session.isDurable || !will.draft.isDurable) return 0;
    const core = this.#core;
    const { queue } = this.#progress;
    session.willOffset = queue.maxOffset;
    const { draft } = will;
    const kept = Object.assign(new Draft(), draft);
    const flags = (draft.isRetained ? 1 : 0) | (draft.isExactlyOnce ? 2 : 0);
    const facts = `${session.id} ${will.delaySeconds} ${flags} ${draft.ttlMs} ${will.topic}`;
    kept.properties = `${PROPERTY}\x01${facts}\x02${draft.properties}`;
    kept.isRetained = false;
    kept.ttlMs = 0;
    const position = core.store.append(
      queue,
      core.composer.compose(this.#template, kept, LOOPBACK, core.turn.now, 0, null),
    );
    core.noteAppend(true);
    return position;
  }

  /** The client said goodbye, or came back in time. */
  drop(session: ClientSession): void {
    session.will = null;
    const offset = session.willOffset;
    session.willOffset = -1;
    if (offset >= 0) this.#progress.settle(offset, 1);
  }

  /** Publishes the will and forgets it. Rights were checked when it was stored, and are again now. */
  publish(session: ClientSession, isAllowed: boolean): void {
    const { will } = session;
    if (will === null) return;
    const offset = session.willOffset;
    session.will = null;
    session.willOffset = -1;
    const publish = (): void => {
      if (!isAllowed) return;
      const { topic, draft } = will;
      this.#core.publishToTopic(session.namespace, topic, draft, session);
    };
    if (offset < 0) {
      publish();
      this.#core.noteAppend(will.draft.isDurable);
      return;
    }
    const progress = this.#progress;
    this.#core.atomically(
      () => {
        publish();
        this.#core.appendControl(controlRun(progress, offset, 1));
      },
      () => progress.settle(offset, 1),
    );
  }

  /** Wills that wait long are stored anew at the end of the log, which may then be forgotten before them. */
  tidy(sessionOf: (id: number) => ClientSession | undefined): void {
    if (this.#node === undefined) return;
    const { store } = this.#core;
    const { state, queue } = this.#progress;
    const entry = entryBatch();
    const view = new RecordView();
    for (let done = 0; done < TIDY_BATCH; done++) {
      const at = state.findReady(state.low, queue.maxOffset);
      if (at >= queue.maxOffset || store.read(queue, at, 1, entry) !== 1) return;
      const physicalOffset = entry.physicalOffset[0]!;
      if (store.watermarks.appended - physicalOffset < PINNED_MAX) return;
      if (!store.hasRoom(ROOM) || !store.view(physicalOffset, entry.size[0]!, view)) return;
      const session = sessionOf(Number(/^\d+/.exec(view.property(PROPERTY) ?? "")?.[0]));
      if (session?.willOffset === at && session.will !== null) {
        const position = this.store(session, session.will);
        this.#core.superseded.add(this.#progress, at, position);
      } else this.#progress.settle(at, 1);
    }
  }

  /** After recovery: wills go back to their sessions. */
  restore(sessionOf: (id: number) => ClientSession | undefined): void {
    this.#node = this.#core.registry.find("queue", "/", NODE_NAME);
    if (this.#node === undefined) return;
    const { store } = this.#core;
    const { state, queue } = this.#progress;
    const entry = entryBatch();
    const view = new RecordView();
    const end = queue.maxOffset;
    for (let at = state.findReady(state.low, end); at < end; at = state.findReady(at + 1, end)) {
      const isThere = readOne(store, store, queue, at, entry, view);
      if (!isThere && mayCome(store, entry)) continue;
      const facts = isThere
        ? /^(\d+) (\d+) (\d+) (\d+) (.*)$/s.exec(view.property(PROPERTY) ?? "")
        : null;
      const session = facts === null ? undefined : sessionOf(Number(facts[1]));
      if (facts === null || session === undefined || session.will !== null) {
        this.#progress.settle(at, 1);
        continue;
      }
      const draft = new Draft();
      redraft(view, draft, (name) => name !== PROPERTY);
      draft.isRetained = (Number(facts[3]) & 1) !== 0;
      draft.isExactlyOnce = (Number(facts[3]) & 2) !== 0;
      draft.ttlMs = Number(facts[4]);
      session.will = { topic: facts[5]!, draft, delaySeconds: Number(facts[2]) };
      session.willOffset = at;
    }
  }
}

/** The address a will is checked against. */
export const willAddress = (namespace: string, topic: string): ReturnType<typeof makeAddress> =>
  makeAddress("topic", topic, { namespace });
