/**
 * Topic subscriptions: which group a consumer request means, and the rules for sharing, replacing and deleting durable
 * ones (spec protocols.md §6.5: identity by client id and name, or by name alone when global).
 */
import { type Address, makeAddress } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import type { ConsumerGroup, GroupSettings } from "./consumer-group.ts";
import type {
  ConsumerRequest,
  StartPosition,
  SubscriptionIdentity,
  SubscriptionInfo,
} from "./facade.ts";
import { groupNameOf, withFilter } from "./group-settings.ts";
import type { Node } from "./node.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { isWild, restOf, rootOf } from "./topic-root.ts";
import type { WildcardSubscriptions } from "./wildcard-subscriptions.ts";

/** A topic, or, for filters that begin with a wildcard, the namespace whose topics they match. */
type Home = Node | string;

const namespaceOf = (home: Home): string =>
  typeof home === "string" ? home : home.address.namespace;

export class Subscriptions {
  readonly #registry: NodeRegistry;
  readonly wildcards: WildcardSubscriptions;
  /** namespace + identity → the group, or the name of the topic that has it: it may be at rest. */
  readonly #byIdentity = new Map<string, ConsumerGroup | string>();
  #volatileNumber = 0;
  readonly #positionOf: (node: Node, from: StartPosition) => "first" | "next" | number[];

  constructor(
    registry: NodeRegistry,
    wildcards: WildcardSubscriptions,
    positionOf: (node: Node, from: StartPosition) => "first" | "next" | number[],
  ) {
    this.#registry = registry;
    this.wildcards = wildcards;
    this.#positionOf = positionOf;
  }

  /** After recovery: which groups are subscriptions. */
  restore(): void {
    for (const { address, groups } of this.#registry.awake()) {
      for (const { settings } of groups.looks()) {
        this.#note(address.namespace, address.name, settings.identity);
      }
    }
    for (const { nodes, groups } of this.#registry.resting.withGroups()) {
      for (const { node, identity } of groups.values()) {
        const home = nodes.get(node);
        if (home !== undefined) this.#note(home.namespace, home.name, identity);
      }
    }
    this.wildcards.restore();
    for (const group of this.wildcards.groups()) {
      this.#byIdentity.set(this.#keyOf(group), group);
    }
  }

