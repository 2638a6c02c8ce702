/**
 * One client's session: its filters, its index, the packet ids of both halves of exactly-once, its will. It outlives its
 * connection when it is durable; then everything it needs is in the journal and the log.
 *
 * Its index is a light queue (durable) or lies in memory (ends with the connection); a group of one reads it, so
 * acquiring, settling and redelivery are those of every queue.
 */
import { makeAddress } from "../model/address.ts";
import type { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import type { RecordView } from "../model/record-view.ts";
import { filterMatches } from "../model/topic-path.ts";
import { TopicTrie } from "../model/topic-trie.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { Connection } from "./connection.ts";
import type { Consumer } from "./consumer.ts";
import { OUTCOME, type Target as TargetFacade } from "./facade.ts";
import { MergedGrant } from "./grant.ts";
import type { Node, NodeTenant } from "./node.ts";
import type {
  Grant,
  KeptDelivery,
  RetainedCursor,
  Session,
  SessionSink,
  SessionSource,
  SubscribeResult,
  SubscriptionOptions,
  WillMessage,
} from "./session-facade.ts";
import type { SessionRegistry } from "./session-registry.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { SharedMember, SharedSubscription } from "./shared-subscription.ts";
import type { Target } from "./target.ts";
import { Binding, type RouteReader } from "./topic-routes.ts";
import type { VolatileIndex } from "./volatile-index.ts";

export interface OwnSubscription {
  readonly filter: string;
  readonly share: string;
  /** Number of its journal entry. */
  readonly number: number;
  readonly binding: Binding;
  readonly shared: SharedSubscription | null;
}

/** So many filters are gone through one by one. */
const FILTERS_IN_A_ROW = 16;
const NOTHING_KEPT: readonly KeptDelivery[] = [];
/** Filters taken back that are remembered for messages that wait. */
const FORMER_MAX = 64;
/** Longest filter, in characters, of a session that is kept: it is written into a journal entry. */
const KEPT_FILTER_MAX = 8_192;
/** More filters than this in one session are refused. */
const SUBSCRIPTIONS_MAX = 100_000;

export class ClientSession implements Session, RouteReader, SessionSource, NodeTenant {
  /** Number in the journal. */
  readonly id: number;
  readonly namespace: string;
  readonly clientId: string;
  /** Who it belongs to; nobody else gets it. */
  readonly userName: string;
  /** Survives its connection and restarts. */
  readonly isDurable: boolean;
  readonly isShared = false;
  readonly registry: SessionRegistry;
  expirySeconds: number;
  /** ms since the epoch; 0 while connected. */
  disconnectedAt = 0;
  /** Generation of the expiry timer entry that counts. */
  expiryToken = 0;
  isEnded = false;
  attachment: unknown = null;
  will: WillMessage | null = null;
  /** Place of the will in its queue, -1 when it is only in memory. */
  willOffset = -1;
  journaledAt = 0;
  willEnd = 0;
  readonly subscriptions = new Map<string, OwnSubscription>();
  /** The filters as a tree, when they are too many to be gone through for each message. */
  #filters: TopicTrie<Binding> | null = null;
  nextSubscription = 1;
  isPresent = false;
  /** There is an index, in memory or at rest. */
  hasIndex = false;
  #node: Node | null = null;
  volatileIndex: VolatileIndex | null = null;
  resentBelow = 0;
  /** It was connected when the broker was cut off: all that was in the index then may have been sent. */
  wasCut = false;
  grantVersion = 1;
  /** Exactly-once in: packet id → its offset in the queue of received ids, -1 when it is only in memory. */
  readonly receivedIds = new Map<number, number>();
  /** Exactly-once out: the peer has the message, PUBCOMP is outstanding. */
  readonly openIds = new Set<number>();
  connection: Connection | null = null;
  sink: SessionSink | null = null;
  #consumer: Consumer | null = null;
  #isAttached = false;
  /** Filters that were taken back while messages for them waited. */
  #former: Array<{ filter: string; options: SubscriptionOptions; until: number }> = [];

  constructor(
    registry: SessionRegistry,
    id: number,
    namespace: string,
    clientId: string,
    userName: string,
    expirySeconds: number,
    isDurable: boolean,
  ) {
    this.registry = registry;
    this.id = id;
    this.namespace = namespace;
    this.clientId = clientId;
    this.userName = userName;
    this.expirySeconds = expirySeconds;
    this.isDurable = isDurable;
  }

  get isConnected(): boolean {
    return this.sink !== null;
  }

  // ── index ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Woken where it is at rest. */
  get node(): Node | null {
    if (this.#node === null && this.hasIndex) this.setIndex(this.registry.indexOf(this));
    return this.#node;
  }

  setIndex(node: Node | null): void {
    this.#node = node;
    this.hasIndex = node !== null;
    if (this.wasCut && node !== null) {
      this.wasCut = false;
      this.resentBelow = node.shards[0]!.maxOffset;
    }
  }

  get progress(): ShardProgress | null {
    return this.node?.ownGroup.shards[0] ?? null;
  }

  get index(): StoreQueue | null {
    return this.progress?.queue ?? null;
  }

  mayLetGo(): boolean {
    return !this.isConnected;
  }

  letGo(): void {
    this.#node = null;
    // Routes know it as it was.
    this.registry.routes.changed();
  }

  get consumer(): Consumer {
    return this.#consumer!;
  }

  // ── connection ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** A connection has the session now; deliveries begin with `attach`. */
  connect(connection: Connection, sink: SessionSink): void {
    this.connection = connection;
    this.sink = sink;
    this.disconnectedAt = 0;
    this.#isAttached = false;
    connection.session = this;
  }

  attach(): void {
    this.#isAttached = true;
    if (this.hasIndex) this.#openOwn();
    for (const subscription of this.subscriptions.values()) {
      subscription.shared?.join(this, subscription.binding.options);
    }
  }

  #openOwn(): void {
    const sink = this.sink!;
    this.registry.openConsumer(this.progress!.group, this.connection!, (consumer) => {
      this.#consumer = consumer;
      return sink.openSource(this);
    });
  }

  /** Takes the connection off. Deliveries it had go back to their places. */
  disconnect(keep: readonly KeptDelivery[]): void {
    const progress = this.#node?.ownGroup.shards[0];
    if (progress !== undefined) this.resentBelow = Math.max(this.resentBelow, progress.next);
    const consumer = this.#consumer;
    this.#consumer = null;
    consumer?.close(OUTCOME.RELEASE);
    for (const { shared } of this.subscriptions.values()) shared?.leave(this, keep);
    if (this.connection !== null) this.connection.session = null;
    this.connection = null;
    this.sink = null;
    this.#isAttached = false;
  }

  detach(dropWill: boolean, keep: readonly KeptDelivery[]): void {
    this.registry.detach(this, dropWill, keep);
  }

  read(delivery: number, view: RecordView): boolean {
    return this.registry.readDelivery(this.consumer, delivery, view);
  }

  view(physicalOffset: number, size: number, view: RecordView): boolean {
    return this.registry.view(physicalOffset, size, view);
  }

  setExpiry(seconds: number): void {
    this.expirySeconds = seconds;
  }

  // ── subscriptions ───────────────────────────────────────────────────────────────────────────────────────────────

  get subscriptionCount(): number {
    return this.subscriptions.size;
  }

  forEachSubscription(
    callback: (filter: string, share: string, options: SubscriptionOptions) => void,
  ): void {
    for (const { filter, share, binding } of this.subscriptions.values()) {
      callback(filter, share, binding.options);
    }
  }

  subscribe(filter: string, share: string, options: SubscriptionOptions): SubscribeResult {
    this.connection!.demand("receive", makeAddress("topic", filter, { namespace: this.namespace }));
    const key = keyOf(filter, share);
    const existing = this.subscriptions.get(key);
    if (existing === undefined && this.subscriptions.size >= SUBSCRIPTIONS_MAX) {
      throw new BrokerError(
        "limit-exceeded",
        `session '${this.clientId}' has ${SUBSCRIPTIONS_MAX} subscriptions already`,
      );
    }
    if (this.isDurable && filter.length > KEPT_FILTER_MAX) {
      throw new BrokerError(
        "limit-exceeded",
        `a session that is kept takes filters of at most ${KEPT_FILTER_MAX} characters`,
      );
    }
    if (options.qos > 0 && share === "" && !this.hasIndex) this.#makeIndex();
    this.grantVersion++;
    const subscription =
      existing ?? this.addSubscription(filter, share, options, this.nextSubscription++);
    if (existing !== undefined) {
      existing.binding.options = options;
      existing.shared?.changed(this, options);
      this.registry.routes.changed();
    } else if (this.#isAttached) subscription.shared?.join(this, options);
    return {
      existed: existing !== undefined,
      position: this.registry.journalSubscription(this, subscription),
    };
  }

  /** Puts a subscription in place, new or restored. */
  addSubscription(
    filter: string,
    share: string,
    options: SubscriptionOptions,
    number: number,
  ): OwnSubscription {
    const { registry } = this;
    const shared = share === "" ? null : registry.shares.of(this.namespace, share, filter);
    const binding = new Binding(this, options);
    const subscription: OwnSubscription = { filter, share, number, binding, shared };
    this.subscriptions.set(keyOf(filter, share), subscription);
    if (share === "") this.#filters?.add(filter, binding);
    if (shared === null) registry.routes.add(this.namespace, filter, binding);
    else shared.addSession(this);
    registry.noteSubscriptions(1, share !== "");
    this.nextSubscription = Math.max(this.nextSubscription, number + 1);
    return subscription;
  }

  unsubscribe(filter: string, share: string): number {
    const subscription = this.subscriptions.get(keyOf(filter, share));
    if (subscription === undefined) return -1;
    this.#remember(subscription);
    return this.#drop(subscription);
  }

  /** The right to it was taken away: what is in the index for it is not delivered either. */
  revoke(filter: string, share: string): void {
    const subscription = this.subscriptions.get(keyOf(filter, share));
    if (subscription !== undefined) this.#drop(subscription);
  }

  #drop(subscription: OwnSubscription): number {
    this.subscriptions.delete(keyOf(subscription.filter, subscription.share));
    if (subscription.share === "") this.#filters?.remove(subscription.filter, subscription.binding);
    this.grantVersion++;
    this.takeOut(subscription);
    return this.registry.journalUnsubscription(this, subscription);
  }

  /** What is in the index already is still delivered as it was asked for, though not after a restart. */
  #remember({ filter, share, binding }: OwnSubscription): void {
    const { progress } = this;
    if (share !== "" || progress === null || progress.backlog === 0) return;
    const { low } = progress.state;
    this.#former = this.#former.filter(({ until }) => until > low);
    this.#former.push({ filter, options: binding.options, until: progress.queue.maxOffset });
    if (this.#former.length > FORMER_MAX) this.#former.shift();
  }

  takeOut(subscription: OwnSubscription): void {
    const { filter, share, binding, shared } = subscription;
    if (shared === null) this.registry.routes.remove(this.namespace, filter, binding);
    else {
      shared.leave(this, NOTHING_KEPT);
      shared.removeSession(this);
    }
    this.registry.noteSubscriptions(-1, share !== "");
  }

  #makeIndex(): void {
    this.registry.makeIndex(this);
    if (this.#isAttached) this.#openOwn();
  }

  retained(filter: string): RetainedCursor {
    return this.registry.retained.cursor(this.namespace, filter);
  }

  // ── deliveries ──────────────────────────────────────────────────────────────────────────────────────────────────

  grantFor(path: string): Grant | null {
    const known = this.registry.routes.recentGrant(this.namespace, path, this);
    if (known !== undefined) return known;
    const own = this.#ownGrant(path);
    if (own !== null || this.#former.length === 0) return own;
    let merged: MergedGrant | null = null;
    for (const { filter, options } of this.#former) {
      if (!filterMatches(filter, path)) continue;
      if (merged === null) merged = new MergedGrant(options);
      else merged.add(options);
    }
    return merged;
  }

  #ownGrant(path: string): MergedGrant | null {
    let merged: MergedGrant | null = null;
    if (this.subscriptions.size <= FILTERS_IN_A_ROW) {
      this.#filters = null;
      for (const { filter, share, binding } of this.subscriptions.values()) {
        if (share !== "" || !(filter === path || filterMatches(filter, path))) continue;
        if (merged === null) merged = new MergedGrant(binding.options);
        else merged.add(binding.options);
      }
      return merged;
    }
    if (this.#filters === null) {
      this.#filters = new TopicTrie();
      for (const { filter, share, binding } of this.subscriptions.values()) {
        if (share === "") this.#filters.add(filter, binding);
      }
    }
    this.#filters.match(path, ({ options }) => {
      if (merged === null) merged = new MergedGrant(options);
      else merged.add(options);
    });
    return merged;
  }

  deliverNow(record: RecordView, path: string, grant: Grant): boolean {
    if (!this.#isAttached) return false;
    if (this.sink!.deliverNow(record, path, grant)) return true;
    this.registry.noteDropped();
    return false;
  }

  openShared(member: SharedMember): ReturnType<SessionSink["openSource"]> {
    return this.sink!.openSource(member);
  }
  closeShared(member: SharedMember): void {
    this.sink?.closeSource(member);
  }

  // ── exactly-once ────────────────────────────────────────────────────────────────────────────────────────────────

  hasReceived(packetId: number): boolean {
    return this.receivedIds.has(packetId);
  }

  get receivedCount(): number {
    return this.receivedIds.size;
  }

  publishOnce(target: TargetFacade, draft: Draft, packetId: number): number {
    if (!this.isDurable) {
      const position = target.publish(draft);
      this.receivedIds.set(packetId, -1);
      return position;
    }
    return this.registry.received.publish(this, target as Target, draft, packetId);
  }

  release(packetId: number): number {
    const offset = this.receivedIds.get(packetId);
    if (offset === undefined) return -1;
    this.receivedIds.delete(packetId);
    return offset < 0 ? 0 : this.registry.received.release(offset);
  }

  received(packetId: number): number {
    this.openIds.add(packetId);
    return this.registry.journalOpenIds(this);
  }

  completed(packetId: number): void {
    if (this.openIds.delete(packetId)) this.registry.journalOpenIds(this);
  }

  isReceived(packetId: number): boolean {
    return this.openIds.has(packetId);
  }

  get awaitingCompletion(): Iterable<number> {
    return this.openIds;
  }
  get awaitingCount(): number {
    return this.openIds.size;
  }
}

/** A share name has no "/", so this cannot be mistaken for a plain filter. */
export const keyOf = (filter: string, share: string): string =>
  share === "" ? filter : `${share}\x00${filter}`;
