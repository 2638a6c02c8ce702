/**
 * Decodes any AMQP 1.0 value into `Value`. Bounded: never reads past `end`, never nests deeper than MAX_DEPTH, never
 * makes more elements than there are bytes. Values are copied; nothing refers to the input afterwards.
 */
import { isAscii, isUtf8 } from "node:buffer";
import { decodeError } from "../errors.ts";
import { CODE, DESCRIPTOR_NAMES } from "./codes.ts";
import { FALSE, NULL, TRUE, type Value } from "./value.ts";

/** How deep lists, maps, arrays and described values may nest. */
export const MAX_DEPTH = 32;
/** Elements of zero width that an array may have beyond the bytes there are. */
const ZERO_WIDTH_SLACK = 16;

/** Where the value at `at` ends. Looks at lengths only; described values of described values are followed to MAX_DEPTH. */
export function skipValue(bytes: Buffer, at: number, end: number, depth = 0): number {
  if (at >= end) throw decodeError("A value is cut off: its constructor is missing.");
  const code = bytes[at]!;
  let next = at + 1;
  switch (code >> 4) {
    case 0x0: {
      if (code !== CODE.DESCRIBED) throw unknownCode(code);
      if (depth >= MAX_DEPTH) throw tooDeep();
      return skipValue(bytes, skipValue(bytes, next, end, depth + 1), end, depth + 1);
    }
    case 0x4:
      break;
    case 0x5:
      next += 1;
      break;
    case 0x6:
      next += 2;
      break;
    case 0x7:
      next += 4;
      break;
    case 0x8:
      next += 8;
      break;
    case 0x9:
      next += 16;
      break;
    case 0xa:
    case 0xc:
    case 0xe:
      if (next >= end) throw cutOff();
      next += 1 + bytes[next]!;
      break;
    case 0xb:
    case 0xd:
    case 0xf:
      if (next + 4 > end) throw cutOff();
      next += 4 + bytes.readUInt32BE(next);
      break;
    default:
      throw unknownCode(code);
  }
  if (next > end) throw cutOff();
  return next;
}

/** Reads values one after the other. */
export class Decoder {
  readonly #bytes: Buffer;
  readonly #size: number;
  readonly #end: number;
  at: number;

  constructor(bytes: Buffer, start: number, end: number) {
    this.#bytes = bytes;
    this.#size = end - start;
    this.#end = end;
    this.at = start;
  }

  get isAtEnd(): boolean {
    return this.at >= this.#end;
  }

  value(): Value {
    return this.#value(this.#end, 0);
  }

  #value(end: number, depth: number): Value {
    if (this.at >= end) throw decodeError("A value is cut off: its constructor is missing.");
    const code = this.#bytes[this.at++]!;
    if (code === CODE.DESCRIBED) {
      if (depth >= MAX_DEPTH) throw tooDeep();
      const descriptor = this.#value(end, depth + 1);
      return { type: "described", descriptor, value: this.#value(end, depth + 1) };
    }
    return this.#body(code, end, depth);
  }

