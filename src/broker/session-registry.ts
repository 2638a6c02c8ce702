/**
 * All sessions by namespace and client id: opening, taking over, expiry, shares, and bringing them back after a restart.
 */
import { checkName, makeAddress } from "../model/address.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { BrokerError } from "../model/errors.ts";
import type { RecordView } from "../model/record-view.ts";
import type { Permissions } from "../security/authorizer.ts";
import { Alarm } from "../util/alarm.ts";
import { MinHeap } from "../util/min-heap.ts";
import type { CatalogWriter } from "./catalog.ts";
import { ClientSession, type OwnSubscription } from "./client-session.ts";
import type { Connection } from "./connection.ts";
import type { Consumer } from "./consumer.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { BrokerConnection, DeliverySink } from "./facade.ts";
import type { JointGroups } from "./joint-groups.ts";
import { Node } from "./node.ts";
import { ReceivedIds } from "./received-ids.ts";
import { RetainedMessages } from "./retained.ts";
import { dropDenied } from "./rights.ts";
import type { SessionCore } from "./session-core.ts";
import {
  type KeptDelivery,
  NEVER_EXPIRES,
  type Session,
  type SessionHost,
  type SessionLimits,
  type SessionRequest,
  type SessionSink,
  type SessionStats,
} from "./session-facade.ts";
import {
  encodeIds,
  encodeJson,
  openIdsKey,
  readSessions,
  type SessionEntry,
  sessionKey,
  subscriptionKey,
} from "./session-journal.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { ShareRegistry } from "./share-registry.ts";
import type { TopicRoutes } from "./topic-routes.ts";
import { VolatileIndex } from "./volatile-index.ts";
import { Wills, willAddress } from "./wills.ts";

const EMPTY = Buffer.alloc(0);
/** Longest client identifier, in characters, of a session that is kept: it is written into a journal entry. */
const KEPT_CLIENT_ID_MAX = 8_192;

export class SessionRegistry implements SessionHost {
  readonly routes: TopicRoutes;
  readonly retained: RetainedMessages;
  readonly received: ReceivedIds;
  readonly wills: Wills;
  readonly #core: SessionCore;
  readonly #sessions = new Map<string, ClientSession>();
  readonly #byId = new Map<number, ClientSession>();
  /** Rights of a session's last connection, for a will that is published after it. */
  readonly #rights = new WeakMap<ClientSession, Permissions>();
  /** Due time of ends and wills → session number; entries that no longer count are skipped. */
  readonly #timers = new MinHeap();
  readonly #entry = entryBatch();
  readonly #sessionOf = (id: number): ClientSession | undefined => this.#byId.get(id);
  readonly #alarm: Alarm;
  #nextId = 1;
  #connected = 0;
  #subscriptions = 0;
  #sharedSubscriptions = 0;
  #dropped = 0;
  readonly shares: ShareRegistry;

  constructor(core: SessionCore) {
    this.#core = core;
    this.#alarm = new Alarm(core.turn.clock, () => this.#fire());
    this.shares = new ShareRegistry(core);
    this.routes = core.routes;
    this.retained = new RetainedMessages(core);
    this.received = new ReceivedIds(core);
    this.wills = new Wills(core);
  }

  get limits(): SessionLimits {
    return this.#core.overflow.limits;
  }
  set limits(limits: SessionLimits) {
    this.#core.overflow.limits = limits;
  }

  /** Groups that clients of every protocol may be part of. */
  get joint(): JointGroups {
    return this.shares.joint;
  }
  set shareExpiryMs(value: number) {
    this.shares.expiryMs = value;
  }

  get now(): number {
    return this.#core.turn.now;
  }

  get stats(): SessionStats {
    return {
      sessions: this.#sessions.size,
      connected: this.#connected,
      subscriptions: this.#subscriptions,
      sharedSubscriptions: this.#sharedSubscriptions,
      retained: this.retained.count,
      droppedDirect: this.#dropped,
      droppedQueued: this.#core.overflow.dropped,
    };
  }

  sessions(): Iterable<ClientSession> {
    return this.#sessions.values();
  }

  // ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

