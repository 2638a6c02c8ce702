/**
 * What MQTT needs of the broker beyond targets and consumers: sessions that outlive their connection, fed by any number
 * of filters through one index; retained messages; wills; and both halves of exactly-once.
 *
 * Hot paths reuse facade.ts: messages of QoS 1 and 2 come to a `DeliverySink` in runs and are settled by number; QoS 0
 * comes one by one to `SessionSink.deliverNow`, at the moment it is published, and is never kept.
 */
import type { Draft } from "../model/draft.ts";
import type { BrokerError } from "../model/errors.ts";
import type { RecordView } from "../model/record-view.ts";
import type { BrokerConnection, Consumer, DeliverySink, Target } from "./facade.ts";

export interface SessionHost {
  /**
   * Opens the session of this client id in the connection's namespace, creates it where there is none or a clean start
   * is asked for. Another connection that has it loses it first (`SessionSink.onTakenOver`), with its will as the rules
   * say. Throws unauthorized (will topic, another user's session), limit-exceeded, invalid-address (will topic).
   */
  open(connection: BrokerConnection, request: SessionRequest, sink: SessionSink): Session;
  readonly stats: SessionStats;
  /** How long a shared subscription collects messages after its last member left. */
  shareExpiryMs: number;
  /** How much may wait for one of them. */
  limits: SessionLimits;
}

export interface SessionLimits {
  /** Messages that wait for one session or share; 0 for no limit. In-flight ones do not count. */
  readonly maxQueued: number;
  /** The same for sessions that end with their connection: their lists are in memory. */
  readonly maxQueuedInMemory: number;
  readonly overflow: "drop-oldest" | "drop-newest" | "reject";
}

export interface SessionStats {
  readonly sessions: number;
  readonly connected: number;
  readonly subscriptions: number;
  readonly sharedSubscriptions: number;
  readonly retained: number;
  /** QoS 0 messages that a slow reader did not get. */
  readonly droppedDirect: number;
  /** Messages dropped because too many waited for a session. */
  readonly droppedQueued: number;
}

export interface SessionRequest {
  readonly clientId: string;
  readonly isCleanStart: boolean;
  /** Life after the connection's end; 0 ends with it, NEVER_EXPIRES does not end. */
  readonly expirySeconds: number;
  readonly will: WillMessage | null;
}

export const NEVER_EXPIRES = 0xffff_ffff;

export interface WillMessage {
  readonly topic: string;
  /** Body, properties, durability (QoS >= 1), retain flag and expiry of the message; its own object, kept as long as the will. */
  readonly draft: Draft;
  readonly delaySeconds: number;
}

export interface SubscriptionOptions {
  readonly qos: 0 | 1 | 2;
  readonly isNoLocal: boolean;
  readonly isRetainAsPublished: boolean;
  /** Subscription Identifier, 0 for none. */
  readonly identifier: number;
}

/** How one message goes to one session: all its filters that match, taken together. */
export interface Grant {
  /** The highest of them. */
  readonly qos: 0 | 1 | 2;
  readonly isRetainAsPublished: boolean;
  readonly identifiers: readonly number[];
}

/** One stream of QoS 1 and 2 messages: the session's own index, or a shared subscription it is a member of. */
export interface SessionSource {
  /** Credit, settlement and delivery numbers as everywhere. */
  readonly consumer: Consumer;
  readonly isShared: boolean;
  /** Offsets below were sent on an earlier connection: sending them again is a repetition. */
  readonly resentBelow: number;
  /** How to deliver a message of this source; null when no filter of the session matches any more: settle it away. */
  grantFor(path: string): Grant | null;
  /** Positions `view` on the record of a delivery that is not settled; false when it cannot be read. */
  read(delivery: number, view: RecordView): boolean;
  /** Changes whenever an earlier answer of `grantFor` may no longer hold. */
  readonly grantVersion: number;
}

