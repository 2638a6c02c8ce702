/**
 * The broker: what every adapter talks to (facade.ts). It owns the nodes and groups, and ties together the store, the
 * dispatcher, the journal of progress and the waiters for durability. One event loop; no method blocks.
 */
import { randomBytes } from "node:crypto";
import { type Address, makeAddress } from "../model/address.ts";
import { TEMPORARY_PREFIX } from "../model/address-dialects.ts";
import type { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import { hasWildcard } from "../model/topic-path.ts";
import type { Authorizer } from "../security/authorizer.ts";
import type { MessageStore, OpenReport, StoreHealth, StoreQueue } from "../store/message-store.ts";
import type { Logger } from "../telemetry/log.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import { STATE } from "./ack-state.ts";
import { afterAppend, isFull } from "./admission.ts";
import { applyEntry, CatalogWriter, emptyImage } from "./catalog.ts";
import { Connection } from "./connection.ts";
import { Consumer, type ConsumerHost } from "./consumer.ts";
import type { ConsumerGroup, GroupHost } from "./consumer-group.ts";
import { DeadLetters, type DeathReason } from "./dead-letter.ts";
import { DelayScheduler } from "./delay-scheduler.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Expirer } from "./expirer.ts";
import type {
  BrokerConnection,
  BrokerFacade,
  BrokerLimits,
  ConfirmWaiter,
  ConnectRequest,
  ConsumerRequest,
  DeliverySink,
  DurabilityLevel,
  StartPosition,
} from "./facade.ts";
import type { MessageFilter } from "./filter.ts";
import type { Node } from "./node.ts";
import { NodeRegistry, rootOf } from "./node-registry.ts";
import { DLQ_PREFIX, type NodeSettings, type Policy } from "./policy.ts";
import { ProgressJournal } from "./progress-journal.ts";
import { RecordComposer, RecordTemplate } from "./record-composer.ts";
import { restorePolicies } from "./restore-policies.ts";
import { SessionCore, templateFor } from "./session-core.ts";
import { SessionRegistry } from "./session-registry.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { ShardTimers } from "./shard-timers.ts";
import { StoredBytes } from "./stored-bytes.ts";
import { hasOneRoot, Subscriptions } from "./subscriptions.ts";
import { expiryOf, limitTtl, Target, type TargetHost } from "./target.ts";
import { TopicPublisher } from "./topic-publisher.ts";
import { Transaction, type TransactionHost } from "./transaction.ts";
import { TransactionLog } from "./transaction-log.ts";
import { Entries } from "./visibility.ts";

export interface BrokerOptions {
  readonly nodeName: string;
  readonly version: string;
  readonly limits: BrokerLimits;
  readonly queueDefaults: NodeSettings;
  readonly topicDefaults: NodeSettings;
  readonly policies: readonly Policy[];
  /** May nodes be made on first use? */
  readonly autoCreate: boolean;
  readonly compileSelector: (text: string) => MessageFilter;
  readonly authorizer: Authorizer;
  readonly logger: Logger;
}

/** The journal is rewritten as a snapshot once it has grown by this much. */
const SNAPSHOT_BYTES = 64 * 1024 * 1024;
/** Log written between two trims of busy nodes. */
const TRIM_BYTES = 16 * 1024 * 1024;
/** How often retention, snapshots and expiry by time are looked at. */
const HOUSEKEEPING_MS = 1000;

export class Broker
  implements BrokerFacade, TurnTask, GroupHost, TargetHost, ConsumerHost, TransactionHost
{
  readonly nodeName: string;
  readonly version: string;
  readonly limits: BrokerLimits;
  readonly turn: Turn;
  readonly store: MessageStore;
  readonly composer = new RecordComposer();
  readonly registry: NodeRegistry;
  readonly core: SessionCore;
  readonly sessions: SessionRegistry;
  readonly topics: TopicPublisher;
  readonly subscriptions: Subscriptions;
  readonly connections = new Map<number, Connection>();
  readonly #options: BrokerOptions;
  readonly #journal: ProgressJournal;
  readonly #dispatcher: Dispatcher;
  readonly #deadLetters: DeadLetters;
  readonly #delays: DelayScheduler;
  readonly #transactions: TransactionLog;
  readonly #retries = new ShardTimers((shard, offset) => this.#retryNow(shard, offset));
  readonly #expirer: Expirer;
  readonly #storedBytes: StoredBytes;
  readonly #heldNodes = new Set<Node>();
  readonly #log: Logger;
  #waiters: ConfirmWaiter[] = [];
  readonly #roomCallbacks: Array<() => void> = [];
  readonly #blockedCallbacks = new Set<(blocked: { readonly reason: string } | null) => void>();
  #blocked: { readonly reason: string } | null = null;
  #nextConnectionId = 1;
  #nextConsumerId = 1;
  #temporaryNumber = 0;
  #isPublishRequested = false;
  #isSyncWanted = false;
  /** Nodes with settlements since the last trim. */
  readonly #touched = new Set<Node>();
  /** End of the log then. */
  #trimmedAt = 0;
  #housekeeping: NodeJS.Timeout | undefined;

  constructor(store: MessageStore, turn: Turn, options: BrokerOptions) {
    this.store = store;
    this.turn = turn;
    this.#options = options;
    this.#log = options.logger;
    this.nodeName = options.nodeName;
    this.version = options.version;
    this.limits = options.limits;
    this.#journal = new ProgressJournal(store);
    this.#storedBytes = new StoredBytes(store);
    this.registry = new NodeRegistry(store, this.#journal, this, options, (node) =>
      this.#onNode(node),
    );
    this.subscriptions = new Subscriptions(this.registry, (node, from) =>
      this.#position(node, from),
    );
    this.core = new SessionCore(this, this.#journal);
    this.sessions = new SessionRegistry(this.core);
    this.topics = new TopicPublisher(this.core);
    this.#dispatcher = new Dispatcher(store, new Entries(store), this.core.visibility, turn, {
      damaged: (shard, offset, at) => this.#damaged(shard, offset, at),
      expired: (shard, offset) => this.#bury(shard, offset, "expired"),
    });
    this.#deadLetters = new DeadLetters({
      store,
      deadLetterQueueOf: ({ settings, address }) =>
        settings.deadLetterTo === "" ? DLQ_PREFIX + address.name : settings.deadLetterTo,
      publishDead: (node, name, draft) => this.#publishDead(node, name, draft),
      noteDeath: (shard, reason) => this.#noteDeath(shard, reason),
    });
    this.#delays = new DelayScheduler(this);
    this.#transactions = new TransactionLog(store, this.#journal);
    this.#expirer = new Expirer(store, (shard, offset) => this.#bury(shard, offset, "expired"));
  }

  get queueDefaults(): NodeSettings {
    return this.#options.queueDefaults;
  }
  nextConsumerId(): number {
    return this.#nextConsumerId++;
  }
  get maxMessageBytes(): number {
    return this.limits.maxMessageBytes;
  }

  /** Opens the store and rebuilds everything from it. */
  async open(): Promise<OpenReport> {
    const report = await this.store.open({
      onWatermark: () => this.#onWatermark(),
      onRoom: () => this.#onRoom(),
      onHealth: (health) => this.#onHealth(health),
      onReadable: (queue) => this.registry.ofShard(queue)?.scheduleShard(queue),
    });
    const image = emptyImage();
    this.store.journal.replay((bytes) => applyEntry(image, bytes));
    this.#transactions.recover(image);
    this.registry.restore(image);
    this.subscriptions.restore();
    this.sessions.restore(image.state);
    for (const node of this.registry.nodes())
      restorePolicies(node, this.store, this.#storedBytes, this.turn.now);
    this.#delays.restore();
    this.snapshot();
    this.#housekeeping = setInterval(() => this.#keepHouse(), HOUSEKEEPING_MS);
    this.#housekeeping.unref();
    return report;
  }

  async close(): Promise<void> {
    clearInterval(this.#housekeeping);
    this.#delays.close();
    this.sessions.close();
    this.#retries.close();
    for (const connection of [...this.connections.values()]) connection.close();
    this.runTurn();
    this.snapshot();
    await this.store.close();
  }

  /** Replaces the journal by what it amounts to. */
  snapshot(): void {
    const entries: Uint8Array[] = [];
    const catalog = new CatalogWriter({
      append(bytes, start, end) {
        entries.push(Uint8Array.prototype.slice.call(bytes, start, end));
        return 0;
      },
    });
    this.registry.writeSnapshot(catalog);
    this.#transactions.writeSnapshot(catalog);
    this.sessions.writeSnapshot(catalog);
    this.store.journal.snapshot(entries);
  }

  // ---- connections -------------------------------------------------------------------------------------------------

  connect(request: ConnectRequest): BrokerConnection {
    if (request.clientId !== "" && request.clientIdPolicy !== "coexist")
      this.#claimClientId(request);
    const peer = request.peer ?? {
      remoteAddress: request.remoteAddress,
      remotePort: request.remotePort,
      listener: "",
      isLoopback: false,
      isTls: false,
      certificate: null,
    };
    const permissions = this.#options.authorizer.permissionsFor(
      request.principal,
      request.clientId,
      peer,
    );
    const connection = new Connection(this, this.#nextConnectionId++, request, permissions);
    this.connections.set(connection.id, connection);
    return connection;
  }

  #claimClientId(request: ConnectRequest): void {
    for (const other of [...this.connections.values()]) {
      const same =
        other.clientId === request.clientId &&
        other.namespace === request.namespace &&
        other.request.protocol === request.protocol &&
        other.principal.name === request.principal.name &&
        other.request.clientIdPolicy !== "coexist";
      if (!same) continue;
      if (request.clientIdPolicy === "refuse") {
        throw new BrokerError(
          "resource-locked",
          `client id '${request.clientId}' is in use by a connection from ${other.request.remoteAddress}: close it or use another client id`,
        );
      }
      other.request.close(
        new BrokerError("connection-forced", `client id '${request.clientId}' connected again`),
      );
      other.close();
    }
  }

  connectionClosed(connection: Connection): void {
    this.connections.delete(connection.id);
  }

  // ---- nodes -------------------------------------------------------------------------------------------------------

  /** The node an address means; made where `connection` may and creation is on. */
  nodeFor(connection: Connection, address: Address, mustExist: boolean): Node {
    const { namespace } = address;
    const found = this.#findNode(address);
    if (found !== undefined) return found;
    const kind = kindOf(address);
    const name = nameOf(address, kind);
    if (mustExist || !this.#options.autoCreate || address.kind.startsWith("temp-")) {
      throw new BrokerError("not-found", `no ${kind} '${address.name}'`, { name: address.name });
    }
    connection.demand("create", address);
    const node = this.registry.create(kind, namespace, name, false);
    this.#log.info("node.created", { kind, name, namespace });
    return node;
  }

  #findNode(address: Address): Node | undefined {
    const { namespace, name } = address;
    if (address.kind === "any") {
      return (
        this.registry.find("queue", namespace, name) ??
        this.registry.find("topic", namespace, rootOf(name))
      );
    }
    const kind = kindOf(address);
    return this.registry.find(kind, namespace, nameOf(address, kind));
  }

  createTemporary(connection: Connection, kind: "queue" | "topic"): Node {
    // Unguessable, and recognised as temporary in every protocol's bare spelling.
    const prefix = TEMPORARY_PREFIX[`temp-${kind}`];
    const random = randomBytes(9).toString("base64url");
    const name = `${prefix}${connection.id}-${++this.#temporaryNumber}-${random}`;
    return this.registry.create(kind, connection.namespace, name, true);
  }

  deleteNode(node: Node): void {
    if (node.isDeleted) return;
    const reason = new BrokerError(
      "resource-deleted",
      `${node.kind} '${node.address.name}' was deleted`,
    );
    node.isDeleted = true;
    for (const group of node.groups.values()) {
      for (const consumer of [...group.members]) {
        consumer.lose();
        consumer.sink.onCancel(reason);
      }
    }
    this.registry.delete(node);
  }

  // ---- publishing --------------------------------------------------------------------------------------------------

  openTarget(
    connection: Connection,
    address: Address,
    options: { readonly mustExist?: boolean },
  ): Target {
    if (isTopicAddress(address) && hasWildcard(address.name)) {
      throw new BrokerError(
        "invalid-address",
        `'${address.name}' has wildcards: they are for receiving; send to one topic`,
      );
    }
    const node = this.nodeFor(connection, address, options.mustExist ?? false);
    const resolved = makeAddress(
      node.address.kind,
      node.kind === "topic" ? address.name : node.address.name,
      node.address,
    );
    connection.demand("send", resolved);
    node.producerCount++;
    const template = templateFor(node, resolved);
    return new Target(
      this,
      resolved,
      node,
      template,
      connection.id,
      connection.bornHost,
      connection.clientId,
      connection.session,
    );
  }

  shardOfPriority(node: Node, priority: number): StoreQueue {
    return this.registry.shardOfPriority(node, priority);
  }

  targetClosed(target: Target): void {
    const connection = this.connections.get(target.connectionId);
    connection?.targets.delete(target);
    this.#linkClosed(target.node);
  }

  #linkClosed(node: Node): void {
    if (!node.isTemporary) return;
    for (const connection of this.connections.values()) {
      if (connection.temporaries.has(node)) connection.linkClosed(node);
    }
  }

  noteAppend(isSync: boolean): void {
    if (isSync) this.#isSyncWanted = true;
    this.requestPublish();
  }

  delay(target: Target, draft: Draft, expiresAt: number): number {
    return this.#delays.add(target, draft, expiresAt);
  }

  /** Appends a message to a node from inside the broker: dead letters, due delayed messages. */
  publishInternal(node: Node, template: RecordTemplate, draft: Draft, bornHost: Buffer): number {
    const { now } = this.turn;
    limitTtl(node, draft);
    const expiresAt = expiryOf(draft, now);
    const queue =
      node.kind === "queue" && draft.priority >= 0
        ? this.registry.shardOfPriority(node, draft.priority)
        : node.shards[0]!;
    const offset = queue.maxOffset;
    if (expiresAt !== 0) node.noteExpiry(queue, offset, expiresAt);
    if (draft.group !== "") node.mayHaveKeys = true;
    const position = this.store.append(
      queue,
      this.composer.compose(template, draft, bornHost, now, expiresAt, null),
    );
    node.counters.published++;
    node.counters.publishedBytes += draft.end - draft.start;
    if (!node.isPlain) afterAppend(node, queue, offset, draft, now, position, this);
    node.scheduleShard(queue);
    this.noteAppend(node.settings.level === "fsync");
    return position;
  }

  // ---- consuming ---------------------------------------------------------------------------------------------------

  openConsumer(connection: Connection, request: ConsumerRequest, sink: DeliverySink): Consumer {
    const { address } = request;
    if (isTopicAddress(address) && !hasOneRoot(address)) {
      throw new BrokerError(
        "not-implemented",
        `'${address.name}' begins with a wildcard: name the first level of the topic`,
      );
    }
    const node = this.nodeFor(connection, address, false);
    connection.demand(request.mode === "browse" ? "browse" : "receive", {
      ...node.address,
      name: node.kind === "topic" ? address.name : node.address.name,
    });
    if (node.isTemporary && !connection.temporaries.has(node)) {
      throw new BrokerError(
        "resource-locked",
        `temporary ${node.kind} '${node.address.name}' may be consumed only by the connection that made it`,
      );
    }
    const selector = request.selector ?? "";
    const isQueue = node.kind === "queue";
    const group = isQueue
      ? node.ownGroup
      : this.subscriptions.groupFor(node, address.name, request, connection.clientId, (stolen) =>
          this.#steal(stolen),
        );
    const filter = isQueue ? this.#queueFilter(request) : null;
    this.#checkExclusive(group, request, node);
    const consumer = new Consumer(
      {
        id: this.#nextConsumerId++,
        address: { ...address, kind: node.address.kind },
        info: {
          kind: node.kind,
          isDurable: group.settings.identity?.isDurable ?? (isQueue || group.isDurable),
          isShared: group.settings.identity?.isShared ?? false,
          tags: request.tags ?? address.tags,
          selector,
          noLocal: !isQueue && (request.noLocal ?? false),
        },
        group,
        sink,
        isPreSettled: request.preSettled || request.mode === "browse",
        isBrowser: request.mode === "browse",
        isExclusive: request.isExclusive ?? false,
        priority: request.priority ?? 0,
        filter,
        connectionId: connection.id,
        onLost: request.onLost,
      },
      this,
    );
    if (consumer.isBrowser) {
      for (const shard of group.shards) {
        consumer.scan[shard.index] = shard.state.low;
        consumer.scanEnd[shard.index] = shard.queue.maxOffset;
      }
    } else group.add(consumer);
    return consumer;
  }

  #queueFilter(request: ConsumerRequest): MessageFilter | null {
    const tags = request.tags ?? request.address.tags;
    return this.registry.filterOf(
      {
        name: "",
        isDurable: false,
        isOrdered: false,
        isVolatile: false,
        identity: null,
        tags,
        selector: request.selector ?? "",
        noLocal: false,
        path: "",
      },
      "",
    );
  }

  #checkExclusive(group: ConsumerGroup, request: ConsumerRequest, node: Node): void {
    if (request.mode === "browse") return;
    const holder = group.members.find((member) => member.isExclusive);
    if (holder === undefined && !(request.isExclusive === true && group.members.length > 0)) return;
    throw new BrokerError(
      "resource-locked",
      holder !== undefined
        ? `${node.kind} '${node.address.name}' has an exclusive consumer`
        : `${node.kind} '${node.address.name}' has ${group.members.length} consumer(s): an exclusive one must be the only one`,
    );
  }

  #steal(group: ConsumerGroup): void {
    const reason = new BrokerError(
      "link-stolen",
      `subscription '${group.name}' was opened by another link`,
    );
    for (const consumer of [...group.members]) {
      consumer.lose();
      consumer.sink.onCancel(reason);
    }
  }

  consumerClosed(consumer: Consumer): void {
    const { group } = consumer;
    this.connections.get(consumer.connectionId)?.consumers.delete(consumer);
    if (group.settings.isVolatile && group.members.length === 0 && !consumer.isBrowser) {
      this.subscriptions.forget(group);
    }
    this.#linkClosed(group.node);
  }

  #position(node: Node, from: StartPosition): "first" | "next" | number[] {
    switch (from.kind) {
      case "first":
        return "first";
      case "next":
        return "next";
      case "last":
        return node.shards.map((queue) => Math.max(queue.minOffset, queue.maxOffset - 1));
      case "offset":
        return node.shards.map(() => from.offset);
      case "time":
        return node.shards.map((queue) => this.store.searchByTime(queue, from.timestampMs));
      default: {
        const never: never = from;
        throw new Error(`unknown position ${String(never)}`);
      }
    }
  }

  schedule(shard: ShardProgress): void {
    this.#dispatcher.schedule(shard);
  }
  markDirty(shard: ShardProgress): void {
    this.#touched.add(shard.group.node);
    this.#journal.markDirty(shard);
    this.core.noteSettled(shard);
    this.requestPublish();
  }
  scheduleDrain(consumer: Consumer): void {
    this.#dispatcher.scheduleDrain(consumer);
  }
  scheduleBrowse(consumer: Consumer): void {
    this.#dispatcher.scheduleBrowse(consumer);
  }
  settlePosition(): number {
    return this.#journal.hasWork ? this.#journal.epoch : 0;
  }

  drop(shard: ShardProgress, offset: number, reason: DeathReason): void {
    const { node } = shard.group;
    if (node.settings.overflow === "dead-letter") this.#bury(shard, offset, reason);
    else {
      node.counters.dropped++;
      shard.settle(offset, 1);
    }
  }

  countStored(node: Node, queue: StoreQueue, offset: number): void {
    this.#storedBytes.added(node, queue, offset);
  }

  /** A node was made: where its policies count what is stored, watch what is settled. */
  #onNode(node: Node): void {
    if (node.kind !== "queue" || (node.settings.maxLength < 0 && node.settings.maxBytes < 0))
      return;
    node.onSettled = (shard, from, count) => {
      if (node.settings.maxBytes >= 0) this.#storedBytes.settled(shard, from, count);
      if (node.isHoldingBack) {
        this.#heldNodes.add(node);
        this.requestPublish();
      }
    };
  }

  /** Queues that held producers back and have given some messages away since. */
  #resumeHeld(): void {
    for (const node of this.#heldNodes) {
      if (isFull(node, 1)) continue;
      node.isHoldingBack = false;
      for (const connection of this.connections.values()) {
        for (const target of connection.targets) {
          if (target.node === node) target.onAllowance?.();
        }
      }
    }
    this.#heldNodes.clear();
  }

  retryLater(shard: ShardProgress, offset: number, delayMs: number): void {
    shard.state.park(offset, 1);
    shard.group.keys?.hold(shard.index, offset);
    this.#retries.add(this.turn.now + delayMs, shard, offset);
  }

  #retryNow(shard: ShardProgress, offset: number): void {
    if (shard.group.node.isDeleted || shard.state.stateOf(offset) !== STATE.PARKED) return;
    this.turn.touch();
    shard.release(offset, 1);
  }

  bury(shard: ShardProgress, offset: number, reason: "rejected" | "delivery_limit"): void {
    this.#bury(shard, offset, reason);
  }

  #bury(shard: ShardProgress, offset: number, reason: DeathReason): void {
    this.#deadLetters.bury(shard, offset, reason, this.turn.now);
  }

  #publishDead(node: Node, name: string, draft: Draft): number {
    const { namespace } = node.address;
    const dlq =
      this.registry.find("queue", namespace, name) ??
      this.registry.create("queue", namespace, name, false);
    return this.publishInternal(dlq, DEAD_TEMPLATE, draft, LOOPBACK);
  }

  #noteDeath(shard: ShardProgress, reason: DeathReason): void {
    const { node } = shard.group;
    if (reason === "expired") node.counters.expired++;
    if (this.#log.isDebug) {
      this.#log.debug("message.dead", { node: node.address.name, reason });
    }
  }

  #damaged(shard: ShardProgress, offset: number, physicalOffset: number): void {
    shard.group.node.counters.dropped++;
    this.#log.error("message.damaged", {
      node: shard.group.node.address.name,
      offset,
      physicalOffset,
      message:
        "the record fails its checksum and was skipped; see the quarantine folder of the data directory",
    });
    shard.settle(offset, 1);
  }

  // ---- transactions ------------------------------------------------------------------------------------------------

  beginTransaction(): Transaction {
    return new Transaction(this);
  }

  commitBatch(publishes: ReadonlyArray<{ target: Target; draft: Draft }>, control: Buffer): number {
    const delayed = publishes.filter(({ draft }) => draft.deliverAt > this.turn.now);
    this.store.beginAtomic();
    for (const { target, draft } of publishes) {
      if (draft.deliverAt <= this.turn.now) target.publish(draft);
    }
    for (const { target, draft } of delayed) {
      this.#delays.add(target, draft, expiryOf(draft, this.turn.now));
    }
    if (control.length > 0) this.appendControl(control);
    const position = this.store.endAtomic();
    this.noteAppend(true);
    return position;
  }

  /** Between the store's beginAtomic and endAtomic. */
  appendControl(control: Buffer): void {
    this.#transactions.append(control, this.composer);
  }

  // ---- turns and watermarks ----------------------------------------------------------------------------------------

  requestPublish(): void {
    if (this.#isPublishRequested) return;
    this.#isPublishRequested = true;
    this.turn.request(PHASE.PUBLISH, this);
  }

  runTurn(): void {
    this.#isPublishRequested = false;
    if (this.#heldNodes.size > 0) this.#resumeHeld();
    if (this.store.watermarks.appended - this.#trimmedAt >= TRIM_BYTES) this.#trimTouched();
    this.#journal.flush();
    this.#transactions.noteJournaled();
    const sync = this.#isSyncWanted;
    this.#isSyncWanted = false;
    this.store.publish(sync);
  }

  confirmedTo(level: DurabilityLevel): number {
    if (level === "memory") return Number.POSITIVE_INFINITY;
    const { written, durable } = this.store.watermarks;
    return level === "os" ? written : durable;
  }

  settledTo(): number {
    this.requestPublish();
    return this.#journal.settledTo;
  }

  awaitConfirm(waiter: ConfirmWaiter): void {
    this.#waiters.push(waiter);
  }

  #onWatermark(): void {
    this.turn.touch();
    this.#journal.onWatermark();
    this.core.onDurable();
    this.#deadLetters.onDurable(this.store.watermarks.durable);
    const waiters = this.#waiters;
    let kept = 0;
    const count = waiters.length;
    for (let i = 0; i < count; i++) {
      const waiter = waiters[i]!;
      if (waiter.onConfirm()) waiters[kept++] = waiter;
    }
    // Those who registered meanwhile stay.
    for (let i = count; i < waiters.length; i++) waiters[kept++] = waiters[i]!;
    waiters.length = kept;
  }

  // ---- flow control ------------------------------------------------------------------------------------------------

  hasRoom(bytes: number): boolean {
    return this.store.hasRoom(bytes);
  }
  onRoom(callback: () => void): void {
    this.#roomCallbacks.push(callback);
  }
  #onRoom(): void {
    this.turn.touch();
    for (const callback of this.#roomCallbacks.splice(0)) callback();
  }

  get blocked(): { readonly reason: string } | null {
    return this.#blocked;
  }
  get isBlocked(): boolean {
    return this.#blocked !== null;
  }
  onBlocked(callback: (blocked: { readonly reason: string } | null) => void): () => void {
    this.#blockedCallbacks.add(callback);
    return () => this.#blockedCallbacks.delete(callback);
  }

  #onHealth(health: StoreHealth): void {
    this.turn.touch();
    const blocked = health.state === "ok" ? null : { reason: health.reason };
    if (blocked === null) this.#log.info("store.resumed", { message: "publishing goes on" });
    else this.#log.error("store.blocked", { state: health.state, message: blocked.reason });
    this.#blocked = blocked;
    for (const callback of [...this.#blockedCallbacks]) callback(blocked);
    if (blocked !== null) return;
    for (const connection of this.connections.values()) {
      for (const target of connection.targets) target.onAllowance?.();
    }
  }

  // ---- housekeeping ------------------------------------------------------------------------------------------------

  #keepHouse(): void {
    this.turn.touch();
    for (const node of this.registry.nodes()) {
      if (node.expiry !== null) this.#expirer.sweep(node, this.turn.now);
      this.#trim(node);
    }
    for (const node of this.core.takeTouched()) this.#trim(node);
    this.sessions.keepHouse();
    if (this.store.journal.bytesSinceSnapshot > SNAPSHOT_BYTES) this.snapshot();
  }

  /** Under load the store hears more often what is done with, so that it need not stay in memory. */
  #trimTouched(): void {
    this.#trimmedAt = this.store.watermarks.appended;
    for (const node of this.#touched) if (!node.isDeleted) this.#trim(node);
    this.#touched.clear();
  }

  /** Tells the store what nobody needs any more. */
  #trim(node: Node): void {
    const { historyMs } = node.settings;
    for (let index = 0; index < node.shards.length; index++) {
      const queue = node.shards[index]!;
      let owed = queue.maxOffset;
      for (const group of node.groups.values()) {
        owed = Math.min(owed, group.shards[index]!.state.low);
      }
      if (node.kind === "topic" && historyMs > 0 && owed > queue.minOffset) {
        const kept = this.store.searchByTime(queue, this.turn.now - historyMs);
        owed = Math.min(owed, kept);
      }
      if (owed > queue.minOffset) this.store.trim(queue, owed);
    }
  }
}

const DEAD_TEMPLATE = new RecordTemplate("");
const LOOPBACK = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);

/** The kind of node behind an address; throws for what is no node of messages. */
function kindOf(address: Address): "queue" | "topic" {
  switch (address.kind) {
    case "any":
    case "queue":
    case "temp-queue":
    case "dlq":
      return "queue";
    case "topic":
    case "temp-topic":
      return "topic";
    default:
      throw new BrokerError(
        "not-found",
        `there are no ${address.kind} nodes here: use a queue or a topic`,
        { kind: address.kind },
      );
  }
}

const nameOf = (address: Address, kind: "queue" | "topic"): string =>
  kind === "topic"
    ? rootOf(address.name)
    : address.kind === "dlq"
      ? DLQ_PREFIX + address.name
      : address.name;

const isTopicAddress = (address: Address): boolean =>
  address.kind === "topic" || address.kind === "temp-topic";
