/**
 * One group for everybody who names it (spec protocols.md §3.4): a MQTT shared subscription, a STOMP `group`, an AMQP 1.0 address
 * `topic://T#G` and a global shared subscription of JMS, in whatever order they come. It is a named group of the topic, or the
 * index of the MQTT share where that was first; whoever comes later joins it, and what was to end earlier is kept for it.
 *
 * A group lasts as long as somebody has a claim on it: who named it (for good), a durable subscription (until it is deleted), a
 * MQTT share (until its time is over). Claims that the group itself does not tell are in the journal.
 *
 * Only who takes every message joins. JMS keeps durable and other shared subscriptions of a name apart; so does this, until
 * another protocol names the group of both.
 */
import { createHash } from "node:crypto";
import { BrokerError } from "../model/errors.ts";
import type { CatalogWriter } from "./catalog.ts";
import type { ConsumerGroup } from "./consumer-group.ts";
import type { ConsumerRequest, SubscriptionIdentity, SubscriptionInfo } from "./facade.ts";
import type { SharedSubscription } from "./shared-subscription.ts";
import type { Subscriptions } from "./subscriptions.ts";
import { isWild } from "./topic-root.ts";

/** The shares of MQTT. */
export interface Shares {
  find(namespace: string, name: string, filter: string): SharedSubscription | undefined;
  /** Members that are no sessions get everything through the index of a share that has one. */
  open(share: SharedSubscription): void;
  /** Of a group that only a share has a claim on, which nobody has been part of since the start. */
  adopt(namespace: string, name: string, filter: string, group: ConsumerGroup): void;
  drop(share: SharedSubscription): void;
}

interface Claims {
  readonly namespace: string;
  readonly name: string;
  readonly path: string;
  isNamed: boolean;
  isSubscribed: boolean;
}

const PREFIX = "grp.";
const NOTHING = Buffer.alloc(0);

export class JointGroups {
  readonly #subscriptions: () => Subscriptions;
  readonly #shares: Shares;
  readonly #journal: (key: string, value: Buffer) => void;
  /** Of groups that lasted by themselves from the beginning there is nothing to say. */
  readonly #claims = new Map<string, Claims>();
  /** Durable subscriptions that are part of one of them, by name. */
  readonly #subscribed = new Map<string, Claims>();

  constructor(
    subscriptions: () => Subscriptions,
    shares: Shares,
    journal: (key: string, value: Buffer) => void,
  ) {
    this.#subscriptions = subscriptions;
    this.#shares = shares;
    this.#journal = journal;
  }

  // ── joining ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The group that a request joins; undefined where it makes one, or has one of its own. */
  groupFor(request: ConsumerRequest): ConsumerGroup | undefined {
    const { subscription, address, group, mode } = request;
    if (mode === "browse") return undefined;
    const { namespace, name: path } = address;
    if (subscription !== undefined) {
      const { isShared, clientId, name, isDurable } = subscription;
      if (!isShared || clientId !== "") return undefined;
      if (isDurable) return this.#forDurable(subscription, request);
      if (!takesAll(request) || this.#find(namespace, name, false, path) !== undefined) {
        return undefined;
      }
      return this.#there(namespace, name, path);
    }
    const name = group?.name ?? address.group;
    if (name === "" || group?.mode === "broadcast" || !takesAll(request)) return undefined;
    return this.#forNamed(namespace, name, path);
  }

