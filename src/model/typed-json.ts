/**
 * JSON that keeps the types of messaging values (spec protocols.md §4.5). Plain where JSON says it all:
 *
 *   null, true, "text", list       as in JSON
 *   i32                            1
 *   f64 with a fraction            1.5
 *   map with distinct text keys    {"a":1}        (in an order that JSON objects keep)
 *
 * and an object with one key that begins with "$" where it does not:
 *
 *   bytes {"$b":"AQ=="}   i64 {"$l":"2"}       f32 {"$f":1.5}      char {"$c":"x"}     f64 without fraction {"$d":1}
 *   i8 {"$i8":1}   i16 {"$i16":1}   u8 {"$u8":1}   u16 {"$u16":1}   u32 {"$u32":1}   u64 {"$u64":"1"}
 *   timestamp {"$ts":0}   uuid {"$uuid":"…"}   symbol {"$sym":"x"}   decimal {"$dec":"1.5"}
 *   any other map {"$m":[[key,value],…]}
 *
 * NaN and infinities are strings inside `$f` and `$d`. Reading is the inverse, and takes plain JSON as well.
 */
import { Buffer } from "node:buffer";
import {
  bool,
  floatText,
  isUuid,
  NULL,
  parseFloatText,
  parseInteger,
  string,
  type Typed,
  type TypedMap,
} from "./values.ts";

const MAX_DEPTH = 64;

/** Throws RangeError beyond 64 levels. */
export function toTypedJson(value: Typed, depth = 0): string {
  if (depth > MAX_DEPTH) throw new RangeError(`values are nested more than ${MAX_DEPTH} levels`);
  switch (value.type) {
    case "null":
      return "null";
    case "bool":
      return value.value ? "true" : "false";
    case "i32":
      return String(value.value);
    case "string":
      return JSON.stringify(value.value);
    case "i8":
    case "i16":
    case "u8":
    case "u16":
    case "u32":
      return `{"$${value.type}":${value.value}}`;
    case "i64":
      return `{"$l":"${value.value}"}`;
    case "u64":
      return `{"$u64":"${value.value}"}`;
    case "f32":
      return `{"$f":${floatJson("f32", value.value)}}`;
    case "f64": {
      const text = floatJson("f64", value.value);
      return /^-?\d+$|^"/.test(text) ? `{"$d":${text}}` : text;
    }
    case "bytes":
      return `{"$b":"${base64(value.value)}"}`;
    case "char":
      return `{"$c":${JSON.stringify(value.value)}}`;
    case "timestamp":
      return `{"$ts":${value.value}}`;
    case "uuid":
      return `{"$uuid":"${value.value}"}`;
    case "symbol":
      return `{"$sym":${JSON.stringify(value.value)}}`;
    case "decimal":
      return `{"$dec":${JSON.stringify(value.value)}}`;
    case "list":
      return `[${value.value.map((item) => toTypedJson(item, depth + 1)).join(",")}]`;
    case "map":
      return mapJson(value, depth);
    default:
      return value satisfies never;
  }
}

function mapJson({ value }: TypedMap, depth: number): string {
  const keys = value.map(([key]) => (key.type === "string" ? key.value : "$"));
  // An object reads back with repeated keys merged and keys like integers first: such maps are written as pairs.
  const survivors = Object.keys(Object.fromEntries(keys.map((key) => [key, 0])));
  const isPlain =
    survivors.length === keys.length &&
    survivors.every((key, i) => key === keys[i]) &&
    value.every(([key]) => key.type === "string") &&
    !(keys.length === 1 && keys[0]!.startsWith("$"));
  if (isPlain) {
    const entries = value.map(
      ([key, item]) => `${JSON.stringify(key.value)}:${toTypedJson(item, depth + 1)}`,
    );
    return `{${entries.join(",")}}`;
  }
  const pairs = value.map(
    ([key, item]) => `[${toTypedJson(key, depth + 1)},${toTypedJson(item, depth + 1)}]`,
  );
  return `{"$m":[${pairs.join(",")}]}`;
}

const floatJson = (type: "f32" | "f64", value: number): string =>
  Number.isFinite(value) ? floatText(type, value) : `"${value}"`;

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");

/** The value, or undefined when the text is not JSON, nested too deeply, or has a `$` form with a bad content. */
export function fromTypedJson(text: string): Typed | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  return read(parsed, 0);
}

function read(json: unknown, depth: number): Typed | undefined {
  if (depth > MAX_DEPTH) return undefined;
  if (json === null) return NULL;
  switch (typeof json) {
    case "boolean":
      return bool(json);
    case "string":
      return string(json);
    case "number":
      return readNumber(json);
    default:
  }
  if (Array.isArray(json)) {
    const items: Typed[] = [];
    for (const item of json) {
      const value = read(item, depth + 1);
      if (value === undefined) return undefined;
      items.push(value);
    }
    return { type: "list", value: items };
  }
  const entries = Object.entries(json as object);
  if (entries.length === 1 && entries[0]![0].startsWith("$")) {
    return readForm(entries[0]![0], entries[0]![1], depth);
  }
  const pairs: Array<[Typed, Typed]> = [];
  for (const [key, item] of entries) {
    const value = read(item, depth + 1);
    if (value === undefined) return undefined;
    pairs.push([string(key), value]);
  }
  return { type: "map", value: pairs };
}

/** A bare integer is the smallest of int, long and double that holds it, as a reader of plain JSON expects. */
function readNumber(value: number): Typed {
  if (!Number.isInteger(value) || Object.is(value, -0)) return { type: "f64", value };
  if (value >= -(2 ** 31) && value < 2 ** 31) return { type: "i32", value };
  return Number.isSafeInteger(value) ? { type: "i64", value } : { type: "f64", value };
}

function readForm(form: string, content: unknown, depth: number): Typed | undefined {
  switch (form) {
    case "$b":
      return typeof content === "string"
        ? { type: "bytes", value: Buffer.from(content, "base64") }
        : undefined;
    case "$l":
      return parseInteger("i64", String(content));
    case "$i8":
    case "$i16":
    case "$u8":
    case "$u16":
    case "$u32":
    case "$u64":
      return parseInteger(form.slice(1) as "i8", String(content));
    case "$f":
    case "$d": {
      const value = typeof content === "number" ? content : parseFloatText(String(content));
      if (value === undefined) return undefined;
      return form === "$f" ? { type: "f32", value: Math.fround(value) } : { type: "f64", value };
    }
    case "$c":
      return typeof content === "string" && [...content].length === 1
        ? { type: "char", value: content }
        : undefined;
    case "$ts":
      return Number.isSafeInteger(content)
        ? { type: "timestamp", value: content as number }
        : undefined;
    case "$uuid":
      return typeof content === "string" && isUuid(content)
        ? { type: "uuid", value: content.toLowerCase() }
        : undefined;
    case "$sym":
      return typeof content === "string" ? { type: "symbol", value: content } : undefined;
    case "$dec":
      return typeof content === "string" ? { type: "decimal", value: content } : undefined;
    case "$m":
      return readPairs(content, depth);
    default:
      return undefined;
  }
}

function readPairs(content: unknown, depth: number): Typed | undefined {
  if (!Array.isArray(content)) return undefined;
  const pairs: Array<[Typed, Typed]> = [];
  for (const pair of content) {
    if (!Array.isArray(pair) || pair.length !== 2) return undefined;
    const key = read(pair[0], depth + 1);
    const value = read(pair[1], depth + 1);
    if (key === undefined || value === undefined) return undefined;
    pairs.push([key, value]);
  }
  return { type: "map", value: pairs };
}
