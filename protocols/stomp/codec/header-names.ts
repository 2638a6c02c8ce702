/**
 * The header names this broker understands, as small numbers. `headerName` finds the number of a name in the bytes of a
 * frame without making a string: a table indexed by length and first letter leaves one or two candidates to compare.
 */

export const HEADER = {
  UNKNOWN: 0,
  // CONNECT
  ACCEPT_VERSION: 1,
  HOST: 2,
  LOGIN: 3,
  PASSCODE: 4,
  HEART_BEAT: 5,
  CLIENT_ID: 6,
  REQUEST_ID: 7,
  // any client frame
  RECEIPT: 8,
  TRANSACTION: 9,
  CONTENT_LENGTH: 10,
  DESTINATION: 11,
  // SUBSCRIBE, ACK
  ID: 12,
  ACK: 13,
  SELECTOR: 14,
  SUBSCRIPTION: 15,
  MESSAGE_ID: 16,
  REQUEUE: 17,
  NO_LOCAL: 18,
  ACTIVEMQ_NO_LOCAL: 19,
  BROWSER: 20,
  PREFETCH_COUNT: 21,
  ACTIVEMQ_PREFETCH_SIZE: 22,
  CONSUMER_WINDOW_SIZE: 23,
  ACTIVEMQ_PRIORITY: 24,
  X_PRIORITY: 25,
  ACTIVEMQ_EXCLUSIVE: 26,
  ACTIVEMQ_RETROACTIVE: 27,
  FROM: 28,
  X_STREAM_OFFSET: 29,
  GROUP: 30,
  TAG: 31,
  SUBSCRIPTION_TYPE: 32,
  DURABLE_SUBSCRIPTION_NAME: 33,
  DURABLE_SUBSCRIBER_NAME: 34,
  ACTIVEMQ_SUBSCRIPTION_NAME: 35,
  ACTIVEMQ_SUBCRIPTION_NAME: 36,
  DURABLE: 37,
  AUTO_DELETE: 38,
  X_QUEUE_NAME: 39,
  EXCLUSIVE: 40,
  // SEND
  PERSISTENT: 41,
  PRIORITY: 42,
  EXPIRES: 43,
  EXPIRATION: 44,
  REPLY_TO: 45,
  JMSX_GROUP_ID: 46,
  KEYS: 47,
  SCHEDULED_DELAY: 48,
  SCHEDULED_TIME: 49,
  SCHEDULED_PERIOD: 50,
  SCHEDULED_REPEAT: 51,
  SCHEDULED_CRON: 52,
  DELIVER_AT: 53,
  DESTINATION_TYPE: 54,
  TIMESTAMP: 55,
  REDELIVERED: 56,
  RETAIN: 57,
  X_MESSAGE_TTL: 58,
  X_EXPIRES: 59,
  X_MAX_LENGTH: 60,
  X_MAX_LENGTH_BYTES: 61,
  X_DEAD_LETTER_EXCHANGE: 62,
  X_DEAD_LETTER_ROUTING_KEY: 63,
  X_MAX_PRIORITY: 64,
  X_QUEUE_TYPE: 65,
  X_DELIVERY_COUNT: 66,
  CONTENT_TYPE: 67,
  X_TAG: 68,
  X_KEYS: 69,
} as const;
export type HeaderId = (typeof HEADER)[keyof typeof HEADER];

