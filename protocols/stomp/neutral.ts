/**
 * STOMP messages as other protocols see them, and other protocols' messages as STOMP (spec protocols.md §4.3, §4.5).
 *
 * Reading takes the stored header block; a header that stands for a field of the neutral message goes there, `x-…` become
 * annotations, all others properties, in order and with repeats. Writing gives header lines and a body; what a delivery
 * adds (destination, message-id, timestamp, priority …) message-writer.ts puts in front.
 */
import { parseAddress } from "../../src/model/address-dialects.ts";
import { stompBodyKind } from "../../src/model/body-kind.ts";
import { isValidUtf8, JSON_TYPE, TEXT_PLAIN } from "../../src/model/content-type.ts";
import { registerDecoder, toNeutral } from "../../src/model/conversion.ts";
import { readFieldHeader, writeFieldHeaders } from "../../src/model/field-headers.ts";
import { identifierFromText, identifierToText } from "../../src/model/identifiers.ts";
import type { Neutral, NeutralMessage } from "../../src/model/neutral.ts";
import { payloadOf, setPayload } from "../../src/model/payload.ts";
import { headerOf } from "../../src/model/properties.ts";
import { propertyFromText, valueText } from "../../src/model/property-text.ts";
import { homeOf, neutralFromRecord } from "../../src/model/record-fields.ts";
import { ENCODING, type RecordView } from "../../src/model/record-view.ts";
import { TurnMemo } from "../../src/model/turn-memo.ts";
import { StoredBlock } from "./codec/header-block.ts";
import { headerLine, type StompVersion } from "./codec/header-escape.ts";
import type { ConvertedMessage } from "./codec/message-writer.ts";

/** Called once when the adapter is made. */
export const registerStompDecoder = (): void => registerDecoder(ENCODING.STOMP, decodeStomp);

// ---- reading

const MAP_JSON = "jms-map-json";

/** Headers that tell what the body is, or were used up when the message came. */
interface Hints {
  hasContentLength: boolean;
  contentType: string;
  amqMsgType: string | undefined;
  transformation: string | undefined;
  xBodyKind: string | undefined;
}

export function decodeStomp(record: RecordView): Neutral {
  const message = neutralFromRecord(record);
  const block = new StoredBlock();
  const hints: Hints = {
    hasContentLength: true,
    contentType: "",
    amqMsgType: undefined,
    transformation: undefined,
    xBodyKind: undefined,
  };
  if (block.find(record)) {
    hints.hasContentLength = block.isBytes;
    const seen = new Set<string>();
    for (const [name, value] of block.headers(record.buffer)) {
      const isFirst = !seen.has(name);
      seen.add(name);
      if (!readHeader(message, record, hints, name, value, isFirst))
        addProperty(message, name, value);
    }
  }
  message.contentType = hints.contentType;
  setPayload(
    message,
    stompBodyKind(hints),
    record.buffer.subarray(record.bodyStart, record.bodyEnd),
  );
  return message;
}

/** True when the header stands for something else than a property. Of repeated ones the first counts. */
function readHeader(
  message: Neutral,
  record: RecordView,
  hints: Hints,
  name: string,
  value: string,
  isFirst: boolean,
): boolean {
  switch (name) {
    case "content-type":
      if (isFirst) hints.contentType = value;
      return true;
    case "correlation-id":
      if (isFirst) message.correlation = identifierFromText(value);
      return true;
    case "reply-to":
      if (isFirst) message.replyTo = replyAddress(record, value);
      return true;
    case "expiration":
      if (isFirst) message.ttlMs = Number(value);
      return true;
    case "amq-msg-type":
      if (isFirst) hints.amqMsgType = value;
      return true;
    case "transformation":
      if (isFirst) hints.transformation = value;
      return true;
    case "x-body-kind":
      if (isFirst) hints.xBodyKind = value;
      return true;
    case "AMQ_SCHEDULED_DELAY":
    case "AMQ_SCHEDULED_TIME":
    case "AMQ_SCHEDULED_PERIOD":
    case "AMQ_SCHEDULED_REPEAT":
      return true;
    default:
      return isFirst && readFieldHeader(message, "stomp", name, value);
  }
}

