/**
 * What a protocol adapter sees of the broker. Everything else in this folder is behind it.
 *
 * The hot path is three calls: `Target.publish` (once per message), `DeliverySink.deliver` (once per run of messages) and
 * `Consumer.settle` (once per range). None allocates, awaits or throws in the ordinary case.
 */
import type { Address } from "../model/address.ts";
import type { Draft } from "../model/draft.ts";
import type { BrokerError } from "../model/errors.ts";
import type { RecordView } from "../model/record-view.ts";
import type { PeerInfo } from "../security/peer.ts";
import type { Principal } from "../security/principal.ts";
import type { Turn } from "../util/turn.ts";
import type { SessionHost } from "./session-facade.ts";
import type { Tally } from "./tally.ts";

export interface BrokerFacade {
  readonly nodeName: string;
  readonly version: string;
  readonly turn: Turn;
  readonly limits: BrokerLimits;
  /** MQTT: sessions, retained messages, wills. */
  readonly sessions: SessionHost;
  /** What did not go the usual way; adapters tell what they drop themselves. */
  readonly tally: Pick<Tally, "watch">;

  /** Registers an authenticated peer. Throws limit-exceeded, unauthorized, or resource-locked for a client id in use. */
  connect(request: ConnectRequest): BrokerConnection;

  /**
   * How far the log is safe at this level, on the scale of `Target.publish`. Infinity for "memory".
   * A publish is confirmed to its peer once `confirmedTo(target.level) >= position`.
   */
  confirmedTo(level: DurabilityLevel): number;
  /** Calls `onConfirm` of everybody registered each time a watermark moves (once per group commit). Register once, when the first wait begins. */
  awaitConfirm(waiter: ConfirmWaiter): void;
  /**
   * How far acknowledgements are durable, on the scale of `Consumer.settle`. Waiters get `onConfirm` for this too.
   * Asking says that somebody waits: the coming group commit then syncs the settlements as well. Ask only where the
   * protocol confirms them.
   */
  settledTo(): number;

  /** Space in the store for `bytes`? What peers send is asked for at their `BrokerConnection`. */
  hasRoom(bytes: number): boolean;
  /** Once, when there is room again. */
  onRoom(callback: () => void): void;
  /** Why publishing is held back (disk or memory at its watermark), or null. */
  readonly blocked: { readonly reason: string } | null;
  /** Called whenever `blocked` changes; returns its own removal. */
  onBlocked(callback: (blocked: { readonly reason: string } | null) => void): () => void;
}

export type DurabilityLevel = "memory" | "os" | "fsync";

export interface BrokerLimits {
  readonly maxMessageBytes: number;
  readonly maxLinksPerSession: number;
  readonly maxSessionsPerConnection: number;
}

export interface ConfirmWaiter {
  /** Confirms what it can; true while something still waits (stays registered). Runs in the DISPATCH..FLUSH part of a turn. */
  onConfirm(): boolean;
}

export interface ConnectRequest {
  readonly protocol: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly principal: Principal;
  /** The socket it came through (the wire's info): rights may depend on it. Absent: a stranger from another machine. */
  readonly peer?: PeerInfo;
  /** Container id, client id; "" for none. */
  readonly clientId: string;
  /** "/" is the default namespace. */
  readonly namespace: string;
  /** Refuse (default) or close an older connection of the same client id, user and namespace; "coexist" allows both. */
  readonly clientIdPolicy: "coexist" | "refuse" | "close-existing";
  /** An older connection of this client id will end once this one is in (MQTT): it does not count against a quota. */
  readonly willReplace?: boolean;
  /** The broker asks the adapter to end this peer, with the reason. */
  close(reason: BrokerError): void;
}

export interface BrokerConnection {
  readonly id: number;
  readonly namespace: string;
  readonly principal: Principal;
  readonly clientId: string;

