/**
 * Read-only views of files in memory, through koffi: an optional dependency, loaded on first use, without which
 * everything works by reading.
 *
 * A mapping can kill the process, so the rules are strict:
 *  - Only files that nobody will shorten are mapped: reading a page beyond the end of a file is a SIGBUS. The length is
 *    checked when mapping; sealed segments keep theirs until they are removed whole, which does no harm.
 *  - A sector that cannot be read is a SIGBUS as well, where a read is an EIO. Whoever minds turns mapping off.
 *  - A view is at most `MAX_VIEW_BYTES`: the binding aborts the process at 4 GiB, and each view counts with its full
 *    length as external memory of V8.
 *  - Nothing unmaps by hand. The mapping goes when the garbage collector has found that no Buffer over it is left,
 *    also none that a socket still writes from. Unmapping under a reader is a SIGSEGV, or somebody else's bytes.
 *  - A view cannot be sent to another thread; each thread maps for itself and gets the same pages.
 */
import { closeSync, fstatSync, openSync } from "node:fs";

export const MAX_VIEW_BYTES = 256 * 1024 * 1024;
/** Positions of views are multiples of this: the largest page size among supported machines. */
export const VIEW_ALIGNMENT = 65_536;

const PROT_READ = 1;
const MAP_SHARED = 1;
const MAP_FAILED = 0xffff_ffff_ffff_ffffn;

export interface FileMapper {
  /** A view of `length` bytes of a file from `position` on. Throws when the system refuses: then read instead. */
  map(path: string, position: number, length: number): Buffer;
  /** Views that are mapped now, unused ones that were not collected yet included. */
  readonly mappedViews: number;
  readonly mappedBytes: number;
}

export type MapperOutcome =
  | { readonly mapper: FileMapper }
  /** Why there is none: for one log line. */
  | { readonly mapper: null; readonly reason: string };

let outcome: Promise<MapperOutcome> | undefined;

/** The mapper of this thread, or why there is none. Never throws. */
export function loadFileMapper(): Promise<MapperOutcome> {
  outcome ??= createMapper();
  return outcome;
}

async function createMapper(): Promise<MapperOutcome> {
  if (process.platform === "win32") return { mapper: null, reason: "not on Windows" };
  try {
    const { default: koffi } = await import("koffi");
    const libc = koffi.load(null);
    const mmap = libc.func(
      "void *mmap(void *address, size_t length, int protection, int flags, int descriptor, int64_t position)",
    );
    const munmap = libc.func("int munmap(void *address, size_t length)");
    return {
      mapper: new KoffiMapper({
        mmap: (length, descriptor, position) => {
          const pointer: unknown = mmap(null, length, PROT_READ, MAP_SHARED, descriptor, position);
          return koffi.address(pointer) === MAP_FAILED ? { errno: koffi.errno() } : { pointer };
        },
        view: (pointer, length) => koffi.view(pointer, length),
        munmap: (pointer, length) => void munmap(pointer, length),
      }),
    };
  } catch (error) {
    return { mapper: null, reason: error instanceof Error ? error.message : String(error) };
  }
}

interface Calls {
  mmap(
    length: number,
    descriptor: number,
    position: number,
  ): { readonly pointer: unknown } | { readonly errno: number };
  view(pointer: unknown, length: number): ArrayBuffer;
  munmap(pointer: unknown, length: number): void;
}

interface Mapping {
  readonly pointer: unknown;
  readonly length: number;
}

class KoffiMapper implements FileMapper {
  mappedViews = 0;
  mappedBytes = 0;
  readonly #calls: Calls;
  readonly #unused: FinalizationRegistry<Mapping>;

  constructor(calls: Calls) {
    this.#calls = calls;
    // The held value must not reach the ArrayBuffer, or it would never be collected.
    this.#unused = new FinalizationRegistry((mapping) => {
      this.mappedViews--;
      this.mappedBytes -= mapping.length;
      this.#calls.munmap(mapping.pointer, mapping.length);
    });
  }

  map(path: string, position: number, length: number): Buffer {
    if (!(length > 0 && length <= MAX_VIEW_BYTES && position % VIEW_ALIGNMENT === 0)) {
      throw new RangeError(
        `${path}: view of ${length} bytes at ${position}, expected 1..${MAX_VIEW_BYTES} at a multiple of ${VIEW_ALIGNMENT}`,
      );
    }
    const descriptor = openSync(path, "r");
    try {
      const size = fstatSync(descriptor).size;
      if (position + length > size) {
        throw new RangeError(
          `${path}: view up to ${position + length}, but the file has ${size} bytes`,
        );
      }
      const result = this.#calls.mmap(length, descriptor, position);
      if ("errno" in result) throw new Error(`${path}: mmap failed with errno ${result.errno}`);
      const memory = this.#calls.view(result.pointer, length);
      this.#unused.register(memory, { pointer: result.pointer, length });
      this.mappedViews++;
      this.mappedBytes += length;
      return Buffer.from(memory);
    } finally {
      // The mapping keeps the file by itself.
      closeSync(descriptor);
    }
  }
}
