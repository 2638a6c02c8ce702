/**
 * Message and correlation ids: typed in AMQP 1.0, text everywhere else (spec protocols.md §4.4).
 *
 *   typed       text                                     what a JMS application sees as JMSMessageID
 *   string s    s, or ID:AMQP_STRING:s when s itself     s when it begins with "ID:", else ID:AMQP_NO_PREFIX:s
 *               looks like one of these forms
 *   uuid        urn:uuid:8-4-4-4-12                      ID:AMQP_UUID:…
 *   u64         ID:AMQP_ULONG:decimal                    ID:AMQP_ULONG:…
 *   bytes       ID:AMQP_BINARY:upper-case hex            ID:AMQP_BINARY:…
 *
 * The text leads back to the same typed value, so an id survives a round trip through a text protocol. On the AMQP 1.0
 * wire the value stays typed; an "ID:" is never added or stripped there.
 */
import { Buffer, isUtf8 } from "node:buffer";
import { isUuid, parseInteger, string, type Typed } from "./values.ts";

export type Identifier = Extract<Typed, { type: "string" | "uuid" | "u64" | "bytes" }>;

const URN = "urn:uuid:";
const AMQP = "ID:AMQP_";
const STRING = "ID:AMQP_STRING:";
const NO_PREFIX = "ID:AMQP_NO_PREFIX:";
const UUID = "ID:AMQP_UUID:";
const ULONG = "ID:AMQP_ULONG:";
const BINARY = "ID:AMQP_BINARY:";

export function identifierToText(id: Identifier): string {
  switch (id.type) {
    case "string":
      return id.value.startsWith(URN) || id.value.startsWith(AMQP) ? STRING + id.value : id.value;
    case "uuid":
      return URN + id.value;
    case "u64":
      return ULONG + id.value;
    default:
      return BINARY + upperHex(id.value);
  }
}

export function identifierFromText(text: string): Identifier {
  if (text.startsWith(URN)) {
    const value = text.slice(URN.length);
    if (isUuid(value)) return { type: "uuid", value: value.toLowerCase() };
  } else if (text.startsWith(AMQP)) {
    const typed = fromAmqpForm(text);
    if (typed !== undefined) return typed;
  }
  return { type: "string", value: text };
}

function fromAmqpForm(text: string): Identifier | undefined {
  if (text.startsWith(STRING)) return string(text.slice(STRING.length)) as Identifier;
  if (text.startsWith(NO_PREFIX)) return string(text.slice(NO_PREFIX.length)) as Identifier;
  if (text.startsWith(UUID)) {
    const value = text.slice(UUID.length);
    return isUuid(value) ? { type: "uuid", value: value.toLowerCase() } : undefined;
  }
  if (text.startsWith(ULONG)) {
    return parseInteger("u64", text.slice(ULONG.length)) as Identifier | undefined;
  }
  if (text.startsWith(BINARY)) {
    const hex = text.slice(BINARY.length);
    if (hex.length % 2 === 0 && /^[0-9A-Fa-f]*$/.test(hex)) {
      return { type: "bytes", value: Buffer.from(hex, "hex") };
    }
  }
  return undefined;
}

/** JMSMessageID as Qpid JMS shows it. */
export function jmsMessageId(id: Identifier): string {
  switch (id.type) {
    case "string":
      return id.value.startsWith("ID:") ? id.value : NO_PREFIX + id.value;
    case "uuid":
      return UUID + id.value;
    case "u64":
      return ULONG + id.value;
    default:
      return BINARY + upperHex(id.value);
  }
}

/** JMSCorrelationID as Qpid JMS shows it: application text as it is, typed ids in their message-id form. */
export const jmsCorrelationId = (id: Identifier): string =>
  id.type === "string" ? id.value : jmsMessageId(id);

/** MQTT Correlation Data: binary as it is, everything else its text form. */
export const correlationToBytes = (id: Identifier): Buffer =>
  id.type === "bytes" ? Buffer.from(id.value) : Buffer.from(identifierToText(id), "utf8");

/**
 * From MQTT Correlation Data: text when it reads as text, so that a requester of another protocol gets back what it sent;
 * otherwise binary, also where the text has another spelling than ours (`urn:uuid:` in upper case): as an answer it goes out
 * over MQTT as the same bytes.
 */
export function correlationFromBytes(data: Uint8Array): Identifier {
  if (isUtf8(data)) {
    const text = Buffer.from(data).toString("utf8");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: no text has them
    if (!/[\u0000-\u001f\u007f]/.test(text)) {
      const id = identifierFromText(text);
      if (Buffer.compare(correlationToBytes(id), data) === 0) return id;
    }
  }
  return { type: "bytes", value: Buffer.from(data) };
}

const upperHex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex").toUpperCase();
