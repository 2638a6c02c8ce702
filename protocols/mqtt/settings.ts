/**
 * Everything about MQTT that can be configured, with defaults that need no thought. The configuration overrides single
 * fields; tests too.
 */
import { NEVER_EXPIRES } from "../../src/broker/session-facade.ts";

export interface MqttSettings {
  /** Largest packet taken; told to MQTT 5 clients. */
  readonly maxPacketBytes: number;
  /** Largest CONNECT: nobody is known yet who could be trusted with more. */
  readonly maxConnectBytes: number;
  /** Time from the first byte to CONNECT, ms. */
  readonly connectTimeoutMs: number;
  /** QoS 1 and 2 messages a MQTT 5 client may have open towards us. */
  readonly receiveMaximum: number;
  /** QoS 1 and 2 messages open towards a client that names no limit (all of MQTT 3). */
  readonly maxInflight: number;
  /** Topic aliases a client may define; 0 for none. */
  readonly topicAliasMaximum: number;
  /** Topic aliases we use towards a client, if it allows as many. */
  readonly outgoingAliasMaximum: number;
  /** A longer keep-alive is cut to this and told (MQTT 5); a MQTT 3 client keeps its own. */
  readonly maxKeepAliveSeconds: number;
  /** Life of a MQTT 3 session (clean session 0) after its connection. */
  readonly v3SessionExpirySeconds: number;
  /** A longer session expiry is cut to this and told. */
  readonly maxSessionExpirySeconds: number;
  /** A shared subscription goes on collecting messages so long after its last member left, ms. */
  readonly sharedExpiryMs: number;
  /** Longest client identifier, bytes. */
  readonly maxClientIdBytes: number;
  /** Longest topic name or filter, bytes. */
  readonly maxTopicBytes: number;
  readonly maxTopicLevels: number;
  /** Topics one connection remembers as resolved. */
  readonly topicCacheSize: number;
  /** Is a payload that claims to be UTF-8 checked? */
  readonly checkPayloadFormat: boolean;
  /** MQTT 3 cannot say "not authorised" to a PUBLISH: close the connection instead of dropping the message. */
  readonly closeOnDeny: boolean;
  /** Messages that may wait for a session that is kept, and for one that ends with its connection; 0 for no limit. */
  readonly maxQueued: number;
  readonly maxQueuedInMemory: number;
  readonly queueOverflow: "drop-oldest" | "drop-newest" | "reject";
  /** QoS 0 messages are dropped for a connection with more than this waiting to be sent. */
  readonly directMaxBytes: number;
  /** How often `$SYS` values are sent, ms; 0 turns the tree off. */
  readonly sysIntervalMs: number;
}

export const DEFAULT_SETTINGS: MqttSettings = {
  maxPacketBytes: 16 * 1024 * 1024,
  maxConnectBytes: 512 * 1024,
  connectTimeoutMs: 10_000,
  receiveMaximum: 1024,
  maxInflight: 1000,
  topicAliasMaximum: 64,
  outgoingAliasMaximum: 64,
  maxKeepAliveSeconds: 3600,
  v3SessionExpirySeconds: 7 * 24 * 3600,
  maxSessionExpirySeconds: NEVER_EXPIRES,
  sharedExpiryMs: 3_600_000,
  maxClientIdBytes: 0xffff,
  maxTopicBytes: 0xffff,
  maxTopicLevels: 128,
  topicCacheSize: 1024,
  checkPayloadFormat: true,
  closeOnDeny: false,
  maxQueued: 0,
  maxQueuedInMemory: 1_000_000,
  queueOverflow: "drop-oldest",
  directMaxBytes: 1024 * 1024,
  sysIntervalMs: 10_000,
};
