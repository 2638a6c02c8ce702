/** What can be set for a STOMP listener. The configuration fills it; every default is here. */

export interface StompOptions {
  /** Heart-beats this broker offers and wants, ms; 0 for none. */
  readonly heartbeatSendMs: number;
  readonly heartbeatReceiveMs: number;
  /** A peer without heart-beats is dropped after so long without a byte, ms; 0 for never. */
  readonly idleTimeoutMs: number;
  /** CONNECT has to be complete within this time, ms. */
  readonly handshakeTimeoutMs: number;
  readonly maxHeaders: number;
  readonly maxHeaderBytes: number;
  readonly maxBodyBytes: number;
  /** Messages sent ahead of their ACK when SUBSCRIBE gives no number. */
  readonly defaultPrefetch: number;
  readonly maxSubscriptions: number;
  readonly maxTransactions: number;
  /** Destinations a connection may keep open for sending. */
  readonly maxTargets: number;
  /** A refused SEND or SUBSCRIBE ends the connection (what 1.1 and 1.2 say), or only gets its ERROR. */
  readonly strictErrors: boolean;
  /** ABORT gives acknowledged messages back for redelivery; otherwise they are un-acknowledged again. */
  readonly redeliverOnAbort: boolean;
  /** Values of the `host` header that name a namespace of their own. */
  readonly virtualHosts: readonly string[];
  /** Takes any other `host` for the default namespace instead of refusing it. */
  readonly acceptAnyHost: boolean;
  /** How others' temporary queues are spelled in MESSAGE frames. */
  readonly compat: "activemq" | "rabbitmq";
  /** `persistent` when SEND does not say: for queues, and for topics. */
  readonly persistentQueues: boolean;
  readonly persistentTopics: boolean;
  /** A bare destination name is this kind, unless one of that name exists. */
  readonly defaultKind: "queue" | "topic";
}

export const DEFAULT_OPTIONS: StompOptions = {
  heartbeatSendMs: 10_000,
  heartbeatReceiveMs: 10_000,
  idleTimeoutMs: 0,
  handshakeTimeoutMs: 10_000,
  maxHeaders: 128,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: 16 * 1024 * 1024,
  defaultPrefetch: 1000,
  maxSubscriptions: 1024,
  maxTransactions: 64,
  maxTargets: 256,
  strictErrors: true,
  redeliverOnAbort: true,
  virtualHosts: [],
  acceptAnyHost: false,
  compat: "activemq",
  persistentQueues: true,
  persistentTopics: false,
  defaultKind: "queue",
};
