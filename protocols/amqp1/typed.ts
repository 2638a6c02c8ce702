/** AMQP 1.0 values and the typed values of the neutral message, both ways (spec protocols.md §4.6). */
import {
  decimalFromBytes,
  FALSE,
  long,
  NULL,
  TRUE,
  type Typed,
  uuidFromBytes,
  uuidToBytes,
} from "../../src/model/values.ts";
import * as amqp from "./codec/value.ts";

type Value = amqp.Value;

const INTEGERS = {
  byte: "i8",
  short: "i16",
  int: "i32",
  ubyte: "u8",
  ushort: "u16",
  uint: "u32",
} as const;
const FROM_INTEGERS = {
  i8: "byte",
  i16: "short",
  i32: "int",
  u8: "ubyte",
  u16: "ushort",
  u32: "uint",
} as const;

/** An array becomes a list of its elements, a described value its value: other protocols have neither. */
export function toTyped(value: Value): Typed {
  switch (value.type) {
    case "null":
      return NULL;
    case "boolean":
      return value.value ? TRUE : FALSE;
    case "byte":
    case "short":
    case "int":
    case "ubyte":
    case "ushort":
    case "uint":
      return { type: INTEGERS[value.type], value: value.value };
    case "long":
      return long("i64", value.value);
    case "ulong":
      return long("u64", value.value);
    case "float":
      return { type: "f32", value: value.value };
    case "double":
      return { type: "f64", value: value.value };
    case "decimal32":
    case "decimal64":
    case "decimal128":
      return decimalFromBytes(value.value);
    case "char":
      return { type: "char", value: characterOf(value.value) };
    case "timestamp":
      return { type: "timestamp", value: Number(value.value) };
    case "uuid":
      return uuidFromBytes(value.value);
    case "binary":
      return { type: "bytes", value: value.value };
    case "string":
      return { type: "string", value: value.value };
    case "symbol":
      return { type: "symbol", value: value.value };
    case "list":
    case "array":
      return { type: "list", value: value.value.map(toTyped) };
    case "map":
      return { type: "map", value: value.value.map(([k, v]) => [toTyped(k), toTyped(v)]) };
    case "described":
      return toTyped(value.value);
    default: {
      const never: never = value;
      throw new Error(`unknown value ${String(never)}`);
    }
  }
}

const characterOf = (code: number): string =>
  code <= 0x10ffff && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : "\ufffd";

export function fromTyped(typed: Typed): Value {
  switch (typed.type) {
    case "null":
      return amqp.NULL;
    case "bool":
      return amqp.bool(typed.value);
    case "i8":
    case "i16":
    case "i32":
    case "u8":
    case "u16":
    case "u32":
      return { type: FROM_INTEGERS[typed.type], value: typed.value };
    case "i64":
      return amqp.long(typed.value);
    case "u64":
      return amqp.ulong(typed.value);
    case "f32":
      return { type: "float", value: typed.value };
    case "f64":
      return { type: "double", value: typed.value };
    case "decimal":
      return decimalOf(typed.value, typed.raw);
    case "char":
      return { type: "char", value: typed.value.codePointAt(0) ?? 0 };
    case "timestamp":
      return amqp.timestamp(Math.trunc(typed.value));
    case "uuid":
      return { type: "uuid", value: uuidToBytes(typed.value) };
    case "bytes":
      return amqp.binary(Buffer.from(typed.value));
    case "string":
      return amqp.string(typed.value);
    case "symbol":
      return symbolOrString(typed.value);
    case "list":
      return amqp.list(typed.value.map(fromTyped));
    case "map":
      return amqp.map(uniqueKeys(typed.value.map(([k, v]) => [fromTyped(k), fromTyped(v)])));
    default: {
      const never: never = typed;
      throw new Error(`unknown value ${String(never)}`);
    }
  }
}

function decimalOf(text: string, raw: Uint8Array | undefined): Value {
  switch (raw?.length) {
    case 4:
      return { type: "decimal32", value: Buffer.from(raw) };
    case 8:
      return { type: "decimal64", value: Buffer.from(raw) };
    case 16:
      return { type: "decimal128", value: Buffer.from(raw) };
    default:
      return amqp.string(text);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: symbols are ASCII
export const isAsciiText = (text: string): boolean => /^[\x00-\x7f]*$/.test(text);
const symbolOrString = (text: string): Value =>
  isAsciiText(text) ? amqp.symbol(text) : amqp.string(text);

/** Of repeated keys the first counts: an AMQP map has each once. */
export function uniqueKeys(entries: ReadonlyArray<readonly [Value, Value]>): Array<[Value, Value]> {
  const seen = new Set<string>();
  const out: Array<[Value, Value]> = [];
  for (const [key, value] of entries) {
    const text = `${key.type}:${String(key.value)}`;
    if (seen.has(text)) continue;
    seen.add(text);
    out.push([key, value]);
  }
  return out;
}
