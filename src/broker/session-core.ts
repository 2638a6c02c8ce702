/**
 * What sessions need of the broker's inside, in one place: indexes that nobody can address, their consumers, publishing
 * without a producer, records stored again, and state in the owner's journal.
 */
import { type Address, makeAddress, printAddress } from "../model/address.ts";
import { Draft } from "../model/draft.ts";
import { isShortened, lightNameOf } from "../model/names.ts";
import { COPIES_TOPIC } from "../model/record-fields.ts";
import type { RecordView } from "../model/record-view.ts";
import { parseTagExpression } from "../model/tag.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import { bringWithinLimits } from "./admission.ts";
import type { Connection } from "./connection.ts";
import { Consumer, type ConsumerHost } from "./consumer.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { type DeliverySink, OUTCOME } from "./facade.ts";
import { type Node, PERMANENT } from "./node.ts";
import type { NodeRegistry } from "./node-registry.ts";
import type { NodeSettings } from "./policy.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { LOOPBACK, type RecordComposer, RecordTemplate } from "./record-composer.ts";
import { redraft } from "./redraft.ts";
import type { RetainedMessages } from "./retained.ts";
import { SessionOverflow } from "./session-overflow.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { Superseded } from "./superseded.ts";
import type { Tally } from "./tally.ts";
import { Target, type TargetHost } from "./target.ts";
import { restOf, rootOf } from "./topic-root.ts";
import { type RouteReader, TopicRoutes } from "./topic-routes.ts";
import { Visibility } from "./visibility.ts";

export interface SessionCoreHost extends TargetHost, ConsumerHost {
  readonly registry: NodeRegistry;
  readonly sessions: { readonly retained: RetainedMessages };
  readonly subscriptions: Subscriptions;
  nextConsumerId(): number;
  /** All or none, seen when it is durable; then the second is called. */
  atomically(publish: () => void, onDurable: () => void): number;
  /** What an atomic batch settles, from within it. */
  appendControl(control: Buffer): void;
  /** The turn's entries go to the store. */
  requestPublish(): void;
  /** More is being delivered than one turn takes. */
  readonly isBehind: boolean;
}

const NO_TAGS: readonly string[] = [];
/** Until the consumer can be named, it has no sink. */
const NO_SINK: DeliverySink = {
  isReady: () => false,
  deliver: () => {},
  onDrained: () => {},
  onCancel: () => {},
};

export class SessionCore {
  readonly routes = new TopicRoutes();
  readonly visibility = new Visibility();
  readonly superseded: Superseded;
  readonly overflow: SessionOverflow;
  readonly #host: SessionCoreHost;
  readonly #journal: ProgressJournal;
  readonly #copy = new Draft();

  constructor(host: SessionCoreHost, journal: ProgressJournal) {
    this.#host = host;
    const { store, turn } = host;
    this.superseded = new Superseded({
      store,
      clock: turn.clock,
      visibility: this.visibility,
      requestSync: () => host.noteAppend(true),
    });
    this.overflow = new SessionOverflow(turn, this.superseded, host.tally, () => host.isBehind);
    this.#journal = journal;
  }

  get store(): MessageStore {
    return this.#host.store;
  }
  get turn(): Turn {
    return this.#host.turn;
  }
  get tally(): Tally {
    return this.#host.tally;
  }
  get composer(): RecordComposer {
    return this.#host.composer;
  }
  get registry(): NodeRegistry {
    return this.#host.registry;
  }
  get subscriptions(): Subscriptions {
    return this.#host.subscriptions;
  }
  get retained(): RetainedMessages {
    return this.#host.sessions.retained;
  }

  // ── indexes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The index of this name, made when it is not there. Who does not let go by itself keeps it. */
  lightNode(name: string, tenant = PERMANENT): Node {
    const node = this.#host.registry.lightNode(name);
    node.tenant = tenant;
    this.#host.requestPublish();
    return node;
  }

  findLightNode(name: string, tenant = PERMANENT): Node | undefined {
    const node = this.#host.registry.findLight(name);
    if (node !== undefined) node.tenant = tenant;
    return node;
  }

  /**
   * At the start: an index of the broker's own, if there is one. The journal may end before it says so; then the log tells
   * what is in it, and nothing that was settled there was ever confirmed.
   */
  ownLightNode(name: string): Node | undefined {
    const found = this.findLightNode(name);
    if (found !== undefined) return found;
    const { maxOffset } = this.store.lightQueue(lightNameOf(makeAddress("sub", name)));
    return maxOffset > 0 ? this.lightNode(name) : undefined;
  }

  hasLightNode(name: string): boolean {
    return this.#host.registry.hasLight(name);
  }

  lightNames(prefix: string): Iterable<string> {
    return this.#host.registry.lightNames(prefix);
  }

  dropLightNode(node: Node): void {
    for (const queue of node.shards) this.visibility.forget(queue);
    this.#host.registry.deleteLight(node);
    this.#host.requestPublish();
  }