  open(facade: BrokerConnection, request: SessionRequest, sink: SessionSink): Session {
    const connection = facade as Connection;
    const { namespace } = connection;
    if (request.will !== null) {
      checkName(request.will.topic, "topic");
      connection.demand("send", willAddress(namespace, request.will.topic));
    }
    const key = keyOf(namespace, request.clientId);
    if (request.expirySeconds > 0 && request.clientId.length > KEPT_CLIENT_ID_MAX) {
      throw new BrokerError(
        "limit-exceeded",
        `a session that is kept takes client identifiers of at most ${KEPT_CLIENT_ID_MAX} characters`,
      );
    }
    let session = this.#sessions.get(key);
    if (session !== undefined) this.#checkOwner(session, connection);
    if (session?.isConnected === true) this.#takeOver(session);
    // Its time may be up although the timer comes late, as after a start.
    else if (session !== undefined) this.#doWhatIsDue(session);
    // Its connection's end may have been the end of it.
    if (session?.isEnded === true) session = undefined;
    if (session !== undefined && request.isCleanStart) {
      this.#end(session);
      session = undefined;
    }
    if (session === undefined) session = this.#create(key, connection, request);
    else session.isPresent = true;
    session.expirySeconds = request.expirySeconds;
    session.expiryToken++;
    if (session.will !== null) this.wills.drop(session);
    session.connect(connection, sink);
    this.#connected++;
    this.#rights.set(session, connection.permissions);
    if (session.isPresent) dropDenied(connection, session);
    if (session.isDurable) {
      const position = this.#journalSession(session);
      // Until it is stored, a crash would bring back the end that a resumed one had. Without space for that it goes on at
      // once: who comes to take messages must not wait for the room that this makes.
      const mustWait = !session.isPresent || this.#core.store.health.state === "ok";
      session.journaledAt = mustWait ? position : 0;
    }
    session.willEnd = request.will === null ? 0 : this.wills.store(session, request.will);
    return session;
  }