const NAMES: ReadonlyArray<readonly [HeaderId, string]> = [
  [HEADER.ACCEPT_VERSION, "accept-version"],
  [HEADER.HOST, "host"],
  [HEADER.LOGIN, "login"],
  [HEADER.PASSCODE, "passcode"],
  [HEADER.HEART_BEAT, "heart-beat"],
  [HEADER.CLIENT_ID, "client-id"],
  [HEADER.REQUEST_ID, "request-id"],
  [HEADER.RECEIPT, "receipt"],
  [HEADER.TRANSACTION, "transaction"],
  [HEADER.CONTENT_LENGTH, "content-length"],
  [HEADER.DESTINATION, "destination"],
  [HEADER.ID, "id"],
  [HEADER.ACK, "ack"],
  [HEADER.SELECTOR, "selector"],
  [HEADER.SUBSCRIPTION, "subscription"],
  [HEADER.MESSAGE_ID, "message-id"],
  [HEADER.REQUEUE, "requeue"],
  [HEADER.NO_LOCAL, "no-local"],
  [HEADER.ACTIVEMQ_NO_LOCAL, "activemq.noLocal"],
  [HEADER.BROWSER, "browser"],
  [HEADER.PREFETCH_COUNT, "prefetch-count"],
  [HEADER.ACTIVEMQ_PREFETCH_SIZE, "activemq.prefetchSize"],
  [HEADER.CONSUMER_WINDOW_SIZE, "consumer-window-size"],
  [HEADER.ACTIVEMQ_PRIORITY, "activemq.priority"],
  [HEADER.X_PRIORITY, "x-priority"],
  [HEADER.ACTIVEMQ_EXCLUSIVE, "activemq.exclusive"],
  [HEADER.ACTIVEMQ_RETROACTIVE, "activemq.retroactive"],
  [HEADER.FROM, "from"],
  [HEADER.X_STREAM_OFFSET, "x-stream-offset"],
  [HEADER.GROUP, "group"],
  [HEADER.TAG, "tag"],
  [HEADER.SUBSCRIPTION_TYPE, "subscription-type"],
  [HEADER.DURABLE_SUBSCRIPTION_NAME, "durable-subscription-name"],
  [HEADER.DURABLE_SUBSCRIBER_NAME, "durable-subscriber-name"],
  [HEADER.ACTIVEMQ_SUBSCRIPTION_NAME, "activemq.subscriptionName"],
  [HEADER.ACTIVEMQ_SUBCRIPTION_NAME, "activemq.subcriptionName"],
  [HEADER.DURABLE, "durable"],
  [HEADER.AUTO_DELETE, "auto-delete"],
  [HEADER.X_QUEUE_NAME, "x-queue-name"],
  [HEADER.EXCLUSIVE, "exclusive"],
  [HEADER.PERSISTENT, "persistent"],
  [HEADER.PRIORITY, "priority"],
  [HEADER.EXPIRES, "expires"],
  [HEADER.EXPIRATION, "expiration"],
  [HEADER.REPLY_TO, "reply-to"],
  [HEADER.JMSX_GROUP_ID, "JMSXGroupID"],
  [HEADER.KEYS, "keys"],
  [HEADER.SCHEDULED_DELAY, "AMQ_SCHEDULED_DELAY"],
  [HEADER.SCHEDULED_TIME, "AMQ_SCHEDULED_TIME"],
  [HEADER.SCHEDULED_PERIOD, "AMQ_SCHEDULED_PERIOD"],
  [HEADER.SCHEDULED_REPEAT, "AMQ_SCHEDULED_REPEAT"],
  [HEADER.SCHEDULED_CRON, "AMQ_SCHEDULED_CRON"],
  [HEADER.DELIVER_AT, "deliver-at"],
  [HEADER.DESTINATION_TYPE, "destination-type"],
  [HEADER.TIMESTAMP, "timestamp"],
  [HEADER.REDELIVERED, "redelivered"],
  [HEADER.RETAIN, "retain"],
  [HEADER.X_MESSAGE_TTL, "x-message-ttl"],
  [HEADER.X_EXPIRES, "x-expires"],
  [HEADER.X_MAX_LENGTH, "x-max-length"],
  [HEADER.X_MAX_LENGTH_BYTES, "x-max-length-bytes"],
  [HEADER.X_DEAD_LETTER_EXCHANGE, "x-dead-letter-exchange"],
  [HEADER.X_DEAD_LETTER_ROUTING_KEY, "x-dead-letter-routing-key"],
  [HEADER.X_MAX_PRIORITY, "x-max-priority"],
  [HEADER.X_QUEUE_TYPE, "x-queue-type"],
  [HEADER.X_DELIVERY_COUNT, "x-delivery-count"],
  [HEADER.CONTENT_TYPE, "content-type"],
  [HEADER.X_TAG, "x-tag"],
  [HEADER.X_KEYS, "x-keys"],
];

export const HEADER_COUNT = NAMES.length + 1;
const LONGEST = 32;

interface Candidate {
  readonly id: HeaderId;
  readonly bytes: Buffer;
}

/** Candidates by `length * 64 + (first byte & 63)`. */
const CANDIDATES: ReadonlyArray<readonly Candidate[] | undefined> = (() => {
  const table: Array<Candidate[] | undefined> = new Array((LONGEST + 1) * 64).fill(undefined);
  for (const [id, name] of NAMES) {
    const bytes = Buffer.from(name, "latin1");
    const slot = bytes.length * 64 + (bytes[0]! & 63);
    let list = table[slot];
    if (list === undefined) table[slot] = list = [];
    list.push({ id, bytes });
  }
  return table;
})();

/** The number of the name in `bytes[start, end)`, or HEADER.UNKNOWN. Names are case-sensitive. */
export function headerName(bytes: Buffer, start: number, end: number): HeaderId {
  const length = end - start;
  if (length > LONGEST) return HEADER.UNKNOWN;
  const candidates = CANDIDATES[length * 64 + (bytes[start]! & 63)];
  if (candidates === undefined) return HEADER.UNKNOWN;
  next: for (let c = 0; c < candidates.length; c++) {
    const name = candidates[c]!.bytes;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== name[i]) continue next;
    return candidates[c]!.id;
  }
  return HEADER.UNKNOWN;
}

/** The text of a known name; "" for UNKNOWN. */
export const headerText = (id: HeaderId): string =>
  NAMES.find(([candidate]) => candidate === id)?.[1] ?? "";
