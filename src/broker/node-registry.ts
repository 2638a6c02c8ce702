/**
 * Every node by its address: making and removing them, with the journal entries that make them durable. Their groups are
 * made in node-groups.ts, their settings in node-rules.ts. Those that nobody uses are at rest (resting-nodes.ts) and come
 * back when they are asked for.
 */
import { type Address, makeAddress } from "../model/address.ts";
import { addressOfTopicName, isShortened, lightNameOf, topicNameOf } from "../model/names.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import { type CatalogWriter, ENTRY, type NodeEntry } from "./catalog.ts";
import type { GroupHost } from "./consumer-group.ts";
import { noteUnknownExpiries } from "./expiry-notes.ts";
import { ownGroupSettings } from "./group-settings.ts";
import { isInternalQueue } from "./internal-queues.ts";
import type { JournalReplay } from "./journal-replay.ts";
import { Node, type NodeHost } from "./node.ts";
import { keptAs, writeNode, writeNodeAndGroups } from "./node-entries.ts";
import { NodeGroups } from "./node-groups.ts";
import { namesOfKey, nodeKey } from "./node-key.ts";
import { type NodeMaker, NodeRestorer } from "./node-restorer.ts";
import {
  mayRestWith,
  type NodeRuleChanges,
  NodeRules,
  type RegistryOptions,
} from "./node-rules.ts";
import type { NodeAtRest } from "./node-views.ts";
import { PACKED } from "./packed-node.ts";
import { reconcile } from "./packed-restorer.ts";
import { PackedRows } from "./packed-rows.ts";
import { DEFAULT_SETTINGS, type NodeSettings } from "./policy.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { imageOfTaken, RestingNodes } from "./resting-nodes.ts";

/** Beyond those that may stay awake: so many more may before each turn puts some to rest, and so many of those are looked at. */
const SPARE_AWAKE = 4096;
const RESTS_PER_TURN = 2048;
/** So many groups of a topic may stay in memory although nobody uses them. */
const GROUPS_AWAKE = 100;

export class NodeRegistry implements NodeMaker {
  readonly #nodes = new Map<string, Node>();
  /** Indexes of sessions and shares, by name: nobody can address them. */
  readonly #light = new Map<string, Node>();
  #resting = new RestingNodes();
  readonly #perNamespace = new Map<string, number>();
  readonly #store: MessageStore;
  readonly #journal: ProgressJournal;
  readonly #rules: NodeRules;
  readonly groups: NodeGroups;
  readonly #nodeHost: NodeHost;
  readonly #onNode: (node: Node) => void;
  /** Made or woken since the last turn, and where putting others to rest for them goes on. */
  #made = 0;
  #pace: Iterator<void> | null = null;
  readonly #restorer: NodeRestorer;
  /** Nodes that went to rest while a snapshot is collected. */
  readonly #late: PackedRows;
  #nextNodeId = 1;
  /** Somebody who reads all topics asked not to get its own messages. */
  #isNoLocalEverywhere = false;

  constructor(
    store: MessageStore,
    journal: ProgressJournal,
    host: GroupHost,
    nodeHost: NodeHost,
    options: RegistryOptions,
    onNode: (node: Node) => void,
  ) {
    this.#onNode = onNode;
    this.#nodeHost = nodeHost;
    this.#store = store;
    this.#journal = journal;
    this.#rules = new NodeRules(options);
    this.groups = new NodeGroups(store, journal, host, options.compileSelector);
    this.#restorer = new NodeRestorer(store, this);
    const packed = (type: number, bytes: Buffer, end: number): void => {
      bytes[0] = type;
      journal.collector?.meanwhile.append(bytes, 0, end);
    };
    this.#late = new PackedRows({ packed }, ENTRY.RESTING);
  }

  /**
   * Other defaults and policies hold from now on; `changed` hears of each node they make a difference to. What a confirm
   * stands for stays as it is at nodes that are there: producers have been told.
   */
  configure(options: NodeRuleChanges, changed: (node: Node) => void): void {
    const rules = this.#rules;
    const { wildcard } = rules;
    rules.change(options);
    for (const node of this.#light.values()) {
      node.settings = node.settings === wildcard ? rules.wildcard : rules.index;
    }
    this.#wakeForPolicies();
    for (const node of this.#nodes.values()) {
      const { kind, address, isTemporary, settings } = node;
      const { level } = settings;
      const own = rules.settingsOf(kind, address.namespace, address.name, isTemporary);
      const next = { ...own, level };
      if (JSON.stringify(next) === JSON.stringify(settings)) continue;
      node.configure(next);
      changed(node);
    }
  }

