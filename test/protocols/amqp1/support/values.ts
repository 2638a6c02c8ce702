/** Arbitrary AMQP 1.0 values, and the same values as rhea's typed objects: its codec is our oracle. */
import { createRequire } from "node:module";
import fc from "fast-check";
import type { Value } from "../../../../protocols/amqp1/codec/value.ts";

export interface RheaTyped {
  readonly type: { readonly name: string; readonly typecode: number };
  readonly value: unknown;
  readonly descriptor?: RheaTyped;
  readonly array_constructor?: { readonly typecode: number; readonly descriptor?: RheaTyped };
}
type Create = ((...args: unknown[]) => RheaTyped) & { typecode: number };

export interface RheaTypes {
  readonly described: (descriptor: RheaTyped, value: RheaTyped) => RheaTyped;
  readonly Reader: new (bytes: Buffer) => { read(): RheaTyped; remaining(): number };
  readonly Writer: new () => { write(value: RheaTyped): void; toBuffer(): Buffer };
}

const types = createRequire(import.meta.url)("rhea/lib/types.js") as RheaTypes &
  Record<string, Create>;

export const rheaDecode = (bytes: Buffer): RheaTyped => new types.Reader(bytes).read();

export function rheaEncode(value: RheaTyped): Buffer {
  const writer = new types.Writer();
  writer.write(value);
  return writer.toBuffer();
}

const ascii = fc.string({
  unit: fc.integer({ min: 32, max: 126 }).map((c) => String.fromCharCode(c)),
  maxLength: 12,
});
const wide = (min: bigint, max: bigint) =>
  fc
    .bigInt({ min, max })
    .map((value) =>
      value <= BigInt(Number.MAX_SAFE_INTEGER) && value >= -BigInt(Number.MAX_SAFE_INTEGER)
        ? Number(value)
        : value,
    );
const fixed = (type: "decimal32" | "decimal64" | "decimal128" | "uuid", size: number) =>
  fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((bytes): Value => ({ type, value: Buffer.from(bytes) }));
const number = (
  type: "ubyte" | "ushort" | "uint" | "byte" | "short" | "int",
  min: number,
  max: number,
) => fc.integer({ min, max }).map((value): Value => ({ type, value }));

/** Every scalar type, near its widths' limits too. */
export const scalar: fc.Arbitrary<Value> = fc.oneof(
  fc.constant<Value>({ type: "null", value: null }),
  fc.boolean().map((value): Value => ({ type: "boolean", value })),
  number("ubyte", 0, 255),
  number("ushort", 0, 65_535),
  number("uint", 0, 300),
  number("uint", 0, 0xffffffff),
  number("byte", -128, 127),
  number("short", -32_768, 32_767),
  number("int", -200, 200),
  number("int", -(2 ** 31), 2 ** 31 - 1),
  wide(0n, 300n).map((value): Value => ({ type: "ulong", value })),
  wide(0n, 2n ** 64n - 1n).map((value): Value => ({ type: "ulong", value })),
  wide(-200n, 200n).map((value): Value => ({ type: "long", value })),
  wide(-(2n ** 63n), 2n ** 63n - 1n).map((value): Value => ({ type: "long", value })),
  wide(-(2n ** 50n), 2n ** 50n).map((value): Value => ({ type: "timestamp", value })),
  fc.float({ noNaN: true }).map((value): Value => ({ type: "float", value })),
  fc.double({ noNaN: true }).map((value): Value => ({ type: "double", value })),
  fc.integer({ min: 0, max: 0x10ffff }).map((value): Value => ({ type: "char", value })),
  fixed("decimal32", 4),
  fixed("decimal64", 8),
  fixed("decimal128", 16),
  fixed("uuid", 16),
  fc
    .uint8Array({ maxLength: 300 })
    .map((bytes): Value => ({ type: "binary", value: Buffer.from(bytes) })),
  fc.string({ unit: "binary", maxLength: 300 }).map((value): Value => ({ type: "string", value })),
  ascii.map((value): Value => ({ type: "symbol", value })),
  fc.constant<Value>({ type: "symbol", value: "s".repeat(256) }),
);

const key = fc.oneof(
  ascii.map((value): Value => ({ type: "symbol", value })),
  fc.string({ maxLength: 5 }).map((value): Value => ({ type: "string", value })),
  fc.integer({ min: 0, max: 9 }).map((value): Value => ({ type: "uint", value })),
);