  #create(key: string, connection: Connection, request: SessionRequest): ClientSession {
    const session = new ClientSession(
      this,
      this.#nextId++,
      connection.namespace,
      request.clientId,
      connection.principal.name,
      request.expirySeconds,
      request.expirySeconds > 0,
    );
    this.#sessions.set(key, session);
    this.#byId.set(session.id, session);
    return session;
  }

  #checkOwner(session: ClientSession, connection: Connection): void {
    if (session.userName === connection.principal.name) return;
    throw new BrokerError(
      "unauthorized",
      `session '${session.clientId}' belongs to another user: use another client identifier`,
    );
  }

  /** MQTT-3.1.4-3: the older connection is told and loses the session before the newer one gets it. */
  #takeOver(session: ClientSession): void {
    const { sink } = session;
    // The older connection tells what its peer may have taken; then it has no session any more.
    const keep = sink!.onTakenOver();
    this.#release(session, keep);
    this.#afterConnection(session, false);
  }

  detach(session: ClientSession, dropWill: boolean, keep: readonly KeptDelivery[]): void {
    if (!session.isConnected) return;
    this.#release(session, keep);
    this.#afterConnection(session, dropWill);
  }

  #release(session: ClientSession, keep: readonly KeptDelivery[]): void {
    session.disconnect(session.expirySeconds > 0 ? keep : []);
    this.#connected--;
    session.disconnectedAt = this.now;
  }

  /** Will and end of a session whose connection is over: now, or when their time has come. */
  #afterConnection(session: ClientSession, dropWill: boolean): void {
    if (dropWill && session.will !== null) this.wills.drop(session);
    const { expirySeconds, will } = session;
    if (expirySeconds === 0) {
      this.#end(session);
      return;
    }
    if (will !== null && will.delaySeconds === 0) this.#publishWill(session);
    if (session.isDurable) this.#journalSession(session);
    this.#arm(session);
  }

  /** Ends the session for good; its will is due with it (MQTT-3.1.3-9). */
  #end(session: ClientSession): void {
    if (session.isEnded) return;
    session.isEnded = true;
    this.#publishWill(session);
    this.#sessions.delete(keyOf(session.namespace, session.clientId));
    this.#byId.delete(session.id);
    const keys: string[] = [];
    for (const subscription of session.subscriptions.values()) {
      session.takeOut(subscription);
      if (session.isDurable) keys.push(subscriptionKey(session.id, subscription.number));
    }
    session.subscriptions.clear();
    this.received.forget(session);
    this.#dropIndex(session);
    if (!session.isDurable) return;
    if (session.openIds.size > 0) keys.push(openIdsKey(session.id));
    keys.push(sessionKey(session.id));
    for (const key of keys) this.#core.journalState(key, EMPTY);
  }

  /** An operator ends a session. */
  kill(session: ClientSession, reason: BrokerError): void {
    const { sink } = session;
    if (session.isConnected) {
      sink?.onEnded(reason);
      this.#release(session, []);
    }
    this.#end(session);
  }

  #publishWill(session: ClientSession): void {
    if (session.will === null) return;
    const address = willAddress(session.namespace, session.will.topic);
    const isAllowed = this.#rights.get(session)?.allows("send", address) ?? true;
    this.wills.publish(session, isAllowed);
  }

  // ── timers ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** When something happens to a session without a connection: its delayed will, or its end. */
  #dueOf(session: ClientSession): number {
    const { expirySeconds, will, disconnectedAt } = session;
    const end =
      expirySeconds === NEVER_EXPIRES
        ? Number.POSITIVE_INFINITY
        : disconnectedAt + expirySeconds * 1000;
    return will === null ? end : Math.min(end, disconnectedAt + will.delaySeconds * 1000);
  }

  #arm(session: ClientSession): void {
    const due = this.#dueOf(session);
    if (due === Number.POSITIVE_INFINITY) return;
    this.#timers.push(due, session.id);
    this.#alarm.set(due);
  }

  #fire(): void {
    this.#core.turn.touch();
    const { now } = this;
    while (this.#timers.topKey <= now) {
      const session = this.#byId.get(this.#timers.pop());
      if (session === undefined || session.isConnected || this.#dueOf(session) > now) continue;
      this.#doWhatIsDue(session);
      if (!session.isEnded) this.#arm(session);
    }
    if (this.#timers.size > 0) this.#alarm.set(this.#timers.topKey);
  }

  /** Of a session without a connection: its will goes out, its life ends. */
  #doWhatIsDue(session: ClientSession): void {
    const { now } = this;
    const { will, disconnectedAt, expirySeconds } = session;
    if (will !== null && disconnectedAt + will.delaySeconds * 1000 <= now) {
      this.#publishWill(session);
    }
    if (expirySeconds !== NEVER_EXPIRES && disconnectedAt + expirySeconds * 1000 <= now) {
      this.#end(session);
    }
  }

  /** About once a second. */
  keepHouse(): void {
    this.retained.tidy();
    this.received.tidy(this.#sessionOf);
    this.wills.tidy(this.#sessionOf);
    this.shares.keepHouse();
  }

  // ── indexes ──────────────────────────────────────────────────────────────────────────────────────────

  makeIndex(session: ClientSession): void {
    const core = this.#core;
    if (session.isDurable) {
      session.setIndex(core.lightNode(sessionNodeName(session.id), session));
      return;
    }
    const index: VolatileIndex = new VolatileIndex(
      `session ${session.id}`,
      core.overflow.memory,
      () => session.progress!.state.low,
    );
    const address = makeAddress("sub", `${session.clientId}/~mqtt`, {
      namespace: session.namespace,
    });
    const node = new Node(-1, address, "queue", true, core.nodeSettings, [index]);
    core.addVolatile(node);
    session.setIndex(node);
    session.volatileIndex = index;
    index.owner = node;
  }

  /** What waits for sessions and shares of a namespace. */
  *indexesIn(namespace: string): Generator<ShardProgress> {
    for (const session of this.#sessions.values()) {
      if (session.namespace !== namespace || !session.hasIndex) continue;
      const progress = session.node?.ownGroup.shards[0];
      if (progress !== undefined) yield progress;
    }
    yield* this.shares.indexesIn(namespace);
  }

  /** The index of a session that has one. */
  indexOf(session: ClientSession): Node | null {
    return this.#core.findLightNode(sessionNodeName(session.id), session) ?? null;
  }

  #dropIndex(session: ClientSession): void {
    const { node, volatileIndex } = session;
    session.setIndex(null);
    session.volatileIndex = null;
    if (node === null) return;
    if (volatileIndex === null) this.#core.dropLightNode(node);
    else {
      this.#core.dropVolatile(node);
      volatileIndex.clear();
    }
  }

  /** A consumer of a session's or share's group. The sink is asked for once the consumer can be named. */
  openConsumer(
    group: ConsumerGroup,
    connection: Connection,
    open: (consumer: Consumer) => DeliverySink,
  ): Consumer {
    return this.#core.openConsumer(group, connection, open);
  }

  /** Positions `view` on the record of an unsettled delivery. */
  readDelivery(consumer: Consumer, delivery: number, view: RecordView): boolean {
    const { unsettled, group } = consumer;
    const slot = delivery & unsettled.mask;
    const shard = group.shards[unsettled.shards[slot]! - 1];
    if (shard === undefined) return false;
    const { store } = this.#core;
    return (
      store.read(shard.queue, unsettled.offsets[slot]!, 1, this.#entry) === 1 &&
      store.view(this.#entry.physicalOffset[0]!, this.#entry.size[0]!, view)
    );
  }

  view(physicalOffset: number, size: number, view: RecordView): boolean {
    return this.#core.store.view(physicalOffset, size, view);
  }

  noteSubscriptions(change: number, isShared: boolean): void {
    this.#subscriptions += change;
    if (isShared) this.#sharedSubscriptions += change;
  }

  noteDropped(): void {
    this.#dropped++;
  }

  // ── journal ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #journalSession(session: ClientSession): number {
    return this.#core.journalState(sessionKey(session.id), encodeJson(entryOf(session)));
  }

  journalSubscription(session: ClientSession, subscription: OwnSubscription): number {
    if (!session.isDurable) return 0;
    const { filter, share, binding, number } = subscription;
    const value = encodeJson({ filter, share, ...binding.options });
    return this.#core.journalState(subscriptionKey(session.id, number), value);
  }

  journalUnsubscription(session: ClientSession, subscription: OwnSubscription): number {
    if (!session.isDurable) return 0;
    return this.#core.journalState(subscriptionKey(session.id, subscription.number), EMPTY);
  }

  journalOpenIds(session: ClientSession): number {
    if (!session.isDurable) return 0;
    const { openIds, id } = session;
    return this.#core.journalState(openIdsKey(id), encodeIds(openIds, openIds.size));
  }

  /** A session a step. */
  *writeSnapshot(catalog: CatalogWriter): Generator<void> {
    yield* this.joint.writeSnapshot(catalog);
    for (const session of this.#sessions.values()) {
      yield;
      if (!session.isDurable) continue;
      const { id, openIds } = session;
      catalog.state(sessionKey(id), encodeJson(entryOf(session)));
      for (const { filter, share, binding, number } of session.subscriptions.values()) {
        catalog.state(
          subscriptionKey(id, number),
          encodeJson({ filter, share, ...binding.options }),
        );
      }
      if (openIds.size > 0) catalog.state(openIdsKey(id), encodeIds(openIds, openIds.size));
    }
  }

  // ── recovery ────────────────────────────────────────────────────────────────────────────────────────────────────

  restore(state: ReadonlyMap<string, Buffer>): void {
    const now = this.#core.turn.clock.now();
    for (const { id, entry, subscriptions, openIds } of readSessions(state)) {
      this.#nextId = Math.max(this.#nextId, id + 1);
      const { namespace, clientId, userName, expirySeconds } = entry;
      const session = new ClientSession(
        this,
        id,
        namespace,
        clientId,
        userName,
        expirySeconds,
        true,
      );
      // Whoever was connected when the broker went down was disconnected by that.
      session.disconnectedAt = entry.disconnectedAt === 0 ? now : entry.disconnectedAt;
      session.wasCut = entry.disconnectedAt === 0 || entry.sentBelow === -1;
      session.resentBelow = Math.max(0, entry.sentBelow ?? 0);
      this.#sessions.set(keyOf(namespace, clientId), session);
      this.#byId.set(id, session);
      session.hasIndex = this.#core.hasLightNode(sessionNodeName(id));
      for (const [number, { filter, share, ...options }] of subscriptions) {
        session.addSubscription(filter, share, options, number);
      }
      for (const packetId of openIds) session.openIds.add(packetId);
    }
    this.#dropOrphans();
    this.shares.restore(state);
    this.received.restore(this.#sessionOf);
    this.wills.restore(this.#sessionOf);
    this.retained.restore();
    for (const session of this.#sessions.values()) this.#arm(session);
  }

  /** Indexes of sessions that are gone: a crash came between the two. */
  #dropOrphans(): void {
    for (const name of [...this.#core.lightNames(SESSION_PREFIX)]) {
      if (/^s\d+$/.test(name)) this.#dropOrphan(name);
    }
  }

  #dropOrphan(name: string): void {
    if (this.#byId.has(Number(name.slice(SESSION_PREFIX.length)))) return;
    this.#core.dropLightNode(this.#core.lightNode(name));
  }

  close(): void {
    this.#alarm.clear();
  }
}

/** Short: the name stands in every record that has an entry there. */
const SESSION_PREFIX = "s";

const sessionNodeName = (id: number): string => `${SESSION_PREFIX}${id}`;
const keyOf = (namespace: string, clientId: string): string => `${namespace}\x00${clientId}`;
function entryOf(session: ClientSession): SessionEntry {
  const { namespace, clientId, userName, expirySeconds, disconnectedAt } = session;
  const entry = { namespace, clientId, userName, expirySeconds, disconnectedAt };
  const sentBelow = session.wasCut ? -1 : session.resentBelow;
  return sentBelow === 0 ? entry : { ...entry, sentBelow };
}
