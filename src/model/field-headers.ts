/**
 * Fields that have no place of their own in a protocol travel as headers (AMQP 0-9-1, STOMP), user properties (MQTT) or
 * message annotations (AMQP 1.0). One table says under which name, for writing and for reading back, so that a field
 * survives any path (spec protocols.md §4.3).
 *
 *   field            AMQP 1.0              AMQP 0-9-1            STOMP                         MQTT 5
 *   tag (label)      x-tag                 x-tag                 tag (r: x-tag)                x-tag
 *   keys             x-keys                x-keys                keys (r: x-keys)              x-keys
 *   group            –                     x-group-id            JMSXGroupID                   x-group-id
 *   group sequence   –                     x-group-seq           JMSXGroupSeq                  x-group-seq
 *   reply group      –                     x-reply-to-group-id   JMS_AMQP_REPLY_TO_GROUP_ID    x-reply-to-group-id
 *   id               –                     (r: x-message-id)     amqp-message-id               x-message-id
 *   correlation      –                     (r: x-correlation-id) –                             –
 *   app id           x-app-id              –                     app-id                        x-app-id
 *   type             –                     –                     type                          –
 *   user id          –                     –                     user-id (r: JMSXUserID)       –
 *   priority         –                     –                     –                             x-priority
 *   deliver at       x-opt-delivery-time   x-deliver-at          deliver-at                    x-deliver-at
 *   content encoding –                     –                     content-encoding              x-content-encoding
 *   retain           x-opt-retain          x-retain              retain                        –
 *   exchange         x-exchange            –                     –                             –
 *   routing key      x-routing-key         –                     –                             –
 *   deaths           x-opt-deaths          x-death + summary     x-death-count + summary       x-death-count + summary
 *
 * "–": the protocol has a native field for it, which its adapter writes, or does not carry it.
 */
import { Buffer } from "node:buffer";
import type { Dialect } from "./address.ts";
import { deathCount, deathList, deathSummary } from "./deaths.ts";
import { identifierFromText, identifierToText } from "./identifiers.ts";
import type { Neutral, NeutralMessage } from "./neutral.ts";
import { valueText } from "./property-text.ts";
import { bool, i32, integer, long, string, type Typed, timestamp } from "./values.ts";

type Field =
  | "tag"
  | "keys"
  | "group"
  | "groupSequence"
  | "replyGroup"
  | "id"
  | "correlation"
  | "appId"
  | "type"
  | "userId"
  | "priority"
  | "deliverAt"
  | "contentEncoding"
  | "isRetained"
  | "exchange"
  | "routingKey";

/** The name to write; names that are only read are in `READ_ONLY`. */
const WRITTEN: Record<Dialect, Partial<Record<Field, string>>> = {
  amqp1: {
    tag: "x-tag",
    keys: "x-keys",
    appId: "x-app-id",
    deliverAt: "x-opt-delivery-time",
    isRetained: "x-opt-retain",
    exchange: "x-exchange",
    routingKey: "x-routing-key",
  },
  amqp091: {
    tag: "x-tag",
    keys: "x-keys",
    group: "x-group-id",
    groupSequence: "x-group-seq",
    replyGroup: "x-reply-to-group-id",
    deliverAt: "x-deliver-at",
    isRetained: "x-retain",
  },
  stomp: {
    tag: "tag",
    keys: "keys",
    group: "JMSXGroupID",
    groupSequence: "JMSXGroupSeq",
    replyGroup: "JMS_AMQP_REPLY_TO_GROUP_ID",
    id: "amqp-message-id",
    appId: "app-id",
    type: "type",
    userId: "user-id",
    deliverAt: "deliver-at",
    contentEncoding: "content-encoding",
    isRetained: "retain",
  },
  mqtt: {
    tag: "x-tag",
    keys: "x-keys",
    group: "x-group-id",
    groupSequence: "x-group-seq",
    replyGroup: "x-reply-to-group-id",
    id: "x-message-id",
    appId: "x-app-id",
    priority: "x-priority",
    deliverAt: "x-deliver-at",
    contentEncoding: "x-content-encoding",
  },
};

const READ_ONLY: Record<Dialect, ReadonlyArray<readonly [string, Field]>> = {
  amqp1: [],
  amqp091: [
    ["x-message-id", "id"],
    ["x-correlation-id", "correlation"],
  ],
  stomp: [
    ["x-tag", "tag"],
    ["x-keys", "keys"],
    ["JMSXUserID", "userId"],
  ],
  mqtt: [],
};