  /** The value after its constructor. */
  #body(code: number, end: number, depth: number): Value {
    const bytes = this.#bytes;
    switch (code) {
      case CODE.NULL:
        return NULL;
      case CODE.TRUE:
        return TRUE;
      case CODE.FALSE:
        return FALSE;
      case CODE.BOOLEAN: {
        const octet = bytes[this.#take(1, end)]!;
        if (octet > 1) throw decodeError("A boolean octet is neither 0 nor 1.");
        return octet === 1 ? TRUE : FALSE;
      }
      case CODE.UINT0:
        return { type: "uint", value: 0 };
      case CODE.SMALL_UINT:
        return { type: "uint", value: bytes[this.#take(1, end)]! };
      case CODE.UINT:
        return { type: "uint", value: bytes.readUInt32BE(this.#take(4, end)) };
      case CODE.ULONG0:
        return { type: "ulong", value: 0 };
      case CODE.SMALL_ULONG:
        return { type: "ulong", value: bytes[this.#take(1, end)]! };
      case CODE.ULONG:
        return { type: "ulong", value: narrow(bytes.readBigUInt64BE(this.#take(8, end))) };
      case CODE.UBYTE:
        return { type: "ubyte", value: bytes[this.#take(1, end)]! };
      case CODE.USHORT:
        return { type: "ushort", value: bytes.readUInt16BE(this.#take(2, end)) };
      case CODE.BYTE:
        return { type: "byte", value: bytes.readInt8(this.#take(1, end)) };
      case CODE.SHORT:
        return { type: "short", value: bytes.readInt16BE(this.#take(2, end)) };
      case CODE.SMALL_INT:
        return { type: "int", value: bytes.readInt8(this.#take(1, end)) };
      case CODE.INT:
        return { type: "int", value: bytes.readInt32BE(this.#take(4, end)) };
      case CODE.SMALL_LONG:
        return { type: "long", value: bytes.readInt8(this.#take(1, end)) };
      case CODE.LONG:
        return { type: "long", value: narrow(bytes.readBigInt64BE(this.#take(8, end))) };
      case CODE.TIMESTAMP:
        return { type: "timestamp", value: narrow(bytes.readBigInt64BE(this.#take(8, end))) };
      case CODE.FLOAT:
        return { type: "float", value: bytes.readFloatBE(this.#take(4, end)) };
      case CODE.DOUBLE:
        return { type: "double", value: bytes.readDoubleBE(this.#take(8, end)) };
      case CODE.CHAR:
        return { type: "char", value: bytes.readUInt32BE(this.#take(4, end)) };
      case CODE.DECIMAL32:
        return { type: "decimal32", value: this.#copy(4, end) };
      case CODE.DECIMAL64:
        return { type: "decimal64", value: this.#copy(8, end) };
      case CODE.DECIMAL128:
        return { type: "decimal128", value: this.#copy(16, end) };
      case CODE.UUID:
        return { type: "uuid", value: this.#copy(16, end) };
      case CODE.BINARY8:
        return { type: "binary", value: this.#copy(this.#size8(end), end) };
      case CODE.BINARY32:
        return { type: "binary", value: this.#copy(this.#size32(end), end) };
      case CODE.STRING8:
        return { type: "string", value: this.#utf8(this.#size8(end), end) };
      case CODE.STRING32:
        return { type: "string", value: this.#utf8(this.#size32(end), end) };
      case CODE.SYMBOL8:
        return { type: "symbol", value: this.#ascii(this.#size8(end), end) };
      case CODE.SYMBOL32:
        return { type: "symbol", value: this.#ascii(this.#size32(end), end) };
      case CODE.LIST0:
        return { type: "list", value: [] };
      case CODE.LIST8:
      case CODE.LIST32:
        return { type: "list", value: this.#elements(code === CODE.LIST8, end, depth) };
      case CODE.MAP8:
      case CODE.MAP32:
        return { type: "map", value: this.#pairs(code === CODE.MAP8, end, depth) };
      case CODE.ARRAY8:
      case CODE.ARRAY32:
        return this.#array(code === CODE.ARRAY8, end, depth);
      default:
        throw unknownCode(code);
    }
  }

  #elements(isSmall: boolean, end: number, depth: number): Value[] {
    if (depth >= MAX_DEPTH) throw tooDeep();
    const inner = this.#compoundEnd(isSmall, end);
    const count = isSmall ? this.#size8(inner) : this.#size32(inner);
    if (count > inner - this.at)
      throw decodeError("A list or map counts more elements than it has bytes.");
    const out: Value[] = [];
    for (let i = 0; i < count; i++) out.push(this.#value(inner, depth + 1));
    if (this.at !== inner) throw decodeError("A list or map is longer than its elements.");
    return out;
  }

  #pairs(isSmall: boolean, end: number, depth: number): Array<[Value, Value]> {
    const flat = this.#elements(isSmall, end, depth);
    if (flat.length % 2 !== 0) throw decodeError("A map has a key without a value.");
    const out: Array<[Value, Value]> = [];
    const seen = new Set<string>();
    for (let i = 0; i < flat.length; i += 2) {
      const key = flat[i]!;
      const text = keyText(key);
      if (seen.has(text)) throw decodeError("A map has the same key twice.");
      seen.add(text);
      out.push([key, flat[i + 1]!]);
    }
    return out;
  }

  #array(isSmall: boolean, end: number, depth: number): Value {
    if (depth >= MAX_DEPTH) throw tooDeep();
    const inner = this.#compoundEnd(isSmall, end);
    const count = isSmall ? this.#size8(inner) : this.#size32(inner);
    // Elements may be of zero width, so their number is bounded by all the bytes there are, not by the array's.
    if (count > this.#size + ZERO_WIDTH_SLACK)
      throw decodeError("An array counts more elements than the frame has bytes.");
    let code = bytesAt(this.#bytes, this.at++, inner);
    let descriptor: Value | undefined;
    if (code === CODE.DESCRIBED) {
      descriptor = this.#value(inner, depth + 1);
      code = bytesAt(this.#bytes, this.at++, inner);
      if (code === CODE.DESCRIBED) throw decodeError("An array has a descriptor of a descriptor.");
    }
    const out: Value[] = [];
    for (let i = 0; i < count; i++) out.push(this.#body(code, inner, depth + 1));
    if (this.at !== inner) throw decodeError("An array is longer than its elements.");
    const of = out.length > 0 ? out[0]!.type : typeOfCode(code);
    return descriptor === undefined
      ? { type: "array", of, value: out }
      : { type: "array", of, descriptor, value: out };
  }

  #compoundEnd(isSmall: boolean, end: number): number {
    const size = isSmall ? this.#size8(end) : this.#size32(end);
    const inner = this.at + size;
    if (inner > end) throw cutOff();
    return inner;
  }

  #size8(end: number): number {
    return this.#bytes[this.#take(1, end)]!;
  }

  #size32(end: number): number {
    return this.#bytes.readUInt32BE(this.#take(4, end));
  }

  #take(count: number, end: number): number {
    const at = this.at;
    if (count > end - at) throw cutOff();
    this.at = at + count;
    return at;
  }

  #copy(count: number, end: number): Buffer {
    const at = this.#take(count, end);
    return Buffer.from(this.#bytes.subarray(at, at + count));
  }

  #utf8(count: number, end: number): string {
    const at = this.#take(count, end);
    const view = this.#bytes.subarray(at, at + count);
    if (!isUtf8(view)) throw decodeError("A string is not valid UTF-8.");
    return view.toString("utf8");
  }

  #ascii(count: number, end: number): string {
    const at = this.#take(count, end);
    const view = this.#bytes.subarray(at, at + count);
    if (!isAscii(view)) throw decodeError("A symbol is not ASCII.");
    return view.toString("latin1");
  }
}

export function decodeValue(bytes: Buffer, start: number, end: number): Value {
  return new Decoder(bytes, start, end).value();
}

/** The number of a descriptor, given as ulong or as its symbolic name; -1 for one we do not know. */
export function descriptorNumber(descriptor: Value): number {
  if (descriptor.type === "ulong") {
    return typeof descriptor.value === "number" ? descriptor.value : -1;
  }
  return descriptor.type === "symbol" ? (DESCRIPTOR_NAMES.get(descriptor.value) ?? -1) : -1;
}

function keyText(key: Value): string {
  switch (key.type) {
    case "list":
    case "map":
    case "array":
    case "described":
      throw decodeError("A map key is a compound value.");
    default:
      return Buffer.isBuffer(key.value)
        ? `${key.type}:${key.value.toString("latin1")}`
        : `${key.type}:${key.value}`;
  }
}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const narrow = (value: bigint): number | bigint =>
  value <= MAX_SAFE && value >= -MAX_SAFE ? Number(value) : value;

function bytesAt(bytes: Buffer, at: number, end: number): number {
  if (at >= end) throw cutOff();
  return bytes[at]!;
}

function typeOfCode(code: number): Value["type"] {
  const type = TYPE_OF_CODE.get(code);
  if (type === undefined) throw unknownCode(code);
  return type;
}

const TYPE_OF_CODE: ReadonlyMap<number, Value["type"]> = new Map<number, Value["type"]>([
  [CODE.NULL, "null"],
  [CODE.TRUE, "boolean"],
  [CODE.FALSE, "boolean"],
  [CODE.BOOLEAN, "boolean"],
  [CODE.UINT0, "uint"],
  [CODE.SMALL_UINT, "uint"],
  [CODE.UINT, "uint"],
  [CODE.ULONG0, "ulong"],
  [CODE.SMALL_ULONG, "ulong"],
  [CODE.ULONG, "ulong"],
  [CODE.UBYTE, "ubyte"],
  [CODE.USHORT, "ushort"],
  [CODE.BYTE, "byte"],
  [CODE.SHORT, "short"],
  [CODE.SMALL_INT, "int"],
  [CODE.INT, "int"],
  [CODE.SMALL_LONG, "long"],
  [CODE.LONG, "long"],
  [CODE.TIMESTAMP, "timestamp"],
  [CODE.FLOAT, "float"],
  [CODE.DOUBLE, "double"],
  [CODE.CHAR, "char"],
  [CODE.DECIMAL32, "decimal32"],
  [CODE.DECIMAL64, "decimal64"],
  [CODE.DECIMAL128, "decimal128"],
  [CODE.UUID, "uuid"],
  [CODE.BINARY8, "binary"],
  [CODE.BINARY32, "binary"],
  [CODE.STRING8, "string"],
  [CODE.STRING32, "string"],
  [CODE.SYMBOL8, "symbol"],
  [CODE.SYMBOL32, "symbol"],
  [CODE.LIST0, "list"],
  [CODE.LIST8, "list"],
  [CODE.LIST32, "list"],
  [CODE.MAP8, "map"],
  [CODE.MAP32, "map"],
  [CODE.ARRAY8, "array"],
  [CODE.ARRAY32, "array"],
]);

const cutOff = () => decodeError("A value is cut off: it is longer than the bytes around it.");
const tooDeep = () => decodeError(`Values nest deeper than ${MAX_DEPTH} levels.`);
const unknownCode = (code: number) =>
  decodeError(`0x${code.toString(16).padStart(2, "0")} is not a type of AMQP 1.0.`);
