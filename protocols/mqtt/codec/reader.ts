/**
 * Reads MQTT's data types out of one packet. Every length is checked against the packet's end before it is used; what
 * does not fit is a malformed packet. For the packets that are not on the hot path: strings and buffers are copies.
 */
import { malformed } from "./protocol-error.ts";
import { isMqttUtf8 } from "./utf8.ts";

export class PacketReader {
  #bytes: Buffer = Buffer.alloc(0);
  #end = 0;
  at = 0;

  open(bytes: Buffer, start: number, end: number): this {
    this.#bytes = bytes;
    this.at = start;
    this.#end = end;
    return this;
  }

  get remaining(): number {
    return this.#end - this.at;
  }

  u8(what: string): number {
    if (this.at + 1 > this.#end) throw malformed(`packet ends inside ${what}`);
    return this.#bytes[this.at++]!;
  }

  u16(what: string): number {
    if (this.at + 2 > this.#end) throw malformed(`packet ends inside ${what}`);
    const value = (this.#bytes[this.at]! << 8) | this.#bytes[this.at + 1]!;
    this.at += 2;
    return value;
  }

  u32(what: string): number {
    if (this.at + 4 > this.#end) throw malformed(`packet ends inside ${what}`);
    const value = this.#bytes.readUInt32BE(this.at);
    this.at += 4;
    return value;
  }

  varint(what: string): number {
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8(what);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        // MQTT-1.5.5-1: the minimum number of bytes; a last byte of zero means it was not.
        if (byte === 0 && shift > 0)
          throw malformed(`${what} is longer than needed`, "MQTT-1.5.5-1");
        return value;
      }
    }
    throw malformed(`${what} is longer than four bytes`, "MQTT-1.5.5-1");
  }

  /** A UTF-8 Encoded String. */
  text(what: string): string {
    const length = this.u16(what);
    const from = this.at;
    this.#take(length, what);
    if (!isMqttUtf8(this.#bytes, from, this.at))
      throw malformed(`${what} is not valid UTF-8`, "MQTT-1.5.4-1");
    return this.#bytes.toString("utf8", from, this.at);
  }

  /** Binary Data: a copy, never a view of the socket's buffer. */
  binary(what: string): Buffer {
    const length = this.u16(what);
    const from = this.at;
    this.#take(length, what);
    return Buffer.from(this.#bytes.subarray(from, this.at));
  }

  /** Moves the end to `length` bytes from here; returns the old end for `leave`. */
  enter(length: number, what: string): number {
    if (length > this.remaining) throw malformed(`${what} is longer than the packet`);
    const old = this.#end;
    this.#end = this.at + length;
    return old;
  }

  leave(end: number): void {
    this.#end = end;
  }

  end(what: string): void {
    if (this.at !== this.#end) throw malformed(`${what} has ${this.remaining} bytes too many`);
  }

  #take(length: number, what: string): void {
    if (length > this.remaining) throw malformed(`${what} is longer than the packet`);
    this.at += length;
  }
}
