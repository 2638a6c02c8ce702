/**
 * The rows of the tables. Every client, whatever its language, reports under these names, so that one row means the same
 * promise everywhere. Foreign programs print the key; an unknown key fails their step.
 */
export const CAPABILITIES = {
  "send-receive": "send and receive on a queue",
  order: "1,000 messages, each once and in order",
  bodies: "every body type comes back as it went",
  properties: "properties, headers and annotations",
  large: "message of 8 MiB",
  "async-send": "many sends on the way at once",
  "settle-second": "acknowledgement confirmed by the broker (settle mode second)",
  presettled: "settled (unacknowledged) sends and receives",
  acknowledge: "acknowledged messages never come again",
  redelivery: "unacknowledged messages come again",
  "delivery-count": "delivery count tells failed attempts",
  reject: "rejected messages go to the dead-letter queue",
  modify: "modified: failed and undeliverable here",
  "receive-timeout": "receive with time-out, no wait and drain",
  "prefetch-0": "one credit at a time",
  "concurrent-consumers": "consumers on one queue share its messages",
  browse: "browsing leaves the queue as it was",
  "request-reply": "temporary queue, request and reply",
  "temporary-topic": "temporary topic",
  "anonymous-producer": "producer without a fixed destination",
  "topic-fanout": "topic: every subscriber gets every message",
  "topic-wildcard": "topic: wildcard subscriptions",
  "topic-tag": "topic: subscribe by tag",
  durable: "durable subscription outlives its consumer",
  shared: "shared subscription: members divide the messages",
  "shared-durable": "shared durable subscription",
  unsubscribe: "unsubscribe deletes the backlog",
  "no-local": "no-local",
  delay: "delayed delivery",
  ttl: "expired messages are not delivered",
  priority: "higher priority first",
  selector: "selectors",
  transactions: "transactions: commit and rollback",
  "transactions-receive": "transactions: received messages",
  recover: "session recover",
  "no-acknowledge": "receiver that never acknowledges",
  refusals: "errors: refused with the standard condition",
  "slow-neighbour": "a stuck consumer does not stop others",
  "connection-loss": "lost connection gives its messages back",
  heartbeat: "idle connection is kept alive",
  restart: "durable messages survive a restart",
  retained: "retained messages",
  will: "last will",
  session: "persistent session",
  "session-takeover": "second connection takes the session over",
  qos: "QoS 0, 1 and 2",
  receipts: "receipts after durability",
} as const;

export type CapabilityKey = keyof typeof CAPABILITIES;

export const capabilityName = (key: string): string | undefined =>
  (CAPABILITIES as Readonly<Record<string, string>>)[key];
