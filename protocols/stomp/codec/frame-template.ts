/**
 * A frame as the pattern of those that follow it. Clients send the same frame again and again, and only a number and a
 * few texts in it change: SEND its content-length, its receipt and perhaps a header, ACK the number of the delivery. What
 * equals the pattern means the same, so nothing of it has to be looked at again.
 *
 *   SEND LF destination:/queue/a LF content-length:[number] LF receipt:[text] LF LF
 *   ACK LF id:7-1-[number] LF LF NUL
 *
 * A number has at most nine digits; a text at most 128 characters, none of which means anything inside a header line.
 * Everything else does not fit, and is read by the parser.
 */
import { KnownBytes } from "../../../src/util/known-bytes.ts";

/** Longer ones are not remembered. */
const TEMPLATE_BYTES = 1024;
export const MAX_SLOTS = 8;
export const MAX_TEXT = 128;
const MAX_DIGITS = 9;

/** What may stand in a slot, the part of a pattern that changes. */
export const SLOT = { NUMBER: 0, TEXT: 1 } as const;
export type Slot = (typeof SLOT)[keyof typeof SLOT];

/** Visible ASCII but the colon and the backslash. A blank may be trimmed. */
const IS_PLAIN = new Uint8Array(256).fill(1, 0x21, 0x7f);
IS_PLAIN[0x3a] = 0;
IS_PLAIN[0x5c] = 0;

export class FrameTemplate {
  // What `read` found: where each slot begins and ends, and the value of the last that is a number.
  readonly found = new Int32Array(MAX_SLOTS * 2);
  number = 0;
  readonly #known = new KnownBytes();
  // The slots in order: where they begin and end in the pattern, and what may stand there.
  readonly #places = new Int32Array(MAX_SLOTS * 2);
  readonly #kinds = new Uint8Array(MAX_SLOTS);
  #count = 0;

  get slotCount(): number {
    return this.#count;
  }

  forget(): void {
    this.#known.length = 0;
  }

  /** `bytes[start, end)` is the pattern from now on, everything in it as it is. False when it is too long. */
  learn(bytes: Buffer, start: number, end: number): boolean {
    this.forget();
    this.#count = 0;
    if (end - start > TEMPLATE_BYTES) return false;
    this.#known.learn(bytes, start, end);
    return true;
  }

  /**
   * This part of the pattern, which is not empty, may be any other. Parts are told in order. Returns the number of the slot,
   * -1 when there are too many.
   */
  vary(kind: Slot, start: number, end: number): number {
    const slot = this.#count;
    if (slot === MAX_SLOTS) return -1;
    this.#places[slot * 2] = start;
    this.#places[slot * 2 + 1] = end;
    this.#kinds[slot] = kind;
    this.#count = slot + 1;
    return slot;
  }

  /** The index after what fits the pattern from `at` on, 0 when it does not or is not all there. */
  read(bytes: Buffer, at: number, end: number): number {
    const known = this.#known;
    const places = this.#places;
    const { found } = this;
    const size = known.length;
    let p = at;
    let t = 0;
    for (let i = 0; i < this.#count * 2; i += 2) {
      const start = places[i]!;
      if (!known.isAt(bytes, p, t, start)) return 0;
      p += start - t;
      found[i] = p;
      p =
        this.#kinds[i >> 1] === SLOT.NUMBER
          ? this.#readNumber(bytes, p, end)
          : readText(bytes, p, end);
      if (p < 0) return 0;
      found[i + 1] = p;
      t = places[i + 1]!;
    }
    if (!known.isAt(bytes, p, t, size)) return 0;
    p += size - t;
    return size > 0 && p <= end ? p : 0;
  }

  #readNumber(bytes: Buffer, start: number, end: number): number {
    const stop = Math.min(end, start + MAX_DIGITS);
    let value = 0;
    let p = start;
    for (; p < stop; p++) {
      const digit = bytes[p]! - 0x30;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    this.number = value;
    return p === start ? -1 : p;
  }
}

function readText(bytes: Buffer, start: number, end: number): number {
  const stop = Math.min(end, start + MAX_TEXT);
  let p = start;
  while (p < stop && IS_PLAIN[bytes[p]!] === 1) p++;
  return p;
}
