/**
 * MQTT messages as other protocols see them, and other protocols' messages as MQTT (spec protocols.md §4.3, §4.5).
 *
 * Reading takes the stored property list: what stands for a field of the neutral message goes there, user properties
 * named `x-…` become annotations, all others properties, in order and with repeats. Writing gives a payload and a list.
 */
import { formatAddress, parseAddress } from "../../src/model/address-dialects.ts";
import { mqttBodyKind } from "../../src/model/body-kind.ts";
import { registerDecoder, toNeutral } from "../../src/model/conversion.ts";
import { readFieldHeader, writeFieldHeaders } from "../../src/model/field-headers.ts";
import { correlationFromBytes, correlationToBytes } from "../../src/model/identifiers.ts";
import type { Neutral, NeutralMessage } from "../../src/model/neutral.ts";
import { payloadOf, setPayload } from "../../src/model/payload.ts";
import { headerOf } from "../../src/model/properties.ts";
import { propertyFromText, valueText } from "../../src/model/property-text.ts";
import { homeOf, neutralFromRecord } from "../../src/model/record-fields.ts";
import { ENCODING, type RecordView } from "../../src/model/record-view.ts";
import type { Typed } from "../../src/model/values.ts";
import { PLACE, type Properties, readProperties, type UserProperties } from "./codec/properties.ts";
import { PacketReader } from "./codec/reader.ts";
import { listBytes, listOf } from "./message-properties.ts";

/** Called once when the adapter is made. */
export const registerMqttDecoder = (): void => registerDecoder(ENCODING.MQTT, decodeMqtt);

const BODY_KIND = "x-body-kind";
/** No string of MQTT is longer. */
const TEXT_MAX_BYTES = 0xffff;

// ---- reading

export function decodeMqtt(record: RecordView): Neutral {
  const message = neutralFromRecord(record);
  const properties = storedProperties(record);
  message.contentType = properties.contentType ?? "";
  if (properties.responseTopic !== undefined)
    message.replyTo = replyAddress(record, properties.responseTopic);
  if (properties.correlationData !== undefined)
    message.correlation = correlationFromBytes(properties.correlationData);
  let bodyKind: string | undefined;
  for (const [name, value] of properties.userProperties ?? []) {
    if (name === BODY_KIND) bodyKind ??= value;
    else if (!readFieldHeader(message, "mqtt", name, value)) addProperty(message, name, value);
  }
  const kind = mqttBodyKind(properties.payloadFormat === 1, message.contentType, bodyKind);
  setPayload(message, kind, record.buffer.subarray(record.bodyStart, record.bodyEnd));
  return message;
}

function storedProperties(record: RecordView): Properties {
  const list = listOf(record);
  return list.length === 0 ? {} : readProperties(lengthFirst(list), PLACE.PUBLISH);
}

const reader = new PacketReader();

/** The reader of property lists wants their length in front. */
function lengthFirst(list: Buffer): PacketReader {
  const length = list.length;
  const head: number[] = [];
  for (let rest = length; ; rest >>>= 7) {
    head.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    if (rest <= 0x7f) break;
  }
  const bytes = Buffer.concat([Buffer.from(head), list]);
  return reader.open(bytes, 0, bytes.length);
}

function addProperty(message: Neutral, name: string, value: string): void {
  const property = propertyFromText(name, value);
  if (name.startsWith("x-")) message.annotations.push(property);
  else message.properties.push(property);
}

/** null for what is no address: the response topic stays with MQTT readers. */
function replyAddress(record: RecordView, topic: string): Neutral["replyTo"] {
  try {
    return parseAddress(topic, "mqtt", { namespace: homeOf(record).namespace, allowQueues: true });
  } catch {
    return null;
  }
}

// ---- writing

export interface ConvertedMessage {
  readonly body: Buffer;
  /** MQTT 5 property list without its length; empty for none. */
  readonly list: Buffer;
}

/** A record of another protocol, as payload and property list. */
export function encodeMqtt(record: RecordView): ConvertedMessage {
  const message = toNeutral(record);
  const payload = payloadOf(message);
  const properties: Properties = {};
  if (payload.isText) properties.payloadFormat = 1;
  if (fits(payload.contentType) && payload.contentType !== "")
    properties.contentType = payload.contentType;
  const responseTopic = message.replyTo === null ? "" : formatAddress(message.replyTo, "mqtt");
  if (responseTopic !== "" && fits(responseTopic) && !/[+#]/.test(responseTopic))
    properties.responseTopic = responseTopic;
  if (message.correlation !== null) {
    const data = correlationToBytes(message.correlation);
    if (data.length <= TEXT_MAX_BYTES) properties.correlationData = data;
  }
  const user: UserProperties = [];
  if (payload.bodyKind !== "") user.push([BODY_KIND, payload.bodyKind]);
  addUserProperties(user, message);
  if (user.length > 0) properties.userProperties = user;
  return { body: payload.bytes, list: listBytes(properties) };
}

function addUserProperties(user: UserProperties, message: NeutralMessage): void {
  const put = (name: string, text: string): void => {
    // What MQTT's strings cannot hold is left out rather than sent as a malformed packet.
    if (fits(name) && fits(text)) user.push([name, text]);
  };
  for (const property of message.properties) put(...headerOf(property));
  for (const { name, value } of message.annotations) {
    if (isScalar(value)) put(...headerOf({ name, value }));
  }
  writeFieldHeaders(message, "mqtt", (name, value) => put(name, valueText(value)));
}

const isScalar = (value: Typed): boolean => value.type !== "list" && value.type !== "map";

const fits = (text: string): boolean =>
  !text.includes("\0") &&
  (text.length * 3 <= TEXT_MAX_BYTES || Buffer.byteLength(text) <= TEXT_MAX_BYTES);
