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
  /** True when it went to somebody. */
  deliverNow(record: RecordView, path: string, grant: Grant): boolean;
}

/** A filter of a reader's. */
export class Binding {
  readonly reader: RouteReader;
  #options: SubscriptionOptions;
  #grant: Grant | null = null;

  constructor(reader: RouteReader, options: SubscriptionOptions) {
    this.reader = reader;
    this.#options = options;
  }

  get options(): SubscriptionOptions {
    return this.#options;
  }
  set options(options: SubscriptionOptions) {
    this.#options = options;
    this.#grant = null;
  }

  /** What it grants where no other filter of the reader matches; most topics have one only. */
  get grant(): Grant {
    this.#grant ??= new MergedGrant(this.#options);
    return this.#grant;
  }
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
/** Readers of one path that are told apart one by one. */
const FEW = 8;
/** Routes of so few readers, of this many paths, are kept at hand. */
const RECENT_READERS_MAX = 16;
const RECENT_MAX = 4096;

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

  /** Most topics have no subscriber: lists are made when there is something to put into them. */
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

  addReader(reader: RouteReader, grant: Grant): void {
    const { progress } = reader;
    if (reader.takesAll === true) {
      this.always ??= { durable: [], durableProgress: [], volatile: [], volatileProgress: [] };
      addIndex(this.always, reader, progress!);
      this.#addIndex(reader, progress!);
      return;
    }
    const direct: DirectReader = { reader, grant };
    if (this.direct === NO_DIRECT) this.direct = [direct];
    else this.direct.push(direct);
    // What is at rest is woken only for what goes into its index.
    if (grant.qos > 0 && progress !== null) this.#addIndex(reader, progress);
    else if (this.directOnly === NO_DIRECT) this.directOnly = [direct];
    else this.directOnly.push(direct);
  }

  #addIndex(reader: RouteReader, progress: ShardProgress): void {
    if (reader.volatileIndex !== null) {
      if (this.volatile === NO_INDEXES.volatile) {
        this.volatile = [];
        this.volatileProgress = [];
      }
    } else if (this.durable === NO_INDEXES.durable) {
      this.durable = [];
      this.durableProgress = [];
    }
    addIndex(this, reader, progress);
  }

  /** What this reader was granted; undefined when it is not among those who are. */
  grantOf(reader: RouteReader): Grant | undefined {
    const { direct } = this;
    for (let i = 0; i < direct.length; i++) {
      if (direct[i]!.reader === reader) return direct[i]!.grant;
    }
    return undefined;
  }
}

export class TopicRoutes {
  readonly #tries = new Map<string, TopicTrie<Binding>>();
  readonly #found: Binding[] = [];
  /** By path: routes that were worked out since the last change. */
  readonly #recent = new Map<string, Route>();
  #recentVersion = -1;
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
    if (found.length <= FEW) this.#mergeFew(route, found);
    else this.#mergeMany(route, found);
    if (route.direct.length > 0 && route.direct.length <= RECENT_READERS_MAX) this.#remember(route);
  }

  #mergeFew(route: Route, found: readonly Binding[]): void {
    const { publisher } = route;
    for (let i = 0; i < found.length; i++) {
      const binding = found[i]!;
      const { reader } = binding;
      if (isSkipped(binding, publisher) || isAmong(found, i, reader, publisher)) continue;
      let merged: MergedGrant | null = null;
      for (let k = i + 1; k < found.length && !reader.isShared; k++) {
        const other = found[k]!;
        if (other.reader !== reader || isSkipped(other, publisher)) continue;
        merged ??= new MergedGrant(binding.options);
        merged.add(other.options);
      }
      route.addReader(reader, merged ?? binding.grant);
    }
  }

  #mergeMany(route: Route, found: readonly Binding[]): void {
    const merged = new Map<RouteReader, MergedGrant>();
    for (const binding of found) {
      const { reader, options } = binding;
      if (isSkipped(binding, route.publisher)) continue;
      const grant = merged.get(reader);
      if (grant === undefined) merged.set(reader, new MergedGrant(options));
      else if (!reader.isShared) grant.add(options);
    }
    for (const [reader, grant] of merged) route.addReader(reader, grant);
  }

  #remember(route: Route): void {
    const isStale = this.#recentVersion !== this.version;
    if (isStale || this.#recent.size >= RECENT_MAX) this.#recent.clear();
    this.#recentVersion = this.version;
    this.#recent.set(route.path, route);
  }

  /**
   * What a reader was granted for a path that was published to a moment ago, so that its filters need not be matched
   * once more; undefined: not known here.
   */
  recentGrant(namespace: string, path: string, reader: RouteReader): Grant | undefined {
    if (this.#recentVersion !== this.version) return undefined;
    const route = this.#recent.get(path);
    if (route === undefined || route.version !== this.version) return undefined;
    // Where it has published itself, its no-local filters are left out.
    if (route.namespace !== namespace || route.publisher === reader) return undefined;
    return route.grantOf(reader);
  }
}

const isSkipped = ({ reader, options }: Binding, publisher: RouteReader | null): boolean =>
  options.isNoLocal && reader === publisher;

/** Is there a binding of this reader before the one at `end`? */
function isAmong(
  found: readonly Binding[],
  end: number,
  reader: RouteReader,
  publisher: RouteReader | null,
): boolean {
  for (let i = 0; i < end; i++) {
    if (found[i]!.reader === reader && !isSkipped(found[i]!, publisher)) return true;
  }
  return false;
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
