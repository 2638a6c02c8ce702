/**
 * MQTT 5 properties (§2.2.2): the table of their numbers, types and the packets they may appear in, a reader that
 * enforces it, and a writer. PUBLISH has its own walk without objects in publish.ts; it shares the table.
 */
import { malformed, protocolError } from "./protocol-error.ts";
import type { PacketReader } from "./reader.ts";
import type { PacketWriter } from "./writer.ts";

export const PROPERTY = {
  PAYLOAD_FORMAT: 0x01,
  MESSAGE_EXPIRY: 0x02,
  CONTENT_TYPE: 0x03,
  RESPONSE_TOPIC: 0x08,
  CORRELATION_DATA: 0x09,
  SUBSCRIPTION_ID: 0x0b,
  SESSION_EXPIRY: 0x11,
  ASSIGNED_CLIENT_ID: 0x12,
  SERVER_KEEP_ALIVE: 0x13,
  AUTH_METHOD: 0x15,
  AUTH_DATA: 0x16,
  REQUEST_PROBLEM_INFO: 0x17,
  WILL_DELAY: 0x18,
  REQUEST_RESPONSE_INFO: 0x19,
  RESPONSE_INFO: 0x1a,
  SERVER_REFERENCE: 0x1c,
  REASON_STRING: 0x1f,
  RECEIVE_MAXIMUM: 0x21,
  TOPIC_ALIAS_MAXIMUM: 0x22,
  TOPIC_ALIAS: 0x23,
  MAXIMUM_QOS: 0x24,
  RETAIN_AVAILABLE: 0x25,
  USER_PROPERTY: 0x26,
  MAXIMUM_PACKET_SIZE: 0x27,
  WILDCARD_AVAILABLE: 0x28,
  SUBSCRIPTION_IDS_AVAILABLE: 0x29,
  SHARED_AVAILABLE: 0x2a,
} as const;

/** Where a property list stands: the packet, or the will inside CONNECT. */
export const PLACE = {
  CONNECT: 1 << 1,
  CONNACK: 1 << 2,
  PUBLISH: 1 << 3,
  /** PUBACK, PUBREC, PUBREL, PUBCOMP: the same set. */
  PUBLISH_ACK: 1 << 4,
  SUBSCRIBE: 1 << 8,
  /** SUBACK and UNSUBACK. */
  SUBSCRIBE_ACK: 1 << 9,
  UNSUBSCRIBE: 1 << 10,
  DISCONNECT: 1 << 14,
  AUTH: 1 << 15,
  WILL: 1 << 16,
} as const;
export type Place = (typeof PLACE)[keyof typeof PLACE];

/** Name and value pairs in order; a name may repeat. */
export type UserProperties = Array<readonly [name: string, value: string]>;

export interface Properties {
  payloadFormat?: number;
  messageExpiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Buffer;
  subscriptionIds?: number[];
  sessionExpiry?: number;
  assignedClientId?: string;
  serverKeepAlive?: number;
  authMethod?: string;
  authData?: Buffer;
  requestProblemInfo?: number;
  willDelay?: number;
  requestResponseInfo?: number;
  responseInfo?: string;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  maximumQoS?: number;
  retainAvailable?: number;
  userProperties?: UserProperties;
  maximumPacketSize?: number;
  wildcardAvailable?: number;
  subscriptionIdsAvailable?: number;
  sharedAvailable?: number;
}

type Kind = "bit" | "u16" | "u32" | "varint" | "text" | "binary" | "pair";
type Field = keyof Properties;

interface Rule {
  readonly id: number;
  readonly field: Field;
  readonly kind: Kind;
  readonly places: number;
  /** Zero is a Protocol Error. */
  readonly isPositive: boolean;
}

const P = PLACE;
const MESSAGE = P.PUBLISH | P.WILL;
const EVERY_PLACE =
  P.CONNECT |
  P.CONNACK |
  P.PUBLISH |
  P.PUBLISH_ACK |
  P.SUBSCRIBE |
  P.SUBSCRIBE_ACK |
  P.UNSUBSCRIBE |
  P.DISCONNECT |
  P.AUTH |
  P.WILL;
const REASON_PLACES = P.CONNACK | P.PUBLISH_ACK | P.SUBSCRIBE_ACK | P.DISCONNECT | P.AUTH;

