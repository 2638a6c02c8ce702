/**
 * The WebAssembly module of a CopyMemory (copy-memory.ts), put together by hand: two functions over one shared memory.
 *
 *   (import "m" "m" (memory N N shared))
 *   (func (export "c") (param $to i32) (param $from i32) (param $length i32)   memory.copy)
 *   (func (export "s") (param $at i32) (param $end i32) (param $crc i32) (result i32) …)
 *
 * `s` carries a CRC-32 register over the bytes [at, end): sixteen bytes a step over sixteen tables, which lie at the
 * beginning of the memory; TABLE[k][byte] is the CRC of `byte` followed by k zero bytes, without the two inversions.
 */

const TABLES = 16;
/** What the tables take at the beginning of the memory. */
export const TABLE_BYTES = TABLES * 1024;

const POLYNOMIAL = 0xedb88320 | 0;

export function writeTables(memory: SharedArrayBuffer): void {
  const tables = new Int32Array(memory, 0, TABLES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const previous = tables[at - 256]!;
    tables[at] = (previous >>> 8) ^ tables[previous & 0xff]!;
  }
}

const I32 = 0x7f;
const OP = {
  BLOCK: 0x02,
  LOOP: 0x03,
  END: 0x0b,
  BRANCH: 0x0c,
  BRANCH_IF: 0x0d,
  GET: 0x20,
  SET: 0x21,
  LOAD: 0x28,
  LOAD8: 0x2d,
  CONST: 0x41,
  LESS: 0x49,
  NOT_LESS: 0x4f,
  ADD: 0x6a,
  SUBTRACT: 0x6b,
  AND: 0x71,
  XOR: 0x73,
  LEFT: 0x74,
  RIGHT: 0x76,
  COPY: 0xfc,
} as const;
const NO_RESULT = 0x40;

type Code = number[];
const get = (local: number): Code => [OP.GET, local];
const set = (local: number): Code => [OP.SET, local];
const constant = (value: number): Code => [OP.CONST, ...signed(value)];
const load = (offset: number): Code => [OP.LOAD, 2, ...unsigned(offset)];

const COPY_CODE: Code = [0, ...get(0), ...get(1), ...get(2), OP.COPY, 10, 0, 0, OP.END];

// Locals of the sum: its parameters, and the four words of a step.
const AT = 0;
const UNTIL = 1;
const CRC = 2;
const WORDS = 3;

/** The entry of table `k` for byte `byte` of a word. */
const entry = (word: number, byte: number, k: number): Code => [
  ...get(word),
  ...(byte === 0 ? [...constant(2), OP.LEFT] : [...constant(byte * 8 - 2), OP.RIGHT]),
  ...constant(0x3fc),
  OP.AND,
  ...load(k * 1024),
];

function stepCode(): Code {
  const code: Code = [...get(AT), ...load(0), ...get(CRC), OP.XOR, ...set(WORDS)];
  for (let i = 1; i < 4; i++) code.push(...get(AT), ...load(i * 4), ...set(WORDS + i));
  for (let i = 0; i < TABLES; i++) {
    code.push(...entry(WORDS + (i >> 2), i & 3, TABLES - 1 - i));
    if (i > 0) code.push(OP.XOR);
  }
  return [...code, ...set(CRC), ...get(AT), ...constant(16), OP.ADD, ...set(AT)];
}

/** `leave` ends it, `code` is gone through again and again. */
const loop = (leave: Code, code: Code): Code => [
  ...[OP.BLOCK, NO_RESULT, OP.LOOP, NO_RESULT],
  ...[...leave, OP.BRANCH_IF, 1],
  ...[...code, OP.BRANCH, 0],
  ...[OP.END, OP.END],
];

function sumCode(): Code {
  const isShort = [...get(UNTIL), ...get(AT), OP.SUBTRACT, ...constant(16), OP.LESS];
  const isOver = [...get(AT), ...get(UNTIL), OP.NOT_LESS];
  const one = [
    ...[...get(CRC), ...get(AT), OP.LOAD8, 0, 0, OP.XOR],
    ...[...constant(2), OP.LEFT, ...constant(0x3fc), OP.AND, ...load(0)],
    ...[...get(CRC), ...constant(8), OP.RIGHT, OP.XOR, ...set(CRC)],
    ...[...get(AT), ...constant(1), OP.ADD, ...set(AT)],
  ];
  return [1, 4, I32, ...loop(isShort, stepCode()), ...loop(isOver, one), ...get(CRC), OP.END];
}

/** The module for a memory of so many pages. */
export function memoryModule(pages: number): Uint8Array {
  const size = unsigned(pages);
  const sum = sumCode();
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
    ...section(1, [2, 0x60, 3, I32, I32, I32, 0, 0x60, 3, I32, I32, I32, 1, I32]), // types
    ...section(2, [1, 1, 0x6d, 1, 0x6d, 2, 3, ...size, ...size]), // import m.m, shared memory
    ...section(3, [2, 0, 1]), // functions
    ...section(7, [2, 1, 0x63, 0, 0, 1, 0x73, 0, 1]), // exports "c", "s"
    ...section(10, [2, ...withLength(COPY_CODE), ...withLength(sum)]),
  ]);
}

const withLength = (code: Code): Code => [...unsigned(code.length), ...code];
const section = (id: number, body: Code): Code => [id, ...withLength(body)];

/** LEB128. */
function unsigned(value: number): Code {
  const bytes: Code = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}

/** LEB128 of a small whole number that is not negative, with its sign bit. */
function signed(value: number): Code {
  const bytes = unsigned(value);
  const last = bytes.length - 1;
  if ((bytes[last]! & 0x40) === 0) return bytes;
  bytes[last]! |= 0x80;
  return [...bytes, 0];
}
