/**
 * Text of a record's properties: `name 0x01 value 0x02` repeated, as RocketMQ stores it, made safe for any name and value.
 *
 * RocketMQ cannot hold 0x01 and 0x02 and drops empty values, so in records of ours (those with `x-enc`) names and values
 * are escaped with 0x03, which leaves everything usual as it is:
 *
 *   0x03 a = 0x01    0x03 b = 0x02    0x03 c = 0x03    0x03 d = ";" (in names)    0x03 e = an empty value
 *
 * User properties and annotations follow the standard ones in their order, repeats kept; only body encoding RAW has them
 * here, the other encodings carry their own. Their names:
 *
 *   name [ ";" type ]     type absent = string; bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 dec c ts uuid b64 sym json null
 *   "=" name              a user property whose name would otherwise be taken for another kind
 *   "x-…" or "@" name     an annotation
 */
import { Buffer } from "node:buffer";
import { nameSuffix, propertyFromText, valueText } from "./property-text.ts";
import { fromTypedJson, toTypedJson } from "./typed-json.ts";
import {
  type IntegerType,
  isUuid,
  NULL,
  type Property,
  parseFloatText,
  parseInteger,
  string,
  type Typed,
} from "./values.ts";

/** Names of standard record properties (the RocketMQ column of spec protocols.md §4.3). */
export const RECORD_PROPERTY = {
  ENCODING: "x-enc",
  EXPIRES_AT: "x-exp",
  TAG: "TAGS",
  KEYS: "KEYS",
  GROUP: "__SHARDINGKEY",
  UNIQUE_KEY: "UNIQ_KEY",
  MESSAGE_ID: "x-message-id",
  CORRELATION: "CORRELATION_ID",
  REPLY_TO: "x-reply-to",
  REPLY_TO_CLIENT: "REPLY_TO_CLIENT",
  DELIVER_AT: "TIMER_DELIVER_MS",
  /** Canonical address, where the record's topic does not tell it (a shortened name, an exchange). */
  TO: "x-to",
  EXCHANGE: "x-exchange",
  ROUTING_KEY: "x-routing-key",
  GROUP_SEQUENCE: "x-group-seq",
  REPLY_GROUP: "x-reply-to-group-id",
  TTL: "x-ttl",
  USER_ID: "x-user-id",
  APP_ID: "x-app-id",
  TYPE: "x-type",
  CONTENT_TYPE: "x-content-type",
  CONTENT_ENCODING: "x-content-encoding",
  BODY_KIND: "x-body-kind",
  PRIORITY: "x-priority",
  DEATHS: "x-deaths",
  ORIGIN: "x-origin",
  EMPTY_BODY: "_empty",
} as const;

const STANDARD: ReadonlySet<string> = new Set(Object.values(RECORD_PROPERTY));

/** What RocketMQ's clients and brokers keep for themselves: never shown as an application property. */
const RESERVED: ReadonlySet<string> = new Set(
  (
    "WAIT DELAY RETRY_TOPIC REAL_TOPIC REAL_QID TRAN_MSG PGROUP MIN_OFFSET MAX_OFFSET BUYER_ID ORIGIN_MESSAGE_ID " +
    "TRANSFER_FLAG CORRECTION_FLAG MQ2_FLAG RECONSUME_TIME MSG_REGION TRACE_ON MAX_RECONSUME_TIMES CONSUME_START_TIME " +
    "TRAN_PREPARED_QUEUE_OFFSET TRANSACTION_CHECK_TIMES CHECK_IMMUNITY_TIME_IN_SECONDS INSTANCE_ID TTL ARRIVE_TIME " +
    "PUSH_REPLY_TIME CLUSTER MSG_TYPE POP_CK POP_CK_OFFSET 1ST_POP_TIME TIMER_OUT_MS TIMER_ENQUEUE_MS TIMER_DEQUEUE_MS " +
    "TIMER_ROLL_TIMES TIMER_DEL_UNIQKEY TIMER_DELAY_LEVEL TIMER_DELAY_MS TIMER_DELAY_SEC INNER_NUM INNER_BASE DUP_INFO " +
    "DLQ_ORIGIN_TOPIC DLQ_ORIGIN_MESSAGE_ID BORN_HOST BORN_TIMESTAMP BODY_CRC INNER_MULTI_DISPATCH " +
    "INNER_MULTI_QUEUE_OFFSET EXTEND_UNIQ_INFO STARTDE_LIVER_TIME"
  ).split(" "),
);

export const isReserved = (name: string): boolean =>
  RESERVED.has(name) || STANDARD.has(name) || name.startsWith("__") || name.startsWith("%");

