/**
 * Numbers of variable length: seven bits a byte, the lowest first, the eighth says that more follow. For whole numbers from 0
 * to 2^53 - 1; zigzag makes such numbers of those with a sign, as long as they lie within 2^52 of 0.
 *
 * Parts of what the log, the journal and nodes at rest look like on disk: neither side may change. What MQTT calls a
 * variable byte integer has at most four bytes and rules of its own (protocols/mqtt/codec).
 */

/** Bytes of one at most. */
export const VARINT_MAX = 8;

/** There has to be room for it. Returns where it ends. */
export function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  while (rest >= 0x8000_0000) {
    bytes[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  let low = rest | 0;
  while (low >= 0x80) {
    bytes[at++] = (low & 0x7f) | 0x80;
    low >>>= 7;
  }
  bytes[at++] = low;
  return at;
}

/** Small numbers of either sign as small numbers. */
export const zigzag = (value: number): number => (value < 0 ? -2 * value - 1 : 2 * value);
const unzigzag = (value: number): number => (value % 2 === 1 ? -(value + 1) / 2 : value / 2);

/** Reads varints one after the other, never beyond `end`. */
export class VarintReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  /** A number, or what it speaks of, went beyond the end: nothing read since means anything. */
  isBroken = false;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  next(): number {
    let value = 0;
    for (let scale = 1; this.at < this.end && scale < 2 ** 54; scale *= 128) {
      const byte = this.bytes[this.at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    this.isBroken = true;
    return 0;
  }

  nextSigned(): number {
    return unzigzag(this.next());
  }
}
