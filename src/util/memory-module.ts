/**
 * The WebAssembly module of a CopyMemory (copy-memory.ts), put together by hand: three functions over one shared memory.
 *
 *   (import "m" "m" (memory N N shared))
 *   (func (export "c") (param $to i32) (param $from i32) (param $length i32)   memory.copy)
 *   (func (export "s") (param $at i32) (param $end i32) (param $crc i32) (result i32) …)
 *   (func (export "x") (param $to i32) (param $from i32) (param $end i32) (param $key i32) …)
 *
 * `s` carries a CRC-32 register over the bytes [at, end): sixteen bytes a step over sixteen tables, which lie at the
 * beginning of the memory; TABLE[k][byte] is the CRC of `byte` followed by k zero bytes, without the two inversions. Of a
 * longer range all but the last 80 to 95 bytes are folded upon those that follow, in vector registers, without tables.
 *
 * `x` copies the bytes [from, end) to `to`, which is not above `from`, each combined with one of the four bytes of
 * `key` in turn, the lowest first: sixteen bytes a step in a vector register.
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
const V128 = 0x7b;
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
  STORE8: 0x3a,
  CONST: 0x41,
  LESS: 0x49,
  NOT_LESS: 0x4f,
  ADD: 0x6a,
  SUBTRACT: 0x6b,
  AND: 0x71,
  XOR: 0x73,
  LEFT: 0x74,
  RIGHT: 0x76,
  ROTATE_RIGHT: 0x78,
  COPY: 0xfc,
  VECTOR: 0xfd,
} as const;
/** Behind OP.VECTOR. */
const VECTOR = {
  LOAD: [0x00],
  STORE: [0x0b],
  CONST: [0x0c],
  SHUFFLE: [0x0d],
  SPLAT: [0x11],
  LANE: [0x1b],
  WITH_LANE: [0x1c],
  XOR: [0x51],
  LEFT64: [0xcb, 0x01],
  RIGHT64: [0xcd, 0x01],
} as const;
const NO_RESULT = 0x40;

type Code = number[];
const get = (local: number): Code => [OP.GET, local];
const set = (local: number): Code => [OP.SET, local];
const constant = (value: number): Code => [OP.CONST, ...signed(value)];
const load = (offset: number): Code => [OP.LOAD, 2, ...unsigned(offset)];

const COPY_CODE: Code = [0, ...get(0), ...get(1), ...get(2), OP.COPY, 10, 0, 0, OP.END];

const advance = (local: number, by: number): Code => [
  ...[...get(local), ...constant(by), OP.ADD, ...set(local)],
];

// Locals of the sum: its parameters, the four words of a step, and of folding three vectors and five to come.
const AT = 0;
const UNTIL = 1;
const CRC = 2;
const WORDS = 3;
const V = 7;
const T = 8;
const O = 9;
const F = 10;
/** Vectors of 16 bytes that what was folded reaches ahead. */
const AHEAD = 5;
/** Shorter ones are not folded. */
const FOLD_FROM = 144;

/** The entry of table `k` for byte `byte` of a word. */
const entry = (word: number, byte: number, k: number): Code => [
  ...get(word),
  ...(byte === 0 ? [...constant(2), OP.LEFT] : [...constant(byte * 8 - 2), OP.RIGHT]),
  ...constant(0x3fc),
  OP.AND,
  ...load(k * 1024),
];

/** Sixteen bytes through the tables: their words are in WORDS, the register is combined with the first already. */
function tableCode(): Code {
  const code: Code = [];
  for (let i = 0; i < TABLES; i++) {
    code.push(...entry(WORDS + (i >> 2), i & 3, TABLES - 1 - i));
    if (i > 0) code.push(OP.XOR);
  }
  return [...code, ...set(CRC), ...advance(AT, 16)];
}

function stepCode(): Code {
  const code: Code = [...get(AT), ...load(0), ...get(CRC), OP.XOR, ...set(WORDS)];
  for (let i = 1; i < 4; i++) code.push(...get(AT), ...load(i * 4), ...set(WORDS + i));
  return [...code, ...tableCode()];
}

