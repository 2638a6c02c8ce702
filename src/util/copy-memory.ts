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
 * It is taken piece by piece and never given back; pages cost nothing until they are touched. Where there is no
 * WebAssembly, or no address space for it, `open` gives null and everything works with `Buffer.copy`.
 */

const PAGE_BYTES = 65_536;
const PIECE_ALIGNMENT = 64;
/** From here on `Buffer.copy` is worth its fixed cost. */
const NATIVE_BYTES = 32;

type CopyFunction = (to: number, from: number, length: number) => void;

/** What is used of WebAssembly: its types come with those of browsers. */
interface WebAssemblyPart {
  Memory: new (limits: {
    initial: number;
    maximum: number;
    shared: true;
  }) => { readonly buffer: SharedArrayBuffer };
  Module: new (bytes: Uint8Array) => object;
  Instance: new (
    module: object,
    imports: { m: { m: object } },
  ) => { readonly exports: { readonly c: CopyFunction } };
}

const NOTHING: Buffer = Buffer.alloc(0);

/** The memory copies are fast in: the one that was opened last. */
let current: CopyMemory | null = null;
let fastMemory: SharedArrayBuffer | null = null;
let fastCopy: CopyFunction | null = null;
// The buffers of the last copy, and where they begin in that memory; -1: elsewhere.
let source = NOTHING;
let sourceBase = -1;
let target = NOTHING;
let targetBase = -1;

export class CopyMemory {
  readonly memory: SharedArrayBuffer;
  #taken = 0;

  /** Room for pieces of `bytes` in all; null when this process cannot have it. */
  static open(bytes: number): CopyMemory | null {
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const { WebAssembly } = globalThis as unknown as { WebAssembly?: WebAssemblyPart };
    if (WebAssembly === undefined) return null;
    try {
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
      const module = new WebAssembly.Module(copyModule(pages));
      const { exports } = new WebAssembly.Instance(module, { m: { m: memory } });
      const copyMemory = new CopyMemory(memory.buffer);
      current = copyMemory;
      fastMemory = copyMemory.memory;
      fastCopy = exports.c;
      forgetBuffers();
      return copyMemory;
    } catch {
      return null;
    }
  }

  private constructor(memory: SharedArrayBuffer) {
    this.memory = memory;
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
    forgetBuffers();
  }
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
  source = from;
  sourceBase = from.buffer === (fastMemory as unknown) ? from.byteOffset : -1;
}
function setTarget(to: Buffer): void {
  target = to;
  targetBase = to.buffer === (fastMemory as unknown) ? to.byteOffset : -1;
}
function forgetBuffers(): void {
  source = target = NOTHING;
  sourceBase = targetBase = -1;
}

/**
 * A module of one function:
 *
 *   (module (import "m" "m" (memory N N shared))
 *     (func (export "c") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 memory.copy))
 */
function copyModule(pages: number): Uint8Array {
  const size = unsigned(pages);
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0], // magic, version
    ...section(1, [1, 0x60, 3, 0x7f, 0x7f, 0x7f, 0]), // type (i32 i32 i32) -> ()
    ...section(2, [1, 1, 0x6d, 1, 0x6d, 2, 3, ...size, ...size]), // import m.m, shared memory
    ...section(3, [1, 0]), // one function of type 0
    ...section(7, [1, 1, 0x63, 0, 0]), // export "c"
    ...section(10, [1, 12, 0, 0x20, 0, 0x20, 1, 0x20, 2, 0xfc, 10, 0, 0, 0x0b]),
  ]);
}

const section = (id: number, body: readonly number[]): number[] => [
  id,
  ...unsigned(body.length),
  ...body,
];

/** LEB128. */
function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest > 0 ? low | 0x80 : low);
  } while (rest > 0);
  return bytes;
}