  addVolatile(node: Node): void {
    this.#host.registry.addVolatile(node);
  }

  dropVolatile(node: Node): void {
    for (const queue of node.shards) this.visibility.forget(queue);
    this.#host.registry.deleteVolatile(node);
  }

  get nodeSettings(): NodeSettings {
    return this.#host.registry.indexSettings;
  }

  /** More can be seen now of queues that held messages back. */
  onDurable(): void {
    this.visibility.release(this.store.watermarks.durable, (queue) => {
      const node = this.#host.registry.ofShard(queue);
      if (node === undefined) return;
      if (!node.isPlain) bringWithinLimits(node, this.store.watermarks.appended, this.#host);
      node.scheduleShard(queue);
    });
  }

  openConsumer(
    group: ConsumerGroup,
    connection: Connection,
    open: (consumer: Consumer) => DeliverySink,
  ): Consumer {
    const consumer = new Consumer(
      {
        id: this.#host.nextConsumerId(),
        address: group.node.address,
        info: {
          kind: "topic",
          isDurable: group.isDurable,
          isShared: false,
          tags: "",
          selector: "",
          noLocal: false,
          durableAt: 0,
        },
        group,
        sink: NO_SINK,
        isPreSettled: false,
        isBrowser: false,
        isExclusive: false,
        priority: 0,
        filter: null,
        connectionId: connection.id,
        onLost: OUTCOME.RELEASE,
      },
      this.#host,
    );
    consumer.sink = open(consumer);
    group.add(consumer);
    return consumer;
  }

  // ── publishing ──────────────────────────────────────────────────────────────────────────────────────────────────

  noteAppend(isSync: boolean): void {
    this.#host.noteAppend(isSync);
  }

  atomically(publish: () => void, onDurable: () => void): number {
    return this.#host.atomically(publish, onDurable);
  }

  appendControl(control: Buffer): void {
    this.#host.appendControl(control);
  }

  settlePosition(): number {
    return this.#host.settlePosition();
  }

  /** Publishes to a topic from inside the broker: wills, due delayed messages. */
  publishToTopic(
    namespace: string,
    path: string,
    draft: Draft,
    publisher: RouteReader | null,
  ): number {
    const { registry } = this.#host;
    const root = rootOf(path);
    const node =
      registry.find("topic", namespace, root) ?? registry.create("topic", namespace, root, false);
    const address = makeAddress("topic", path, { namespace });
    const template = templateFor(node, address);
    const target = new Target(this.#host, address, node, template, 0, LOOPBACK, "", publisher);
    node.producerCount++;
    // There is nobody who could be told no.
    this.overflow.isRefusing = false;
    try {
      return target.publish(draft);
    } finally {
      this.overflow.isRefusing = true;
      target.close();
    }
  }

  /** Stores a record once more, for these indexes only: its home is nobody's, its path goes along. */
  appendCopy(record: RecordView, path: string, namespace: string, queues: StoreQueue[]): number {
    const home = this.store.queue(COPIES_TOPIC, 0);
    const draft = this.#copy;
    redraft(record, draft, (name) => name !== "x-to");
    draft.tag = "";
    const to = printAddress(makeAddress("topic", path, { namespace }));
    const template = new RecordTemplate("", false, to);
    const { expiresAt } = record;
    const position = this.store.append(
      home,
      this.composer.compose(template, draft, LOOPBACK, this.turn.now, expiresAt, queues),
    );
    this.store.trim(home, home.maxOffset);
    this.noteAppend(false);
    return position;
  }

  /** Stores a record of properties only, for these indexes. */
  appendNote(properties: string, queues: StoreQueue[]): number {
    const home = this.store.queue(COPIES_TOPIC, 0);
    const draft = this.#copy.reset();
    draft.start = draft.end = 0;
    draft.properties = properties;
    const template = new RecordTemplate("");
    const position = this.store.append(
      home,
      this.composer.compose(template, draft, LOOPBACK, this.turn.now, 0, queues),
    );
    this.store.trim(home, home.maxOffset);
    this.noteAppend(false);
    return position;
  }

  // ── journal ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Durable with the settlements of this turn; returns the position for `settledTo`. An empty value deletes. */
  journalState(key: string, value: Buffer): number {
    const position = this.#journal.state(key, value);
    this.#host.requestPublish();
    return position;
  }
}

/** What all records of a target have in common. */
export function templateFor(node: Node, address: Address): RecordTemplate {
  if (node.kind === "queue") return new RecordTemplate("");
  const to = isShortened(node.shards[0]!.topic) ? printAddress(address) : "";
  // A sender's address may carry the tag of its messages; an expression of several is for readers.
  const tags = address.tags === "" ? NO_TAGS : parseTagExpression(address.tags).tags;
  const label = tags.length === 1 ? tags[0]! : "";
  return new RecordTemplate(restOf(address.name), address.name.includes("/"), to, label);
}
