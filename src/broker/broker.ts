/**
 * The broker: what every adapter talks to (facade.ts). It owns the nodes and groups, and ties together the store, the
 * dispatcher, the journal of progress and the waiters for durability. One event loop; no method blocks.
 */
import type { Address } from "../model/address.ts";
import type { Draft } from "../model/draft.ts";
import type { MessageStore, OpenReport, StoreHealth, StoreQueue } from "../store/message-store.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import type { BrokerOptions, DestinationRules } from "./broker-options.ts";
import { ConfirmWaiters } from "./confirm-waiters.ts";
import type { Connection } from "./connection.ts";
import { Connections } from "./connections.ts";
import type { Consumer, ConsumerHost } from "./consumer.ts";
import type { GroupHost } from "./consumer-group.ts";
import { ConsumerOpener, positionOf } from "./consumer-opener.ts";
import type { DeathReason } from "./dead-letter.ts";
import { DelayScheduler } from "./delay-scheduler.ts";
import { DelayedMessages } from "./delayed.ts";
import { Dispatcher } from "./dispatcher.ts";
import { Expirer } from "./expirer.ts";
import { ExpiryJournal } from "./expiry-notes.ts";
import type {
  BrokerConnection,
  BrokerFacade,
  BrokerLimits,
  ConfirmWaiter,
  ConnectRequest,
  DurabilityLevel,
} from "./facade.ts";
import { FlowControl } from "./flow-control.ts";
import { Housekeeping } from "./housekeeping.ts";
import { countIndexed } from "./index-usage.ts";
import { publishInternal } from "./internal-publish.ts";
import {
  isAsSnapshotLeft,
  isSnapshotWorth,
  type KeptParts,
  restoreParts,
  snapshotSteps,
} from "./kept-state.ts";
import type { Node } from "./node.ts";
import { NodeDirectory } from "./node-directory.ts";
import { NodePolicies } from "./node-policies.ts";
import { NodeRegistry } from "./node-registry.ts";
import { owedOf } from "./owed.ts";
import { Pacer } from "./pacer.ts";
import { ProgressJournal } from "./progress-journal.ts";
import { NO_QUOTAS, Quotas } from "./quotas.ts";
import { RecordComposer, type RecordTemplate } from "./record-composer.ts";
import { recheckRights } from "./rights.ts";
import { SessionCore } from "./session-core.ts";
import { SessionRegistry } from "./session-registry.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { Superseded } from "./superseded.ts";
import { Tally } from "./tally.ts";
import type { Target, TargetHost } from "./target.ts";
import { openTarget } from "./target-opener.ts";
import { TopicPublisher } from "./topic-publisher.ts";
import type { TransactionHost } from "./transaction.ts";
import { TransactionLog } from "./transaction-log.ts";
import { Undelivered } from "./undelivered.ts";
import { Entries, type Visibility } from "./visibility.ts";
import { WildcardSubscriptions } from "./wildcard-subscriptions.ts";

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
  readonly tally = new Tally();
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
  readonly #connections: Connections;
  readonly #journal: ProgressJournal;
  readonly #dispatcher: Dispatcher;
  readonly #undelivered: Undelivered;
  readonly #delays: DelayScheduler;
  readonly #transactions: TransactionLog;
  readonly #kept: KeptParts;
  readonly #flow: FlowControl;
  readonly #housekeeping: Housekeeping;
  readonly #policies: NodePolicies;
  readonly #waiters = new ConfirmWaiters();
  #nextConsumerId = 1;
  #isPublishRequested = false;
  #isSyncWanted = false;
  readonly #pacer: Pacer | null;
  #houseTimer: unknown;

  constructor(store: MessageStore, turn: Turn, options: BrokerOptions) {
    this.store = store;
    this.turn = turn;
    this.nodeName = options.nodeName;
    this.version = options.version;
    this.limits = options.limits;
    this.#pacer =
      options.isPaced === true ? new Pacer(turn, store, () => this.#dispatcher.delivered) : null;
    this.#connections = new Connections(this, options.authorizer);
    this.quotas = new Quotas(options.quotas ?? NO_QUOTAS, {
      turn,
      tally: this.tally,
      connections: this.connections,
      destinationsIn: (namespace) => this.registry.countIn(namespace),
      nodesIn: (namespace) => this.registry.nodesIn(namespace),
      indexedIn: (namespace, most) =>
        countIndexed(this.#indexesIn(namespace), new Entries(store), most),
      delayedCounts: () => this.#delays.counts.values(),
      dropHistory: (node) => this.dropHistory(node),
    });
    this.#journal = new ProgressJournal(store, turn.clock, () => this.requestPublish());
    const bury = (shard: ShardProgress, offset: number): void =>
      this.#undelivered.expired(shard, offset);
    const expiries = new ExpiryJournal(store, this.#journal.catalog, () => this.requestPublish());
    this.#housekeeping = new Housekeeping({
      store,
      turn,
      expirer: new Expirer(
        store,
        (queue) => this.visibility.endOf(queue),
        bury,
        (node, queue, from) => expiries.looked(node, queue, from),
      ),
      noteExpiries: (node) => expiries.note(node),
      isHeld: (queue) => this.core.visibility.holds(queue),
      restWork: () => this.registry.restWork(),
      snapshotWork: () => (isSnapshotWorth(store.journal) ? this.snapshotSteps() : null),
      limit: (node) => this.core.overflow.limit(node),
      keepHouse: () => {
        this.sessions.keepHouse();
        this.#delays.tidy();
      },
    });
    this.#flow = new FlowControl(store, options.logger, this.connections);
    this.#policies = new NodePolicies(this, this.#housekeeping, this.#flow);
    this.registry = new NodeRegistry(
      store,
      this.#journal,
      this,
      this.#housekeeping,
      { ...options, countsBytes: (namespace) => this.quotas.countsBytes(namespace) },
      (node) => this.#policies.apply(node),
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
    this.tally.watch(() => ({ slow_client: this.sessions.stats.droppedDirect }));
    const entries = new Entries(store);
    const undelivered = new Undelivered(this, entries, options.logger);
    this.#undelivered = undelivered;
    this.#dispatcher = new Dispatcher(store, entries, this.core.visibility, turn, {
      tally: this.tally,
      damaged: (shard, offset, at) => undelivered.damaged(shard, offset, at),
      unreadable: (shard, offset) => undelivered.unreadable(shard, offset),
      expired: bury,
      caughtUp: () => this.#flow.onRoom(),
    });
    this.#delays = new DelayScheduler(this, (shard, offset, at) =>
      undelivered.damaged(shard, offset, at),
    );
    this.delayed = new DelayedMessages(this, this.#delays);
    this.#transactions = new TransactionLog(store, this.#journal);
    this.#kept = {
      store,
      journal: this.#journal,
      registry: this.registry,
      directory: this.directory,
      transactions: this.#transactions,
      subscriptions: this.subscriptions,
      sessions: this.sessions,
      policies: this.#policies,
      delays: this.#delays,
    };
  }

  get connections(): ReadonlyMap<number, Connection> {
    return this.#connections.byId;
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
      onReadError: (reason, queue) => this.#undelivered.onReadError(reason, queue),
      onLeftover: (reason) => this.#undelivered.onLeftover(reason),
      owed: (queue, from, count, into) => owedOf(this.registry, queue, from, count, into),
      onMoved: (queue, offset, physicalOffset, size, sizeBefore) => {
        this.sessions.retained.moved(queue, offset, physicalOffset, size);
        this.#policies.moved(queue, offset, size - sizeBefore);
      },
    });
    const isSnapshotDue = !isAsSnapshotLeft(report) || this.store.journal.bytesSinceSnapshot > 0;
    restoreParts(this.#kept, report);
    const { readError } = this.#undelivered;
    if (readError !== null) {
      throw new Error(
        `cannot read the entries of a queue: ${readError}. Mend the disk, copy the files to a sound one, or remove consumequeue/ and queues/, which are made again from the log`,
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
    this.#undelivered.close();
    this.#connections.closeAll();
    this.#handOver();
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
  snapshotSteps(): Generator<void> {
    return snapshotSteps(this.#kept);
  }

  // ---- connections -------------------------------------------------------------------------------------------------

  connect(request: ConnectRequest): BrokerConnection {
    return this.#connections.open(request);
  }

  deleteNode(node: Node): void {
    this.directory.delete(node);
  }

  connectionClosed(connection: Connection): void {
    this.#connections.closed(connection);
  }

  // ---- publishing --------------------------------------------------------------------------------------------------

  openTarget(
    connection: Connection,
    address: Address,
    options: { readonly mustExist?: boolean },
  ): Target {
    return openTarget(this, connection, address, options);
  }

  shardOfPriority(node: Node, priority: number): StoreQueue {
    return this.registry.groups.shardOfPriority(node, priority);
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
    return publishInternal(this, node, template, draft, bornHost);
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
  outdated(shard: ShardProgress, offset: number): void {
    this.superseded.add(shard, offset);
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

  /** Of sessions, shares and wildcard subscriptions. */
  *#indexesIn(namespace: string): Generator<ShardProgress> {
    yield* this.sessions.indexesIn(namespace);
    yield* this.subscriptions.wildcards.indexesIn(namespace);
  }

  drop(shard: ShardProgress, offset: number, reason: DeathReason, position: number): void {
    this.#undelivered.drop(shard, offset, reason, position);
  }

  dropHistory(node: Node): boolean {
    return this.#housekeeping.dropHistory(node);
  }

  /** Other settings for destinations hold from now on, for those that are there too. Returns how many changed. */
  reconfigure(settings: DestinationRules): number {
    this.directory.mayCreate = settings.autoCreate;
    return this.#policies.change(settings);
  }

  /** Users or rules changed. Returns how many links ended for it. */
  recheckRights(): number {
    this.turn.touch();
    return recheckRights(this.connections.values());
  }

  retryLater(shard: ShardProgress, offset: number, delayMs: number): void {
    this.#undelivered.retryLater(shard, offset, delayMs);
  }

  bury(shard: ShardProgress, offset: number, reason: DeathReason): void {
    this.#undelivered.bury(shard, offset, reason);
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
    const position = this.#transactions.atomically(this.visibility, publish, onDurable);
    this.noteAppend(true);
    return position;
  }

  /** Between the store's beginAtomic and endAtomic. */
  appendControl(control: Buffer): void {
    this.#transactions.append(control, this.composer, this.turn.now);
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
    const { appended } = this.store.watermarks;
    this.#housekeeping.keepPace();
    this.registry.keepPace();
    if (this.#pacer?.holdsBack(appended)) this.requestPublish();
    else this.#handOver();
  }

  /** Everything so far, to the store thread. */
  #handOver(): void {
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
