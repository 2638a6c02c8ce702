/**
 * AMQP 1.0 messages as other protocols see them, and other protocols' messages as AMQP 1.0 (spec protocols.md §4.3, §4.5).
 * Between AMQP 1.0 peers nothing of this runs: their bytes are copied.
 */
import type { Address, AddressKind } from "../../src/model/address.ts";
import { formatAddress, parseAddress } from "../../src/model/address-dialects.ts";
import { type AmqpBodyShape, amqp1BodyKind, JMS_MESSAGE_TYPE } from "../../src/model/body-kind.ts";
import { registerDecoder } from "../../src/model/conversion.ts";
import { readFieldHeader, writeFieldHeaders } from "../../src/model/field-headers.ts";
import type { Identifier } from "../../src/model/identifiers.ts";
import type { Neutral, NeutralMessage } from "../../src/model/neutral.ts";
import { restoreProperty, simpleProperty } from "../../src/model/property-text.ts";
import { homeOf, neutralFromRecord } from "../../src/model/record-fields.ts";
import { ENCODING, type RecordView } from "../../src/model/record-view.ts";
import { SECTION } from "./codec/codes.ts";
import { Decoder, decodeValue } from "./codec/decode.ts";
import { Encoder } from "./codec/encode.ts";
import { MessageScan, PROPERTY } from "./codec/sections.ts";
import * as amqp from "./codec/value.ts";
import { messageFormatOf } from "./draft-filler.ts";
import { readAmqp1Property } from "./property-reader.ts";
import { fromTyped, isAsciiText, toTyped, uniqueKeys } from "./typed.ts";

type Value = amqp.Value;

/** Called once when the adapter is made. */
export const registerAmqp1Decoder = (): void =>
  registerDecoder(ENCODING.AMQP1, decodeAmqp1, readAmqp1Property);

/** `x-opt-jms-dest` and `x-opt-jms-reply-to`, by their byte. */
const JMS_KINDS: readonly AddressKind[] = ["queue", "topic", "temp-queue", "temp-topic"];
/** Annotations that say what the neutral message's own fields say. */
const JMS_ANNOTATIONS = new Set(["x-opt-jms-dest", "x-opt-jms-reply-to", "x-opt-jms-msg-type"]);

const SCAN = new MessageScan();

// ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────

export function decodeAmqp1(record: RecordView): Neutral {
  const message = neutralFromRecord(record);
  const { buffer, bodyStart, bodyEnd } = record;
  if (messageFormatOf(buffer, bodyStart, bodyEnd) !== 0) {
    message.bodyKind = "amqp";
    message.bytes = buffer.subarray(bodyStart, bodyEnd);
    return message;
  }
  SCAN.scan(buffer, bodyStart, bodyEnd);
  const { propertiesAt, annotationsAt, applicationPropertiesAt, bodyAt, footerAt } = SCAN;
  let jmsType = -1;
  let replyKind: AddressKind | undefined;
  if (annotationsAt >= 0) {
    for (const [key, value] of entriesAt(buffer, annotationsAt, bodyEnd)) {
      const name = String(key.value);
      if (name === "x-opt-jms-msg-type") jmsType = Number(value.value);
      else if (name === "x-opt-jms-reply-to") replyKind = JMS_KINDS[Number(value.value)];
      if (JMS_ANNOTATIONS.has(name)) continue;
      const typed = toTyped(value);
      if (!readFieldHeader(message, "amqp1", name, typed)) {
        message.annotations.push({ name, value: typed });
      }
    }
  }
  if (propertiesAt >= 0) readProperties(message, record, propertiesAt, replyKind);
  if (applicationPropertiesAt >= 0) {
    for (const [key, value] of entriesAt(buffer, applicationPropertiesAt, bodyEnd)) {
      message.properties.push(restoreProperty({ name: String(key.value), value: toTyped(value) }));
    }
  }
  readBody(message, buffer, bodyAt, footerAt < 0 ? bodyEnd : footerAt, jmsType);
  return message;
}

function entriesAt(bytes: Buffer, at: number, end: number): ReadonlyArray<readonly [Value, Value]> {
  const value = decodeValue(bytes, at, end);
  return value.type === "map" ? value.value : [];
}

