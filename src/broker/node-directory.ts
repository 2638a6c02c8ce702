/** Which node an address means: looked up, made on first use where that is allowed, made for one connection, deleted. */
import { randomBytes } from "node:crypto";
import { type Address, makeAddress } from "../model/address.ts";
import { TEMPORARY_PREFIX } from "../model/address-dialects.ts";
import { BrokerError } from "../model/errors.ts";
import type { Logger } from "../telemetry/log.ts";
import type { Connection } from "./connection.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import { refuseInternal } from "./internal-queues.ts";
import type { Node } from "./node.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { DLQ_PREFIX } from "./policy.ts";
import { rootOf } from "./topic-root.ts";

export class NodeDirectory {
  readonly #registry: NodeRegistry;
  mayCreate: boolean;
  readonly #demandDestination: (namespace: string) => void;
  readonly #log: Logger;
  #temporaryNumber = 0;

  /** `demandDestination` throws when a namespace may not have one more. */
  constructor(
    registry: NodeRegistry,
    mayCreate: boolean,
    demandDestination: (namespace: string) => void,
    log: Logger,
  ) {
    this.#demandDestination = demandDestination;
    this.#registry = registry;
    this.mayCreate = mayCreate;
    this.#log = log;
  }

  /** The node an address means; made where `connection` may and creation is on. */
  nodeFor(connection: Connection, address: Address, mustExist: boolean): Node {
    const found = this.#find(address);
    if (found !== undefined) {
      refuseInternal(found.kind, found.address.name);
      return found;
    }
    const kind = kindOf(address);
    refuseInternal(kind, address.name);
    if (mustExist || !this.mayCreate || address.kind.startsWith("temp-")) {
      throw new BrokerError("not-found", `no ${kind} '${address.name}'`, { name: address.name });
    }
    connection.demand("create", address);
    const { namespace } = address;
    const name = nameOf(address, kind);
    this.#demandDestination(namespace);
    const node = this.#registry.create(kind, namespace, name, false);
    this.#log.info("node.created", { kind, name, namespace });
    return node;
  }

  /** The node an address means, when it is there; whoever asks. */
  known(address: Address): Node | undefined {
    return this.#find(address);
  }

  #find(address: Address): Node | undefined {
    const { namespace, name } = address;
    if (address.kind === "any") {
      const queue = this.#registry.find("queue", namespace, name);
      if (queue !== undefined) return queue;
      const topic = this.#registry.find("topic", namespace, rootOf(name));
      return topic !== undefined && isCountedOn(topic, name) ? topic : undefined;
    }
    const kind = kindOf(address);
    return this.#registry.find(kind, namespace, nameOf(address, kind));
  }

  createTemporary(connection: Connection, kind: "queue" | "topic"): Node {
    // Unguessable, and recognised as temporary in every protocol's bare spelling.
    const prefix = TEMPORARY_PREFIX[`temp-${kind}`];
    const random = randomBytes(9).toString("base64url");
    const name = `${prefix}${connection.id}-${++this.#temporaryNumber}-${random}`;
    const { namespace } = connection;
    connection.demand("create", makeAddress(`temp-${kind}`, name, { namespace }));
    this.#demandDestination(namespace);
    const node = this.#registry.create(kind, namespace, name, true);
    node.owner = connection;
    return node;
  }

  delete(node: Node): void {
    if (node.isDeleted) return;
    node.isDeleted = true;
    const reason = new BrokerError(
      "resource-deleted",
      `${node.kind} '${node.address.name}' was deleted`,
    );
    for (const group of node.groups.awake()) cancelMembers(group, reason);
    this.#registry.delete(node);
  }
}

/**
 * Does anybody count on the topic of exactly this name? That somebody once published below it must not turn a queue's name
 * into a topic's: what is sent there would be nobody's.
 */
function isCountedOn(topic: Node, path: string): boolean {
  if (topic.hasHistory || topic.isTemporary) return true;
  for (const { settings } of topic.groups.looks()) if (settings.path === path) return true;
  return false;
}

/** All members lose their consumers, and are told why. */
export function cancelMembers(group: ConsumerGroup, reason: BrokerError): void {
  for (const consumer of [...group.members]) {
    consumer.lose();
    consumer.sink.onCancel(reason);
  }
}

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