  #forNamed(namespace: string, name: string, path: string): ConsumerGroup | undefined {
    if (isWild(path)) return this.#ofShare(namespace, name, path);
    const there = this.#there(namespace, name, path);
    const isOfShare = there?.node.kind === "queue";
    const found = there ?? this.#madeToLast(namespace, name, path, true);
    const claims = this.#claims.get(keyOf(namespace, name, path));
    if (claims !== undefined && !claims.isNamed) this.#note(claims, { isNamed: true });
    else if (claims === undefined && isOfShare) {
      this.#note({ namespace, name, path, isNamed: true, isSubscribed: false });
    }
    return found;
  }

  /** For a share without an index of its own. */
  forShare(namespace: string, name: string, path: string): ConsumerGroup | undefined {
    if (isWild(path)) return undefined;
    const named = this.#subscriptions().named(namespace, path, name);
    return named ?? this.#madeToLast(namespace, name, path, false);
  }

  #forDurable(identity: SubscriptionIdentity, request: ConsumerRequest): ConsumerGroup | undefined {
    const { namespace, name: path } = request.address;
    const { name } = identity;
    if (this.#subscriptions().find(namespace, identity) !== undefined) return undefined;
    const joined = this.#subscribed.get(nameKey(namespace, name));
    if (joined !== undefined) {
      const group = this.#groupOf(joined);
      if (group !== undefined && joined.path === path && takesAll(request)) return group;
      if (group !== undefined && group.members.length > 0) {
        throw new BrokerError(
          "precondition-failed",
          `shared subscription '${name}' is in use with another topic, filter or selector: use the same, or another name`,
        );
      }
      this.#unsubscribe(joined, group);
    }
    if (!takesAll(request) || isWild(path)) return undefined;
    const group = this.#there(namespace, name, path);
    if (group === undefined) return undefined;
    const isNamed = group.node.kind !== "queue";
    const claims = this.#claims.get(keyOf(namespace, name, path)) ?? {
      ...{ namespace, name, path, isNamed },
      isSubscribed: false,
    };
    this.#note(claims, { isSubscribed: true });
    return group;
  }

  /** The group of the topic, or of the share that has an index of its own. */
  #there(namespace: string, name: string, path: string): ConsumerGroup | undefined {
    const named = this.#subscriptions().named(namespace, path, name);
    return named ?? this.#ofShare(namespace, name, path);
  }

  #ofShare(namespace: string, name: string, path: string): ConsumerGroup | undefined {
    const share = this.#shares.find(namespace, name, path);
    if (share === undefined || share.progress === null) return undefined;
    this.#shares.open(share);
    return share.group;
  }

  /** A global shared subscription of JMS becomes the group of the topic that others mean by its name. */
  #madeToLast(
    namespace: string,
    name: string,
    path: string,
    isNamed: boolean,
  ): ConsumerGroup | undefined {
    for (const isDurable of [true, false]) {
      const group = this.#find(namespace, name, isDurable, path);
      if (group === undefined || group.node.isTemporary) continue;
      this.#subscriptions().outlive(group, name);
      if (isDurable || !isNamed) {
        this.#note({ namespace, name, path, isNamed, isSubscribed: isDurable });
      }
      return group;
    }
    return undefined;
  }

  #find(
    namespace: string,
    name: string,
    isDurable: boolean,
    path: string,
  ): ConsumerGroup | undefined {
    const identity = { clientId: "", name, isShared: true, isDurable };
    const group = this.#subscriptions().find(namespace, identity);
    if (group === undefined) return undefined;
    const { tags, selector, noLocal, path: of } = group.settings;
    return tags === "" && selector === "" && !noLocal && of === path ? group : undefined;
  }

  // ── durable subscriptions that joined ───────────────────────────────────────────────────────────────────────────

  info(namespace: string, identity: SubscriptionIdentity): SubscriptionInfo | undefined {
    const claims = this.#joined(namespace, identity);
    const group = claims === undefined ? undefined : this.#groupOf(claims);
    if (claims === undefined || group === undefined) return undefined;
    return {
      identity: { clientId: "", name: claims.name, isShared: true, isDurable: true },
      address: this.#subscriptions().addressOf(namespace, claims.path),
      selector: "",
      noLocal: false,
      consumerCount: group.members.length,
      backlog: group.backlog,
    };
  }

  /** False: there is none of this identity here. */
  delete(namespace: string, identity: SubscriptionIdentity): boolean {
    const claims = this.#joined(namespace, identity);
    const group = claims === undefined ? undefined : this.#groupOf(claims);
    if (claims === undefined || group === undefined) return false;
    if (group.members.length > 0) {
      throw new BrokerError(
        "resource-locked",
        `subscription '${identity.name}' has ${group.members.length} active consumer(s): close them first`,
      );
    }
    this.#unsubscribe(claims, group);
    return true;
  }

  #joined(namespace: string, { clientId, isDurable, name }: SubscriptionIdentity) {
    if (clientId !== "" || !isDurable) return undefined;
    return this.#subscribed.get(nameKey(namespace, name));
  }

  #unsubscribe(claims: Claims, group: ConsumerGroup | undefined): void {
    this.#note(claims, { isSubscribed: false });
    const { namespace, name, path, isNamed } = claims;
    if (group === undefined) {
      this.#forget(claims);
      return;
    }
    const share = this.#shares.find(namespace, name, path);
    if (isNamed || (share !== undefined && share.sessionCount > 0)) return;
    this.#forget(claims);
    if (group.node.kind !== "queue") this.#subscriptions().forget(group);
    if (share !== undefined) this.#shares.drop(share);
  }

  #groupOf({ namespace, name, path }: Claims): ConsumerGroup | undefined {
    return this.#there(namespace, name, path);
  }

  // ── the end of a share ──────────────────────────────────────────────────────────────────────────────────────────

  /** Does the group stay when its share goes? */
  outlives({ namespace, name, filter, progress }: SharedSubscription): boolean {
    const claims = this.#claims.get(keyOf(namespace, name, filter));
    if (claims === undefined) return progress === null;
    return claims.isNamed || claims.isSubscribed;
  }

  /** The time of a share is over, and nobody else has a claim. */
  end({ namespace, name, filter, group, progress }: SharedSubscription): void {
    const claims = this.#claims.get(keyOf(namespace, name, filter));
    if (claims !== undefined) this.#forget(claims);
    if (progress === null && this.#subscriptions().has(group)) this.#subscriptions().forget(group);
  }

  // ── journal ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #note(claims: Claims, change: Partial<Pick<Claims, "isNamed" | "isSubscribed">> = {}): void {
    Object.assign(claims, change);
    this.#remember(claims);
    this.#journal(journalKey(claims), encode(claims));
  }

  #remember(claims: Claims): void {
    const { namespace, name, path, isSubscribed } = claims;
    this.#claims.set(keyOf(namespace, name, path), claims);
    if (isSubscribed) this.#subscribed.set(nameKey(namespace, name), claims);
    else this.#unname(claims);
  }

  #unname(claims: Claims): void {
    const key = nameKey(claims.namespace, claims.name);
    if (this.#subscribed.get(key) === claims) this.#subscribed.delete(key);
  }

  #forget(claims: Claims): void {
    this.#claims.delete(keyOf(claims.namespace, claims.name, claims.path));
    this.#unname(claims);
    this.#journal(journalKey(claims), NOTHING);
  }

  *writeSnapshot(catalog: CatalogWriter): Generator<void> {
    for (const claims of this.#claims.values()) {
      catalog.state(journalKey(claims), encode(claims));
      yield;
    }
  }

  /** After subscriptions and shares. A claim on what is not there any more ends. */
  restore(state: ReadonlyMap<string, Buffer>): void {
    for (const [key, value] of state) {
      if (!key.startsWith(PREFIX)) continue;
      const claims = JSON.parse(value.toString("utf8")) as Claims;
      const { namespace, name, path, isNamed, isSubscribed } = claims;
      this.#remember(claims);
      const group = this.#groupOf(claims);
      if (group === undefined) this.#forget(claims);
      else if (
        !isNamed &&
        !isSubscribed &&
        this.#shares.find(namespace, name, path) === undefined
      ) {
        this.#shares.adopt(namespace, name, path, group);
      }
    }
  }
}

function takesAll({ tags, address, selector, noLocal }: ConsumerRequest): boolean {
  return (tags ?? address.tags) === "" && (selector ?? "") === "" && noLocal !== true;
}

const keyOf = (namespace: string, name: string, path: string): string =>
  `${namespace}\x00${name}\x00${path}`;
const nameKey = (namespace: string, name: string): string => `${namespace}\x00${name}`;
/** Short, however long the names: the journal's keys are. */
const journalKey = ({ namespace, name, path }: Claims): string =>
  `${PREFIX}${createHash("sha256")
    .update(keyOf(namespace, name, path))
    .digest("base64url")}`;
const encode = (claims: Claims): Buffer => Buffer.from(JSON.stringify(claims), "utf8");