  /** Nodes at rest have the new settings when they wake; those that may not rest with them wake now. */
  #wakeForPolicies(): void {
    for (const key of [...this.#keptAwake()]) {
      const node = this.#wake(key);
      // Seen by the caller as one that changes.
      node?.configure({ ...DEFAULT_SETTINGS, level: node.settings.level });
    }
  }

  /** What holds at indexes of sessions. */
  get indexSettings(): NodeSettings {
    return this.#rules.index;
  }
  get wildcardSettings(): NodeSettings {
    return this.#rules.wildcard;
  }

  /** From now on every topic's messages say who sent them. */
  noteNoLocal(): void {
    this.#isNoLocalEverywhere = true;
    for (const node of this.#nodes.values()) if (node.kind === "topic") node.hasNoLocal = true;
  }

  /** Queues and topics, those at rest included. */
  get size(): number {
    const { queue, topic } = this.#resting.sums;
    return this.#nodes.size + queue.nodes + topic.nodes;
  }
  get awakeCount(): number {
    return this.#nodes.size + this.#light.size;
  }
  get resting(): RestingNodes {
    return this.#resting;
  }

  /** Queues and topics in memory; there may be many more at rest. */
  awake(): Iterable<Node> {
    return this.#nodes.values();
  }

  /** Queues and topics in memory of a namespace, without those of the broker's own: all that policies look at. */
  *nodesIn(namespace: string): Generator<Node> {
    for (const node of this.#nodes.values()) {
      const { address, kind } = node;
      if (address.namespace === namespace && !isInternalQueue(kind, address.name)) yield node;
    }
  }

  /** How many there are in a namespace, those at rest included. */
  countIn(namespace: string): number {
    return this.#perNamespace.get(namespace) ?? 0;
  }
  #countIn(kind: "queue" | "topic", namespace: string, name: string, change: number): void {
    if (isInternalQueue(kind, name)) return;
    this.#perNamespace.set(namespace, this.countIn(namespace) + change);
  }