/** What rhea read, so that it can write it: its writer wants the plain values of an array. */
export function plainArrays(typed: RheaTyped): RheaTyped {
  const { value } = typed;
  if (!Array.isArray(value)) return typed;
  const elements = value.map((element: RheaTyped) =>
    typed.array_constructor === undefined ? plainArrays(element) : element.value,
  );
  return Object.assign(Object.create(typed), { value: elements });
}

export const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    fc.array(tie("value"), { maxLength: 6 }).map((list): Value => ({ type: "list", value: list })),
    fc
      .uniqueArray(fc.tuple(key, tie("value")), {
        maxLength: 4,
        selector: ([name]) => `${name.type}:${name.value}`,
      })
      .map((map): Value => ({ type: "map", value: map })),
    fc.tuple(scalar, fc.nat({ max: 5 })).map(
      ([element, count]): Value => ({
        type: "array",
        of: element.type,
        value: Array.from({ length: count }, () => element),
      }),
    ),
    fc.tuple(ascii, tie("value")).map(
      ([name, held]): Value => ({
        type: "described",
        descriptor: { type: "symbol", value: name },
        value: held.type === "described" ? held.value : held,
      }),
    ),
  ),
})).value;

/** Every encoding that can hold this value, by rhea's names of the constructors. */
function encodings(value: Value): string[] {
  switch (value.type) {
    case "null":
      return ["Null"];
    case "boolean":
      return [value.value ? "True" : "False", "Boolean"];
    case "uint":
      return [
        "Uint",
        ...(value.value < 256 ? ["SmallUint"] : []),
        ...(value.value === 0 ? ["Uint0"] : []),
      ];
    case "ulong":
      return [
        "Ulong",
        ...(value.value < 256 ? ["SmallUlong"] : []),
        ...(value.value === 0 ? ["Ulong0"] : []),
      ];
    case "int":
      return ["Int", ...(isByte(value.value) ? ["SmallInt"] : [])];
    case "long":
      return ["Long", ...(isByte(value.value) ? ["SmallLong"] : [])];
    case "string":
      return ["Str32", ...(Buffer.byteLength(value.value) < 256 ? ["Str8"] : [])];
    case "symbol":
      return ["Sym32", ...(value.value.length < 256 ? ["Sym8"] : [])];
    case "binary":
      return ["Vbin32", ...(value.value.length < 256 ? ["Vbin8"] : [])];
    case "list":
      return value.value.length === 0 ? ["List0", "List8", "List32"] : ["List32"];
    case "map":
      return ["Map32"];
    case "array":
      return ["Array32"];
    case "char":
      return ["CharUTF32"];
    case "described":
      return [];
    default:
      return [value.type[0]!.toUpperCase() + value.type.slice(1)];
  }
}

const emptyOf = (type: Value["type"]): Value =>
  ({ type, value: type === "string" || type === "symbol" || type === "binary" ? "" : 0 }) as Value;

const isByte = (value: number | bigint): boolean => value >= -128 && value < 128;

/** The value for rhea, in an encoding that `pick` chooses. */
export function toRhea(value: Value, pick: (count: number) => number): RheaTyped {
  if (value.type === "described") {
    return types.described(toRhea(value.descriptor, pick), toRhea(value.value, pick));
  }
  const names = encodings(value);
  const create = types[names[pick(names.length)]!]!;
  switch (value.type) {
    case "list":
      return create(value.value.map((element) => toRhea(element, pick)));
    case "map":
      return create(value.value.flat().map((element) => toRhea(element, pick)));
    case "array": {
      const sample = value.value[0];
      // Elements of an array are all in one encoding: the widest holds any.
      const widest = types[encodings(sample ?? emptyOf(value.of))[0]!]!;
      return create(
        // Plain values: rhea's writer does not look into typed ones here.
        value.value.map((element) => toRhea(element, () => 0).value),
        sample?.type === "boolean" ? types["Boolean"]!.typecode : widest.typecode,
      );
    }
    case "ulong":
    case "long":
    case "timestamp":
      return create(bytesOrNumber(value.value, value.type === "ulong"));
    default:
      return create(value.value);
  }
}

function bytesOrNumber(value: number | bigint, isUnsigned: boolean): unknown {
  if (typeof value === "number" && value >= 0 && value < 256) return value;
  if (typeof value === "number" && isByte(value)) return value;
  const bytes = Buffer.alloc(8);
  if (isUnsigned) bytes.writeBigUInt64BE(BigInt(value));
  else bytes.writeBigInt64BE(BigInt(value));
  return bytes;
}
