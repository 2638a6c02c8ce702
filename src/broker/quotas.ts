/**
 * What users and namespaces may have at once: connections, destinations, messages, bytes, and how fast they may publish.
 * Nothing here costs who has no quota: without one a connection has no gate, and a namespace is not counted.
 *
 * Too fast is held back, never refused; too much is refused, in the protocol's own words.
 */
import { BrokerError } from "../model/errors.ts";
import { TokenBucket } from "../util/token-bucket.ts";
import type { Turn } from "../util/turn.ts";
import type { Connection } from "./connection.ts";
import type { ConnectRequest } from "./facade.ts";
import { NamespaceUsage, type UsageSource } from "./namespace-usage.ts";
import { PublishGate } from "./publish-gate.ts";

/** 0 is no limit everywhere. */
export interface RateLimits {
  /** Messages published in a second. */
  readonly messageRate: number;
  /** Bytes of their bodies. */
  readonly byteRate: number;
}

export interface Quota extends RateLimits {
  /** Whose: a name, or "*" for each that no other quota names. */
  readonly name: string;
  readonly connections: number;
}

export interface NamespaceQuota extends Quota {
  /** Queues and topics, temporary ones included. */
  readonly destinations: number;
  /** Messages owed to somebody. */
  readonly messages: number;
  /** Stored bytes of them. */
  readonly bytes: number;
}

export interface QuotaRules {
  /** Of every single connection. */
  readonly connection: RateLimits;
  readonly users: readonly Quota[];
  readonly namespaces: readonly NamespaceQuota[];
}

export const NO_QUOTAS: QuotaRules = {
  connection: { messageRate: 0, byteRate: 0 },
  users: [],
  namespaces: [],
};

/** What was refused, and how often connections had to wait. */
export interface QuotaFigures {
  connections: number;
  destinations: number;
  messages: number;
  bytes: number;
  waits: number;
}

export interface QuotaView {
  readonly of: "user" | "namespace";
  readonly name: string;
  readonly connections: number;
  readonly connectionsMax: number;
  readonly destinations?: number;
  readonly destinationsMax?: number;
  readonly messages?: number;
  readonly messagesMax?: number;
  readonly bytes?: number;
  readonly bytesMax?: number;
}

export interface QuotaHost extends UsageSource {
  readonly turn: Turn;
  readonly connections: ReadonlyMap<number, Connection>;
  destinationsIn(namespace: string): number;
}

export class Quotas {
  #rules: QuotaRules;
  readonly #host: QuotaHost;
  readonly figures: QuotaFigures = {
    connections: 0,
    destinations: 0,
    messages: 0,
    bytes: 0,
    waits: 0,
  };
  /** Buckets that several connections share, by "user" or "namespace", name and unit. */
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #usages = new Map<string, NamespaceUsage>();
  readonly #users = new Map<string, number>();
  readonly #namespaces = new Map<string, number>();

  constructor(rules: QuotaRules, host: QuotaHost) {
    this.#rules = rules;
    this.#host = host;
  }

  get rules(): QuotaRules {
    return this.#rules;
  }

  /** New rules hold from now on, for those who are connected too. */
  replace(rules: QuotaRules): void {
    this.#rules = rules;
    this.#buckets.clear();
    this.#usages.clear();
    for (const connection of this.#host.connections.values()) {
      connection.setGate(this.gateFor(connection.request));
    }
  }