export interface SessionSink {
  /** A new source opens (with `attach` and shared subscriptions); the answer gets its runs. It starts without credit. */
  openSource(source: SessionSource): DeliverySink;
  closeSource(source: SessionSource): void;
  /** QoS 0, valid during the call. False when it was not taken because too much is waiting for this peer. */
  deliverNow(record: RecordView, path: string, grant: Grant): boolean;
  /**
   * Another connection takes the session: say so and close. Nothing of the session may be used after, its deliveries are
   * released as with `detach`. Returns those to keep.
   */
  onTakenOver(): readonly KeptDelivery[];
  /** The broker ends the session (an operator, revoked rights). */
  onEnded(reason: BrokerError): void;
}

export interface SubscribeResult {
  /** The same filter was subscribed before: its options were replaced. */
  readonly existed: boolean;
  /** Wait for `settledTo` to reach it before the answer; 0 when there is nothing to wait for. */
  readonly position: number;
}

/** Retained messages that match a filter, as they were when it was made; paced by the reader. */
export interface RetainedCursor {
  /** Positions `view` on the next one; false at the end. The view is valid until the turn ends. */
  next(view: RecordView): boolean;
  /** Canonical path of the record `next` gave. */
  readonly path: string;
  close(): void;
}

/** A delivery that the peer may have taken already: it stays with the session and is sent again to nobody else. */
export interface KeptDelivery {
  readonly source: SessionSource;
  readonly delivery: number;
}

export interface Session {
  readonly clientId: string;
  /** State of an earlier connection was found. */
  readonly isPresent: boolean;
  /**
   * A session that is kept is promised when its journal entry and its will are safe: once `settledTo` has reached the one
   * and `confirmedTo("fsync")` the other. 0 when there is nothing to wait for.
   */
  readonly journaledAt: number;
  readonly willEnd: number;
  /** Free for the adapter; lives as long as the session does in memory. */
  attachment: unknown;

  /** Begins deliveries: sources are opened. Once, after the peer has been told that it is connected. */
  attach(): void;
  /** The life after the connection may be changed while it lasts. */
  setExpiry(seconds: number): void;

  /** Throws unauthorized, limit-exceeded. `filter` is valid; `share` is a share name or "". */
  subscribe(filter: string, share: string, options: SubscriptionOptions): SubscribeResult;
  /** Position to wait for, 0 for nothing, -1 when there was no such subscription. */
  unsubscribe(filter: string, share: string): number;
  readonly subscriptionCount: number;
  forEachSubscription(
    callback: (filter: string, share: string, options: SubscriptionOptions) => void,
  ): void;
  retained(filter: string): RetainedCursor;
  /** Positions `view` on a record by its place in the log; false when it is gone. */
  view(physicalOffset: number, size: number, view: RecordView): boolean;

  /** Exactly-once in: was this packet id taken and not yet released? */
  hasReceived(packetId: number): boolean;
  /** Publishes and remembers the packet id in one atomic step. Returns as Target.publish. */
  publishOnce(target: Target, draft: Draft, packetId: number): number;
  /** Forgets the packet id: position on the scale of `settledTo`, 0 when nothing was on disk, -1 when it is not known. */
  release(packetId: number): number;
  readonly receivedCount: number;

  /**
   * Exactly-once out: packet ids whose message the peer has (PUBREC) and whose end (PUBCOMP) is outstanding. `received`
   * returns the position that `settledTo` has to reach before PUBREL may be sent; call it before settling the delivery.
   */
  received(packetId: number): number;
  completed(packetId: number): void;
  isReceived(packetId: number): boolean;
  readonly awaitingCompletion: Iterable<number>;
  readonly awaitingCount: number;

  /**
   * The connection is over. `dropWill`: it said goodbye in order. Unsettled deliveries go back to their places, except
   * those of shared subscriptions in `keep`: they wait for this session (MQTT-4.8.2-4) and die with it.
   */
  detach(dropWill: boolean, keep: readonly KeptDelivery[]): void;
}
