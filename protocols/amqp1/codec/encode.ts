/**
 * Encodes `Value`s in their smallest form into a buffer that grows, and whole frames of one performative. For everything
 * but transfers, flows and dispositions, which are written by offset (see frames.ts).
 */
import { CODE } from "./codes.ts";
import type { ArrayValue, Value } from "./value.ts";

export class Encoder {
  buffer: Buffer;
  at = 0;

  constructor(initialBytes = 512) {
    this.buffer = Buffer.allocUnsafe(initialBytes);
  }

  reset(): this {
    this.at = 0;
    return this;
  }

  /** A view of what was written; valid until the next use. */
  bytes(): Buffer {
    return this.buffer.subarray(0, this.at);
  }

  /** A frame of `type` on `channel` with one performative; returns the encoder for `bytes()`. */
  frame(type: number, channel: number, performative: Value): this {
    const start = this.at;
    this.reserve(8);
    this.at += 8;
    this.value(performative);
    this.buffer.writeUInt32BE(this.at - start, start);
    this.buffer[start + 4] = 2;
    this.buffer[start + 5] = type;
    this.buffer.writeUInt16BE(channel, start + 6);
    return this;
  }

  value(value: Value): void {
    switch (value.type) {
      case "described":
        this.#byte(CODE.DESCRIBED);
        this.value(value.descriptor);
        this.value(value.value);
        return;
      case "list":
        this.#list(value.value);
        return;
      case "map":
        this.#compound(CODE.MAP8, CODE.MAP32, value.value.length * 2, () => {
          for (const [key, held] of value.value) {
            this.value(key);
            this.value(held);
          }
        });
        return;
      case "array":
        this.#array(value);
        return;
      default:
        this.#scalar(value);
    }
  }

  reserve(bytes: number): void {
    if (this.at + bytes <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.buffer.length * 2, this.at + bytes));
    this.buffer.copy(grown, 0, 0, this.at);
    this.buffer = grown;
  }

  /** Copies bytes that are encoded already. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.buffer.set(bytes, this.at);
    this.at += bytes.length;
  }

  #list(values: readonly Value[]): void {
    if (values.length === 0) {
      this.#byte(CODE.LIST0);
      return;
    }
    this.#compound(CODE.LIST8, CODE.LIST32, values.length, () => {
      for (const value of values) this.value(value);
    });
  }

  #compound(small: number, large: number, count: number, body: () => void): void {
    // Written in the large form first; moved down when it turns out to be small.
    const start = this.at;
    this.reserve(9);
    this.at += 9;
    body();
    const size = this.at - start - 9;
    const { buffer } = this;
    if (size < 255 && count < 256) {
      buffer[start] = small;
      buffer[start + 1] = size + 1;
      buffer[start + 2] = count;
      buffer.copyWithin(start + 3, start + 9, this.at);
      this.at -= 6;
      return;
    }
    buffer[start] = large;
    buffer.writeUInt32BE(size + 4, start + 1);
    buffer.writeUInt32BE(count, start + 5);
  }

  #array(array: ArrayValue): void {
    this.#compound(CODE.ARRAY8, CODE.ARRAY32, array.value.length, () => {
      if (array.descriptor !== undefined) {
        this.#byte(CODE.DESCRIBED);
        this.value(array.descriptor);
      }
      const isSmall = array.value.every(isShort);
      this.#byte(arrayCode(array.of, isSmall));
      for (const element of array.value) this.#element(element, isSmall);
    });
  }

  /** An array element: the fixed constructor of its type, without the constructor. */
  #element(value: Value, isSmall: boolean): void {
    switch (value.type) {
      case "null":
        return;
      case "boolean":
        this.#byte(value.value ? 1 : 0);
        return;
      case "list":
      case "map":
      case "array":
      case "described": {
        const start = this.at;
        this.value(value);
        this.#widen(start);
        return;
      }
      case "string":
      case "symbol":
      case "binary": {
        const bytes =
          typeof value.value === "string" ? Buffer.from(value.value, "utf8") : value.value;
        if (isSmall) this.#byte(bytes.length);
        else this.#uint32(bytes.length);
        this.raw(bytes);
        return;
      }
      default:
        this.#fixed(value);
    }
  }

  /** Turns the compound value just written at `start` into its 32-bit form without the constructor. */
  #widen(start: number): void {
    const code = this.buffer[start]!;
    if (code === CODE.LIST0) {
      this.at = start;
      this.#uint32(4);
      this.#uint32(0);
      return;
    }
    if (code >> 4 === 0xd || code >> 4 === 0xf) {
      this.buffer.copyWithin(start, start + 1, this.at);
      this.at -= 1;
      return;
    }
    const size = this.buffer[start + 1]!;
    const count = this.buffer[start + 2]!;
    this.reserve(5);
    this.buffer.copyWithin(start + 8, start + 3, this.at);
    this.buffer.writeUInt32BE(size + 3, start);
    this.buffer.writeUInt32BE(count, start + 4);
    this.at += 5;
  }

  #scalar(value: Value): void {
    switch (value.type) {
      case "null":
        this.#byte(CODE.NULL);
        return;
      case "boolean":
        this.#byte(value.value ? CODE.TRUE : CODE.FALSE);
        return;
      case "uint":
        if (value.value === 0) this.#byte(CODE.UINT0);
        else if (value.value < 256) this.#octet(CODE.SMALL_UINT, value.value);
        else this.#code(CODE.UINT, value);
        return;
      case "ulong":
        if (value.value === 0) this.#byte(CODE.ULONG0);
        else if (value.value < 256) this.#octet(CODE.SMALL_ULONG, Number(value.value));
        else this.#code(CODE.ULONG, value);
        return;
      case "int":
        if (value.value >= -128 && value.value < 128) {
          this.#octet(CODE.SMALL_INT, value.value & 0xff);
        } else this.#code(CODE.INT, value);
        return;
      case "long":
        if (value.value >= -128 && value.value < 128) {
          this.#octet(CODE.SMALL_LONG, Number(value.value) & 0xff);
        } else this.#code(CODE.LONG, value);
        return;
      case "string":
        this.#text(CODE.STRING8, Buffer.from(value.value, "utf8"));
        return;
      case "symbol":
        this.#text(CODE.SYMBOL8, Buffer.from(value.value, "latin1"));
        return;
      case "binary":
        this.#text(CODE.BINARY8, value.value);
        return;
      default:
        this.#code(arrayCode(value.type, false), value);
    }
  }

  #code(code: number, value: Value): void {
    this.#byte(code);
    this.#fixed(value);
  }

  /** The full-width form of a fixed-width value, without its constructor. */
  #fixed(value: Value): void {
    this.reserve(16);
    const { buffer, at } = this;
    switch (value.type) {
      case "ubyte":
        this.at = buffer.writeUInt8(value.value, at);
        return;
      case "byte":
        this.at = buffer.writeInt8(value.value, at);
        return;
      case "ushort":
        this.at = buffer.writeUInt16BE(value.value, at);
        return;
      case "short":
        this.at = buffer.writeInt16BE(value.value, at);
        return;
      case "uint":
      case "char":
        this.at = buffer.writeUInt32BE(value.value, at);
        return;
      case "int":
        this.at = buffer.writeInt32BE(value.value, at);
        return;
      case "float":
        this.at = buffer.writeFloatBE(value.value, at);
        return;
      case "double":
        this.at = buffer.writeDoubleBE(value.value, at);
        return;
      case "ulong":
        this.at = buffer.writeBigUInt64BE(BigInt(value.value), at);
        return;
      case "long":
      case "timestamp":
        this.at = buffer.writeBigInt64BE(BigInt(value.value), at);
        return;
      case "decimal32":
      case "decimal64":
      case "decimal128":
      case "uuid":
        this.raw(value.value);
        return;
      default:
        throw new Error(`${value.type} has no fixed width`);
    }
  }

  #text(small: number, bytes: Buffer): void {
    if (bytes.length < 256) this.#octet(small, bytes.length);
    else {
      this.#byte(small + 0x10);
      this.#uint32(bytes.length);
    }
    this.raw(bytes);
  }

  #byte(value: number): void {
    this.reserve(1);
    this.buffer[this.at++] = value;
  }

  #octet(code: number, value: number): void {
    this.reserve(2);
    this.buffer[this.at++] = code;
    this.buffer[this.at++] = value;
  }

  #uint32(value: number): void {
    this.reserve(4);
    this.at = this.buffer.writeUInt32BE(value, this.at);
  }
}