const RULES: ReadonlyArray<readonly [number, Field, Kind, number, positive?: true]> = [
  [PROPERTY.PAYLOAD_FORMAT, "payloadFormat", "bit", MESSAGE],
  [PROPERTY.MESSAGE_EXPIRY, "messageExpiry", "u32", MESSAGE],
  [PROPERTY.CONTENT_TYPE, "contentType", "text", MESSAGE],
  [PROPERTY.RESPONSE_TOPIC, "responseTopic", "text", MESSAGE],
  [PROPERTY.CORRELATION_DATA, "correlationData", "binary", MESSAGE],
  [PROPERTY.SUBSCRIPTION_ID, "subscriptionIds", "varint", P.PUBLISH | P.SUBSCRIBE, true],
  [PROPERTY.SESSION_EXPIRY, "sessionExpiry", "u32", P.CONNECT | P.CONNACK | P.DISCONNECT],
  [PROPERTY.ASSIGNED_CLIENT_ID, "assignedClientId", "text", P.CONNACK],
  [PROPERTY.SERVER_KEEP_ALIVE, "serverKeepAlive", "u16", P.CONNACK],
  [PROPERTY.AUTH_METHOD, "authMethod", "text", P.CONNECT | P.CONNACK | P.AUTH],
  [PROPERTY.AUTH_DATA, "authData", "binary", P.CONNECT | P.CONNACK | P.AUTH],
  [PROPERTY.REQUEST_PROBLEM_INFO, "requestProblemInfo", "bit", P.CONNECT],
  [PROPERTY.WILL_DELAY, "willDelay", "u32", P.WILL],
  [PROPERTY.REQUEST_RESPONSE_INFO, "requestResponseInfo", "bit", P.CONNECT],
  [PROPERTY.RESPONSE_INFO, "responseInfo", "text", P.CONNACK],
  [PROPERTY.SERVER_REFERENCE, "serverReference", "text", P.CONNACK | P.DISCONNECT],
  [PROPERTY.REASON_STRING, "reasonString", "text", REASON_PLACES],
  [PROPERTY.RECEIVE_MAXIMUM, "receiveMaximum", "u16", P.CONNECT | P.CONNACK, true],
  [PROPERTY.TOPIC_ALIAS_MAXIMUM, "topicAliasMaximum", "u16", P.CONNECT | P.CONNACK],
  [PROPERTY.TOPIC_ALIAS, "topicAlias", "u16", P.PUBLISH],
  [PROPERTY.MAXIMUM_QOS, "maximumQoS", "bit", P.CONNACK],
  [PROPERTY.RETAIN_AVAILABLE, "retainAvailable", "bit", P.CONNACK],
  [PROPERTY.USER_PROPERTY, "userProperties", "pair", EVERY_PLACE],
  [PROPERTY.MAXIMUM_PACKET_SIZE, "maximumPacketSize", "u32", P.CONNECT | P.CONNACK, true],
  [PROPERTY.WILDCARD_AVAILABLE, "wildcardAvailable", "bit", P.CONNACK],
  [PROPERTY.SUBSCRIPTION_IDS_AVAILABLE, "subscriptionIdsAvailable", "bit", P.CONNACK],
  [PROPERTY.SHARED_AVAILABLE, "sharedAvailable", "bit", P.CONNACK],
];

const BY_ID: Array<Rule | undefined> = [];
for (const [id, field, kind, places, isPositive] of RULES) {
  BY_ID[id] = { id, field, kind, places, isPositive: isPositive === true };
}
const IN_ORDER: readonly Rule[] = RULES.map(([id]) => BY_ID[id]!);

/** More user properties than this in one packet are refused: each costs objects. */
const MAX_USER_PROPERTIES = 1024;

/** Reads a property list with its length, as it may stand at `place`. */
export function readProperties(reader: PacketReader, place: Place): Properties {
  const length = reader.varint("property length");
  const outerEnd = reader.enter(length, "property list");
  const out: Record<string, unknown> = {};
  while (reader.remaining > 0) {
    const id = reader.varint("property identifier");
    const rule = BY_ID[id];
    if (rule === undefined) throw malformed(`unknown property ${id}`, "MQTT-2.2.2-2");
    if ((rule.places & place) === 0) throw malformed(`${rule.field} does not belong here`);
    readOne(reader, rule, out, place);
  }
  reader.leave(outerEnd);
  return out as Properties;
}

function readOne(
  reader: PacketReader,
  rule: Rule,
  out: Record<string, unknown>,
  place: Place,
): void {
  const { field } = rule;
  if (rule.kind === "pair") {
    const pairs = listOf<UserProperties[number]>(out, field);
    if (pairs.length >= MAX_USER_PROPERTIES) throw protocolError("too many user properties");
    pairs.push([reader.text("user property name"), reader.text("user property value")]);
    return;
  }
  if (rule.kind === "varint") {
    const id = reader.varint(field);
    if (id === 0) throw protocolError("subscription identifier 0");
    const ids = listOf<number>(out, field);
    if (ids.length > 0 && place === PLACE.SUBSCRIBE)
      throw protocolError("subscription identifier given twice");
    ids.push(id);
    return;
  }
  if (out[field] !== undefined) throw protocolError(`${field} given twice`);
  out[field] = readValue(reader, rule);
}

function listOf<T>(out: Record<string, unknown>, field: string): T[] {
  out[field] ??= [];
  return out[field] as T[];
}

function readValue(reader: PacketReader, rule: Rule): number | string | Buffer {
  let value: number;
  switch (rule.kind) {
    case "text":
      return reader.text(rule.field);
    case "binary":
      return reader.binary(rule.field);
    case "bit":
      value = reader.u8(rule.field);
      if (value > 1) throw protocolError(`${rule.field} must be 0 or 1, not ${value}`);
      return value;
    case "u16":
      value = reader.u16(rule.field);
      break;
    default:
      value = reader.u32(rule.field);
  }
  if (value === 0 && rule.isPositive) throw protocolError(`${rule.field} must not be 0`);
  return value;
}

/** Writes `properties` with their length in front, in the order of their numbers. */
export function writeProperties(writer: PacketWriter, properties: Properties): void {
  const mark = writer.beginVarintLength();
  for (const rule of IN_ORDER) {
    const value = properties[rule.field];
    if (value !== undefined) writeOne(writer, rule, value);
  }
  writer.endVarintLength(mark);
}

function writeOne(writer: PacketWriter, rule: Rule, value: unknown): void {
  switch (rule.kind) {
    case "pair":
      for (const [name, text] of value as UserProperties) {
        writer.u8(rule.id);
        writer.text(name);
        writer.text(text);
      }
      return;
    case "varint":
      for (const id of value as number[]) {
        writer.u8(rule.id);
        writer.varint(id);
      }
      return;
    default:
  }
  writer.u8(rule.id);
  if (rule.kind === "text") writer.text(value as string);
  else if (rule.kind === "binary") writer.binary(value as Buffer);
  else if (rule.kind === "bit") writer.u8(value as number);
  else if (rule.kind === "u16") writer.u16(value as number);
  else writer.u32(value as number);
}
