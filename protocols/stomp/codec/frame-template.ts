/**
 * A frame as the pattern of those that follow it. Clients send the same frame again and again, and only a number and a
 * text in it change: SEND its content-length and its receipt, ACK the number of the delivery. What equals the pattern
 * means the same, so nothing of it has to be looked at again.
 *
 *   SEND LF destination:/queue/a LF content-length:[number] LF receipt:[text] LF LF
 *   ACK LF id:7-1-[number] LF LF NUL
 *
 * Each of the two is there at most once. A number has at most nine digits; a text at most 64 characters, none of which
 * means anything inside a header line. Everything else does not fit, and is read by the parser.
 */

import { KnownBytes } from "../../../src/util/known-bytes.ts";

/** Longer ones are not remembered. */
const TEMPLATE_BYTES = 1024;
const MAX_TEXT = 64;
const MAX_DIGITS = 9;

/** Visible ASCII but the colon and the backslash. */
const IS_PLAIN = new Uint8Array(256).fill(1, 0x21, 0x7f);
IS_PLAIN[0x3a] = 0;
IS_PLAIN[0x5c] = 0;

export class FrameTemplate {
  // What `read` found.
  number = 0;
  textStart = 0;
  textEnd = 0;
  readonly #known = new KnownBytes();
  // Where number and text lie in it, -1 for none; the first of them.
  #numberStart = -1;
  #numberEnd = 0;
  #textStart = -1;
  #textEnd = 0;

  get hasText(): boolean {
    return this.#textStart >= 0;
  }

  forget(): void {
    this.#known.length = 0;
  }

  /** `bytes[start, end)` is the pattern from now on, everything in it as it is. False when it is too long. */
  learn(bytes: Buffer, start: number, end: number): boolean {
    this.forget();
    this.#numberStart = this.#textStart = -1;
    if (end - start > TEMPLATE_BYTES) return false;
    this.#known.learn(bytes, start, end);
    return true;
  }

  /** This part of the pattern may be any number; offsets from its start. */
  varyNumber(start: number, end: number): void {
    this.#numberStart = start;
    this.#numberEnd = end;
  }

  /** This part of the pattern, which is not empty, may be any text. */
  varyText(start: number, end: number): void {
    this.#textStart = start;
    this.#textEnd = end;
  }

  /** The index after what fits the pattern from `at` on, 0 when it does not or is not all there. */
  read(bytes: Buffer, at: number, end: number): number {
    const known = this.#known;
    const size = known.length;
    let p = at;
    let t = 0;
    while (t < size) {
      if (t === this.#numberStart) {
        p = this.#readNumber(bytes, p, end);
        if (p < 0) return 0;
        t = this.#numberEnd;
      } else if (t === this.#textStart) {
        p = this.#readText(bytes, p, end);
        t = this.#textEnd;
      }
      const stop = this.#nextVaryingAfter(t);
      if (!known.isAt(bytes, p, t, stop)) return 0;
      p += stop - t;
      t = stop;
    }
    return size > 0 && p <= end ? p : 0;
  }

  /** Where the next varying part begins, or the pattern ends. */
  #nextVaryingAfter(at: number): number {
    const size = this.#known.length;
    const number = this.#numberStart >= at ? this.#numberStart : size;
    const text = this.#textStart >= at ? this.#textStart : size;
    return number < text ? number : text;
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

  #readText(bytes: Buffer, start: number, end: number): number {
    const stop = Math.min(end, start + MAX_TEXT);
    let p = start;
    while (p < stop && IS_PLAIN[bytes[p]!] === 1) p++;
    this.textStart = start;
    this.textEnd = p;
    return p;
  }
}
