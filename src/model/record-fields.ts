/**
 * What a record says about its message outside the publisher's encoding: fixed fields, flag bits, the topic it lies in,
 * and standard properties. The beginning of every neutral message, whatever the encoding.
 */
import { Buffer } from "node:buffer";
import { type Address, makeAddress, parseCanonical } from "./address.ts";
import { type Death, type DeathReason, deathsFromText } from "./deaths.ts";
import { identifierFromText } from "./identifiers.ts";
import { addressOfTopicName } from "./names.ts";
import { Neutral } from "./neutral.ts";
import { isReserved, RECORD_PROPERTY, unescapeText } from "./properties.ts";
import { ENCODING, FLAG, type RecordView } from "./record-view.ts";
import { pathOf } from "./tag.ts";

const P = RECORD_PROPERTY;
/** Topics whose address is remembered; the rest are looked up again. */
const MAX_CACHED_TOPICS = 4096;
const homes = new Map<string, Address>();

/** The home of a record: its queue, or the root of its topic. */
export function homeOf(record: RecordView): Address {
  const name = record.topic;
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
  const home = homeOf(record);
  if ((record.flag & FLAG.TAG_IN_PATH) === 0 || record.encoding === ENCODING.FOREIGN) {
    return home.name;
  }
  return pathOf(home.name, standardProperty(record, P.TAG) ?? "", true);
}

/**
 * A neutral message with everything but body, content type and application properties; `unknown` gets the properties
 * that are not standard, as stored.
 */
export function neutralFromRecord(
  record: RecordView,
  unknown?: (name: string, value: string) => void,
): Neutral {
  const message = new Neutral();
  const { encoding, flag } = record;
  const isOurs = encoding !== ENCODING.FOREIGN;
  message.seq = record.physicalOffset;
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
  for (const [name, value] of record.properties()) {
    const plain = isOurs ? unescapeText(value) : value;
    if (!setStandard(message, name, plain) && !(name.startsWith("x-death-") || isReserved(name))) {
      unknown?.(name, value);
    }
  }
  if (message.to.name === "") {
    const home = homeOf(record);
    message.to =
      home.kind === "topic" && message.isTagInPath
        ? { ...home, name: pathOf(home.name, message.tag, true) }
        : home;
  }
  if (message.deaths.length === 0) message.deaths = flatDeath(record);
  return message;
}

/** False when the name is not one of the standard ones. */
function setStandard(message: Neutral, name: string, value: string): boolean {
  switch (name) {
    case P.ENCODING:
    case P.EXPIRES_AT:
    case P.BODY_KIND:
    case P.EMPTY_BODY:
      return true;
    case P.TAG:
      message.tag = value;
      return true;
    case P.KEYS:
      message.keys = value.split(" ").filter((key) => key !== "");
      return true;
    case P.GROUP:
      message.group = value;
      return true;
    case P.UNIQUE_KEY:
      message.uniqueKey = value;
      message.id ??= { type: "string", value };
      return true;
    case P.MESSAGE_ID:
      message.id = identifierFromText(value);
      return true;
    case P.CORRELATION:
      message.correlation = identifierFromText(value);
      return true;
    case P.REPLY_TO:
      message.replyTo = addressOrNull(value);
      return true;
    case P.REPLY_TO_CLIENT:
      message.replyTo ??= makeAddress("reply", value);
      return true;
    case P.TO:
      message.to = addressOrNull(value) ?? message.to;
      return true;
    case P.DELIVER_AT:
      message.deliverAt = numberOf(value);
      return true;
    case P.EXCHANGE:
      message.exchange = value;
      return true;
    case P.ROUTING_KEY:
      message.routingKeys = [...message.routingKeys, value];
      return true;
    case P.GROUP_SEQUENCE:
      message.groupSequence = numberOf(value);
      return true;
    case P.REPLY_GROUP:
      message.replyGroup = value;
      return true;
    case P.TTL:
      message.ttlMs = numberOf(value);
      return true;
    case P.USER_ID:
      message.userId = Buffer.from(value);
      return true;
    case P.APP_ID:
      message.appId = value;
      return true;
    case P.TYPE:
      message.type = value;
      return true;
    case P.CONTENT_TYPE:
      message.contentType = value;
      return true;
    case P.CONTENT_ENCODING:
      message.contentEncoding = value;
      return true;
    case P.PRIORITY:
      if (message.priority < 0) message.priority = Math.min(255, Math.max(0, numberOf(value)));
      return true;
    case P.DEATHS:
      message.deaths = deathsFromText(value);
      return true;
    case P.ORIGIN:
      message.origin = value;
      return true;
    default:
      return false;
  }
}

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

/** A single death told by flat properties `x-death-queue`, `-reason`, `-time`, `-count`. */
function flatDeath(record: RecordView): readonly Death[] {
  const queue = record.property("x-death-queue");
  if (queue === undefined) return [];
  const at = numberOf(record.property("x-death-time") ?? "");
  return [
    {
      queue,
      reason: (record.property("x-death-reason") ?? "rejected").replace("-", "_") as DeathReason,
      count: numberOf(record.property("x-death-count") ?? "1"),
      firstAt: at,
      lastAt: at,
      exchange: "",
      routingKeys: [queue],
      originalTtlMs: 0,
    },
  ];
}
