/**
 * Memory within which bytes are copied as the machine can. JavaScript's own copy out of or into shared memory goes word
 * by word, or byte by byte where the two are not aligned alike, and makes an object for every piece; WebAssembly's
 * `memory.copy` is one `memmove` over its own memory. So what messages pass through lies in one such memory: the buffer
 * sockets read into, the tail ring, the chunks of output.
 *
 *   ns per copy, Node 20             16     100     400    1024    4096 bytes
 *   Buffer.copy, shared              68      91     171     352    1209
 *   Buffer.copy, plain               64      69      71     109     148
 *   within this memory               14      13      23      39      93
 *
 * Checksums of what lies there take a fraction of the time, too (crc32.ts); what WebSocket clients mask is unmasked twenty
 * times as fast.
 *
 * It is taken piece by piece and never given back; pages cost nothing until they are touched. Where there is no
 * WebAssembly, or no address space for it, `open` gives null and everything works with `Buffer.copy`.
 */

import { memoryModule, TABLE_BYTES, writeTables } from "./memory-module.ts";

const PAGE_BYTES = 65_536;
const PIECE_ALIGNMENT = 64;
/** From here on `Buffer.copy` is worth its fixed cost. */
const NATIVE_BYTES = 32;
/** From here on a call into WebAssembly beats a loop. */
const MASK_BYTES = 12;

type CopyFunction = (to: number, from: number, length: number) => void;
type MaskFunction = (to: number, from: number, end: number, key: number) => void;
type SumFunction = (at: number, end: number, crc: number) => number;

/** What is used of WebAssembly: its types come with those of browsers. */
interface WebAssemblyPart {
  Memory: new (limits: { initial: number; maximum: number; shared: true }) => MemoryHandle;
  Module: new (bytes: Uint8Array) => object;
  Instance: new (
    module: object,
    imports: { m: { m: object } },
  ) => {
    readonly exports: {
      readonly c: CopyFunction;
      readonly s: SumFunction;
      readonly x: MaskFunction;
    };
  };
}

/** What a thread needs to join in: it may be posted to one. */
export interface MemoryHandle {
  readonly buffer: SharedArrayBuffer;
}

const NOTHING: Buffer = Buffer.alloc(0);

/** The memory copies are fast in: the one that was opened last. */
let current: CopyMemory | null = null;
let fastMemory: SharedArrayBuffer | null = null;
let fastCopy: CopyFunction | null = null;
let fastSum: SumFunction | null = null;
let fastMask: MaskFunction | null = null;
// The buffers of the last copy, and where they begin in that memory; -1: elsewhere.
let source = NOTHING;
let sourceBase = -1;
// Mostly two of them take turns: what was received or stored, and what was written before.
let otherSource = NOTHING;
let otherSourceBase = -1;
let target = NOTHING;
let targetBase = -1;
// The same of the last sum.
let summed: Uint8Array = NOTHING;
let summedBase = -1;

export class CopyMemory {
  readonly handle: MemoryHandle;
  readonly memory: SharedArrayBuffer;
  #taken = TABLE_BYTES;

  /** Room for pieces of `bytes` in all; null when this process cannot have it. */
  static open(bytes: number): CopyMemory | null {
    const pages = Math.ceil((bytes + TABLE_BYTES) / PAGE_BYTES);
    const { WebAssembly } = globalThis as unknown as { WebAssembly?: WebAssemblyPart };
    if (WebAssembly === undefined) return null;
    try {
      const handle = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
      writeTables(handle.buffer);
      current = use(WebAssembly, handle);
      return current;
    } catch {
      return null;
    }
  }

