/**
 * Topic subscriptions: which group a consumer request means, and the rules for sharing, replacing and deleting durable
 * ones (spec protocols.md §6.5: identity by client id and name, or by name alone when global).
 */
import type { Address } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import type { ConsumerGroup, GroupSettings } from "./consumer-group.ts";
import type {
  ConsumerRequest,
  StartPosition,
  SubscriptionIdentity,
  SubscriptionInfo,
} from "./facade.ts";
import type { Node } from "./node.ts";
import { type NodeRegistry, restOf } from "./node-registry.ts";

export class Subscriptions {
  readonly #registry: NodeRegistry;
  /** namespace + identity → the group. */
  readonly #byIdentity = new Map<string, ConsumerGroup>();
  #volatileNumber = 0;
  readonly #positionOf: (node: Node, from: StartPosition) => "first" | "next" | number[];

  constructor(
    registry: NodeRegistry,
    positionOf: (node: Node, from: StartPosition) => "first" | "next" | number[],
  ) {
    this.#registry = registry;
    this.#positionOf = positionOf;
  }

  /** After recovery: which groups are subscriptions. */
  restore(): void {
    for (const node of this.#registry.nodes()) {
      for (const group of node.groups.values()) {
        const { identity } = group.settings;
        if (identity !== null) this.#byIdentity.set(keyOf(node.address.namespace, identity), group);
      }
    }
  }

  find(namespace: string, identity: SubscriptionIdentity): ConsumerGroup | undefined {
    return this.#byIdentity.get(keyOf(namespace, identity));
  }

  info(namespace: string, identity: SubscriptionIdentity): SubscriptionInfo | undefined {
    const group = this.find(namespace, identity);
    if (group === undefined) return undefined;
    const { settings, node } = group;
    return {
      identity: settings.identity!,
      address: { ...node.address, name: settings.path, tags: settings.tags },
      selector: settings.selector,
      noLocal: settings.noLocal,
      consumerCount: group.members.length,
      backlog: group.backlog,
    };
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
    const { identity } = group.settings;
    if (identity !== null) {
      this.#byIdentity.delete(keyOf(group.node.address.namespace, identity));
    }
    this.#registry.deleteGroup(group);
  }

  /** The group on `node` that this request joins; made where it is new. */
  groupFor(
    node: Node,
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
      return this.#subscription(node, request, request.subscription, wanted, clientId, onSteal);
    }
    const groupName = request.group?.name ?? request.address.group;
    if (groupName !== "") {
      return this.#namedGroup(node, path, request, groupName, wanted, clientId);
    }
    return this.#add(
      node,
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
    node: Node,
    request: ConsumerRequest,
    identity: SubscriptionIdentity,
    wanted: Pick<GroupSettings, "isOrdered" | "tags" | "selector" | "noLocal" | "path">,
    clientId: string,
    onSteal: (group: ConsumerGroup) => void,
  ): ConsumerGroup {
    const { namespace } = node.address;
    const existing = this.find(namespace, identity);
    if (existing !== undefined) {
      const isSame = existing.node === node && isSameWish(existing.settings, wanted);
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
      node,
      {
        ...wanted,
        name: `${identity.isDurable ? "" : "~volatile-"}${identity.clientId === "" ? "~global" : identity.clientId}/${identity.name}`,
        isDurable: identity.isDurable,
        isVolatile: !identity.isDurable,
        identity,
      },
      request.from ?? { kind: "next" },
      clientId,
    );
    this.#byIdentity.set(keyOf(namespace, identity), group);
    return group;
  }

  #namedGroup(
    node: Node,
    path: string,
    request: ConsumerRequest,
    name: string,
    wanted: Pick<GroupSettings, "isOrdered" | "tags" | "selector" | "noLocal" | "path">,
    clientId: string,
  ): ConsumerGroup {
    const isBroadcast = request.group?.mode === "broadcast";
    // Broadcast: a cursor for each member, kept under its client id where it has one.
    const rest = restOf(path);
    const shared = rest === "" ? name : `${rest}#${name}`;
    const groupName = isBroadcast
      ? `${shared}@${clientId === "" ? `~${++this.#volatileNumber}` : clientId}`
      : shared;
    const existing = node.groups.get(groupName);
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
        node,
        { ...wanted, name: groupName, isDurable: true, isVolatile: false, identity: null },
        { kind: "next" },
        clientId,
        offsets,
      );
    }
    const isDurable = !isBroadcast || clientId !== "";
    return this.#add(
      node,
      { ...wanted, name: groupName, isDurable, isVolatile: !isDurable, identity: null },
      request.from ?? { kind: "first" },
      clientId,
    );
  }

  #add(
    node: Node,
    settings: Omit<GroupSettings, "filter">,
    from: StartPosition,
    clientId: string,
    offsets?: readonly number[],
  ): ConsumerGroup {
    const filter = this.#registry.filterOf(settings, clientId);
    if (settings.noLocal) node.hasNoLocal = true;
    const isDurable = settings.isDurable && !node.isTemporary;
    return this.#registry.addGroup(
      node,
      { ...settings, isDurable, filter },
      offsets ?? this.#positionOf(node, from),
    );
  }
}

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

/** A topic address without wildcards in its first level has one home. */
export function hasOneRoot(address: Address): boolean {
  const first = address.name.split("/", 1)[0]!;
  return first !== "+" && first !== "#";
}