function addProperty(message: Neutral, name: string, value: string): void {
  const property = propertyFromText(name, value);
  if (name.startsWith("x-")) message.annotations.push(property);
  else message.properties.push(property);
}

/** null for what is no address: the text stays with STOMP readers. */
function replyAddress(record: RecordView, text: string): Neutral["replyTo"] {
  try {
    return parseAddress(text, "stomp", { namespace: homeOf(record).namespace });
  } catch {
    return null;
  }
}

// ---- writing

/** Names that only the broker may write into a MESSAGE frame; a property called so is shown with a prefix. */
const RESERVED: ReadonlySet<string> = new Set([
  "destination",
  "message-id",
  "subscription",
  "ack",
  "redelivered",
  "timestamp",
  "persistent",
  "priority",
  "expires",
  "content-length",
  "content-type",
  "content-encoding",
  "correlation-id",
  "reply-to",
  "type",
  "browser",
  "receipt",
  "receipt-id",
  "transformation",
  "x-body-kind",
  "x-delivery-count",
  "x-stream-offset",
]);
const RESERVED_PREFIX = "property-";

/** How an address is spelled for this peer. */
export type Spell = (address: NonNullable<NeutralMessage["replyTo"]>) => string;

export function encodeStomp(
  message: NeutralMessage,
  version: StompVersion,
  spell: Spell,
): ConvertedMessage {
  const payload = payloadOf(message);
  let lines = "";
  const put = (name: string, value: string): void => {
    // NUL is legal in a header and breaks nearly every client.
    lines += headerLine(name, value, version).replaceAll("\0", "\ufffd");
  };
  if (message.correlation !== null) put("correlation-id", identifierToText(message.correlation));
  if (message.replyTo !== null) put("reply-to", spell(message.replyTo));
  const contentType = payload.contentType || (message.bodyKind === "text" ? TEXT_PLAIN : "");
  if (contentType !== "") put("content-type", contentType);
  if (payload.bodyKind !== "") put("x-body-kind", payload.bodyKind);
  if (payload.bodyKind === "map" && contentType === JSON_TYPE) put("transformation", MAP_JSON);
  writeFieldHeaders(message, "stomp", (name, value) => put(name, valueText(value)));
  for (const property of message.properties) {
    const [name, text] = headerOf(property);
    if (name !== "") put(RESERVED.has(name) ? RESERVED_PREFIX + name : name, text);
  }
  for (const annotation of message.annotations) {
    const [name, text] = headerOf(annotation);
    if (name.startsWith("x-") && !name.startsWith("x-opt-jms") && !RESERVED.has(name)) {
      put(name, text);
    }
  }
  return {
    headers: Buffer.from(lines, "utf8"),
    body: payload.bytes,
    bodyStart: 0,
    bodyEnd: payload.bytes.length,
    isText: payload.isText && isValidUtf8(payload.bytes),
  };
}

/** A record that cannot be converted goes out as it is, and says so. */
function unconverted(record: RecordView, reason: string, version: StompVersion): ConvertedMessage {
  return {
    headers: Buffer.from(headerLine("transformation-error", reason, version)),
    body: record.buffer,
    bodyStart: record.bodyStart,
    bodyEnd: record.bodyEnd,
    isText: false,
  };
}

interface Converted {
  readonly version: StompVersion;
  readonly style: string;
  readonly message: ConvertedMessage;
}
const memo = new TurnMemo<Converted>();

/** The record as a STOMP message: converted once per turn for all consumers of a version and style. */
export function convertRecord(
  record: RecordView,
  version: StompVersion,
  style: string,
  spell: Spell,
): ConvertedMessage {
  const known = memo.find(record);
  if (known?.version === version && known.style === style) return known.message;
  const message = convertNow(record, version, spell);
  return memo.keep(record, { version, style, message }).message;
}

function convertNow(record: RecordView, version: StompVersion, spell: Spell): ConvertedMessage {
  try {
    return encodeStomp(toNeutral(record), version, spell);
  } catch (error) {
    return unconverted(record, error instanceof Error ? error.message : String(error), version);
  }
}