/** Four bytes through four of the tables. */
function wordCode(): Code {
  const code: Code = [...get(AT), ...load(0), ...get(CRC), OP.XOR, ...set(WORDS)];
  for (let i = 0; i < 4; i++) {
    code.push(...entry(WORDS, i, 3 - i));
    if (i > 0) code.push(OP.XOR);
  }
  return [...code, ...set(CRC), ...advance(AT, 4)];
}

/** Sixteen bytes, combined with what was folded upon them. */
function foldedStepCode(folded: number): Code {
  const code: Code = [];
  for (let i = 0; i < 4; i++) {
    code.push(...get(AT), ...load(i * 4), ...get(folded), ...vector(VECTOR.LANE, i), OP.XOR);
    if (i === 0) code.push(...get(CRC), OP.XOR);
    code.push(...set(WORDS + i));
  }
  return [...code, ...tableCode()];
}

const vector = (code: readonly number[], ...rest: number[]): Code => [OP.VECTOR, ...code, ...rest];
const left = (bits: number): Code => [...get(V), ...constant(bits), ...vector(VECTOR.LEFT64)];
const right = (bits: number): Code => [...get(V), ...constant(bits), ...vector(VECTOR.RIGHT64)];
const xor = vector(VECTOR.XOR);
const ZERO: Code = vector(VECTOR.CONST, ...new Array<number>(16).fill(0));
const lanes = (...starts: number[]): Code =>
  vector(
    VECTOR.SHUFFLE,
    ...starts.flatMap((start) => [0, 1, 2, 3, 4, 5, 6, 7].map((i) => start + i)),
  );
/** The second word of one, then the first of the other. */
const between = (first: number, second: number): Code => [
  ...[...get(first), ...get(second), ...lanes(8, 16)],
];
/** Both words one place on: the first becomes the second of these sixteen bytes, the second the first of the next. */
const onward = (local: number): Code => [...ZERO, ...get(local), ...lanes(0, 16)];
const across = (local: number): Code => [...get(local), ...ZERO, ...lanes(8, 16)];

/**
 * The polynomial divides x^300 + x^155 + x^117 + x^89 + 1, and so its square, x^600 + x^310 + x^234 + x^178 + 1. The sum
 * stays what it is when a bit is taken away and those 290, 366, 422 and 600 places behind it are turned: whole words at once,
 * by shifts. F holds what the next 80 bytes are to be combined with. With the square the next vector does not wait for this
 * one, only the one after it: two are worked on at a time. (The idea: K. Russell, "Chorba", 2024.)
 */
function foldCode(): Code {
  const isOver = [
    ...[...get(UNTIL), ...get(AT), OP.SUBTRACT, ...constant(16 * (AHEAD + 1)), OP.LESS],
  ];
  const fold = [
    ...[
      ...get(AT),
      ...vector(VECTOR.LOAD, 0, 0),
      ...get(F),
      ...xor,
      ...set(V),
      ...get(F + 1),
      ...set(F),
    ],
    // 290 = 4 x 64 + 34, 366 = 5 x 64 + 46: what comes into the fifth word.
    ...[...right(30), ...left(46), ...xor, ...set(T)],
    ...[...left(34), ...get(F + 2), ...xor, ...onward(T), ...xor, ...set(F + 1)],
    // 422 = 6 x 64 + 38: into the sixth, with the rest of 366, and the seventh.
    ...[...right(26), ...set(O)],
    ...[
      ...left(38),
      ...right(18),
      ...xor,
      ...get(F + 3),
      ...xor,
      ...between(T, O),
      ...xor,
      ...set(F + 2),
    ],
    // 600 = 9 x 64 + 24.
    ...[...left(24), ...set(T)],
    ...[...get(F + 4), ...between(O, T), ...xor, ...set(F + 3)],
    ...[...right(40), ...across(T), ...xor, ...set(F + 4), ...advance(AT, 16)],
  ];
  const rest: Code = [];
  for (let i = 0; i < AHEAD; i++) rest.push(...foldedStepCode(F + i));
  return [
    ...[OP.BLOCK, NO_RESULT],
    ...[...get(UNTIL), ...get(AT), OP.SUBTRACT, ...constant(FOLD_FROM), OP.LESS, OP.BRANCH_IF, 0],
    ...[...ZERO, ...get(CRC), ...vector(VECTOR.WITH_LANE, 0), ...set(F)],
    ...loop(isOver, fold),
    ...[...constant(0), ...set(CRC)],
    ...rest,
    OP.END,
  ];
}

