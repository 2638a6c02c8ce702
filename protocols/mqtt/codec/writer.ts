/**
 * Builds one packet at a time for everything off the hot path. The buffer belongs to the writer and is used again:
 * what `finish` returns is valid until the next `begin`.
 */
import { VARINT_MAX } from "./constants.ts";

/** Bytes a Variable Byte Integer takes. */
export function varintSize(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4;
}

/** Writes a Variable Byte Integer at `at`; returns the index after it. */
export function putVarint(bytes: Buffer, at: number, value: number): number {
  let rest = value;
  let to = at;
  while (rest > 0x7f) {
    bytes[to++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[to++] = rest;
  return to;
}

/** Room in front of the packet for its fixed header: one byte and up to four of length. */
const HEAD = 5;

export class PacketWriter {
  #bytes: Buffer = Buffer.allocUnsafe(512);
  #at = HEAD;
  #first = 0;

  begin(type: number, flags = 0): this {
    this.#first = (type << 4) | flags;
    this.#at = HEAD;
    return this;
  }

  u8(value: number): this {
    this.#room(1);
    this.#bytes[this.#at++] = value;
    return this;
  }

  u16(value: number): this {
    this.#room(2);
    this.#at = this.#bytes.writeUInt16BE(value, this.#at);
    return this;
  }

  u32(value: number): this {
    this.#room(4);
    this.#at = this.#bytes.writeUInt32BE(value, this.#at);
    return this;
  }

  varint(value: number): this {
    this.#room(4);
    this.#at = putVarint(this.#bytes, this.#at, value);
    return this;
  }

  text(value: string): this {
    const length = Buffer.byteLength(value);
    if (length > 0xffff) throw new RangeError(`string of ${length} bytes in an MQTT packet`);
    this.#room(2 + length);
    this.#at = this.#bytes.writeUInt16BE(length, this.#at);
    this.#at += this.#bytes.write(value, this.#at, "utf8");
    return this;
  }

  binary(value: Uint8Array): this {
    if (value.length > 0xffff) throw new RangeError(`${value.length} bytes of binary data`);
    this.u16(value.length);
    return this.raw(value);
  }

  raw(value: Uint8Array): this {
    this.#room(value.length);
    this.#bytes.set(value, this.#at);
    this.#at += value.length;
    return this;
  }

  /** Starts something that has a Variable Byte Integer length in front. */
  beginVarintLength(): number {
    return this.#at;
  }

  endVarintLength(mark: number): void {
    const length = this.#at - mark;
    const size = varintSize(length);
    this.#room(size);
    this.#bytes.copyWithin(mark + size, mark, this.#at);
    putVarint(this.#bytes, mark, length);
    this.#at += size;
  }

  /** The whole packet with its fixed header. */
  finish(): Buffer {
    const length = this.#at - HEAD;
    if (length > VARINT_MAX) throw new RangeError(`MQTT packet of ${length} bytes`);
    const start = HEAD - 1 - varintSize(length);
    this.#bytes[start] = this.#first;
    putVarint(this.#bytes, start + 1, length);
    return this.#bytes.subarray(start, this.#at);
  }

  #room(bytes: number): void {
    if (this.#at + bytes <= this.#bytes.length) return;
    const bigger = Buffer.allocUnsafe(Math.max(this.#bytes.length * 2, this.#at + bytes));
    this.#bytes.copy(bigger, 0, 0, this.#at);
    this.#bytes = bigger;
  }
}
