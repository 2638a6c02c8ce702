/**
 * What a record says about its message outside the publisher's encoding: fixed fields, flag bits, the topic it lies in,
 * and standard properties. The beginning of every neutral message, whatever the encoding.
 */
import { Buffer } from "node:buffer";
import { type Address, makeAddress, parseCanonical } from "./address.ts";
import { type Death, type DeathReason, deathsFromText } from "./deaths.ts";
import { identifierFromText } from "./identifiers.ts";
import { addressOfTopicName, isShortened } from "./names.ts";
import { Neutral } from "./neutral.ts";
import { isReserved, RECORD_PROPERTY, unescapeText } from "./properties.ts";
import { ENCODING, FLAG, type RecordView } from "./record-view.ts";
import { pathOf, rootAndTag } from "./tag.ts";

const P = RECORD_PROPERTY;
/** Topics whose address is remembered; the rest are looked up again. */
const MAX_CACHED_TOPICS = 4096;
const homes = new Map<string, Address>();

/** Home of records that were stored again for some readers only: property `x-to` says where they belong. */
export const COPIES_TOPIC = "SLUICE_COPIES";

/** Does the record's topic not tell its address? */
const isElsewhere = (name: string): boolean => name === COPIES_TOPIC || isShortened(name);

/** The home of a record: its queue, or the root of its topic. */
export function homeOf(record: RecordView): Address {
  const name = record.topic;
  if (isElsewhere(name)) {
    const to = addressOrNull(standardProperty(record, P.TO) ?? "");
    if (to !== null) return to.kind === "topic" ? { ...to, name: rootAndTag(to.name).root } : to;
  }
  let address = homes.get(name);
  if (address === undefined) {
    address = addressOfTopicName(name) ?? makeAddress("topic", name);
    if (homes.size >= MAX_CACHED_TOPICS) homes.clear();
    homes.set(name, address);
  }
  return address;
}

/** A standard property with the escapes of our own records undone. */
export function standardProperty(record: RecordView, name: string): string | undefined {
  const value = record.property(name);
  return value === undefined || record.encoding === ENCODING.FOREIGN ? value : unescapeText(value);
}

/** The canonical path of a topic's record, or the name of its queue. */
export function pathOfRecord(record: RecordView): string {
  if (isElsewhere(record.topic)) {
    const to = addressOrNull(standardProperty(record, P.TO) ?? "");
    if (to !== null) return to.name;
  }
  const home = homeOf(record);
  if ((record.flag & FLAG.TAG_IN_PATH) === 0 || record.encoding === ENCODING.FOREIGN) {
    return home.name;
  }
  return pathOf(home.name, standardProperty(record, P.TAG) ?? "", true);
}

/** What a record without a protocol says of its body. */
export interface BodyHints {
  /** Property `x-body-kind`, "" without it. */
  bodyKind: string;
  /** A body that is one byte because RocketMQ takes no empty ones. */
  isEmpty: boolean;
}

/**
 * A neutral message with everything but body, content type and application properties; `unknown` gets the properties
 * that are not standard, as stored.
 */
export function neutralFromRecord(
  record: RecordView,
  unknown?: (message: Neutral, name: string, value: string) => void,
  hints?: BodyHints,
): Neutral {
  const message = new Neutral();
  const { encoding, flag } = record;
  const isOurs = encoding !== ENCODING.FOREIGN;
  message.seq = record.firstOffset;
  message.encoding = encoding;
  message.bornAt = record.bornTimestamp;
  message.storedAt = record.storeTimestamp;
  message.reconsumeTimes = record.reconsumeTimes;
  message.isDurable = record.isDurable;
  message.expiresAt = record.expiresAt;
  if (isOurs) {
    if (flag & FLAG.HAS_PRIORITY) message.priority = flag & FLAG.PRIORITY_MASK;
    message.isTagInPath = (flag & FLAG.TAG_IN_PATH) !== 0;
    message.isRetained = (flag & FLAG.RETAIN) !== 0;
  }
  let death: FlatDeath | null = null;
  for (const [name, value] of record.properties()) {
    const set = SETTERS.get(name);
    if (set !== undefined) set(message, isOurs ? unescapeText(value) : value);
    else if (name === P.BODY_KIND) {
      if (hints !== undefined) hints.bodyKind = isOurs ? unescapeText(value) : value;
    } else if (name === P.EMPTY_BODY) {
      if (hints !== undefined) hints.isEmpty = value === "1";
    } else if (name.startsWith("x-death-")) {
      death ??= {};
      death[name] = value;
    } else if (unknown !== undefined && !isReserved(name)) unknown(message, name, value);
  }
  if (message.to.name === "") {
    const home = homeOf(record);
    message.to =
      home.kind === "topic" && message.isTagInPath
        ? { ...home, name: pathOf(home.name, message.tag, true) }
        : home;
  }
  if (death !== null && message.deaths.length === 0) message.deaths = deathOf(death);
  return message;
}

