/**
 * CRC-32 (IEEE 802.3, reflected, the one of zlib and java.util.zip) over a range of bytes, and the CRC of two joined
 * ranges from the CRCs of the parts.
 *
 * What lies in the memory of copy-memory.ts is summed there, in WebAssembly. Elsewhere short ranges are summed here, eight
 * bytes a step over eight tables, without a view of the range: a call into zlib costs more than the sum itself. From
 * `NATIVE_FROM` bytes on zlib wins. Measured on Node 20, ns per call:
 *
 *   bytes     20   50  100  128  200  256  300  400  500  1024  8192
 *   here      65   45   89  111  173  240  262  350  431   875  6938
 *   zlib     128  187  211  193  261  240  252  306  291   409  1915
 *   there     17   27   47   58   60   63   75   82   95   162  1041
 */
import { crc32 as nativeCrc32 } from "node:zlib";
import { sumBytes } from "./copy-memory.ts";

/** Ranges of at least this many bytes go to zlib. */
export const NATIVE_FROM = 256;

const POLYNOMIAL = 0xedb88320 | 0;

// TABLES[k * 256 + byte]: the CRC of `byte` followed by k zero bytes, without the two inversions.
const TABLES = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  TABLES[byte] = crc;
}
for (let at = 256; at < TABLES.length; at++) {
  const previous = TABLES[at - 256]!;
  TABLES[at] = (previous >>> 8) ^ TABLES[previous & 0xff]!;
}

/** The CRC of `bytes[start, end)`, continuing from `seed` (the CRC of what came before). Unsigned. */
export function crc32(bytes: Uint8Array, start: number, end: number, seed = 0): number {
  // A range outside the array would be summed as zeros: fail before anything trusts that.
  if (!(start >= 0 && start <= end && end <= bytes.length)) {
    throw new RangeError(`crc32: range ${start}..${end} is outside of ${bytes.length} bytes`);
  }
  const sum = sumBytes(bytes, start, end, seed);
  if (sum >= 0) return sum;
  if (end - start < NATIVE_FROM) return shortCrc32(bytes, start, end, seed);
  return nativeCrc32(bytes.subarray(start, end), seed);
}

function shortCrc32(bytes: Uint8Array, start: number, end: number, seed: number): number {
  let crc = ~seed;
  let at = start;
  for (const stop = start + ((end - start) & ~7); at < stop; at += 8) {
    const low =
      crc ^ (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    crc =
      TABLES[1792 + (low & 0xff)]! ^
      TABLES[1536 + ((low >>> 8) & 0xff)]! ^
      TABLES[1280 + ((low >>> 16) & 0xff)]! ^
      TABLES[1024 + (low >>> 24)]! ^
      TABLES[768 + bytes[at + 4]!]! ^
      TABLES[512 + bytes[at + 5]!]! ^
      TABLES[256 + bytes[at + 6]!]! ^
      TABLES[bytes[at + 7]!]!;
  }
  for (; at < end; at++) crc = (crc >>> 8) ^ TABLES[(crc ^ bytes[at]!) & 0xff]!;
  return ~crc >>> 0;
}

/*
 * Joining. With A followed by B, crc(AB) = crc(A) * x^(8 * lengthB) + crc(B) in GF(2)[x] modulo the polynomial (the
 * inversions cancel out). Polynomials are reflected: bit 31 is x^0. A power for any length is a product of one factor
 * per base-256 digit of the length; the products are kept in a small direct-mapped cache, because lengths repeat.
 */

const DIGITS = 6; // lengths below 2^48
const CACHE_SIZE = 4096; // a power of two
/** POWERS[k * 256 + d] = x^(8 * d * 256^k). */
const POWERS = new Int32Array(DIGITS * 256);
const cachedLength = new Float64Array(CACHE_SIZE);
const cachedPower = new Int32Array(CACHE_SIZE);

{
  let step = 1 << 23; // x^8: one byte
  for (let digit = 0; digit < DIGITS; digit++) {
    let power = 1 << 31; // x^0
    for (let d = 0; d < 256; d++) {
      POWERS[digit * 256 + d] = power;
      power = multiply(power, step);
    }
    step = power;
  }
  // NaN marks an empty slot: it equals nothing.
  cachedLength.fill(Number.NaN);
}

/** The CRC of A followed by B from the CRC of each and the length of B in bytes (below 2^48). Unsigned. */
export function crc32Combine(crcA: number, crcB: number, lengthB: number): number {
  const slot = lengthB & (CACHE_SIZE - 1);
  if (cachedLength[slot] !== lengthB) {
    cachedPower[slot] = powerOf(lengthB);
    cachedLength[slot] = lengthB;
  }
  return (multiply(crcA, cachedPower[slot]!) ^ crcB) >>> 0;
}

function powerOf(length: number): number {
  if (!(Number.isInteger(length) && length >= 0 && length < 2 ** 48)) {
    throw new RangeError(`crc32Combine: length ${length}, expected an integer in 0..2^48-1`);
  }
  let power = POWERS[length & 0xff]!;
  let rest = Math.floor(length / 256);
  for (let digit = 1; rest > 0; digit++) {
    const d = rest % 256;
    if (d !== 0) power = multiply(power, POWERS[digit * 256 + d]!);
    rest = Math.floor(rest / 256);
  }
  return power;
}

/** a * b modulo the polynomial. Without branches on the data. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 31; bit >= 0; bit--) {
    product ^= b & -((a >>> bit) & 1);
    b = (b >>> 1) ^ (POLYNOMIAL & -(b & 1));
  }
  return product;
}
