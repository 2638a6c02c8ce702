/**
 * Which sessions a message goes to: all filters of all sessions in one trie per namespace, and for each open target the
 * answer for its path, worked out again only after a subscription changed. Publishing costs no look-up.
 *
 * A message of QoS 1 or 2 gets an entry in the index of each session that granted as much (in the log's dispatch list
 * when the session is durable, in memory when it is not). QoS 0 goes straight to whoever is connected.
 */
import type { RecordView } from "../model/record-view.ts";
import { TopicTrie } from "../model/topic-trie.ts";
import type { StoreQueue } from "../store/message-store.ts";
import { MergedGrant } from "./grant.ts";
import type { Grant, SubscriptionOptions } from "./session-facade.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { VolatileIndex } from "./volatile-index.ts";

/** A session, or a shared subscription: something that gets one copy of each message that matches. */
export interface RouteReader {
  /** Its index; null while nothing was ever granted more than QoS 0. */
  readonly index: StoreQueue | null;
  /** The same, where it is kept in memory. */
  readonly volatileIndex: VolatileIndex | null;
  readonly progress: ShardProgress | null;
  /** A shared subscription is merged with nothing. */
  readonly isShared: boolean;
  /** Messages that are not durable go through its index like all others. */
  readonly takesAll?: boolean;
  deliverNow(record: RecordView, path: string, grant: Grant): void;
}

export interface Binding {
  readonly reader: RouteReader;
  options: SubscriptionOptions;
}

export interface DirectReader {
  readonly reader: RouteReader;
  readonly grant: Grant;
}

/** Indexes that get an entry. */
export interface Indexes {
  readonly durable: StoreQueue[];
  readonly durableProgress: ShardProgress[];
  readonly volatile: VolatileIndex[];
  readonly volatileProgress: ShardProgress[];
}

export const NO_INDEXES: Indexes = {
  durable: [],
  durableProgress: [],
  volatile: [],
  volatileProgress: [],
};

const NO_DIRECT: DirectReader[] = [];

/** Answer for one path and one publisher. */
export class Route implements Indexes {
  readonly namespace: string;
  readonly path: string;
  version = -1;
  /** Whose own messages do not reach its no-local subscriptions. */
  publisher: RouteReader | null = null;
  /** Light queues of durable readers, for the dispatch list, and their progress. */
  durable: StoreQueue[] = NO_INDEXES.durable;
  durableProgress: ShardProgress[] = NO_INDEXES.durableProgress;
  volatile: VolatileIndex[] = NO_INDEXES.volatile;
  volatileProgress: ShardProgress[] = NO_INDEXES.volatileProgress;
  /** Who gets QoS 0 messages. */
  direct: DirectReader[] = NO_DIRECT;
  /** Those among them that were granted QoS 0 only: they get everything this way. */
  directOnly: DirectReader[] = NO_DIRECT;
  /** The indexes that messages which are not durable go to as well; null while there are none. */
  always: Indexes | null = null;

  constructor(namespace: string, path: string) {
    this.namespace = namespace;
    this.path = path;
  }

  clear(): void {
    if (this.direct === NO_DIRECT && this.always === null) return;
    this.durable = NO_INDEXES.durable;
    this.durableProgress = NO_INDEXES.durableProgress;
    this.volatile = NO_INDEXES.volatile;
    this.volatileProgress = NO_INDEXES.volatileProgress;
    this.direct = NO_DIRECT;
    this.directOnly = NO_DIRECT;
    this.always = null;
  }

  /** Most topics have no subscriber: lists are made when there is something to put into them. */
  fill(): void {
    this.durable = [];
    this.durableProgress = [];
    this.volatile = [];
    this.volatileProgress = [];
    this.direct = [];
    this.directOnly = [];
  }
}

export class TopicRoutes {
  readonly #tries = new Map<string, TopicTrie<Binding>>();
  readonly #found: Binding[] = [];
  /** Changes with every subscription. */
  version = 0;

  add(namespace: string, filter: string, binding: Binding): void {
    let trie = this.#tries.get(namespace);
    if (trie === undefined) {
      trie = new TopicTrie();
      this.#tries.set(namespace, trie);
    }
    trie.add(filter, binding);
    this.version++;
  }

  /** The options of a binding were replaced. */
  changed(): void {
    this.version++;
  }

  remove(namespace: string, filter: string, binding: Binding): void {
    this.#tries.get(namespace)?.remove(filter, binding);
    this.version++;
  }

  /** Brings a route up to date. */
  refresh(route: Route): void {
    route.version = this.version;
    route.clear();
    const found = this.#found;
    found.length = 0;
    this.#tries.get(route.namespace)?.collect(route.path, found);
    if (found.length === 0) return;
    route.fill();
    const merged = new Map<RouteReader, MergedGrant>();
    for (const { reader, options } of found) {
      if (options.isNoLocal && reader === route.publisher) continue;
      const grant = merged.get(reader);
      if (grant === undefined) merged.set(reader, new MergedGrant(options));
      else if (!reader.isShared) grant.add(options);
    }
    for (const [reader, grant] of merged) addTo(route, reader, grant);
  }
}

function addTo(route: Route, reader: RouteReader, grant: Grant): void {
  if (reader.takesAll === true) {
    route.always ??= { durable: [], durableProgress: [], volatile: [], volatileProgress: [] };
    addIndex(route.always, reader, reader.progress!);
    addIndex(route, reader, reader.progress!);
    return;
  }
  const direct: DirectReader = { reader, grant };
  route.direct.push(direct);
  // What is at rest is woken only for what goes into its index.
  const progress = grant.qos === 0 ? null : reader.progress;
  if (progress === null) route.directOnly.push(direct);
  else addIndex(route, reader, progress);
}

function addIndex(indexes: Indexes, reader: RouteReader, progress: ShardProgress): void {
  if (reader.volatileIndex !== null) {
    indexes.volatile.push(reader.volatileIndex);
    indexes.volatileProgress.push(progress);
  } else {
    indexes.durable.push(reader.index!);
    indexes.durableProgress.push(progress);
  }
}