  /** Another thread's memory: what lies there is fast on this thread as well. Nothing is to be taken of it here. */
  static join(handle: MemoryHandle): void {
    const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyPart };
    use(WebAssembly, handle);
  }

  /** @internal Use `open`. */
  constructor(handle: MemoryHandle) {
    this.handle = handle;
    this.memory = handle.buffer;
  }

  /** Where a piece of `bytes` begins; -1 when there is no room for it. Its content is zeros. */
  take(bytes: number): number {
    const start = this.#taken;
    if (start + bytes > this.memory.byteLength) return -1;
    this.#taken += Math.ceil(bytes / PIECE_ALIGNMENT) * PIECE_ALIGNMENT;
    return start;
  }

  /** As `take`; null when there is no room. */
  takeBuffer(bytes: number): Buffer | null {
    const start = this.take(bytes);
    return start < 0 ? null : Buffer.from(this.memory, start, bytes);
  }

  /** Copies are ordinary ones again; the pieces stay as they are. */
  close(): void {
    if (fastMemory !== this.memory) return;
    current = null;
    fastMemory = null;
    fastCopy = null;
    fastSum = null;
    fastMask = null;
    forgetBuffers();
  }
}

function use(WebAssembly: WebAssemblyPart, handle: MemoryHandle): CopyMemory {
  const module = new WebAssembly.Module(memoryModule(handle.buffer.byteLength / PAGE_BYTES));
  const { exports } = new WebAssembly.Instance(module, { m: { m: handle } });
  const copyMemory = new CopyMemory(handle);
  fastMemory = copyMemory.memory;
  fastCopy = exports.c;
  fastSum = exports.s;
  fastMask = exports.x;
  forgetBuffers();
  return copyMemory;
}

/** A buffer for ever, in memory that copies are fast in where there is some left. */
export const fastBuffer = (bytes: number): Buffer =>
  current?.takeBuffer(bytes) ?? Buffer.allocUnsafeSlow(bytes);

/** Copies `from[start, end)` to `to[at …]`, which may overlap. Returns the index behind it. */
export function copyBytes(
  from: Buffer,
  start: number,
  end: number,
  to: Buffer,
  at: number,
): number {
  const length = end - start;
  if (from !== source) setSource(from);
  if (to !== target) setTarget(to);
  if (start < 0 || length < 0 || end > from.length || at < 0 || at + length > to.length) {
    throw new RangeError(
      `copy of [${start}, ${end}) of ${from.length} bytes to ${at} of ${to.length}: out of range`,
    );
  }
  if (sourceBase >= 0 && targetBase >= 0) {
    fastCopy!(targetBase + at, sourceBase + start, length);
  } else if (length > NATIVE_BYTES || from === to) {
    from.copy(to, at, start, end);
  } else {
    for (let i = 0; i < length; i++) to[at + i] = from[start + i]!;
  }
  return at + length;
}

function setSource(from: Buffer): void {
  const base = from === otherSource ? otherSourceBase : baseOf(from);
  otherSource = source;
  otherSourceBase = sourceBase;
  source = from;
  sourceBase = base;
}
function setTarget(to: Buffer): void {
  target = to;
  targetBase = baseOf(to);
}
const baseOf = (bytes: Buffer): number =>
  bytes.buffer === (fastMemory as unknown) ? bytes.byteOffset : -1;
function forgetBuffers(): void {
  source = otherSource = target = summed = NOTHING;
  sourceBase = otherSourceBase = targetBase = summedBase = -1;
}

/** The CRC-32 of `bytes[start, end)`, a range that was checked, continuing from `seed`; -1 when they lie elsewhere. */
export function sumBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  if (bytes !== summed) {
    summed = bytes;
    summedBase = bytes.buffer === (fastMemory as unknown) ? bytes.byteOffset : -1;
  }
  if (summedBase < 0) return -1;
  return ~fastSum!(summedBase + start, summedBase + end, ~seed) >>> 0;
}

/**
 * Moves `bytes[from, end)`, a range that was checked, to `to`, which is not above `from`; each byte is combined with one
 * of the four of `key` in turn, the lowest first, as WebSocket masks what clients send.
 */
export function moveMasked(
  bytes: Buffer,
  from: number,
  end: number,
  to: number,
  key: number,
): void {
  if (bytes !== source) setSource(bytes);
  if (sourceBase >= 0 && end - from >= MASK_BYTES) {
    fastMask!(sourceBase + to, sourceBase + from, sourceBase + end, key);
    return;
  }
  let shift = 0;
  for (let i = from, at = to; i < end; i++) {
    bytes[at++] = bytes[i]! ^ (key >>> shift);
    shift = (shift + 8) & 31;
  }
}
