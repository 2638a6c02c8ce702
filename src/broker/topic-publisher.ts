/**
 * Puts a message of a topic where it belongs: into its home shard when anybody needs it in the log, into the indexes of
 * the sessions that want it, to those who are connected and want it at once, and among the retained messages.
 */
import type { Draft } from "../model/draft.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import type { Node } from "./node.ts";
import type { RecordComposer, RecordTemplate } from "./record-composer.ts";
import type { RetainedMessages } from "./retained.ts";
import { ScratchRecord } from "./scratch-record.ts";
import type { SessionOverflow } from "./session-overflow.ts";
import type { Tally } from "./tally.ts";
import {
  type DirectReader,
  type Indexes,
  NO_INDEXES,
  type Route,
  type TopicRoutes,
} from "./topic-routes.ts";
import type { Visibility } from "./visibility.ts";

export interface TopicPublisherHost {
  readonly store: MessageStore;
  readonly turn: Turn;
  readonly composer: RecordComposer;
  readonly routes: TopicRoutes;
  readonly visibility: Visibility;
  readonly retained: RetainedMessages;
  readonly overflow: SessionOverflow;
  readonly tally: Tally;
}

/** Records up to this size are always at hand right after the append. */
const IN_RING_BYTES = 64 * 1024;

export class TopicPublisher {
  readonly #host: TopicPublisherHost;
  readonly #scratch = new ScratchRecord();
  readonly #view = new RecordView();
  readonly #dispatch: StoreQueue[] = [];
  /** Did the last message find anybody who wanted it? */
  hadReaders = false;

  constructor(host: TopicPublisherHost) {
    this.#host = host;
  }

  /**
   * Returns the position of the record, or 0 when none was stored. `received`: the queue of ids that exactly-once
   * publishing adds itself to; such a message is not seen before it is durable.
   */
  publish(
    node: Node,
    queue: StoreQueue,
    template: RecordTemplate,
    draft: Draft,
    bornHost: Buffer,
    expiresAt: number,
    route: Route,
    received: StoreQueue | null,
  ): number {
    const host = this.#host;
    if (route.version !== host.routes.version) host.routes.refresh(route);
    const indexes = draft.isDurable ? route : (route.always ?? NO_INDEXES);
    const isIndexed = indexes.durable.length + indexes.volatile.length > 0;
    const direct = draft.isDurable ? route.directOnly : route.direct;
    if (isIndexed && !host.visibility.isBatch) host.overflow.admit(indexes);
    const isKept = node.isWanted;
    const isHeld = received !== null || host.visibility.isBatch;
    this.hadReaders = isKept || isIndexed || direct.length > 0;
    const isRetained = draft.isRetained && draft.end > draft.start;
    const isEmptied =
      draft.isRetained && !isRetained && host.retained.has(route.namespace, route.path);
    const { now } = host.turn;
    if (!isKept && !isIndexed && !isRetained && !isEmptied) {
      if (direct.length === 0) {
        node.counters.dropped++;
        host.tally.dropped.no_reader++;
      } else {
        const { direct: unstored } = template;
        const fields = host.composer.compose(unstored, draft, bornHost, now, expiresAt, null);
        const record = this.#scratch.make(queue.topic, fields, now);
        deliver(node, host.tally, direct, record, route.path);
      }
      return 0;
    }
    const isEntered = isRetained || isEmptied;
    const retainedOffset = isEntered ? host.retained.queue.maxOffset : 0;
    const offset = queue.maxOffset;
    const light = this.#lightQueues(indexes, isIndexed, isEntered, received);
    const dispatch = light.length > 0 ? light : null;
    const fields = host.composer.compose(template, draft, bornHost, now, expiresAt, dispatch);
    const position = host.store.append(queue, fields);
    const size = host.store.lastSize;
    node.touch();
    if (draft.group !== "" && route.always !== null) noteKeys(route.always);
    if (isIndexed) this.#index(indexes, position, size, fields.tagHash, expiresAt, isHeld);
    if (isRetained) {
      host.retained.set(route.namespace, route.path, retainedOffset, position - size, size);
    } else if (isEmptied)
      host.retained.empty(route.namespace, route.path, retainedOffset, position);
    if (isHeld) host.visibility.hold(queue, offset, position);
    if (direct.length > 0) {
      const isThere = host.store.view(position - size, size, this.#view);
      const record = isThere ? this.#view : this.#scratch.make(queue.topic, fields, now);
      deliver(node, host.tally, direct, record, route.path);
    }
    return position;
  }

  /** All light queues that get an entry. */
  #lightQueues(
    indexes: Indexes,
    isIndexed: boolean,
    isEntered: boolean,
    received: StoreQueue | null,
  ): readonly StoreQueue[] {
    const durable = isIndexed ? indexes.durable : NONE;
    if (!isEntered && received === null) return durable;
    const list = this.#dispatch;
    list.length = 0;
    for (let i = 0; i < durable.length; i++) list.push(durable[i]!);
    if (isEntered) list.push(this.#host.retained.queue);
    if (received !== null) list.push(received);
    return list;
  }

  /** Entries for the indexes in memory, and everybody's turn at the end of the turn. */
  #index(
    indexes: Indexes,
    position: number,
    size: number,
    tagHash: number,
    expiresAt: number,
    isHeld: boolean,
  ): void {
    const { visibility, store, overflow } = this.#host;
    const { durable, durableProgress, volatile, volatileProgress } = indexes;
    const isLate = size > IN_RING_BYTES && !store.view(position - size, size, this.#view);
    for (let i = 0; i < volatile.length; i++) {
      const index = volatile[i]!;
      const progress = volatileProgress[i]!;
      index.push(position - size, size, tagHash);
      if (isHeld || isLate) visibility.hold(index, index.maxOffset - 1, position);
      if (expiresAt !== 0) progress.group.node.mayExpire = true;
      progress.group.schedule(progress);
      overflow.noteVolatile(progress);
    }
    for (let i = 0; i < durable.length; i++) {
      const progress = durableProgress[i]!;
      if (isHeld) visibility.hold(durable[i]!, durable[i]!.maxOffset - 1, position);
      if (expiresAt !== 0) progress.group.node.mayExpire = true;
      progress.group.schedule(progress);
      overflow.noteDurable(progress);
    }
  }
}

const NONE: readonly StoreQueue[] = [];

/** Consumers may share these indexes: a message with an ordering key goes to them by its key. */
function noteKeys({ durableProgress, volatileProgress }: Indexes): void {
  for (const { group, queue } of durableProgress) group.node.noteKey(0, queue.maxOffset);
  for (const { group, queue } of volatileProgress) group.node.noteKey(0, queue.maxOffset + 1);
}

/** What goes out at once, at most once, is settled with that. */
function deliver(
  { counters }: Node,
  tally: Tally,
  direct: readonly DirectReader[],
  record: RecordView,
  path: string,
): void {
  let count = 0;
  for (let i = 0; i < direct.length; i++) {
    if (direct[i]!.reader.deliverNow(record, path, direct[i]!.grant)) count++;
  }
  counters.delivered += count;
  counters.accepted += count;
  tally.delivered += count;
  tally.accepted += count;
}