// biome-ignore lint/suspicious/noControlCharactersInRegex: the separators of the format
const SPECIAL = /[\x01\x02\x03]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the separators of the format
const SPECIAL_IN_NAME = /[\x01\x02\x03;]/g;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escapes of the format
const ESCAPED = /\x03([a-e])/g;
const ESCAPES: Record<string, string> = {
  "\x01": "\x03a",
  "\x02": "\x03b",
  "\x03": "\x03c",
  ";": "\x03d",
};
const MEANINGS: Record<string, string> = { a: "\x01", b: "\x02", c: "\x03", d: ";", e: "" };

export const escapeValue = (text: string): string =>
  text === "" ? "\x03e" : text.replace(SPECIAL, (found) => ESCAPES[found]!);
const escapeNameText = (text: string): string =>
  text.replace(SPECIAL_IN_NAME, (found) => ESCAPES[found]!);
export const unescapeText = (text: string): string =>
  text.includes("\x03") ? text.replace(ESCAPED, (_, code: string) => MEANINGS[code]!) : text;

/** One property of the text; `name` is a plain one (a constant). Append the results to `Draft.properties`. */
export const propertyText = (name: string, value: string): string =>
  `${name}\x01${escapeValue(value)}\x02`;

// ---- user properties and annotations

const SUFFIX_OF: Partial<Record<Typed["type"], string>> = {
  string: "",
  decimal: "dec",
  char: "c",
  timestamp: "ts",
  bytes: "b64",
  symbol: "sym",
  list: "json",
  map: "json",
};

const userName = (name: string): string =>
  name === "" || isReserved(name) || /^(x-|[@=])/.test(name) ? `=${name}` : name;
const annotationName = (name: string): string =>
  name.startsWith("x-") && !isReserved(name) ? name : `@${name}`;

function typedText(name: string, value: Typed): string {
  const suffix = SUFFIX_OF[value.type] ?? value.type;
  const fullName = escapeNameText(name) + (suffix === "" ? "" : `;${suffix}`);
  const text =
    suffix === "json" ? toTypedJson(value) : value.type === "uuid" ? value.value : valueText(value);
  return `${fullName}\x01${escapeValue(text)}\x02`;
}

export const userPropertyText = ({ name, value }: Property): string =>
  typedText(userName(name), value);
export const annotationText = ({ name, value }: Property): string =>
  typedText(annotationName(name), value);

/** Where properties go that are read from a record. */
export interface PropertySink {
  readonly properties: Property[];
  readonly annotations: Property[];
}

/** One non-standard property of a RAW record. */
export function readUserProperty(
  sink: PropertySink,
  storedName: string,
  storedValue: string,
): void {
  const mark = storedName.lastIndexOf(";");
  let name = mark < 0 ? storedName : storedName.slice(0, mark);
  const text = unescapeText(storedValue);
  let value = mark < 0 ? string(text) : readTyped(storedName.slice(mark + 1), text);
  if (value === undefined) {
    name = storedName;
    value = string(text);
  }
  name = unescapeText(name);
  const first = name.charCodeAt(0);
  if (first === 0x40) sink.annotations.push({ name: name.slice(1), value });
  else if (first === 0x3d) sink.properties.push({ name: name.slice(1), value });
  else if (first === 0x78 && name.charCodeAt(1) === 0x2d) sink.annotations.push({ name, value });
  else sink.properties.push({ name, value });
}

/** One non-standard property of a record that RocketMQ wrote: text as it is, with the suffixes of property-text.ts. */
export function readForeignProperty(sink: PropertySink, name: string, text: string): void {
  const property = propertyFromText(name, text);
  (property.name.startsWith("x-") ? sink.annotations : sink.properties).push(property);
}

function readTyped(suffix: string, text: string): Typed | undefined {
  switch (suffix) {
    case "null":
      return NULL;
    case "bool":
      return { type: "bool", value: text === "true" };
    case "i8":
    case "i16":
    case "i32":
    case "i64":
    case "u8":
    case "u16":
    case "u32":
    case "u64":
      return parseInteger(suffix as IntegerType, text);
    case "f32":
    case "f64": {
      const value = parseFloatText(text);
      if (value === undefined) return undefined;
      return { type: suffix, value: suffix === "f32" ? Math.fround(value) : value };
    }
    case "dec":
      return { type: "decimal", value: text };
    case "c":
      return { type: "char", value: text };
    case "ts":
      return /^-?\d{1,16}$/.test(text) ? { type: "timestamp", value: Number(text) } : undefined;
    case "uuid":
      return isUuid(text) ? { type: "uuid", value: text } : undefined;
    case "b64":
      return { type: "bytes", value: Buffer.from(text, "base64") };
    case "sym":
      return { type: "symbol", value: text };
    case "json":
      return fromTypedJson(text);
    default:
      return undefined;
  }
}

/** Name and text of a property where headers are text (STOMP, MQTT, RocketMQ clients). */
export const headerOf = ({ name, value }: Property): readonly [name: string, text: string] => [
  name + nameSuffix(value),
  valueText(value),
];
