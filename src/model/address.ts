/**
 * The canonical address of an entity, whatever protocol spelled it (spec protocols.md §3).
 *
 *   address = [ "//" namespace "/" ] kind ":" name [ "?" params ] [ "#" group ]
 *
 * `Address.name` is the plain name: of a topic the canonical path or filter (topic-path.ts), of everything else exactly
 * what the client calls it. Only the printed form escapes: in a name `?` and `#` (unless the wildcard level `#`), in
 * parameters also `& = %`. How each protocol spells addresses is in address-dialects.ts.
 */
import { Buffer } from "node:buffer";
import { BrokerError } from "./errors.ts";

export const ADDRESS_KINDS = [
  "queue",
  "topic",
  "exchange",
  "sub",
  "group",
  "temp-queue",
  "temp-topic",
  "dlq",
  "retry",
  "reply",
] as const;
export type AddressKind = (typeof ADDRESS_KINDS)[number];

/** Whose spelling rules apply. JMS is "amqp1". */
export type Dialect = "amqp1" | "amqp091" | "stomp" | "mqtt";

export interface Address {
  /** "/" is the default namespace. */
  readonly namespace: string;
  /** "any": a bare name, still to be resolved by the broker (existing queue, existing topic, the listener's default). */
  readonly kind: AddressKind | "any";
  /** Canonical name: topic levels are separated by "/"; queue names are never converted. */
  readonly name: string;
  /** RocketMQ tag expression, "" for none. */
  readonly tags: string;
  /** Consumer group, "" for none. */
  readonly group: string;
  /** Other known parameters: selector, shard, from, key, consumer-priority; routing-key for exchanges; topic for subscriptions. */
  readonly params: Readonly<Record<string, string>>;
  /** Only with kind "any": the dialect of the bare name, for when it turns out to be a topic (`withKind`). */
  readonly dialect?: Dialect;
}

export const DEFAULT_NAMESPACE = "/";
export const MAX_NAME_BYTES = 255;
/** Topic paths may be longer than other names: MQTT clients count on more, and the store only names the root. */
const MAX_PATH_BYTES = 65_535;
/** What may follow "?" in an address. One unknown key, and the "?" belongs to the name. */
const PARAMS: ReadonlySet<string> = new Set([
  "tag",
  "selector",
  "shard",
  "from",
  "key",
  "consumer-priority",
  "routing-key",
  "topic",
]);
const NO_PARAMS: Readonly<Record<string, string>> = Object.freeze({});
const KINDS: ReadonlySet<string> = new Set(ADDRESS_KINDS);
// biome-ignore lint/suspicious/noControlCharactersInRegex: names must not hold them
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

export function makeAddress(
  kind: Address["kind"],
  name: string,
  rest: Partial<Omit<Address, "kind" | "name">> = {},
): Address {
  const address: Address = {
    namespace: rest.namespace ?? DEFAULT_NAMESPACE,
    kind,
    name,
    tags: rest.tags ?? "",
    group: rest.group ?? "",
    params: rest.params ?? NO_PARAMS,
  };
  return rest.dialect ? { ...address, dialect: rest.dialect } : address;
}

export const isTopicKind = (kind: Address["kind"]): boolean =>
  kind === "topic" || kind === "temp-topic";

/** Throws invalid-address unless the name is 1..255 bytes (topics: 65,535) of UTF-8 without control characters. */
export function checkName(name: string, kind: Address["kind"] = "queue"): void {
  if (name === "") throw invalid("the name is empty", name);
  if (CONTROL.test(name)) throw invalid("a name must not hold control characters", name);
  if (/\p{Surrogate}/u.test(name)) throw invalid("the name is not valid Unicode", name);
  const limit = kind === "topic" ? MAX_PATH_BYTES : MAX_NAME_BYTES;
  const bytes = name.length * 3 <= limit ? 0 : Buffer.byteLength(name);
  if (bytes > limit) {
    throw invalid(`the name has ${bytes} bytes, at most ${limit} are allowed`, name);
  }
}

export function invalid(reason: string, text: string): BrokerError {
  const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
  return new BrokerError("invalid-address", `address ${shown}: ${reason}`);
}

// ---- printed form

