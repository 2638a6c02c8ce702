/**
 * Names on disk: canonical addresses in the character set of RocketMQ topics, `[%|a-zA-Z0-9_-]`, and back.
 *
 *   name = [ namespace "%" ] [ prefix ] escaped
 *
 *   kind         prefix      kind         prefix
 *   topic        none        sub          S-
 *   queue        Q-          group        G-
 *   exchange     X-          temp-queue   TQ-
 *   reply        R-          temp-topic   TT-
 *   dlq          %DLQ%       retry        %RETRY%       (before the namespace, as RocketMQ writes them)
 *
 * Every byte outside `[a-zA-Z0-9_-]` becomes `%XX` in upper case. The mapping has an inverse and no collisions:
 * - A topic whose own name begins like a prefix gets that prefix's "-" escaped: topic `Q-a` is `Q%2Da`, queue `a` is `Q-a`.
 * - The "%" after a namespace is never followed by two hex digits: a name that would begin so gets its first byte escaped.
 * - `%DLQ%`, `%RETRY%` and `%LMQ%` cannot come out of escaping: DL, RE and LM are not hex digits.
 * - A name over 127 bytes becomes its first 80 bytes, "-", and 26 characters of base32 SHA-256 of the whole; that alone has no
 *   inverse (the catalog keeps the address). A short name that happens to look so gets the "-" at byte 80 escaped.
 * - The empty topic root (path `/a`) is `%00`.
 */
import { createHash } from "node:crypto";
import { type Address, type AddressKind, DEFAULT_NAMESPACE, makeAddress } from "./address.ts";
import { rootLength } from "./tag.ts";

const MAX_TOPIC_NAME_BYTES = 127;
const KEPT_BYTES = 80;
const HASH_CHARACTERS = 26;
const HASHED = /^[%|a-zA-Z0-9_-]{80}-[A-Z2-7]{26}$/;
const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const EMPTY = "%00";
/** Prefix of light queues, as RocketMQ's light message queues have it. */
export const LIGHT_PREFIX = "%LMQ%";

const PREFIX: Record<AddressKind, string> = {
  topic: "",
  queue: "Q-",
  exchange: "X-",
  sub: "S-",
  group: "G-",
  "temp-queue": "TQ-",
  "temp-topic": "TT-",
  reply: "R-",
  dlq: "%DLQ%",
  retry: "%RETRY%",
};
const INNER_PREFIXES: ReadonlyArray<readonly [AddressKind, string]> = (
  Object.entries(PREFIX) as Array<[AddressKind, string]>
).filter(([, prefix]) => prefix.endsWith("-"));
const LOOKS_PREFIXED = /^(Q|X|S|G|R|TQ|TT)-/;

/** Percent-escapes every byte outside `[a-zA-Z0-9_-]`. */
export function escapeName(text: string): string {
  if (/^[a-zA-Z0-9_-]*$/.test(text)) return text;
  let out = "";
  for (const byte of Buffer.from(text, "utf8")) {
    const isPlain =
      (byte >= 0x30 && byte <= 0x39) ||
      (byte >= 0x41 && byte <= 0x5a) ||
      (byte >= 0x61 && byte <= 0x7a) ||
      byte === 0x5f ||
      byte === 0x2d;
    out += isPlain ? String.fromCharCode(byte) : escapeByte(byte);
  }
  return out;
}

export function unescapeName(text: string): string {
  if (!text.includes("%")) return text;
  return text.replace(/(?:%[0-9A-F]{2})+/g, (codes) =>
    Buffer.from(codes.replaceAll("%", ""), "hex").toString("utf8"),
  );
}

const escapeByte = (byte: number): string => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;

/**
 * The name of the entity's home in the store. Of a topic this is its root: `topic:a/b` lives in `a`. An address still
 * "any" counts as a topic.
 */
export function topicNameOf(address: Address): string {
  const kind = address.kind === "any" ? "topic" : address.kind;
  const name = kind === "topic" ? address.name.slice(0, rootLength(address.name)) : address.name;
  return storeName(kind, name, address.namespace);
}

/** As topicNameOf, from parts; `name` is taken whole (of a topic: the root). */
export function storeName(kind: AddressKind, name: string, namespace = DEFAULT_NAMESPACE): string {
  let escaped = escapeName(name);
  if (kind === "topic") {
    if (escaped === "") escaped = EMPTY;
    const prefixed = LOOKS_PREFIXED.exec(escaped);
    if (prefixed !== null) escaped = `${prefixed[1]}%2D${escaped.slice(prefixed[0].length)}`;
  }
  const prefix = PREFIX[kind];
  const isOuter = prefix.startsWith("%");
  let whole = isOuter ? escaped : prefix + escaped;
  if (namespace !== DEFAULT_NAMESPACE) {
    if (/^[0-9A-F]{2}/.test(whole)) whole = escapeByte(whole.charCodeAt(0)) + whole.slice(1);
    whole = `${escapeName(namespace)}%${whole}`;
  }
  if (isOuter) whole = prefix + whole;
  if (whole.length > MAX_TOPIC_NAME_BYTES) return shorten(whole);
  return HASHED.test(whole) ? `${whole.slice(0, KEPT_BYTES)}%2D${whole.slice(81)}` : whole;
}

function shorten(name: string): string {
  const digest = createHash("sha256").update(name, "latin1").digest();
  let bits = 0;
  let value = 0;
  let text = "";
  for (let i = 0; text.length < HASH_CHARACTERS; i++) {
    value = ((value & 0x1fff) << 8) | digest[i]!;
    bits += 8;
    while (bits >= 5 && text.length < HASH_CHARACTERS) {
      bits -= 5;
      text += BASE32[(value >>> bits) & 31];
    }
  }
  return `${name.slice(0, KEPT_BYTES)}-${text}`;
}

/** Was the name shortened, so that it does not tell its address? */
export const isShortened = (name: string): boolean => HASHED.test(name);

/** The address of a name in the store (of a topic: its root), or undefined when the name was shortened. */
export function addressOfTopicName(storeTopic: string): Address | undefined {
  if (HASHED.test(storeTopic)) return undefined;
  let rest = storeTopic.startsWith(LIGHT_PREFIX)
    ? storeTopic.slice(LIGHT_PREFIX.length)
    : storeTopic;
  let kind: AddressKind = "topic";
  for (const outer of ["dlq", "retry"] as const) {
    if (rest.startsWith(PREFIX[outer])) {
      kind = outer;
      rest = rest.slice(PREFIX[outer].length);
    }
  }
  let namespace = DEFAULT_NAMESPACE;
  const separator = /%(?![0-9A-F]{2})/.exec(rest);
  if (separator !== null && separator.index > 0) {
    namespace = unescapeName(rest.slice(0, separator.index));
    rest = rest.slice(separator.index + 1);
  }
  if (kind === "topic") {
    const inner = INNER_PREFIXES.find(([, prefix]) => rest.startsWith(prefix));
    if (inner !== undefined) {
      kind = inner[0];
      rest = rest.slice(inner[1].length);
    }
  }
  return makeAddress(kind, rest === EMPTY ? "" : unescapeName(rest), { namespace });
}

/** Name of a light queue (entries only) that belongs to the address: a subscription, session or bound queue. */
export const lightNameOf = (address: Address): string => LIGHT_PREFIX + topicNameOf(address);