type Setter = (message: Neutral, value: string) => void;

const SETTERS: ReadonlyMap<string, Setter> = new Map<string, Setter>([
  [P.TAG, (message, value) => (message.tag = value)],
  [P.KEYS, (message, value) => (message.keys = value.split(" ").filter((key) => key !== ""))],
  [P.GROUP, (message, value) => (message.group = value)],
  [
    P.UNIQUE_KEY,
    (message, value) => {
      message.uniqueKey = value;
      message.id ??= { type: "string", value };
    },
  ],
  [P.MESSAGE_ID, (message, value) => (message.id = identifierFromText(value))],
  [P.CORRELATION, (message, value) => (message.correlation = identifierFromText(value))],
  [P.REPLY_TO, (message, value) => (message.replyTo = addressOrNull(value))],
  [P.REPLY_TO_CLIENT, (message, value) => (message.replyTo ??= makeAddress("reply", value))],
  [P.TO, (message, value) => (message.to = addressOrNull(value) ?? message.to)],
  [P.DELIVER_AT, (message, value) => (message.deliverAt = numberOf(value))],
  [P.EXCHANGE, (message, value) => (message.exchange = value)],
  [P.ROUTING_KEY, (message, value) => (message.routingKeys = [...message.routingKeys, value])],
  [P.GROUP_SEQUENCE, (message, value) => (message.groupSequence = numberOf(value))],
  [P.REPLY_GROUP, (message, value) => (message.replyGroup = value)],
  [P.TTL, (message, value) => (message.ttlMs = numberOf(value))],
  [P.USER_ID, (message, value) => (message.userId = Buffer.from(value))],
  [P.APP_ID, (message, value) => (message.appId = value)],
  [P.TYPE, (message, value) => (message.type = value)],
  [P.CONTENT_TYPE, (message, value) => (message.contentType = value)],
  [P.CONTENT_ENCODING, (message, value) => (message.contentEncoding = value)],
  [
    P.PRIORITY,
    (message, value) => {
      if (message.priority < 0) message.priority = Math.min(255, Math.max(0, numberOf(value)));
    },
  ],
  [P.DEATHS, (message, value) => (message.deaths = deathsFromText(value))],
  [P.ORIGIN, (message, value) => (message.origin = value)],
]);

const numberOf = (text: string): number => {
  const value = Number(text);
  return Number.isFinite(value) ? value : 0;
};

function addressOrNull(text: string): Address | null {
  try {
    return parseCanonical(text);
  } catch {
    return null;
  }
}

type FlatDeath = Record<string, string>;

/** A single death told by flat properties `x-death-queue`, `-reason`, `-time`, `-count`. */
function deathOf(flat: FlatDeath): readonly Death[] {
  const queue = flat["x-death-queue"];
  if (queue === undefined) return [];
  const at = numberOf(flat["x-death-time"] ?? "");
  return [
    {
      queue,
      reason: (flat["x-death-reason"] ?? "rejected").replace("-", "_") as DeathReason,
      count: numberOf(flat["x-death-count"] ?? "1"),
      firstAt: at,
      lastAt: at,
      exchange: "",
      routingKeys: [queue],
      originalTtlMs: 0,
    },
  ];
}
