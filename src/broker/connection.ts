/** One peer's view of the broker: its rights, its targets, consumers, subscriptions and temporary nodes. */
import type { Address } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import type { Action, Permissions } from "../security/authorizer.ts";
import type { Principal } from "../security/principal.ts";
import type { Broker } from "./broker.ts";
import type { Consumer } from "./consumer.ts";
import type {
  BrokerConnection,
  ConnectRequest,
  Consumer as ConsumerFacade,
  ConsumerRequest,
  DeliverySink,
  SubscriptionIdentity,
  SubscriptionInfo,
  TargetOptions,
  TemporaryLifetime,
  Transaction,
} from "./facade.ts";
import type { Node } from "./node.ts";
import type { PublishGate } from "./publish-gate.ts";
import type { Target } from "./target.ts";
import type { RouteReader } from "./topic-routes.ts";
import { Transaction as LocalTransaction } from "./transaction.ts";

export class Connection implements BrokerConnection {
  readonly id: number;
  readonly request: ConnectRequest;
  readonly permissions: Permissions;
  readonly connectedAt: number;
  /** Address and port of the peer as RocketMQ's born host. */
  readonly bornHost: Buffer;
  readonly consumers = new Set<Consumer>();
  readonly targets = new Set<Target>();
  readonly temporaries = new Map<Node, TemporaryLifetime>();
  isClosed = false;
  /** The session this connection has, which may not want its own messages. */
  session: RouteReader | null = null;
  /** Rates and quotas that its publishing is held to; null for none. */
  gate: PublishGate | null = null;
  readonly #broker: Broker;
  #principal: Principal;
  /** Transactions without an end yet. */
  readonly #open = new Set<LocalTransaction>();

  constructor(broker: Broker, id: number, request: ConnectRequest, permissions: Permissions) {
    this.#broker = broker;
    this.id = id;
    this.request = request;
    this.#principal = request.principal;
    this.permissions = permissions;
    this.connectedAt = broker.turn.now;
    this.bornHost = hostBytes(request.remoteAddress, request.remotePort);
  }

  get namespace(): string {
    return this.request.namespace;
  }
  get principal(): Principal {
    return this.#principal;
  }
  get clientId(): string {
    return this.request.clientId;
  }

  renewLogin(principal: Principal): void {
    this.#principal = principal;
  }

  /** Throws unauthorized unless this peer may do `action`. */
  demand(action: Action, address: Address): void {
    if (this.permissions.allows(action, address)) return;
    this.#broker.tally.refused.unauthorized++;
    throw new BrokerError(
      "unauthorized",
      `user '${this.principal.name}' may not ${action} ${address.kind} '${address.name}'`,
      { user: this.principal.name, action },
    );
  }

  setGate(gate: PublishGate | null): void {
    const before = this.gate;
    this.gate = gate;
    for (const target of this.targets) if (target.gate === before) target.gate = gate;
    before?.close();
  }

  hasRoom(bytes: number): boolean {
    return (this.gate === null || this.gate.isOpen()) && this.#broker.hasRoom(bytes);
  }

  onRoom(callback: () => void): void {
    if (this.gate === null || this.gate.isOpen()) this.#broker.onRoom(callback);
    else this.gate.onOpen(callback);
  }

  openTarget(address: Address, options: TargetOptions = {}): Target {
    const target = this.#broker.openTarget(this, address, options);
    target.gate = this.gate;
    this.targets.add(target);
    return target;
  }

  openConsumer(request: ConsumerRequest, sink: DeliverySink): ConsumerFacade {
    const consumer = this.#broker.opener.open(this, request, sink);
    this.consumers.add(consumer);
    return consumer;
  }

  findSubscription(identity: SubscriptionIdentity): SubscriptionInfo | undefined {
    const found = this.#lookUp(identity);
    return found !== undefined && this.#mayDelete(found.address) ? found : undefined;
  }

