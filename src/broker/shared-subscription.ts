/**
 * A shared subscription: one index for all its members, each message to one of them. It outlives its members for a
 * while, so that messages wait instead of being lost. Where a group of that name reads the topic already, its members
 * join that instead, and clients of other protocols join the share: one group, whoever its members are.
 */
import type { RecordView } from "../model/record-view.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { ClientSession } from "./client-session.ts";
import type { Consumer } from "./consumer.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { type DeliverySink, OUTCOME } from "./facade.ts";
import { MergedGrant } from "./grant.ts";
import type { Grant, KeptDelivery, SessionSource, SubscriptionOptions } from "./session-facade.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { ShareRegistry } from "./share-registry.ts";
import { Binding, type RouteReader } from "./topic-routes.ts";

/** Sink of a member without a connection: never ready. */
const PARKED: DeliverySink = {
  isReady: () => false,
  deliver: () => {},
  onDrained: () => {},
  onCancel: () => {},
};

/** A connected session's part in a share. */
export class SharedMember implements SessionSource {
  readonly session: ClientSession;
  readonly isShared = true;
  readonly resentBelow = 0;
  grantVersion = 0;
  #grant: Grant;
  #consumer: Consumer | null = null;

  constructor(session: ClientSession, options: SubscriptionOptions) {
    this.session = session;
    this.#grant = new MergedGrant(options);
  }

  get consumer(): Consumer {
    return this.#consumer!;
  }

  open(share: SharedSubscription): void {
    const { session } = this;
    this.#consumer = session.registry.openConsumer(share.group, session.connection!, (consumer) => {
      this.#consumer = consumer;
      return session.openShared(this);
    });
  }

  read(delivery: number, view: RecordView): boolean {
    return this.session.registry.readDelivery(this.consumer, delivery, view);
  }

  /** The session's connection is gone; these deliveries wait for its next one, the others go to other members. */
  park(kept: ReadonlySet<number>): void {
    const { consumer } = this;
    consumer.sink = PARKED;
    consumer.setCredit(0);
    const { unsettled } = consumer;
    for (let at = unsettled.tail; at < unsettled.head; at++) {
      if (!kept.has(at)) consumer.settle(at, at, OUTCOME.RELEASE);
    }
  }

  resume(): void {
    this.consumer.sink = this.session.openShared(this);
  }

  change(options: SubscriptionOptions): void {
    this.#grant = new MergedGrant(options);
    this.grantVersion++;
  }

  get grant(): Grant {
    return this.#grant;
  }

  grantFor(_path: string): Grant {
    return this.#grant;
  }
}

export class SharedSubscription implements RouteReader {
  readonly namespace: string;
  readonly name: string;
  readonly filter: string;
  /** Who divides the messages. */
  group: ConsumerGroup;
  /** Of its own index; null while it is part of a group of the topic. */
  progress: ShardProgress | null;
  readonly isShared = true;
  /** Members that are no sessions get QoS 0 through the index like everything else. */
  takesAll = false;
  readonly volatileIndex = null;
  readonly binding: Binding;
  /** When the last session left, ms; 0 while there is one. */
  emptySince = 0;
  readonly #registry: ShareRegistry;
  readonly #sessions = new Set<ClientSession>();
  readonly #members = new Map<ClientSession, SharedMember>();
  /** Members without a connection that still hold deliveries. */
  readonly #parked = new Map<ClientSession, SharedMember>();
  #turn = 0;

  constructor(
    registry: ShareRegistry,
    namespace: string,
    name: string,
    filter: string,
    group: ConsumerGroup,
    progress: ShardProgress | null,
  ) {
    this.#registry = registry;
    this.namespace = namespace;
    this.name = name;
    this.filter = filter;
    this.group = group;
    this.progress = progress;
    this.emptySince = registry.now;
    // Members differ in what they were granted; the index takes what any of them may get.
    const options = { qos: 2, isNoLocal: false, isRetainAsPublished: true, identifier: 0 } as const;
    this.binding = new Binding(this, options);
  }

  get index(): StoreQueue | null {
    return this.progress?.queue ?? null;
  }
  get sessionCount(): number {
    return this.#sessions.size;
  }

  addSession(session: ClientSession): void {
    this.#sessions.add(session);
    this.emptySince = 0;
  }

  removeSession(session: ClientSession): void {
    // MQTT-4.8.2-5: what only this session may get goes with it.
    this.#parked.get(session)?.consumer.close(OUTCOME.ACCEPT);
    this.#parked.delete(session);
    this.#sessions.delete(session);
    if (this.#sessions.size > 0) return;
    this.emptySince = this.#registry.now;
    this.#registry.noteEmpty(this);
  }

  join(session: ClientSession, options: SubscriptionOptions): void {
    if (this.#members.has(session)) return;
    const parked = this.#parked.get(session);
    if (parked !== undefined) {
      this.#parked.delete(session);
      this.#members.set(session, parked);
      parked.change(options);
      parked.resume();
      return;
    }
    this.#registry.check(this);
    const member = new SharedMember(session, options);
    this.#members.set(session, member);
    member.open(this);
  }

  leave(session: ClientSession, keep: readonly KeptDelivery[]): void {
    const member = this.#members.get(session);
    if (member === undefined) return;
    this.#members.delete(session);
    session.closeShared(member);
    const kept = new Set(keep.filter(({ source }) => source === member).map((k) => k.delivery));
    if (kept.size === 0) member.consumer.close(OUTCOME.RELEASE);
    else {
      member.park(kept);
      this.#parked.set(session, member);
    }
  }

  changed(session: ClientSession, options: SubscriptionOptions): void {
    this.#members.get(session)?.change(options);
  }

  /** QoS 0: one of those who are connected, in turn. */
  deliverNow(record: RecordView, path: string): boolean {
    const count = this.#members.size;
    if (count === 0) return false;
    let at = this.#turn++ % count;
    for (const member of this.#members.values()) {
      if (at-- > 0) continue;
      return member.session.deliverNow(record, path, member.grant);
    }
    return false;
  }
}