  /**
   * Opens a destination for publishing; creates it where that is allowed.
   * Throws not-found, unauthorized, invalid-address, precondition-failed (a kind one cannot send to).
   */
  openTarget(address: Address, options?: TargetOptions): Target;
  /** Opens a source for consuming. Throws as openTarget, and resource-locked, invalid-argument (filter). */
  openConsumer(request: ConsumerRequest, sink: DeliverySink): Consumer;
  /** Looks a durable subscription up without consuming it; undefined where there is none that this peer might delete. */
  findSubscription(identity: SubscriptionIdentity): SubscriptionInfo | undefined;
  /**
   * Deletes a durable subscription: resource-locked while consumed, not-found when it is not there, unauthorized for who may
   * neither receive nor delete there.
   */
  deleteSubscription(identity: SubscriptionIdentity): void;
  /** A temporary queue or topic that only this connection may consume; anyone may send. */
  createTemporary(kind: "queue" | "topic", lifetime: TemporaryLifetime): Address;
  deleteTemporary(address: Address): void;
  /**
   * May this peer send a message of `bytes` now? When false keep the input (return from onData before this frame) and
   * wait for `onRoom`: the store has no space, or the peer is faster than it may be.
   */
  hasRoom(bytes: number): boolean;
  /** Once, when it is worth asking again. */
  onRoom(callback: () => void): void;
  /** The same user logged in once more: what it came with now counts, such as a token that ends later. */
  renewLogin(principal: Principal): void;
  /** Begins a local transaction. */
  beginTransaction(): Transaction;
  /** Closes consumers (unsettled ones as lost: each consumer's `onLost` outcome), temporaries, transactions. */
  close(): void;
}

export type TemporaryLifetime =
  | "delete-on-close"
  | "delete-on-no-links"
  | "delete-on-no-messages"
  | "delete-on-no-links-or-messages";

export interface TargetOptions {
  /** Never create; throw not-found instead. */
  readonly mustExist?: boolean;
}

export interface Target {
  /** Canonical, with the kind resolved. */
  readonly address: Address;
  /** What a confirm stands for here. */
  readonly level: DurabilityLevel;
  /** Duplicates are looked for here: fill `Draft.dedupId` from the publisher's message id. */
  readonly wantsMessageId: boolean;
  /**
   * Appends the message everywhere it belongs. Returns the position to confirm at; 0 when nobody wanted it (a topic without
   * subscribers or history): confirm at once. Throws BrokerError: queue-full, message-too-large, properties-too-large,
   * unauthorized, resource-deleted, store-read-only. The caller has asked `hasRoom`.
   */
  publish(draft: Draft): number;
  /** Did the last `publish` find anybody (or a history) that wanted the message? */
  readonly hadReaders: boolean;
  /** How many more messages a producer here should be allowed: 0 while blocked or over the destination's high mark. */
  readonly creditAllowance: number;
  /** Calls back when `creditAllowance` rises from 0. One callback per target. */
  onAllowance: (() => void) | null;
  close(): void;
}

/** Who a durable or shared subscription belongs to (spec protocols.md §6.5). */
export interface SubscriptionIdentity {
  /** Client id, or "" for a global (shared across clients) subscription. */
  readonly clientId: string;
  readonly name: string;
  readonly isShared: boolean;
  readonly isDurable: boolean;
}

export interface SubscriptionInfo {
  readonly identity: SubscriptionIdentity;
  readonly address: Address;
  readonly selector: string;
  readonly noLocal: boolean;
  readonly consumerCount: number;
  readonly backlog: number;
}

export type StartPosition =
  | { readonly kind: "first" | "last" | "next" }
  | { readonly kind: "offset"; readonly offset: number }
  | { readonly kind: "time"; readonly timestampMs: number };

export interface ConsumerRequest {
  readonly address: Address;
  /** "browse" reads a snapshot and never acquires. */
  readonly mode: "consume" | "browse";
  /** Deliveries are accepted as they are sent. */
  readonly preSettled: boolean;
  /** A durable and/or shared topic subscription; absent: a volatile one of this link, or a queue. */
  readonly subscription?: SubscriptionIdentity;
  /** A named consumer group on a topic (also from the address `#group`). */
  readonly group?: {
    readonly name: string;
    readonly mode: "clustering" | "broadcast";
    readonly isOrdered?: boolean;
  };
  /** Where a new volatile or positional reader begins; default "next" for topics. */
  readonly from?: StartPosition;
  /** RocketMQ tag expression `a || b`; also from the address `?tag=`. */
  readonly tags?: string;
  /** JMS SQL-92 selector. */
  readonly selector?: string;
  readonly noLocal?: boolean;
  /** Higher first; default 0. */
  readonly priority?: number;
  readonly isExclusive?: boolean;
  /** What becomes of unsettled deliveries when the connection is lost (a link closed in order always releases). */
  readonly onLost: Outcome;
}

