/**
 * Typed values of properties, annotations, maps and lists: the union of what the protocols can say (spec protocols.md §4.6).
 *
 *   type               value                          type         value
 *   null               null                           decimal      decimal text; raw IEEE 754 bytes kept where there were any
 *   bool               boolean                        char         one character
 *   i8 i16 i32         number                         timestamp    ms since the epoch
 *   u8 u16 u32         number                         uuid         "8-4-4-4-12", lower case
 *   i64 u64            number while exact, else       bytes        Uint8Array
 *                      bigint                         string       string
 *   f32 f64            number                         symbol       string
 *   list               Typed[]                        map          [key, value] pairs in order
 */
import { Buffer } from "node:buffer";

export type IntegerType = "i8" | "i16" | "i32" | "u8" | "u16" | "u32";
export type LongType = "i64" | "u64";

export type Typed =
  | { readonly type: "null"; readonly value: null }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: IntegerType; readonly value: number }
  | { readonly type: "i64"; readonly value: number | bigint }
  | { readonly type: "u64"; readonly value: number | bigint }
  | { readonly type: "f32" | "f64"; readonly value: number }
  | { readonly type: "decimal"; readonly value: string; readonly raw?: Uint8Array }
  | { readonly type: "char"; readonly value: string }
  | { readonly type: "timestamp"; readonly value: number }
  | { readonly type: "uuid"; readonly value: string }
  | { readonly type: "bytes"; readonly value: Uint8Array }
  | { readonly type: "string"; readonly value: string }
  | { readonly type: "symbol"; readonly value: string }
  | { readonly type: "list"; readonly value: readonly Typed[] }
  | { readonly type: "map"; readonly value: ReadonlyArray<readonly [key: Typed, value: Typed]> };

export type TypedMap = Extract<Typed, { type: "map" }>;
export type TypedList = Extract<Typed, { type: "list" }>;

/** One property, header or annotation. Order counts and names may repeat. */
export interface Property {
  readonly name: string;
  readonly value: Typed;
}

export const NULL: Typed = { type: "null", value: null };
export const TRUE: Typed = { type: "bool", value: true };
export const FALSE: Typed = { type: "bool", value: false };
export const bool = (value: boolean): Typed => (value ? TRUE : FALSE);
export const string = (value: string): Typed => ({ type: "string", value });
export const symbol = (value: string): Typed => ({ type: "symbol", value });
export const integer = (type: IntegerType, value: number): Typed => ({ type, value });
export const i32 = (value: number): Typed => ({ type: "i32", value });
export const f64 = (value: number): Typed => ({ type: "f64", value });
export const bytes = (value: Uint8Array): Typed => ({ type: "bytes", value });
export const timestamp = (value: number): Typed => ({ type: "timestamp", value });
export const list = (value: readonly Typed[]): TypedList => ({ type: "list", value });
export const map = (value: TypedMap["value"]): TypedMap => ({ type: "map", value });
/** A map with string keys. */
export const record = (entries: ReadonlyArray<readonly [string, Typed]>): TypedMap => ({
  type: "map",
  value: entries.map(([key, value]) => [string(key), value] as const),
});

/** A 64-bit integer in its normal form: a number while that is exact. */
export function long(type: LongType, value: number | bigint): Typed {
  if (typeof value === "bigint" && value >= -MAX_SAFE && value <= MAX_SAFE) {
    return { type, value: Number(value) };
  }
  return { type, value };
}
const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);

/** Range of each integer type. */
const RANGES: Record<IntegerType | LongType, readonly [bigint, bigint]> = {
  i8: [-(2n ** 7n), 2n ** 7n - 1n],
  i16: [-(2n ** 15n), 2n ** 15n - 1n],
  i32: [-(2n ** 31n), 2n ** 31n - 1n],
  i64: [-(2n ** 63n), 2n ** 63n - 1n],
  u8: [0n, 2n ** 8n - 1n],
  u16: [0n, 2n ** 16n - 1n],
  u32: [0n, 2n ** 32n - 1n],
  u64: [0n, 2n ** 64n - 1n],
};