function readProperties(
  message: Neutral,
  record: RecordView,
  at: number,
  replyKind: AddressKind | undefined,
): void {
  const list = decodeValue(record.buffer, at, record.bodyEnd);
  if (list.type !== "list") return;
  const field = (index: number): Value | undefined => {
    const value = list.value[index];
    return value === undefined || value.type === "null" ? undefined : value;
  };
  const text = (index: number): string => {
    const value = field(index);
    return value?.type === "string" || value?.type === "symbol" ? value.value : "";
  };
  message.id = identifierOf(field(PROPERTY.MESSAGE_ID)) ?? message.id;
  message.correlation = identifierOf(field(PROPERTY.CORRELATION_ID)) ?? message.correlation;
  const userId = field(PROPERTY.USER_ID);
  if (userId?.type === "binary") message.userId = userId.value;
  message.type = text(PROPERTY.SUBJECT);
  message.contentType = text(PROPERTY.CONTENT_TYPE);
  message.contentEncoding = text(PROPERTY.CONTENT_ENCODING);
  message.group = text(PROPERTY.GROUP_ID) || message.group;
  message.replyGroup = text(PROPERTY.REPLY_TO_GROUP_ID);
  const sequence = field(PROPERTY.GROUP_SEQUENCE);
  // JMS keeps a signed number in it: below zero closes the group.
  if (sequence?.type === "uint") message.groupSequence = sequence.value | 0;
  const creation = field(PROPERTY.CREATION_TIME);
  if (creation?.type === "timestamp") message.bornAt = Number(creation.value);
  const replyTo = text(PROPERTY.REPLY_TO);
  if (replyTo !== "") message.replyTo = addressOrNull(replyTo, replyKind, record);
}

function identifierOf(value: Value | undefined): Identifier | null {
  switch (value?.type) {
    case "string":
    case "uuid":
    case "ulong":
    case "binary":
      return toTyped(value) as Identifier;
    default:
      return null;
  }
}

function addressOrNull(
  text: string,
  kind: AddressKind | undefined,
  record: RecordView,
): Address | null {
  try {
    return parseAddress(text, "amqp1", {
      namespace: homeOf(record).namespace,
      ...(kind === undefined ? {} : { kind }),
    });
  } catch {
    return null;
  }
}

function readBody(
  message: Neutral,
  bytes: Buffer,
  start: number,
  end: number,
  jmsType: number,
): void {
  const decoder = new Decoder(bytes, start, end);
  const section = decoder.isAtEnd ? undefined : decoder.value();
  const body = section?.type === "described" ? section.value : undefined;
  const shape: AmqpBodyShape =
    body === undefined
      ? "absent"
      : decoder.isAtEnd
        ? shapeOf(section as amqp.DescribedValue, body)
        : "other";
  const kind = amqp1BodyKind(shape, jmsType, message.contentType);
  message.bodyKind = kind;
  switch (kind) {
    case "bytes":
    case "object":
      if (body?.type === "binary") message.bytes = body.value;
      return;
    case "text":
      if (body?.type === "string") message.bytes = Buffer.from(body.value);
      return;
    case "map":
    case "list":
      message.value = body === undefined ? { type: "list", value: [] } : toTyped(body);
      return;
    case "none":
      return;
    case "amqp":
      message.bytes = bytes.subarray(start, end);
      return;
    default: {
      const never: never = kind;
      throw new Error(`unknown body kind ${String(never)}`);
    }
  }
}

function shapeOf(section: amqp.DescribedValue, body: Value): AmqpBodyShape {
  const number = section.descriptor.value;
  if (number === SECTION.DATA) return "data";
  if (number === SECTION.SEQUENCE) return "sequence";
  if (number !== SECTION.VALUE) return "other";
  switch (body.type) {
    case "null":
      return "value-null";
    case "string":
      return "value-string";
    case "binary":
      return "value-binary";
    case "map":
      return "value-map";
    case "list":
      return "value-list";
    default:
      return "other";
  }
}

// ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Message-annotations to body; the header is written for each delivery. */
export function encodeAmqp1(message: NeutralMessage): Buffer {
  const encoder = new Encoder();
  const annotations = annotationsOf(message);
  if (annotations.length > 0) {
    encoder.value(amqp.described(SECTION.MESSAGE_ANNOTATIONS, amqp.map(annotations)));
  }
  encoder.value(amqp.composite(SECTION.PROPERTIES, propertiesOf(message)));
  if (message.properties.length > 0) {
    const entries = message.properties.map((property): [Value, Value] => {
      const { name, value } = simpleProperty(property);
      return [amqp.string(name), fromTyped(value)];
    });
    encoder.value(amqp.described(SECTION.APPLICATION_PROPERTIES, amqp.map(uniqueKeys(entries))));
  }
  writeBody(encoder, message);
  return Buffer.from(encoder.bytes());
}

function annotationsOf(message: NeutralMessage): Array<[Value, Value]> {
  const entries: Array<[Value, Value]> = [];
  const put = (name: string, value: Value): void => {
    if (isAsciiText(name)) entries.push([amqp.symbol(name), value]);
  };
  const dest = JMS_KINDS.indexOf(message.to.kind as AddressKind);
  if (dest >= 0) put("x-opt-jms-dest", { type: "byte", value: dest });
  if (message.replyTo !== null) {
    const reply = JMS_KINDS.indexOf(message.replyTo.kind as AddressKind);
    if (reply >= 0) put("x-opt-jms-reply-to", { type: "byte", value: reply });
  }
  const { bodyKind } = message;
  if (bodyKind !== "bytes" && bodyKind !== "text" && bodyKind !== "amqp") {
    // A byte, not an int: Qpid JMS casts it.
    put("x-opt-jms-msg-type", { type: "byte", value: JMS_MESSAGE_TYPE[bodyKind] });
  }
  writeFieldHeaders(message, "amqp1", (name, value) => put(name, fromTyped(value)));
  for (const { name, value } of message.annotations) put(name, fromTyped(value));
  return uniqueKeys(entries);
}

function propertiesOf(message: NeutralMessage): Value[] {
  const text = (value: string): Value => (value === "" ? amqp.NULL : amqp.string(value));
  const symbol = (value: string): Value =>
    value === "" || !isAsciiText(value) ? amqp.NULL : amqp.symbol(value);
  const time = (value: number): Value => (value > 0 ? amqp.timestamp(value) : amqp.NULL);
  const { id, correlation, userId, replyTo, groupSequence } = message;
  return [
    id === null ? amqp.NULL : fromTyped(id),
    userId === null ? amqp.NULL : amqp.binary(Buffer.from(userId)),
    text(formatAddress(message.to, "amqp1")),
    text(message.type),
    replyTo === null ? amqp.NULL : text(formatAddress(replyTo, "amqp1")),
    correlation === null ? amqp.NULL : fromTyped(correlation),
    symbol(contentTypeOf(message)),
    symbol(message.contentEncoding),
    time(message.expiresAt),
    time(message.bornAt),
    text(message.group),
    groupSequence === null ? amqp.NULL : amqp.uint(groupSequence >>> 0),
    text(message.replyGroup),
  ];
}

/** A text body is a string by itself; a content type on it would only confuse. */
function contentTypeOf(message: NeutralMessage): string {
  if (message.bodyKind === "object" && message.contentType === "") {
    return "application/x-java-serialized-object";
  }
  return message.contentType;
}

function writeBody(encoder: Encoder, message: NeutralMessage): void {
  const { bytes, value } = message;
  switch (message.bodyKind) {
    case "bytes":
    case "object":
      encoder.value(amqp.described(SECTION.DATA, amqp.binary(bytes)));
      return;
    case "text":
      encoder.value(amqp.described(SECTION.VALUE, amqp.string(bytes.toString("utf8"))));
      return;
    case "map":
      encoder.value(
        amqp.described(SECTION.VALUE, value === null ? amqp.map([]) : fromTyped(value)),
      );
      return;
    case "list":
      encoder.value(
        amqp.described(SECTION.SEQUENCE, value === null ? amqp.list([]) : fromTyped(value)),
      );
      return;
    case "none":
      encoder.value(amqp.described(SECTION.VALUE, amqp.NULL));
      return;
    case "amqp":
      encoder.raw(bytes);
      return;
    default: {
      const never: never = message.bodyKind;
      throw new Error(`unknown body kind ${String(never)}`);
    }
  }
}