/** `leave` ends it, `code` is gone through again and again. */
const loop = (leave: Code, code: Code): Code => [
  ...[OP.BLOCK, NO_RESULT, OP.LOOP, NO_RESULT],
  ...[...leave, OP.BRANCH_IF, 1],
  ...[...code, OP.BRANCH, 0],
  ...[OP.END, OP.END],
];

function sumCode(): Code {
  const isShorter = (than: number): Code => [
    ...[...get(UNTIL), ...get(AT), OP.SUBTRACT, ...constant(than), OP.LESS],
  ];
  const isOver = [...get(AT), ...get(UNTIL), OP.NOT_LESS];
  const one = [
    ...[...get(CRC), ...get(AT), OP.LOAD8, 0, 0, OP.XOR],
    ...[...constant(2), OP.LEFT, ...constant(0x3fc), OP.AND, ...load(0)],
    ...[...get(CRC), ...constant(8), OP.RIGHT, OP.XOR, ...set(CRC)],
    ...[...get(AT), ...constant(1), OP.ADD, ...set(AT)],
  ];
  const locals = [2, 4, I32, 3 + AHEAD, V128];
  return [
    ...locals,
    ...foldCode(),
    ...loop(isShorter(16), stepCode()),
    ...loop(isShorter(4), wordCode()),
    ...loop(isOver, one),
    ...get(CRC),
    OP.END,
  ];
}

// Locals of the masked copy: its parameters, and the key in all lanes.
const TO = 0;
const FROM = 1;
const STOP = 2;
const KEY = 3;
const KEYS = 4;

function maskedCopyCode(): Code {
  const isShort = [...get(STOP), ...get(FROM), OP.SUBTRACT, ...constant(16), OP.LESS];
  const step = [
    ...[...get(TO), ...get(FROM), ...vector(VECTOR.LOAD, 0, 0)],
    ...[...get(KEYS), ...xor, ...vector(VECTOR.STORE, 0, 0)],
    ...[...advance(FROM, 16), ...advance(TO, 16)],
  ];
  const isOver = [...get(FROM), ...get(STOP), OP.NOT_LESS];
  const one = [
    ...[...get(TO), ...get(FROM), OP.LOAD8, 0, 0, ...get(KEY), OP.XOR, OP.STORE8, 0, 0],
    ...[...get(KEY), ...constant(8), OP.ROTATE_RIGHT, ...set(KEY)],
    ...[...advance(FROM, 1), ...advance(TO, 1)],
  ];
  const keys = [...get(KEY), ...vector(VECTOR.SPLAT), ...set(KEYS)];
  return [1, 1, V128, ...keys, ...loop(isShort, step), ...loop(isOver, one), OP.END];
}

/** Of the three functions: parameters, then results. */
const TYPES: Code = [
  ...[0x60, 3, I32, I32, I32, 0],
  ...[0x60, 3, I32, I32, I32, 1, I32],
  ...[0x60, 4, I32, I32, I32, I32, 0],
];

/** The module for a memory of so many pages. */
export function memoryModule(pages: number): Uint8Array {
  const size = unsigned(pages);
  const bodies = [COPY_CODE, sumCode(), maskedCopyCode()].flatMap(withLength);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
    ...section(1, [3, ...TYPES]),
    ...section(2, [1, 1, 0x6d, 1, 0x6d, 2, 3, ...size, ...size]), // import m.m, shared memory
    ...section(3, [3, 0, 1, 2]), // functions
    ...section(7, [3, 1, 0x63, 0, 0, 1, 0x73, 0, 1, 1, 0x78, 0, 2]), // exports "c", "s", "x"
    ...section(10, [3, ...bodies]),
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