const isShort = (value: Value): boolean =>
  typeof value.value === "string"
    ? Buffer.byteLength(value.value) < 256
    : !Buffer.isBuffer(value.value) || value.value.length < 256;

/** The constructor of a type in its full width (variable-width types: the short form when all elements fit). */
function arrayCode(type: Value["type"], isSmall: boolean): number {
  switch (type) {
    case "binary":
      return isSmall ? CODE.BINARY8 : CODE.BINARY32;
    case "string":
      return isSmall ? CODE.STRING8 : CODE.STRING32;
    case "symbol":
      return isSmall ? CODE.SYMBOL8 : CODE.SYMBOL32;
    case "described":
      throw new Error("an array of described values carries the descriptor itself");
    default:
      return FULL_CODE[type];
  }
}

const FULL_CODE = {
  null: CODE.NULL,
  boolean: CODE.BOOLEAN,
  ubyte: CODE.UBYTE,
  ushort: CODE.USHORT,
  uint: CODE.UINT,
  ulong: CODE.ULONG,
  byte: CODE.BYTE,
  short: CODE.SHORT,
  int: CODE.INT,
  long: CODE.LONG,
  float: CODE.FLOAT,
  double: CODE.DOUBLE,
  char: CODE.CHAR,
  timestamp: CODE.TIMESTAMP,
  decimal32: CODE.DECIMAL32,
  decimal64: CODE.DECIMAL64,
  decimal128: CODE.DECIMAL128,
  uuid: CODE.UUID,
  list: CODE.LIST32,
  map: CODE.MAP32,
  array: CODE.ARRAY32,
} as const satisfies Partial<Record<Value["type"], number>>;

export function encodeValue(value: Value): Buffer {
  const encoder = new Encoder();
  encoder.value(value);
  return Buffer.from(encoder.bytes());
}