const READ: Record<Dialect, ReadonlyMap<string, Field>> = {
  amqp1: readTable("amqp1"),
  amqp091: readTable("amqp091"),
  stomp: readTable("stomp"),
  mqtt: readTable("mqtt"),
};

function readTable(dialect: Dialect): Map<string, Field> {
  const table = new Map<string, Field>(READ_ONLY[dialect]);
  for (const [field, name] of Object.entries(WRITTEN[dialect])) table.set(name, field as Field);
  return table;
}

/** Calls `put` for each field that is set and travels as a header in this protocol, deaths included. */
export function writeFieldHeaders(
  message: NeutralMessage,
  dialect: Dialect,
  put: (name: string, value: Typed) => void,
): void {
  const names = WRITTEN[dialect];
  for (const field of Object.keys(names) as Field[]) {
    const value = fieldValue(message, field, dialect);
    if (value !== undefined) put(names[field]!, value);
  }
  if (message.deaths.length === 0) return;
  if (dialect === "amqp1") {
    put("x-opt-deaths", deathList(message.deaths));
    return;
  }
  if (dialect === "amqp091") put("x-death", deathList(message.deaths));
  else put("x-death-count", i32(deathCount(message.deaths)));
  for (const { name, value } of deathSummary(message.deaths)) put(name, value);
}

function fieldValue(message: NeutralMessage, field: Field, dialect: Dialect): Typed | undefined {
  switch (field) {
    case "tag":
      return message.isTagInPath ? undefined : text(message.tag);
    case "keys":
      return message.keys.length === 0 ? undefined : string(message.keys.join(" "));
    case "id":
      return message.id === null ? undefined : string(identifierToText(message.id));
    case "correlation":
      return message.correlation === null
        ? undefined
        : string(identifierToText(message.correlation));
    case "groupSequence":
      return message.groupSequence === null ? undefined : long("i64", message.groupSequence);
    case "priority":
      return message.priority < 0 ? undefined : integer("u8", message.priority);
    case "deliverAt":
      if (message.deliverAt === 0) return undefined;
      return dialect === "amqp1" ? timestamp(message.deliverAt) : long("i64", message.deliverAt);
    case "userId":
      return message.userId === null
        ? undefined
        : string(Buffer.from(message.userId).toString("utf8"));
    case "isRetained":
      return message.isRetained ? bool(true) : undefined;
    case "exchange":
      return message.exchange === null ? undefined : string(message.exchange);
    case "routingKey":
      return message.routingKeys.length === 0 ? undefined : string(message.routingKeys[0]!);
    case "contentEncoding":
      return text(message.contentEncoding);
    default:
      return text(message[field]);
  }
}

const text = (value: string): Typed | undefined => (value === "" ? undefined : string(value));

/**
 * Takes a header that stands for a field; false when it does not, and is an ordinary header. `value` may be a string, as
 * text protocols have it, or typed. A value that makes no sense for its field leaves the header an ordinary one.
 */
export function readFieldHeader(
  message: Neutral,
  dialect: Dialect,
  name: string,
  value: Typed | string,
): boolean {
  const field = READ[dialect].get(name);
  if (field === undefined) return false;
  const plain = typeof value === "string" ? value : valueText(value);
  switch (field) {
    case "tag":
      if (message.tag === "") message.tag = plain;
      return true;
    case "keys":
      message.keys = plain.split(" ").filter((key) => key !== "");
      return true;
    case "id":
      message.id = identifierFromText(plain);
      return true;
    case "correlation":
      message.correlation = identifierFromText(plain);
      return true;
    case "groupSequence":
    case "priority":
    case "deliverAt":
      return readNumber(message, field, plain);
    case "userId":
      message.userId = Buffer.from(plain);
      return true;
    case "isRetained":
      message.isRetained = plain === "true";
      return true;
    case "exchange":
      message.exchange = plain;
      return true;
    case "routingKey":
      message.routingKeys = [plain];
      return true;
    default:
      message[field] = plain;
      return true;
  }
}

function readNumber(
  message: Neutral,
  field: "groupSequence" | "priority" | "deliverAt",
  plain: string,
): boolean {
  if (!/^-?\d{1,16}$/.test(plain)) return false;
  const value = Number(plain);
  if (field === "priority") {
    if (value < 0 || value > 255) return false;
    message.priority = value;
  } else message[field] = value;
  return true;
}
