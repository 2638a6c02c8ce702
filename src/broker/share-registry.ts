/**
 * All shared subscriptions of MQTT by namespace, name and filter: made with their first member, kept for a while after the
 * last, and brought back after a restart. The groups that other protocols may be part of as well are in joint-groups.ts.
 */
import type { ConsumerGroup } from "./consumer-group.ts";
import { JointGroups } from "./joint-groups.ts";
import type { SessionCore } from "./session-core.ts";
import type { ShardProgress } from "./shard-progress.ts";
import { SharedSubscription } from "./shared-subscription.ts";

/** Short: the name stands in every record that has an entry there. */
const SHARE_PREFIX = "share\x00";

export class ShareRegistry {
  readonly joint: JointGroups;
  /** How long a share without members is kept. */
  expiryMs = 3_600_000;
  readonly #core: SessionCore;
  readonly #shares = new Map<string, SharedSubscription>();
  readonly #empty = new Set<SharedSubscription>();

  constructor(core: SessionCore) {
    this.#core = core;
    this.joint = new JointGroups(
      () => core.subscriptions,
      {
        find: (namespace, name, filter) => this.#shares.get(shareKey(namespace, name, filter)),
        open: (share) => this.#open(share),
        adopt: (namespace, name, filter, group) =>
          this.noteEmpty(this.#make(group, false, { namespace, name, filter })),
        drop: (share) => this.#drop(share),
      },
      (key, value) => core.journalState(key, value),
    );
  }

  get now(): number {
    return this.#core.turn.now;
  }

  of(namespace: string, name: string, filter: string): SharedSubscription {
    const key = shareKey(namespace, name, filter);
    let share = this.#shares.get(key);
    if (share === undefined) {
      const own = this.#core.findLightNode(`${SHARE_PREFIX}${key}`);
      const group = own?.ownGroup ?? this.joint.forShare(namespace, name, filter);
      share = this.#make(
        group ?? this.#core.lightNode(`${SHARE_PREFIX}${key}`).ownGroup,
        own !== undefined || group === undefined,
        { namespace, name, filter },
      );
    }
    return share;
  }

  *indexesIn(namespace: string): Generator<ShardProgress> {
    for (const share of this.#shares.values()) {
      if (share.namespace === namespace && share.progress !== null) yield share.progress;
    }
  }

  /** `isOwn`: the group is that of the share's own index. */
  #make(
    group: ConsumerGroup,
    isOwn: boolean,
    { namespace, name, filter }: { namespace: string; name: string; filter: string },
  ): SharedSubscription {
    const progress = isOwn ? group.shards[0]! : null;
    group.isKept = true;
    const share = new SharedSubscription(this, namespace, name, filter, group, progress);
    this.#shares.set(shareKey(namespace, name, filter), share);
    if (isOwn) this.#core.routes.add(namespace, filter, share.binding);
    return share;
  }

  /** Somebody may have deleted the group that a share is part of. */
  check(share: SharedSubscription): void {
    const { namespace, name, filter } = share;
    if (share.progress !== null || this.#core.subscriptions.has(share.group)) return;
    const group = this.joint.forShare(namespace, name, filter);
    if (group !== undefined) {
      share.group = group;
      group.isKept = true;
      return;
    }
    const key = shareKey(namespace, name, filter);
    share.group = this.#core.lightNode(`${SHARE_PREFIX}${key}`).ownGroup;
    share.progress = share.group.shards[0]!;
    this.#core.routes.add(namespace, filter, share.binding);
  }

  #open(share: SharedSubscription): void {
    if (share.takesAll) return;
    share.takesAll = true;
    this.#core.routes.changed();
  }

  noteEmpty(share: SharedSubscription): void {
    this.#empty.add(share);
  }

  #drop(share: SharedSubscription): void {
    const { namespace, name, filter } = share;
    this.#empty.delete(share);
    this.#shares.delete(shareKey(namespace, name, filter));
    share.group.isKept = false;
    if (share.progress === null) return;
    this.#core.routes.remove(namespace, filter, share.binding);
    this.#core.dropLightNode(share.group.node);
  }

  /** About once a second: those nobody came back to end. */
  keepHouse(): void {
    for (const share of [...this.#empty]) {
      if (share.emptySince === 0) this.#empty.delete(share);
      else if (this.joint.outlives(share)) {
        // Nothing of its own goes with it; an index that others have a claim on stays.
        if (share.progress === null) this.#drop(share);
      }
      // Clients of other protocols are members still.
      else if (share.group.members.length > 0) share.emptySince = this.now;
      else if (this.now - share.emptySince >= this.expiryMs) {
        this.joint.end(share);
        this.#drop(share);
      }
    }
  }

  /** Shares that still collect although no session has them. */
  restore(state: ReadonlyMap<string, Buffer>): void {
    for (const name of [...this.#core.lightNames(SHARE_PREFIX)]) {
      const [namespace, share, ...filter] = name.slice(SHARE_PREFIX.length).split("\x00");
      const key = shareKey(namespace!, share!, filter.join("\x00"));
      if (this.#shares.has(key)) continue;
      const parts = { namespace: namespace!, name: share!, filter: filter.join("\x00") };
      this.noteEmpty(this.#make(this.#core.lightNode(name).ownGroup, true, parts));
    }
    this.joint.restore(state);
  }
}

const shareKey = (namespace: string, name: string, filter: string): string =>
  `${namespace}\x00${name}\x00${filter}`;