  /** All queues and topics; each is woken when its turn comes. */
  *nodes(): Generator<Node> {
    yield* [...this.#nodes.values()];
    for (const kind of ["queue", "topic"] as const) {
      for (const key of [...this.#resting.keys(kind)]) {
        const node = this.#wake(key);
        if (node !== undefined) yield node;
      }
    }
  }

  find(kind: "queue" | "topic", namespace: string, name: string): Node | undefined {
    const key = nodeKey(kind, namespace, name);
    return this.#nodes.get(key) ?? this.#wake(key);
  }

  /** Looks at a node, or at what is known of one at rest: it stays there. */
  look(key: string, show: (node: Node) => void, showAtRest: (node: NodeAtRest) => void): void {
    const awake = this.#nodes.get(key);
    if (awake !== undefined) {
      show(awake);
      return;
    }
    const found = this.#resting.atRest(key);
    if (found !== undefined) showAtRest(found);
  }

  atRest(key: string): NodeAtRest | undefined {
    return this.#resting.atRest(key);
  }

  rests(kind: "queue" | "topic", namespace: string, name: string): boolean {
    return this.#resting.has(nodeKey(kind, namespace, name));
  }

  // ── light and volatile nodes ────────────────────────────────────────────────────────────────────────────────────

  /** The index of this name, made when it is not there. */
  lightNode(name: string, settings = ownGroupSettings(true)): Node {
    const found = this.findLight(name);
    if (found !== undefined) return found;
    const entry = { id: this.#nextNodeId++, kind: "queue", namespace: "/", name } as const;
    const node = this.makeNode({ ...entry, queueIds: [0], isLight: true });
    this.groups.addUnnoted(node, settings, "first");
    this.#noteBirth(node);
    return node;
  }

  findLight(name: string): Node | undefined {
    return this.#light.get(name) ?? this.#wake(nodeKey("light", "/", name));
  }

  hasLight(name: string): boolean {
    return this.#light.has(name) || this.#resting.has(nodeKey("light", "/", name));
  }

  /** Names of light nodes that begin so. */
  *lightNames(prefix = ""): Generator<string> {
    for (const name of this.#light.keys()) if (name.startsWith(prefix)) yield name;
    yield* this.#resting.lightNames(prefix);
  }

  deleteLight(node: Node): void {
    this.#light.delete(node.address.name);
    this.#end(node);
  }

  /** A node without a name and its one group, which ends with its reader. */
  addVolatile(node: Node, settings = ownGroupSettings(false)): void {
    this.groups.add(node, settings, "first");
    for (const queue of node.shards) queue.owner = node;
  }

  deleteVolatile(node: Node): void {
    node.isDeleted = true;
    for (const group of [...node.groups.values()]) this.groups.delete(group);
  }

  /** The node of a shard, or undefined for queues that belong to nobody. */
  ofShard(queue: StoreQueue): Node | undefined {
    return queue.owner instanceof Node ? queue.owner : undefined;
  }

  // ── queues and topics ───────────────────────────────────────────────────────────────────────────────────────────

  create(
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    isTemporary: boolean,
    queueIds: readonly number[] = this.#newQueueIds(kind, namespace, name, isTemporary),
  ): Node {
    const id = isTemporary ? -1 : this.#nextNodeId++;
    const node = this.makeNode({ id, kind, namespace, name, queueIds });
    if (kind === "queue") this.groups.addUnnoted(node, ownGroupSettings(!isTemporary), "first");
    if (!isTemporary) this.#noteBirth(node);
    return node;
  }

  #newQueueIds(
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    isTemporary: boolean,
  ): readonly number[] {
    if (kind === "queue" || isTemporary) return [0];
    const { shards } = this.#rules.settingsOf(kind, namespace, name, false);
    return Array.from({ length: shards }, (_, queueId) => queueId);
  }

  #noteBirth(node: Node): void {
    const rows = new PackedRows(this.#journal.catalog, ENTRY.BORN);
    if (this.#addInUse(rows, node)) rows.end();
    else writeNodeAndGroups(node, this.#journal.catalog);
  }

  /** As bytes among others. False when it has to be told entry by entry. */
  #addInUse(rows: PackedRows, node: Node): boolean {
    return (
      !isShortened(node.shards[0]!.topic) && this.#resting.addInUse(rows, this.#keyOf(node), node)
    );
  }

  #keyOf({ kind, address, shards }: Node): string {
    return nodeKey(shards[0]!.isLight ? "light" : kind, address.namespace, address.name);
  }

  /** Removes the node, its groups and its index; its consumers have been told already. */
  delete(node: Node): void {
    const { kind, address } = node;
    const { namespace, name } = address;
    if (this.#nodes.delete(nodeKey(kind, namespace, name)))
      this.#countIn(kind, namespace, name, -1);
    this.#end(node);
  }

  #end(node: Node): void {
    node.isDeleted = true;
    for (const group of node.groups.looks()) this.groups.delete(group);
    if (node.id >= 0) this.#journal.catalog.nodeGone(node.id);
    for (const queue of node.shards) {
      queue.owner = null;
      this.#store.dropQueue(queue);
    }
  }

  /** A group's progress over a shard, by names that mean the same whatever the journal remembers. */
  findShard(isLight: boolean, topic: string, queueId: number, group: string) {
    const node = this.#ofStoreName(isLight, topic);
    if (node === undefined) return undefined;
    const found = node.groups.get(group) ?? keptAs(node, group);
    return found?.shards.find(({ queue }) => queue.queueId === queueId);
  }

  #ofStoreName(isLight: boolean, topic: string): Node | undefined {
    const address = addressOfTopicName(topic);
    if (address !== undefined) {
      const { kind, namespace, name } = address;
      if (isLight) return this.findLight(name);
      return this.find(kind === "queue" ? "queue" : "topic", namespace, name);
    }
    // A name that was shortened does not tell: its node is never at rest.
    for (const node of isLight ? this.#light.values() : this.#nodes.values()) {
      if (node.shards[0]!.topic === topic) return node;
    }
    return undefined;
  }

  // ── recovery and snapshots ──────────────────────────────────────────────────────────────────────────────────────

  /**
   * Rebuilds nodes and groups from the journal's image, leaves at rest what was, and adopts queues that only the disk
   * knows of. `changed`: queues that may differ from what the last snapshot knew; null: none does.
   */
  restore(replay: JournalReplay, changed: readonly StoreQueue[] | null): void {
    const { image, packed } = replay;
    reconcile(replay, changed ?? [], this.#store);
    this.#resting = new RestingNodes(packed);
    this.#nextNodeId = this.#resting.largestId + 1;
    let progressFrom = this.#resting.largestProgress + 1;
    for (const id of image.nodes.keys()) this.#nextNodeId = Math.max(this.#nextNodeId, id + 1);
    // All of them before any node or group gets a new one.
    for (const { node, progress } of image.groups.values()) {
      // A group whose node is lost: it must not become one of another node that gets the number.
      this.#nextNodeId = Math.max(this.#nextNodeId, node + 1);
      for (const number of progress) progressFrom = Math.max(progressFrom, number + 1);
    }
    this.groups.nextNumber = progressFrom;
    const unknown = new Set(this.#restorer.restore(image));
    for (const kind of ["queue", "topic"] as const) {
      if (this.#resting.sums[kind].nodes === 0) continue;
      for (const key of this.#resting.keys(kind)) {
        const { namespace, name } = namesOfKey(key);
        this.#countIn(kind, namespace, name, 1);
      }
    }
    const isNew = unknown.size === 0 && this.#resting.size === 0;
    if (changed !== null || isNew) {
      for (const node of this.#restorer.adopt(this.#nodes.values())) unknown.add(node);
    }
    for (const queue of changed ?? []) {
      const node = this.#ofChanged(queue);
      if (node !== undefined) unknown.add(node);
    }
    for (const key of this.#keptAwake()) {
      const node = this.#wake(key);
      if (node !== undefined) unknown.add(node);
    }
    for (const node of unknown) this.#restorer.noteUnknown(node);
  }

  /** The node of a queue that recovery changed, woken; undefined where that was brought in line with it at rest. */
  #ofChanged({ isLight, topic }: StoreQueue): Node | undefined {
    const address = isLight ? addressOfTopicName(topic) : undefined;
    return address === undefined
      ? this.#ofStoreName(isLight, topic)
      : this.#light.get(address.name);
  }

  /** Of the nodes at rest, those whose policies do not let them rest any more. */
  *#keptAwake(): Generator<string> {
    if (this.#rules.mayAllRest(this.#perNamespace.keys())) return;
    for (const kind of ["queue", "topic"] as const) {
      for (const key of [...this.#resting.keys(kind)]) {
        const { namespace, name } = namesOfKey(key);
        if (!this.#rules.mayRest(kind, namespace, name)) yield key;
      }
    }
  }

  /** Everything as journal entries, a part a step: what a snapshot holds. Who is put to rest meanwhile is told later (`rest`). */
  *writeSnapshot(catalog: CatalogWriter): Generator<void> {
    // Who is made meanwhile is told in what is journaled meanwhile: to go after them as well might never end.
    const newFrom = this.#nextNodeId;
    // Those at rest first: one that is woken meanwhile is met among the others.
    yield* this.#resting.writeSnapshot(catalog);
    const rows = new PackedRows(catalog, ENTRY.BORN);
    for (const nodes of [this.#nodes, this.#light]) {
      for (const node of nodes.values()) {
        if (node.id >= newFrom) continue;
        if (node.id >= 0 && !this.#addInUse(rows, node)) yield* writeNode(node, catalog);
        yield;
      }
    }
    rows.end();
  }

  // ── rest ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The same with groups of topics that have very many, then with nodes. */
  *restWork(): Generator<void> {
    const keep = Math.min(GROUPS_AWAKE, this.#rules.keepAwake);
    for (const node of this.#nodes.values()) {
      if (this.#journal.collector !== null) return;
      if (node.kind === "topic") yield* this.groups.restIdle(node, keep);
      yield;
    }
    yield* this.restIdle();
  }

  /** Puts nodes to rest that nobody uses, beyond a number that may stay; one a step. */
  *restIdle(keep = this.#rules.keepAwake): Generator<void> {
    for (const nodes of [this.#light, this.#nodes]) {
      for (const node of nodes.values()) {
        if (this.awakeCount <= keep) return;
        if (node.isIdle()) this.rest(node);
        yield;
      }
    }
    // Whoever goes through all of them would miss what is moved.
    if (this.#journal.collector === null) this.#resting.tidy();
  }

  /**
   * Once per turn: where many are made or woken, as many others are put to rest, and who made them waits for that. Otherwise
   * a million made in a burst would lie in memory, and be put to rest at the cost of whoever sends messages then.
   */
  keepPace(): void {
    const steps = Math.min(this.#made * 2, RESTS_PER_TURN);
    this.#made = 0;
    if (this.awakeCount <= this.#rules.keepAwake + SPARE_AWAKE) return;
    this.#pace ??= this.restIdle(this.#rules.keepAwake + SPARE_AWAKE);
    for (let i = 0; i < steps; i++) {
      if (this.#pace.next().done !== true) continue;
      this.#pace = null;
      return;
    }
  }

  /** Whatever can be put to rest: at the end, so that the next start finds it so. */
  restAll(): void {
    for (const nodes of [this.#light, this.#nodes])
      for (const node of nodes.values()) this.rest(node);
  }

  /** Puts a node to rest if nothing holds it; while a snapshot is collected, of those of which there may be a million. */
  rest(node: Node): boolean {
    const isCollecting = this.#journal.collector !== null;
    if ((isCollecting && !node.shards[0]!.isLight) || !this.#mayRest(node)) return false;
    const key = this.#keyOf(node);
    if (!isCollecting) {
      if (!this.#resting.add(key, node)) return false;
    } else if (this.#resting.addLate(key, node, this.#late)) this.#late.end();
    else return false;
    node.tenant?.letGo();
    if (node.shards[0]!.isLight) this.#light.delete(node.address.name);
    else this.#nodes.delete(key);
    // It is still there: the count stays.
    node.isDeleted = true;
    for (const queue of node.shards) {
      queue.owner = null;
      this.#store.rest(queue);
    }
    return true;
  }

  #mayRest(node: Node): boolean {
    return (
      node.id >= 0 &&
      mayRestWith(node.settings) &&
      !node.isInUse() &&
      !isShortened(node.shards[0]!.topic) &&
      (node.tenant === null || node.tenant.mayLetGo()) &&
      node.shards.every((queue) => !this.#nodeHost.isHeld(queue))
    );
  }

  #wake(key: string): Node | undefined {
    const taken = this.#resting.take(key);
    if (taken === undefined) return undefined;
    this.#journal.catalog.woken(key);
    const [node] = this.#restorer.restore(imageOfTaken(taken));
    if (node === undefined) return undefined;
    const { kind, address, shards } = node;
    // It was counted all the time.
    if (!shards[0]!.isLight) this.#countIn(kind, address.namespace, address.name, -1);
    if (shards[0]!.isLight) node.mayExpire = (taken.flags & PACKED.MAY_EXPIRE) !== 0;
    else noteUnknownExpiries(node);
    if ((taken.flags & PACKED.MAY_HAVE_KEYS) !== 0) {
      for (const [index, queue] of node.shards.entries()) node.noteKey(index, queue.maxOffset);
    }
    Object.assign(node.counters, taken.counters);
    return node;
  }

  // ── making ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** An id below zero: temporary. */
  makeNode({ id, kind, namespace, name, queueIds, isLight }: NodeEntry): Node {
    const isTemporary = id < 0;
    const address =
      isLight === true
        ? makeAddress("sub", name)
        : makeAddress(isTemporary ? `temp-${kind}` : kind, name, { namespace });
    const shards = this.#queuesOf(address, queueIds, isLight === true);
    const settings =
      isLight === true
        ? this.#rules.ofLight(name)
        : this.#rules.settingsOf(kind, namespace, name, isTemporary);
    const node = new Node(id, address, kind, isTemporary, settings, shards);
    this.#made++;
    node.host = this.#nodeHost;
    for (const queue of shards) queue.owner = node;
    if (isLight === true) {
      this.#light.set(name, node);
      return node;
    }
    if (kind === "topic") node.hasNoLocal = this.#isNoLocalEverywhere;
    this.#nodes.set(nodeKey(kind, namespace, name), node);
    this.#countIn(kind, namespace, name, 1);
    this.#onNode(node);
    return node;
  }

  #queuesOf(address: Address, queueIds: readonly number[], isLight: boolean): StoreQueue[] {
    if (isLight) return [this.#store.lightQueue(lightNameOf(address))];
    const topic = topicNameOf(address);
    return queueIds.map((queueId) => this.#store.queue(topic, queueId));
  }
}