const NAME_ESCAPES = /[?#]|%(?:25)*(?:3F|23)/g;
const hex = (character: string): string =>
  `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
const escapeOne = (found: string): string =>
  found.length === 1 ? hex(found) : `%25${found.slice(1)}`;
const escapeName = (name: string): string =>
  name
    .split("/")
    .map((level) => (level === "#" ? level : level.replace(NAME_ESCAPES, escapeOne)))
    .join("/");
const unescapeName = (text: string): string =>
  text.replace(/%(?:25)*(?:3F|23)/g, (found) =>
    found === "%3F" ? "?" : found === "%23" ? "#" : `%${found.slice(3)}`,
  );
const escapeParam = (value: string): string => value.replace(/[%&=?#/]/g, hex);

export function printAddress(address: Address): string {
  const { namespace, kind, name, tags, group, params } = address;
  let text = namespace === DEFAULT_NAMESPACE ? "" : `//${escapeParam(namespace)}/`;
  text += `${kind}:${escapeName(name)}`;
  let separator = "?";
  if (tags !== "") {
    text += `?tag=${escapeParam(tags)}`;
    separator = "&";
  }
  for (const key of Object.keys(params)) {
    text += `${separator}${key}=${escapeParam(params[key]!)}`;
    separator = "&";
  }
  return group === "" ? text : `${text}#${escapeParam(group)}`;
}

/** Reads the printed form. Throws invalid-address. */
export function parseCanonical(text: string): Address {
  const address = tryCanonical(text);
  if (address === undefined) {
    throw invalid("expected [//namespace/]kind:name, kind one of queue, topic, exchange …", text);
  }
  return address;
}

/** The canonical form when `text` begins like one (`kind:`, `//namespace/kind:`), else undefined. Throws on a bad name. */
export function tryCanonical(text: string): Address | undefined {
  let rest = text;
  let namespace = DEFAULT_NAMESPACE;
  if (rest.startsWith("//")) {
    const slash = rest.indexOf("/", 2);
    if (slash < 3) return undefined;
    namespace = decodeParam(rest.slice(2, slash));
    rest = rest.slice(slash + 1);
  }
  const colon = rest.indexOf(":");
  if (colon < 0) return undefined;
  const kind = rest.slice(0, colon);
  if (!KINDS.has(kind) && kind !== "any") return undefined;
  rest = rest.slice(colon + 1);
  if (rest.startsWith("//")) return undefined; // queue://Q is a client's spelling
  const split = splitGroup(rest, "/");
  const { name, tags, params } = splitParams(split.rest);
  const plain = unescapeName(name);
  checkName(plain, kind as AddressKind);
  return makeAddress(kind as AddressKind, plain, { namespace, tags, params, group: split.group });
}

/** Splits `#group` off, unless that "#" is a wildcard level. */
export function splitGroup(text: string, separator: "/" | "."): { rest: string; group: string } {
  const hash = text.lastIndexOf("#");
  if (hash < 0 || hash === text.length - 1) return { rest: text, group: "" };
  const startsLevel = hash === 0 || text[hash - 1] === separator;
  const next = text[hash + 1];
  if (startsLevel && (next === separator || next === "?")) {
    return { rest: text, group: "" };
  }
  return { rest: text.slice(0, hash), group: decodeParam(text.slice(hash + 1)) };
}

export interface SplitParams {
  readonly name: string;
  readonly tags: string;
  readonly params: Readonly<Record<string, string>>;
}

/** Splits `?key=value&…` off when every key is a known one and none repeats; otherwise the "?" is part of the name. */
export function splitParams(text: string): SplitParams {
  const whole: SplitParams = { name: text, tags: "", params: NO_PARAMS };
  const mark = text.lastIndexOf("?");
  if (mark < 1) return whole;
  let tags = "";
  const params: Record<string, string> = {};
  const seen = new Set<string>();
  for (const piece of text.slice(mark + 1).split("&")) {
    const eq = piece.indexOf("=");
    const key = piece.slice(0, Math.max(eq, 0));
    if (!PARAMS.has(key) || seen.has(key)) return whole;
    seen.add(key);
    const value = decodeParam(piece.slice(eq + 1));
    if (key === "tag") tags = value;
    else params[key] = value;
  }
  return { name: text.slice(0, mark), tags, params };
}

/** Percent-decoding that leaves what is not an escape alone. */
export function decodePercent(text: string): string {
  if (!text.includes("%")) return text;
  return text.replace(/(?:%[0-9A-Fa-f]{2})+/g, (codes) => {
    const bytes = Buffer.from(codes.replaceAll("%", ""), "hex");
    const decoded = bytes.toString("utf8");
    return decoded.includes("\ufffd") && !Buffer.from(decoded).equals(bytes) ? codes : decoded;
  });
}

const decodeParam = decodePercent;