/** The integer as this type, or undefined when the text is no integer or out of its range. */
export function parseInteger(type: IntegerType | LongType, text: string): Typed | undefined {
  if (!/^-?\d{1,20}$/.test(text)) return undefined;
  const value = BigInt(text);
  const [least, most] = RANGES[type];
  if (value < least || value > most) return undefined;
  return type === "i64" || type === "u64" ? long(type, value) : { type, value: Number(value) };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
export const isUuid = (text: string): boolean => UUID.test(text);
export function uuidFromBytes(raw: Uint8Array): Typed {
  const hex = Buffer.from(raw.buffer, raw.byteOffset, 16).toString("hex");
  const value = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  return { type: "uuid", value };
}
export const uuidToBytes = (value: string): Buffer => Buffer.from(value.replaceAll("-", ""), "hex");

/** Shortest text that reads back as the same number; a float keeps only the digits that it has. */
export function floatText(type: "f32" | "f64", value: number): string {
  if (type === "f64" || !Number.isFinite(value)) return Object.is(value, -0) ? "-0" : String(value);
  for (let digits = 6; digits <= 9; digits++) {
    const text = String(Number(value.toPrecision(digits)));
    if (Math.fround(Number(text)) === Math.fround(value)) {
      return Object.is(value, -0) ? "-0" : text;
    }
  }
  return String(value);
}

export function parseFloatText(text: string): number | undefined {
  if (text === "NaN") return Number.NaN;
  if (text === "Infinity" || text === "-Infinity") return Number(text);
  return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

/** Same type, same value, through lists and maps; NaN equals itself. */
export function sameTyped(a: Typed, b: Typed): boolean {
  if (a.type !== b.type) return false;
  if (a.type === "bytes" && b.type === "bytes") return Buffer.compare(a.value, b.value) === 0;
  if (a.type === "list" && b.type === "list") {
    return a.value.length === b.value.length && a.value.every((v, i) => sameTyped(v, b.value[i]!));
  }
  if (a.type === "map" && b.type === "map") {
    return (
      a.value.length === b.value.length &&
      a.value.every(([k, v], i) => sameTyped(k, b.value[i]![0]) && sameTyped(v, b.value[i]![1]))
    );
  }
  return Object.is(a.value, b.value);
}

/** The first property of this name. */
export function findProperty(properties: readonly Property[], name: string): Typed | undefined {
  for (const property of properties) if (property.name === name) return property.value;
  return undefined;
}

/** An AMQP decimal32/64/128 (binary integer significand) as text; its bytes are kept for peers that can have it exactly. */
export function decimalFromBytes(raw: Uint8Array): Typed {
  const bits = raw.length * 8;
  const exponentBits = bits === 32 ? 8 : bits === 64 ? 10 : 14;
  const bias = bits === 32 ? 101 : bits === 64 ? 398 : 6176;
  const all = BigInt(`0x${Buffer.from(raw).toString("hex")}`);
  const sign = all >> BigInt(bits - 1) === 1n ? "-" : "";
  const top = Number((all >> BigInt(bits - 6)) & 0x1fn);
  const kept = Uint8Array.from(raw);
  if (top === 0x1f) return { type: "decimal", value: "NaN", raw: kept };
  if (top === 0x1e) return { type: "decimal", value: `${sign}Infinity`, raw: kept };
  const isLarge = top >> 3 === 3;
  const significandBits = bits - 1 - exponentBits - (isLarge ? 2 : 0);
  const mask = (1n << BigInt(exponentBits)) - 1n;
  const exponent = Number((all >> BigInt(significandBits)) & mask) - bias;
  let significand = all & ((1n << BigInt(significandBits)) - 1n);
  // The large form has the implied leading bits 100; it only ever exceeds what the format can hold, which means zero.
  if (isLarge) significand |= 4n << BigInt(significandBits);
  const digits = bits === 32 ? 7n : bits === 64 ? 16n : 34n;
  if (significand >= 10n ** digits) significand = 0n;
  return { type: "decimal", value: sign + scaled(significand.toString(), exponent), raw: kept };
}

/** `significand × 10^exponent` in plain or scientific notation. */
export function scaled(significand: string, exponent: number): string {
  if (exponent === 0) return significand;
  if (exponent > 0) return `${significand}E+${exponent}`;
  const point = significand.length + exponent;
  if (point > 0) return `${significand.slice(0, point)}.${significand.slice(point)}`;
  if (point > -6) return `0.${"0".repeat(-point)}${significand}`;
  return `${significand}E${exponent}`;
}
