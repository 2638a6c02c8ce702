/**
 * AMQP 1.0 values with their types kept, for everything off the hot path: termini, filters, properties, error info.
 * What is decoded encodes to the same types again, so that a terminus can be echoed as the peer wrote it.
 */

export type Value =
  | { readonly type: "null"; readonly value: null }
  | { readonly type: "boolean"; readonly value: boolean }
  | { readonly type: NumberType; readonly value: number }
  /** bigint only beyond ±2^53. */
  | { readonly type: WideType; readonly value: number | bigint }
  | { readonly type: OpaqueType; readonly value: Buffer }
  | { readonly type: TextType; readonly value: string }
  | { readonly type: "list"; readonly value: readonly Value[] }
  | ArrayValue
  | { readonly type: "map"; readonly value: ReadonlyArray<readonly [Value, Value]> }
  | DescribedValue;

export type NumberType =
  | "ubyte"
  | "ushort"
  | "uint"
  | "byte"
  | "short"
  | "int"
  | "float"
  | "double"
  | "char";
export type WideType = "ulong" | "long" | "timestamp";
export type OpaqueType = "decimal32" | "decimal64" | "decimal128" | "uuid" | "binary";
export type TextType = "string" | "symbol";

/** All elements have one type; `of` is that type, also when there are none. */
export interface ArrayValue {
  readonly type: "array";
  readonly of: Value["type"];
  /** Set when the elements are described. */
  readonly descriptor?: Value;
  readonly value: readonly Value[];
}

export interface DescribedValue {
  readonly type: "described";
  readonly descriptor: Value;
  readonly value: Value;
}

export const NULL: Value = { type: "null", value: null };
export const TRUE: Value = { type: "boolean", value: true };
export const FALSE: Value = { type: "boolean", value: false };

export const bool = (value: boolean): Value => (value ? TRUE : FALSE);
export const ubyte = (value: number): Value => ({ type: "ubyte", value });
export const ushort = (value: number): Value => ({ type: "ushort", value });
export const uint = (value: number): Value => ({ type: "uint", value });
export const int = (value: number): Value => ({ type: "int", value });
export const ulong = (value: number | bigint): Value => ({ type: "ulong", value });
export const long = (value: number | bigint): Value => ({ type: "long", value });
export const timestamp = (value: number | bigint): Value => ({ type: "timestamp", value });
export const string = (value: string): Value => ({ type: "string", value });
export const symbol = (value: string): Value => ({ type: "symbol", value });
export const binary = (value: Buffer): Value => ({ type: "binary", value });
export const list = (value: readonly Value[]): Value => ({ type: "list", value });
export const map = (value: ReadonlyArray<readonly [Value, Value]>): Value => ({
  type: "map",
  value,
});
export const symbols = (names: readonly string[]): Value => ({
  type: "array",
  of: "symbol",
  value: names.map(symbol),
});
export const described = (descriptor: number, value: Value): Value => ({
  type: "described",
  descriptor: ulong(descriptor),
  value,
});
/** A described list without trailing nulls: in a composite, absent and null are the same. */
export function composite(descriptor: number, fields: readonly Value[]): Value {
  let count = fields.length;
  while (count > 0 && fields[count - 1]!.type === "null") count--;
  return described(descriptor, list(fields.slice(0, count)));
}

/** A field with `multiple=true` may be a single symbol or an array of them (AMQP 1.0 part 1, 1.4). */
export function symbolList(value: Value | undefined): string[] | undefined {
  if (value === undefined || value.type === "null") return [];
  if (value.type === "symbol") return [value.value];
  if (value.type === "array" || value.type === "list") {
    const out: string[] = [];
    for (const element of value.value) {
      if (element.type !== "symbol") return undefined;
      out.push(element.value);
    }
    return out;
  }
  return undefined;
}

/** The value under a symbol (or string) key of a map, or undefined. */
export function mapGet(value: Value | undefined, key: string): Value | undefined {
  if (value === undefined || value.type !== "map") return undefined;
  for (const [name, held] of value.value) {
    if ((name.type === "symbol" || name.type === "string") && name.value === key) return held;
  }
  return undefined;
}