/** Delivery outcomes (spec protocols.md §5). */
export const OUTCOME = {
  /** Done. */
  ACCEPT: 0,
  /** Back to its place, not counted. */
  RELEASE: 1,
  /** Back to its place, counted as a failed attempt. */
  FAIL: 2,
  /** Dead: dead-letter queue or dropped. */
  REJECT: 3,
  /** Not to this consumer again. */
  FAIL_ELSEWHERE: 4,
} as const;
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

export interface Consumer {
  readonly id: number;
  readonly address: Address;
  /** For the answer to the peer: the subscription's or group's resolved facts. */
  readonly info: ConsumerInfo;

  /** Messages this consumer may still get. Set it absolutely (AMQP 1.0 flow); Infinity for unlimited. Dispatch follows in this turn. */
  setCredit(credit: number): void;
  readonly credit: number;
  /** Deliver what is ready now; then the sink gets `onDrained`, in this turn if nothing is ready. */
  drain(): void;
  /** The sink is ready again (its wire drained). */
  resume(): void;

  /**
   * Settles the deliveries numbered `first..last` (the consumer's own count from 0, as `DeliveryRun.firstDelivery` gives it).
   * Numbers already settled are skipped. Returns a position for `settledTo`, 0 when nothing had to be made durable.
   */
  settle(first: number, last: number, outcome: Outcome): number;
  /** Deliveries not yet settled. */
  readonly unsettledCount: number;
  /** Ready messages, for AMQP 1.0 flow.available. */
  readonly available: number;
  /** Unsettled deliveries take `outcome`; a durable subscription stays unless `deleteSubscription`. */
  close(outcome: Outcome): void;
}

export interface ConsumerInfo {
  readonly kind: "queue" | "topic";
  readonly isDurable: boolean;
  readonly isShared: boolean;
  /** Filters that are honoured. */
  readonly tags: string;
  readonly selector: string;
  readonly noLocal: boolean;
  /**
   * A durable subscription survives a crash once `settledTo() >= durableAt`: the peer is told only then that it has one.
   * 0 when there is nothing to wait for.
   */
  readonly durableAt: number;
}

/** The adapter's side of a consumer. */
export interface DeliverySink {
  /** May the adapter take a run now? False while its wire is backed up or a window is closed; call `Consumer.resume` later. */
  isReady(): boolean;
  /** Encode all messages of the run. */
  deliver(run: DeliveryRun): void;
  /** A drain is done: nothing more is ready. */
  onDrained(): void;
  /** The broker ended this consumer (node deleted, subscription stolen, unauthorized now). */
  onCancel(reason: BrokerError): void;
}

/** A run of messages for one consumer. Reused: valid inside `deliver` only. */
export interface DeliveryRun {
  readonly count: number;
  /** The consumer's number of the first message; the others follow. */
  readonly firstDelivery: number;
  /** Where in the log, by index: tells whether somebody else got the same record. */
  readonly physicalOffset: Float64Array;
  /** None of them failed before, or was with anybody: the two questions below have one answer. */
  readonly isPlain: boolean;
  /** Failed attempts before this one, by index. */
  deliveryCount(index: number): number;
  /** Was it acquired by anybody before (redelivered)? */
  isRedelivered(index: number): boolean;
  /** Offset in its shard, by index: the position for `from=offset:`. */
  queueOffset(index: number): number;
  /** Positions the shared view; valid until the next call. */
  record(index: number): RecordView;
}

export interface Transaction {
  /** Stages a publish; visible and durable with `commit` only. */
  publish(target: Target, draft: Draft): void;
  /** Stages a settlement; the deliveries stay acquired until the end. */
  settle(consumer: Consumer, first: number, last: number, outcome: Outcome): void;
  /** All or nothing. Returns the position to confirm at (level fsync). Throws transaction-rollback. */
  commit(): number;
  /** Publishes are dropped, settlements forgotten (`redeliver`: those deliveries fail and come back). */
  rollback(redeliver: boolean): void;
}