  // ── connections ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** Throws limit-exceeded when this user or namespace has as many connections as it may. */
  admit(request: ConnectRequest): void {
    const { principal, namespace } = request;
    this.#admitOne("user", principal.name, quotaOf(this.#rules.users, principal.name), request);
    const quota = quotaOf(this.#rules.namespaces, namespace);
    this.#admitOne("namespace", namespace, quota, request);
  }

  #admitOne(of: "user" | "namespace", name: string, quota: Quota | null, r: ConnectRequest): void {
    if (quota === null || quota.connections === 0) return;
    const open = this.#counts(of).get(name) ?? 0;
    if (open < quota.connections || (open === quota.connections && this.#replaces(r))) return;
    this.figures.connections++;
    this.#host.tally.refused.quota++;
    throw new BrokerError(
      "limit-exceeded",
      `${of} '${name}' has ${open} connection(s), as many as its quota allows: close one first`,
      { quota: "connections" },
    );
  }

  /** An older connection of the same client ends as soon as this one is in. */
  #replaces({ willReplace, clientId, namespace, principal }: ConnectRequest): boolean {
    if (willReplace !== true || clientId === "") return false;
    for (const other of this.#host.connections.values()) {
      if (
        other.clientId === clientId &&
        other.namespace === namespace &&
        other.principal.name === principal.name
      ) {
        return true;
      }
    }
    return false;
  }

  opened({ principal, namespace }: ConnectRequest): void {
    count(this.#users, principal.name, 1);
    count(this.#namespaces, namespace, 1);
  }

  closed({ principal, namespace }: ConnectRequest): void {
    count(this.#users, principal.name, -1);
    count(this.#namespaces, namespace, -1);
  }

  #counts(of: "user" | "namespace"): Map<string, number> {
    return of === "user" ? this.#users : this.#namespaces;
  }

  // ── publishing ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** What a connection's publishing is held to; null for nothing. */
  gateFor({ principal, namespace }: ConnectRequest): PublishGate | null {
    const { now } = this.#host.turn;
    const ofUser = quotaOf(this.#rules.users, principal.name);
    const ofNamespace = quotaOf(this.#rules.namespaces, namespace);
    const messages: TokenBucket[] = [];
    const bytes: TokenBucket[] = [];
    const own = this.#rules.connection;
    if (own.messageRate > 0) messages.push(new TokenBucket(own.messageRate, 1, now));
    if (own.byteRate > 0) bytes.push(new TokenBucket(own.byteRate, 0, now));
    this.#share("user", principal.name, ofUser, messages, bytes);
    this.#share("namespace", namespace, ofNamespace, messages, bytes);
    const usage = this.#usageOf(namespace, ofNamespace);
    if (messages.length + bytes.length === 0 && usage === null) return null;
    return new PublishGate(this.#host.turn, messages, bytes, usage, () => this.figures.waits++);
  }

  #share(
    of: "user" | "namespace",
    name: string,
    rates: RateLimits | null,
    messages: TokenBucket[],
    bytes: TokenBucket[],
  ): void {
    if (rates === null) return;
    if (rates.messageRate > 0) messages.push(this.#bucket(of, name, "m", rates.messageRate, 1));
    if (rates.byteRate > 0) bytes.push(this.#bucket(of, name, "b", rates.byteRate, 0));
  }

  #bucket(of: string, name: string, unit: string, rate: number, enough: number): TokenBucket {
    const key = [of, unit, name].join(" ");
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      bucket = new TokenBucket(rate, enough, this.#host.turn.now);
      this.#buckets.set(key, bucket);
    }
    return bucket;
  }

  #usageOf(namespace: string, quota: NamespaceQuota | null): NamespaceUsage | null {
    if (quota === null || (quota.messages === 0 && quota.bytes === 0)) return null;
    let usage = this.#usages.get(namespace);
    if (usage === undefined) {
      usage = new NamespaceUsage(namespace, quota, this.#host, this.figures);
      this.#usages.set(namespace, usage);
    }
    return usage;
  }

  // ── destinations ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Throws limit-exceeded when the namespace has as many queues and topics as it may. */
  demandDestination(namespace: string): void {
    const quota = quotaOf(this.#rules.namespaces, namespace);
    if (quota === null || quota.destinations === 0) return;
    const there = this.#host.destinationsIn(namespace);
    if (there < quota.destinations) return;
    this.figures.destinations++;
    this.#host.tally.refused.quota++;
    throw new BrokerError(
      "limit-exceeded",
      `namespace '${namespace}' has ${there} queues and topics, as many as its quota allows: delete one first`,
      { quota: "destinations" },
    );
  }

  /** Is what lies in this namespace counted? Then its bytes are, and none of its nodes rests. */
  countsBytes(namespace: string): boolean {
    const quota = quotaOf(this.#rules.namespaces, namespace);
    return quota !== null && (quota.bytes > 0 || quota.messages > 0);
  }

  // ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Everybody who is held to a quota and connected, or has something. */
  *views(): Generator<QuotaView> {
    for (const [name, connections] of this.#users) {
      const quota = quotaOf(this.#rules.users, name);
      if (quota !== null) {
        yield { of: "user", name, connections, connectionsMax: quota.connections };
      }
    }
    const names = new Set([
      ...this.#namespaces.keys(),
      ...this.#rules.namespaces.map(({ name }) => name).filter((name) => name !== "*"),
    ]);
    for (const name of names) {
      const quota = quotaOf(this.#rules.namespaces, name);
      if (quota === null) continue;
      const { messages, bytes } = new NamespaceUsage(name, quota, this.#host, this.figures).now();
      yield {
        of: "namespace",
        name,
        connections: this.#namespaces.get(name) ?? 0,
        connectionsMax: quota.connections,
        destinations: this.#host.destinationsIn(name),
        destinationsMax: quota.destinations,
        messages,
        messagesMax: quota.messages,
        bytes,
        bytesMax: quota.bytes,
      };
    }
  }

  /** Connections that wait for their rate at this moment. */
  get waiting(): number {
    let waiting = 0;
    for (const { gate } of this.#host.connections.values()) if (gate?.isWaiting === true) waiting++;
    return waiting;
  }
}

/** The quota that names it, else the one for everybody. */
function quotaOf<T extends Quota>(quotas: readonly T[], name: string): T | null {
  let found: T | null = null;
  for (const quota of quotas) {
    if (quota.name === name) return quota;
    if (quota.name === "*") found = quota;
  }
  return found;
}

function count(counts: Map<string, number>, name: string, change: number): void {
  const sum = (counts.get(name) ?? 0) + change;
  if (sum === 0) counts.delete(name);
  else counts.set(name, sum);
}