  #note(namespace: string, topic: string, identity: SubscriptionIdentity | null): void {
    if (identity !== null) this.#byIdentity.set(keyOf(namespace, identity), topic);
  }

  /** What the group is found by; those of topics that are no subscriptions are found there. */
  #keyOf(group: ConsumerGroup): string {
    const { identity, name, path } = group.settings;
    const isWild = this.wildcards.has(group);
    const namespace = isWild ? this.wildcards.namespaceOf(group) : group.node.address.namespace;
    return identity !== null ? keyOf(namespace, identity) : groupKey(namespace, path, name);
  }

  find(namespace: string, identity: SubscriptionIdentity): ConsumerGroup | undefined {
    const found = this.#byIdentity.get(keyOf(namespace, identity));
    if (typeof found !== "string") return found;
    return this.#registry.find("topic", namespace, found)?.groups.get(groupNameOf(identity));
  }

  /** The group of this name that reads a topic and takes every message of the path, when it is there. */
  named(namespace: string, path: string, name: string): ConsumerGroup | undefined {
    if (isWild(path)) return undefined;
    const node = this.#registry.find("topic", namespace, rootOf(path));
    const group = node?.groups.get(namedGroup(path, name));
    const everything = { tags: "", selector: "", noLocal: false, path };
    return group !== undefined && isSameWish(group.settings, everything) ? group : undefined;
  }

  /** A subscription becomes the group of that name, which outlives its members. */
  outlive(group: ConsumerGroup, name: string): void {
    this.#byIdentity.delete(this.#keyOf(group));
    this.#registry.groups.keep(group, namedGroup(group.settings.path, name));
  }

  /** What `named` found is still there. */
  has(group: ConsumerGroup): boolean {
    return !group.node.isDeleted && group.node.groups.isAwake(group);
  }

  info(namespace: string, identity: SubscriptionIdentity): SubscriptionInfo | undefined {
    const group = this.find(namespace, identity);
    if (group === undefined) return undefined;
    const { settings } = group;
    return {
      identity: settings.identity!,
      address: this.addressOf(namespace, settings.path, settings.tags),
      selector: settings.selector,
      noLocal: settings.noLocal,
      consumerCount: group.members.length,
      backlog: group.backlog,
    };
  }

  addressOf(namespace: string, path: string, tags = ""): Address {
    const node = isWild(path) ? undefined : this.#registry.find("topic", namespace, rootOf(path));
    return node === undefined
      ? makeAddress("topic", path, { namespace, tags })
      : { ...node.address, name: path, tags };
  }

  delete(namespace: string, identity: SubscriptionIdentity): void {
    const group = this.find(namespace, identity);
    if (group === undefined) {
      throw new BrokerError(
        "not-found",
        `no subscription '${identity.name}' of client '${identity.clientId}'`,
      );
    }
    if (group.members.length > 0) {
      throw new BrokerError(
        "resource-locked",
        `subscription '${identity.name}' has ${group.members.length} active consumer(s): close them first`,
      );
    }
    this.forget(group);
  }

  /** Removes a group and its identity. */
  forget(group: ConsumerGroup): void {
    this.#byIdentity.delete(this.#keyOf(group));
    if (this.wildcards.has(group)) this.wildcards.remove(group);
    else this.#registry.groups.delete(group);
  }

  /** The group at `home` that this request joins; made where it is new. */
  groupFor(
    home: Home,
    path: string,
    request: ConsumerRequest,
    clientId: string,
    onSteal: (group: ConsumerGroup) => void,
  ): ConsumerGroup {
    const tags = request.tags ?? request.address.tags;
    const wanted = {
      isOrdered: request.group?.isOrdered ?? false,
      tags,
      selector: request.selector ?? "",
      noLocal: request.noLocal ?? false,
      path,
    };
    if (request.subscription !== undefined) {
      return this.#subscription(home, request, request.subscription, wanted, clientId, onSteal);
    }
    const groupName = request.group?.name ?? request.address.group;
    if (groupName !== "") {
      return this.#namedGroup(home, path, request, groupName, wanted, clientId);
    }
    return this.#add(
      home,
      {
        ...wanted,
        name: `~volatile-${++this.#volatileNumber}`,
        isDurable: false,
        isVolatile: true,
        identity: null,
      },
      request.from ?? { kind: "next" },
      clientId,
    );
  }

  #subscription(
    home: Home,
    request: ConsumerRequest,
    identity: SubscriptionIdentity,
    wanted: Pick<GroupSettings, "isOrdered" | "tags" | "selector" | "noLocal" | "path">,
    clientId: string,
    onSteal: (group: ConsumerGroup) => void,
  ): ConsumerGroup {
    const namespace = namespaceOf(home);
    const existing = this.find(namespace, identity);
    if (existing !== undefined) {
      const isHere = typeof home === "string" || existing.node === home;
      const isSame = isHere && isSameWish(existing.settings, wanted);
      if (identity.isShared) {
        if (isSame) return existing;
        if (existing.members.length > 0) {
          throw new BrokerError(
            "precondition-failed",
            `shared subscription '${identity.name}' is in use with another topic, filter or selector: use the same, or another name`,
          );
        }
      } else if (isSame) {
        if (existing.members.length > 0) onSteal(existing);
        return existing;
      } else if (existing.members.length > 0) {
        throw new BrokerError(
          "resource-locked",
          `subscription '${identity.name}' is in use: close its consumer before changing its topic or selector`,
        );
      }
      // JMS 8.3.3: subscribing anew with another topic or selector deletes the old subscription.
      this.forget(existing);
    }
    const group = this.#add(
      home,
      {
        ...wanted,
        name: groupNameOf(identity),
        isDurable: identity.isDurable,
        isVolatile: !identity.isDurable,
        identity,
      },
      request.from ?? { kind: "next" },
      clientId,
    );
    const isByName = group.isDurable && typeof home !== "string";
    this.#byIdentity.set(keyOf(namespace, identity), isByName ? home.address.name : group);
    return group;
  }

  #namedGroup(
    home: Home,
    path: string,
    request: ConsumerRequest,
    name: string,
    wanted: Pick<GroupSettings, "isOrdered" | "tags" | "selector" | "noLocal" | "path">,
    clientId: string,
  ): ConsumerGroup {
    const isBroadcast = request.group?.mode === "broadcast";
    // Broadcast: a cursor for each member, kept under its client id where it has one.
    const shared = typeof home === "string" ? name : namedGroup(path, name);
    const groupName = isBroadcast
      ? `${shared}@${clientId === "" ? `~${++this.#volatileNumber}` : clientId}`
      : shared;
    const existing =
      typeof home === "string"
        ? this.#wildcardGroup(groupKey(home, path, groupName))
        : home.groups.get(groupName);
    if (existing !== undefined) {
      if (isSameWish(existing.settings, wanted)) return existing;
      if (existing.members.length > 0) {
        throw new BrokerError(
          "precondition-failed",
          `group '${name}' is in use with tags '${existing.settings.tags}' and selector '${existing.settings.selector}': all members of a group filter alike`,
        );
      }
      const offsets = existing.shards.map((shard) => shard.state.low);
      this.forget(existing);
      return this.#add(
        home,
        { ...wanted, name: groupName, isDurable: true, isVolatile: false, identity: null },
        { kind: "next" },
        clientId,
        offsets,
      );
    }
    const isDurable = !isBroadcast || clientId !== "";
    return this.#add(
      home,
      { ...wanted, name: groupName, isDurable, isVolatile: !isDurable, identity: null },
      request.from ?? { kind: "first" },
      clientId,
    );
  }

  /** Those of wildcards are no topic's. */
  #wildcardGroup(key: string): ConsumerGroup | undefined {
    const found = this.#byIdentity.get(key);
    return typeof found === "string" ? undefined : found;
  }

  #add(
    home: Home,
    settings: Omit<GroupSettings, "filter">,
    from: StartPosition,
    clientId: string,
    offsets?: readonly number[],
  ): ConsumerGroup {
    const filter = this.#registry.groups.filterOf(settings, clientId);
    if (typeof home === "string") {
      const { identity, path, name } = settings;
      const key = identity === null ? groupKey("", path, name) : keyOf("", identity);
      const group = this.wildcards.add(home, key, withFilter(settings, filter));
      this.#byIdentity.set(this.#keyOf(group), group);
      return group;
    }
    const node = home;
    if (settings.noLocal) node.hasNoLocal = true;
    const isDurable = settings.isDurable && !node.isTemporary;
    return this.#registry.groups.add(
      node,
      isDurable === settings.isDurable
        ? withFilter(settings, filter)
        : { ...withFilter(settings, filter), isDurable },
      offsets ?? this.#positionOf(node, from),
    );
  }
}

/** A topic's groups are told apart by the part of its tree that they read. */
const namedGroup = (path: string, name: string): string => {
  const rest = restOf(path);
  return rest === "" ? name : `${rest}#${name}`;
};

function isSameWish(
  have: GroupSettings,
  want: Pick<GroupSettings, "tags" | "selector" | "noLocal" | "path">,
): boolean {
  return (
    have.tags === want.tags &&
    have.selector === want.selector &&
    have.noLocal === want.noLocal &&
    have.path === want.path
  );
}

const keyOf = (namespace: string, identity: SubscriptionIdentity): string =>
  [namespace, identity.isDurable ? "d" : "v", identity.clientId, identity.name].join("\x00");

const groupKey = (namespace: string, path: string, name: string): string =>
  [namespace, "g", path, name].join("\x00");

/** A topic address without wildcards in its first level has one home. */
export const hasOneRoot = (address: Address): boolean => !isWild(address.name);