  #lookUp(identity: SubscriptionIdentity): SubscriptionInfo | undefined {
    const { subscriptions, sessions } = this.#broker;
    return (
      subscriptions.info(this.namespace, identity) ?? sessions.joint.info(this.namespace, identity)
    );
  }

  /** A client id proves nothing: who may read what the subscription gets may end it, or who may delete. */
  #mayDelete(address: Address): boolean {
    return (
      this.permissions.allows("receive", address) || this.permissions.allows("delete", address)
    );
  }

  deleteSubscription(identity: SubscriptionIdentity): void {
    const { subscriptions, sessions } = this.#broker;
    const address = this.#lookUp(identity)?.address;
    if (address !== undefined && !this.#mayDelete(address)) this.demand("delete", address);
    if (sessions.joint.delete(this.namespace, identity)) return;
    subscriptions.delete(this.namespace, identity);
  }

  createTemporary(kind: "queue" | "topic", lifetime: TemporaryLifetime): Address {
    const node = this.#broker.directory.createTemporary(this, kind);
    this.temporaries.set(node, lifetime);
    return { ...node.address, kind: kind === "queue" ? "temp-queue" : "temp-topic" };
  }

  deleteTemporary(address: Address): void {
    for (const node of this.temporaries.keys()) {
      if (node.address.name !== address.name) continue;
      this.temporaries.delete(node);
      this.#broker.directory.delete(node);
      return;
    }
    throw new BrokerError("not-found", `no temporary node '${address.name}' of this connection`);
  }

  /** A link of one of this connection's temporary nodes went: does the node go with it? */
  linkClosed(node: Node): void {
    const lifetime = this.temporaries.get(node);
    if (lifetime === undefined || lifetime === "delete-on-close" || node.isDeleted) return;
    const hasLinks = node.producerCount > 0 || node.consumerCount > 0;
    const hasMessages = node.backlog > 0;
    const isDue =
      lifetime === "delete-on-no-links"
        ? !hasLinks
        : lifetime === "delete-on-no-messages"
          ? !hasMessages
          : !hasLinks && !hasMessages;
    if (!isDue) return;
    this.temporaries.delete(node);
    this.#broker.directory.delete(node);
  }

  beginTransaction(): Transaction {
    const transaction = new LocalTransaction(this.#broker, (ended) => this.#open.delete(ended));
    this.#open.add(transaction);
    return transaction;
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    // What they had staged is unsettled again, and lost with its consumer.
    for (const transaction of [...this.#open]) transaction.rollback(false);
    for (const consumer of [...this.consumers]) consumer.lose();
    for (const target of [...this.targets]) target.close();
    for (const node of [...this.temporaries.keys()]) this.#broker.directory.delete(node);
    this.temporaries.clear();
    this.setGate(null);
    this.#broker.connectionClosed(this);
  }
}

/** IPv4: 4 bytes and the port as int 4; IPv6: 16 and 4. What cannot be parsed is loopback. */
export function hostBytes(address: string, port: number): Buffer {
  const plain = address.startsWith("::ffff:") ? address.slice(7) : address;
  const v4 = plain.split(".");
  if (v4.length === 4 && v4.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)) {
    const bytes = Buffer.alloc(8);
    v4.forEach((part, index) => {
      bytes[index] = Number(part);
    });
    bytes.writeInt32BE(port, 4);
    return bytes;
  }
  const bytes = Buffer.alloc(20);
  const halves = plain.split("%")[0]!.split("::");
  const groups = (text: string | undefined): number[] =>
    text === undefined || text === ""
      ? []
      : text.split(":").map((part) => Number.parseInt(part, 16));
  const head = groups(halves[0]);
  const tail = groups(halves[1]);
  const all =
    halves.length === 2
      ? [...head, ...new Array(Math.max(0, 8 - head.length - tail.length)).fill(0), ...tail]
      : head;
  if (all.length !== 8 || all.some((group) => !(group >= 0 && group <= 0xffff))) {
    return hostBytes("127.0.0.1", port);
  }
  all.forEach((group, index) => {
    bytes.writeUInt16BE(group, index * 2);
  });
  bytes.writeInt32BE(port, 16);
  return bytes;
}
