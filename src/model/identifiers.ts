/**
 * Message and correlation ids: typed in AMQP 1.0, text everywhere else (spec protocols.md §4.4).
 *
 *   typed       text                                     what a JMS application sees as JMSMessageID
 *   string s    s, or ID:AMQP_STRING:s when s itself     s when it begins with "ID:", else ID:AMQP_NO_PREFIX:s
 *               is one of these forms
 *   uuid        urn:uuid:8-4-4-4-12, lower case          ID:AMQP_UUID:…
 *   u64         ID:AMQP_ULONG:decimal                    ID:AMQP_ULONG:…
 *   bytes       ID:AMQP_BINARY:upper-case hex            ID:AMQP_BINARY:…
 *
 * Each text has one typed value and leads to it and back, byte for byte: a form in another spelling (`urn:uuid:` in upper
 * case) is a string. So an answer brings every requester the id that it sent. On the AMQP 1.0 wire the value stays typed; an
 * "ID:" is never added or stripped there.
 */
import { Buffer, isUtf8 } from "node:buffer";
import { isUuid, parseInteger, type Typed } from "./values.ts";

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
      return isForm(id.value) ? STRING + id.value : id.value;
    case "uuid":
      return URN + id.value.toLowerCase();
    case "u64":
      return ULONG + id.value;
    default:
      return BINARY + upperHex(id.value);
  }
}

export function identifierFromText(text: string): Identifier {
  if (!text.startsWith(STRING)) return typedForm(text) ?? { type: "string", value: text };
  return { type: "string", value: isForm(text) ? text.slice(STRING.length) : text };
}

/** Would it be read as something else than itself? A form, or one that was made a string of, any number of times. */
function isForm(text: string): boolean {
  let at = 0;
  while (text.startsWith(STRING, at)) at += STRING.length;
  return typedForm(text.slice(at)) !== undefined;
}

/** What is not a string, and is spelled as `identifierToText` does. */
function typedForm(text: string): Identifier | undefined {
  if (!text.startsWith(URN) && !text.startsWith(AMQP)) return undefined;
  const id = fromForm(text);
  return id !== undefined && identifierToText(id) === text ? id : undefined;
}

function fromForm(text: string): Exclude<Identifier, { type: "string" }> | undefined {
  if (text.startsWith(URN)) {
    const value = text.slice(URN.length);
    return isUuid(value) ? { type: "uuid", value } : undefined;
  }
  if (text.startsWith(ULONG)) {
    return parseInteger("u64", text.slice(ULONG.length)) as
      | Extract<Identifier, { type: "u64" }>
      | undefined;
  }
  if (!text.startsWith(BINARY)) return undefined;
  const hex = text.slice(BINARY.length);
  return hex.length % 2 === 0 && /^[0-9A-F]*$/.test(hex)
    ? { type: "bytes", value: Buffer.from(hex, "hex") }
    : undefined;
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
 * otherwise binary.
 */
export function correlationFromBytes(data: Uint8Array): Identifier {
  if (isUtf8(data)) {
    const text = Buffer.from(data).toString("utf8");
    // biome-ignore lint/suspicious/noControlCharactersInRegex: no text has them
    if (!/[\u0000-\u001f\u007f]/.test(text)) {
      const id = identifierFromText(text);
      // As an answer it goes out over MQTT as the same bytes: those of a binary id are not its text.
      if (id.type !== "bytes") return id;
    }
  }
  return { type: "bytes", value: Buffer.from(data) };
}

const upperHex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex").toUpperCase();
