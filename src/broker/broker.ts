/**
 * The broker: what every adapter talks to (facade.ts). It owns the nodes and groups, and ties together the store, the
 * dispatcher, the journal of progress and the waiters for durability. One event loop; no method blocks.
 */
import { type Address, isTopicKind, makeAddress } from "../model/address.ts";
import type { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import { hasWildcard } from "../model/topic-path.ts";
import type { MessageStore, OpenReport, StoreHealth, StoreQueue } from "../store/message-store.ts";
import { ByteTable } from "../util/byte-table.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import { afterAppend, dedupIdOf } from "./admission.ts";
import type { BrokerOptions, DestinationRules } from "./broker-options.ts";
import { CatalogWriter, emptyImage } from "./catalog.ts";
import { ClientIds } from "./client-ids.ts";
import { ConfirmWaiters } from "./confirm-waiters.ts";
import { Connection } from "./connection.ts";
import type { Consumer, ConsumerHost } from "./consumer.ts";
import type { GroupHost } from "./consumer-group.ts";
import { ConsumerOpener, positionOf } from "./consumer-opener.ts";
import { DeadLetters, type DeathReason, deadLetterQueueOf } from "./dead-letter.ts";
import { DelayScheduler } from "./delay-scheduler.ts";
import { DelayedMessages } from "./delayed.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Expirer } from "./expirer.ts";
import type {
  BrokerConnection,
  BrokerFacade,
  BrokerLimits,
  ConfirmWaiter,
  ConnectRequest,
  DurabilityLevel,
} from "./facade.ts";
import { FlowControl } from "./flow-control.ts";
import { HeldBack } from "./held-back.ts";
import { Housekeeping } from "./housekeeping.ts";
import type { Node } from "./node.ts";
import { NodeDirectory } from "./node-directory.ts";
import { NodeRegistry } from "./node-registry.ts";
import { owedOf } from "./owed.ts";
import { Pacer } from "./pacer.ts";
import { ProgressJournal } from "./progress-journal.ts";
import { NO_QUOTAS, Quotas } from "./quotas.ts";
import { RecordComposer, type RecordTemplate } from "./record-composer.ts";
import { replayEntry } from "./resting-nodes.ts";
import { restorePolicies } from "./restore-policies.ts";
import { recheckRights } from "./rights.ts";
import { SessionCore, templateFor } from "./session-core.ts";
import { SessionRegistry } from "./session-registry.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { SnapshotCollector } from "./snapshot-collector.ts";
import { StoredBytes } from "./stored-bytes.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { Superseded } from "./superseded.ts";
import { expiryOf, limitTtl, Target, type TargetHost } from "./target.ts";
import { TopicPublisher } from "./topic-publisher.ts";
import type { TransactionHost } from "./transaction.ts";
import { TransactionLog } from "./transaction-log.ts";
import { Undeliverable } from "./undeliverable.ts";
import { Entries, type Visibility } from "./visibility.ts";
import { WildcardSubscriptions } from "./wildcard-subscriptions.ts";

/** The journal is rewritten as a snapshot once it has grown by this much. */
const SNAPSHOT_BYTES = 64 * 1024 * 1024;
/** Entries of a queue that the disk refuses to give are asked for again after this. */
const ENTRIES_AGAIN_MS = 1000;
/** How often retention, snapshots and expiry by time are looked at. */
const HOUSEKEEPING_MS = 1000;

export class Broker
  implements BrokerFacade, TurnTask, GroupHost, TargetHost, ConsumerHost, TransactionHost
{
  readonly nodeName: string;
  readonly version: string;
  /** Those that are there keep what they were told. */
  limits: BrokerLimits;
  readonly turn: Turn;
  readonly store: MessageStore;
  readonly composer = new RecordComposer();
  readonly registry: NodeRegistry;
  readonly directory: NodeDirectory;
  readonly opener: ConsumerOpener;
  readonly core: SessionCore;
  readonly sessions: SessionRegistry;
  readonly topics: TopicPublisher;
  readonly subscriptions: Subscriptions;
  /** What waits for its time, for operators. */
  readonly delayed: DelayedMessages;
  readonly quotas: Quotas;
  readonly connections = new Map<number, Connection>();
  readonly #options: BrokerOptions;
  readonly #journal: ProgressJournal;
  readonly #dispatcher: Dispatcher;
  readonly #deadLetters: DeadLetters;
  readonly #undeliverable: Undeliverable;
  readonly #delays: DelayScheduler;
  readonly #transactions: TransactionLog;
  readonly #heldBack: HeldBack;
  readonly #flow: FlowControl;
  readonly #clientIds = new ClientIds();
  readonly #housekeeping: Housekeeping;
  readonly #storedBytes: StoredBytes;
  readonly #waiters = new ConfirmWaiters();
  #nextConnectionId = 1;
  #nextConsumerId = 1;
  /** What could not be read while everything was restored. */
  #openError: string | null = null;
  #isPublishRequested = false;
  #isSyncWanted = false;
  readonly #pacer: Pacer | null;
  #houseTimer: unknown;

  constructor(store: MessageStore, turn: Turn, options: BrokerOptions) {
    this.store = store;
    this.turn = turn;
    this.#options = options;
    this.nodeName = options.nodeName;
    this.version = options.version;
    this.limits = options.limits;
    this.#pacer = options.isPaced === true ? new Pacer(turn, store) : null;
    this.quotas = new Quotas(options.quotas ?? NO_QUOTAS, {
      turn,
      connections: this.connections,
      destinationsIn: (namespace) => this.registry.countIn(namespace),
      nodesIn: (namespace) => this.registry.nodesIn(namespace),
      delayedCounts: () => this.#delays.counts.values(),
      dropHistory: (node) => this.dropHistory(node),
    });
    this.#journal = new ProgressJournal(store, turn.clock, () => this.requestPublish());
    this.#storedBytes = new StoredBytes(store);
    const bury = (shard: ShardProgress, offset: number): void =>
      this.bury(shard, offset, "expired");
    this.#housekeeping = new Housekeeping({
      store,
      turn,
      expirer: new Expirer(store, (queue) => this.visibility.endOf(queue), bury),
      isHeld: (queue) => this.core.visibility.holds(queue),
      restWork: () => this.registry.restIdle(),
      snapshotWork: () =>
        store.journal.bytesSinceSnapshot > SNAPSHOT_BYTES ? this.snapshotSteps() : null,
      limit: (node) => this.core.overflow.limit(node),
      keepHouse: () => {
        this.sessions.keepHouse();
        this.#delays.tidy();
      },
    });
    this.#flow = new FlowControl(store, options.logger, this.connections);
    this.registry = new NodeRegistry(
      store,
      this.#journal,
      this,
      this.#housekeeping,
      { ...options, countsBytes: (namespace) => this.quotas.countsBytes(namespace) },
      (node) => this.#onNode(node),
    );
    this.directory = new NodeDirectory(
      this.registry,
      options.autoCreate,
      (namespace) => this.quotas.demandDestination(namespace),
      options.logger,
    );
    this.core = new SessionCore(this, this.#journal);
    this.subscriptions = new Subscriptions(
      this.registry,
      new WildcardSubscriptions(this.registry, this.core.routes, this.core.overflow.memory),
      (node, from) => positionOf(store, node, from),
    );
    this.opener = new ConsumerOpener(this);
    this.sessions = new SessionRegistry(this.core);
    this.topics = new TopicPublisher(this.core);
    const entries = new Entries(store);
    const undeliverable = new Undeliverable(this, options.logger);
    this.#undeliverable = undeliverable;
    this.#dispatcher = new Dispatcher(store, entries, this.core.visibility, turn, {
      damaged: (shard, offset, at) => undeliverable.damaged(shard, offset, at),
      unreadable: (shard, offset) => this.#heldBack.setAside(shard, offset),
      expired: bury,
      caughtUp: () => this.#flow.onRoom(),
    });
    this.#deadLetters = new DeadLetters({
      store,
      entries,
      deadLetterQueueOf,
      publishDead: (node, name, draft) => undeliverable.publishDead(node, name, draft),
      unreadable: (shard, offset) => this.#heldBack.setAside(shard, offset),
      noteDeath: (shard, reason) => undeliverable.noteDeath(shard, reason),
      superseded: this.core.superseded,
    });
    this.#delays = new DelayScheduler(this, (shard, offset, at) =>
      undeliverable.damaged(shard, offset, at),
    );
    this.delayed = new DelayedMessages(this, this.#delays);
    this.#heldBack = new HeldBack(turn);
    this.#transactions = new TransactionLog(store, this.#journal);
  }

  get visibility(): Visibility {
    return this.core.visibility;
  }
  get superseded(): Superseded {
    return this.core.superseded;
  }
  get isBehind(): boolean {
    return this.#dispatcher.isBehind;
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
      onRoom: () => {
        this.turn.touch();
        if (!this.#dispatcher.isBehind) this.#flow.onRoom();
      },
      onHealth: (health) => this.#onHealth(health),
      onReadable: (queue) => this.registry.ofShard(queue)?.scheduleShard(queue),
      onReadError: (reason, queue) => this.#onReadError(reason, queue),
      owed: (queue, from, count, into) => owedOf(this.registry, queue, from, count, into),
      onMoved: (queue, offset, physicalOffset, size, sizeBefore) => {
        this.sessions.retained.moved(queue, offset, physicalOffset, size);
        const node = this.registry.ofShard(queue);
        if (node?.countsBytes) this.#storedBytes.moved(node, queue, offset, size - sizeBefore);
      },
    });
    const { journal } = this.store;
    const isAsLeft = report.wasClean && report.changed.length === 0;
    const isSnapshotDue = !isAsLeft || journal.bytesSinceSnapshot > 0;
    const image = emptyImage();
    const packed = new ByteTable();
    journal.replay((bytes) => replayEntry(image, packed, bytes));
    this.registry.restore(image, packed, isAsLeft ? null : report.changed);
    this.#transactions.recover(image.state, this.registry);
    this.subscriptions.restore();
    this.sessions.restore(image.state);
    for (const node of this.registry.awake()) {
      restorePolicies(node, this.store, this.#storedBytes, this.turn.now);
      this.#housekeeping.restore(node);
      if (node.kind === "topic") node.touch();
    }
    const redoneFrom = this.store.watermarks.appended - report.scannedBytes;
    this.#delays.restore(redoneFrom, (to, view, position) => {
      const id = dedupIdOf(view);
      if (id === undefined) return;
      this.directory.known(to)?.duplicates?.add(id, view.storeTimestamp, position);
    });
    if (this.#openError !== null) {
      throw new Error(
        `cannot read the entries of a queue: ${this.#openError}. Mend the disk, copy the files to a sound one, or remove consumequeue/ and queues/, which are made again from the log`,
      );
    }
    if (isSnapshotDue) this.snapshot();
    this.#waitForHousekeeping();
    return report;
  }

  async close(): Promise<void> {
    this.turn.clock.cancel(this.#houseTimer);
    this.#delays.close();
    this.sessions.close();
    this.#heldBack.close();
    for (const connection of [...this.connections.values()]) connection.close();
    this.runTurn();
    this.#housekeeping.close();
    this.#journal.collector = null;
    this.registry.restAll();
    this.snapshot();
    await this.store.close();
  }

  /** Replaces the journal by what it amounts to, at once. */
  snapshot(): void {
    const steps = this.snapshotSteps();
    while (steps.next().done !== true);
  }

  /** The same, in steps between which the broker goes on. A newer one replaces one that was not finished. */
  *snapshotSteps(): Generator<void> {
    const collector = new SnapshotCollector();
    this.#journal.collector = collector;
    const catalog = new CatalogWriter(collector.state);
    yield* this.registry.writeSnapshot(catalog);
    this.#transactions.writeSnapshot(catalog);
    yield* this.sessions.writeSnapshot(catalog);
    if (this.#journal.collector !== collector) return;
    this.#journal.collector = null;
    this.store.journal.snapshot(collector.entries());
  }

  // ---- connections -------------------------------------------------------------------------------------------------

  connect(request: ConnectRequest): BrokerConnection {
    this.#clientIds.claim(request);
    this.quotas.admit(request);
    const peer = request.peer ?? {
      remoteAddress: request.remoteAddress,
      remotePort: request.remotePort,
      listener: "",
      isLoopback: true,
      isTls: false,
      certificate: null,
    };
    const permissions = this.#options.authorizer.permissionsFor(
      request.principal,
      request.clientId,
      peer,
    );
    const connection = new Connection(this, this.#nextConnectionId++, request, permissions);
    connection.gate = this.quotas.gateFor(request);
    this.connections.set(connection.id, connection);
    this.quotas.opened(request);
    this.#clientIds.add(connection);
    return connection;
  }

  deleteNode(node: Node): void {
    this.directory.delete(node);
  }

  connectionClosed(connection: Connection): void {
    this.connections.delete(connection.id);
    this.quotas.closed(connection.request);
    this.#clientIds.remove(connection);
  }

  // ---- publishing --------------------------------------------------------------------------------------------------

  openTarget(
    connection: Connection,
    address: Address,
    options: { readonly mustExist?: boolean },
  ): Target {
    if (isTopicKind(address.kind) && hasWildcard(address.name)) {
      throw new BrokerError(
        "invalid-address",
        `'${address.name}' has wildcards: they are for receiving; send to one topic`,
      );
    }
    const node = this.directory.nodeFor(connection, address, options.mustExist ?? false);
    const resolved = makeAddress(
      node.address.kind,
      node.kind === "topic" ? address.name : node.address.name,
      { ...node.address, tags: address.tags },
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
    target.node.owner?.linkClosed(target.node);
  }

  noteAppend(isSync: boolean): void {
    if (this.#pacer !== null) this.#pacer.messages++;
    if (isSync) this.#isSyncWanted = true;
    this.requestPublish();
  }

  waitingFor(node: Node): { readonly count: number; readonly bytes: number } | null {
    return this.#delays.waitingFor(node);
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
    if (draft.group !== "") node.noteKey(node.shards.indexOf(queue), offset + 1);
    const position = this.store.append(
      queue,
      this.composer.compose(template, draft, bornHost, now, expiresAt, null),
    );
    node.counters.published++;
    node.counters.publishedBytes += draft.end - draft.start;
    // What it is a copy of may come back as long as the copy can be lost: nobody may have taken the copy then.
    this.visibility.hold(queue, offset, position);
    if (!node.isPlain) afterAppend(node, queue, offset, draft, now, position, this);
    node.scheduleShard(queue);
    this.noteAppend(node.settings.level === "fsync");
    return position;
  }

  // ---- consuming ---------------------------------------------------------------------------------------------------

  consumerClosed(consumer: Consumer): void {
    const { group } = consumer;
    this.connections.get(consumer.connectionId)?.consumers.delete(consumer);
    if (consumer.isBrowser) group.browserCount--;
    if (group.settings.isVolatile && group.members.length === 0 && !consumer.isBrowser) {
      this.subscriptions.forget(group);
    }
    group.node.owner?.linkClosed(group.node);
  }

  schedule(shard: ShardProgress): void {
    this.#dispatcher.schedule(shard);
  }
  markDirty(shard: ShardProgress): void {
    this.#journal.markDirty(shard);
  }
  scheduleDrain(consumer: Consumer): void {
    this.#dispatcher.scheduleDrain(consumer);
  }
  scheduleBrowse(consumer: Consumer): void {
    this.#dispatcher.scheduleBrowse(consumer);
  }
  notedPosition(): number {
    return this.#journal.noted;
  }
  settlePosition(): number {
    return this.#journal.hasWork ? this.#journal.epoch : 0;
  }

  drop(shard: ShardProgress, offset: number, reason: DeathReason, position: number): void {
    const { node } = shard.group;
    if (node.settings.overflow === "dead-letter") this.bury(shard, offset, reason);
    else {
      node.counters.dropped++;
      this.superseded.add(shard, offset, position);
    }
  }

  dropHistory(node: Node): boolean {
    return this.#housekeeping.dropHistory(node);
  }

  /** Other settings for destinations hold from now on, for those that are there too. Returns how many changed. */
  reconfigure(settings: DestinationRules): number {
    let changed = 0;
    this.directory.mayCreate = settings.autoCreate;
    this.registry.configure(settings, (node) => {
      changed++;
      this.#onNode(node);
      restorePolicies(node, this.store, this.#storedBytes, this.turn.now);
      this.#housekeeping.restore(node);
      node.touch();
      // Who was held back may go on now.
      if (node.heldTargets !== null) this.#flow.noteEased(node);
    });
    this.requestPublish();
    return changed;
  }

  /** Users or rules changed. Returns how many links ended for it. */
  recheckRights(): number {
    this.turn.touch();
    return recheckRights(this.connections.values());
  }

  /** A node was made, or got other settings: where its policies count what is stored, watch what is settled. */
  #onNode(node: Node): void {
    node.onSettled = null;
    if (node.hasHistory) this.#housekeeping.watchHistory(node);
    const { maxLength } = node.settings;
    if (node.kind !== "queue" || (maxLength < 0 && !node.countsBytes)) return;
    node.onSettled = (shard, from, count) => {
      if (node.countsBytes) this.#storedBytes.settled(shard, from, count);
      if (node.heldTargets === null) return;
      this.#flow.noteEased(node);
      this.requestPublish();
    };
  }

  retryLater(shard: ShardProgress, offset: number, delayMs: number): void {
    this.#heldBack.retryLater(shard, offset, delayMs);
  }

  /** Entries of `queue`, or a record (null), that the disk refuses to give. */
  #onReadError(reason: string, queue: StoreQueue | null): void {
    this.#undeliverable.unreadable(reason, this.turn.now);
    if (queue === null) return;
    this.#openError ??= reason;
    this.turn.clock.after(ENTRIES_AGAIN_MS, () =>
      this.registry.ofShard(queue)?.scheduleShard(queue),
    );
  }

  bury(shard: ShardProgress, offset: number, reason: DeathReason): void {
    this.#deadLetters.bury(shard, offset, reason, this.turn.now);
  }

  // ---- transactions ------------------------------------------------------------------------------------------------

  commitBatch(
    publishes: ReadonlyArray<{ target: Target; draft: Draft }>,
    control: Buffer,
    onDurable: () => void,
  ): number {
    return this.atomically(() => {
      for (const { target, draft } of publishes) target.publish(draft);
      if (control.length > 0) this.appendControl(control);
    }, onDurable);
  }

  /**
   * What `publish` appends is there all or none, and seen when it is durable; then `onDurable` is called. Returns the
   * position to wait for.
   */
  atomically(publish: () => void, onDurable: () => void): number {
    const { store, visibility } = this;
    let position = 0;
    store.beginAtomic();
    visibility.beginBatch();
    try {
      publish();
    } finally {
      position = store.endAtomic();
      visibility.endBatch(position);
    }
    this.#transactions.follow(position, onDurable);
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
    if (this.#flow.hasEased) this.#flow.resume();
    this.#housekeeping.noteAppended(this.store.watermarks.appended);
    this.#journal.flush();
    this.#transactions.noteJournaled();
    const sync = this.#isSyncWanted;
    this.#isSyncWanted = false;
    this.store.publish(sync);
    this.#pacer?.onPublish(this.store.watermarks.appended);
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
    this.#waiters.add(waiter);
  }

  #onWatermark(): void {
    this.turn.touch();
    this.#journal.onWatermark();
    this.#transactions.onDurable(this.store.watermarks.durable);
    this.core.onDurable();
    this.#delays.onDurable();
    this.superseded.onDurable(this.store.watermarks.durable);
    this.#waiters.onWatermark();
  }

  // ---- flow control ------------------------------------------------------------------------------------------------

  hasRoom(bytes: number): boolean {
    return !this.#dispatcher.isBehind && this.store.hasRoom(bytes);
  }
  onRoom(callback: () => void): void {
    this.#flow.waitForRoom(callback);
  }
  get blocked(): { readonly reason: string } | null {
    return this.#flow.blocked;
  }
  get isBlocked(): boolean {
    return this.#flow.blocked !== null;
  }
  onBlocked(callback: (blocked: { readonly reason: string } | null) => void): () => void {
    return this.#flow.watch(callback);
  }

  #onHealth(health: StoreHealth): void {
    this.turn.touch();
    if (health.state === "full") this.#housekeeping.dropHistories();
    this.#flow.onHealth(health);
  }

  // ---- housekeeping ------------------------------------------------------------------------------------------------

  #waitForHousekeeping(): void {
    this.#houseTimer = this.turn.clock.after(HOUSEKEEPING_MS, () => {
      this.#housekeeping.begin();
      this.#waitForHousekeeping();
    });
  }

  /** A round of what the clock does every second, at once. */
  keepHouse(): void {
    this.#housekeeping.finish();
  }
}
