/**
 * Gives back memory that is only kept. After a burst the C library's heap is full of holes that nobody uses and that count
 * as the process's memory all the same, for good: half of the resident memory after some million messages. Once it has
 * grown and there is little to do, or when it has grown a lot, the pages in those holes go back to the system (malloc_trim
 * of glibc, through koffi; without either nothing is done). It takes some milliseconds, so it is not done often.
 * What the start has mapped of the program's file goes at the same times (program-pages.ts).
 */
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { type Libc, loadLibc } from "./libc.ts";
import { programPages } from "./program-pages.ts";

/** Grown by so many bytes since the last time, it is worth it in a quiet moment ... */
const SOME = 8 << 20;
/** ... and by so many in any. */
const MUCH = 16 << 20;
const MIN_PAUSE_MS = 10_000;
const BUSY_PAUSE_MS = 30_000;
/** Share of the time the event loop may be at work in a quiet moment. */
const QUIET = 0.2;
/** The first time after a start comes sooner, whatever there is to do: it is what the start has left. */
const FIRST_LOOK_MS = 2000;

/** What it asks of the machine. */
export interface SpareMemorySystem {
  /** Resident bytes that are its own: no file's. */
  resident(): number;
  /** Share of the time since the last call in which the event loop was at work. */
  utilization(): number;
  /** ms, never backwards. */
  now(): number;
  /** Gives back what is free. */
  trim(): void;
}

export class SpareMemory {
  readonly #system: SpareMemorySystem;
  /** After the last time; the start is worth it in any case. */
  #resident = 0;
  #doneAt: number;

  constructor(system: SpareMemorySystem) {
    this.#system = system;
    this.#doneAt = system.now() - MIN_PAUSE_MS + FIRST_LOOK_MS;
  }

  /** About every second. */
  tick(): void {
    const system = this.#system;
    const isQuiet = system.utilization() < QUIET || this.#resident === 0;
    if (system.now() - this.#doneAt < (isQuiet ? MIN_PAUSE_MS : BUSY_PAUSE_MS)) return;
    const resident = system.resident();
    if (resident - this.#resident < (isQuiet ? SOME : MUCH)) {
      this.#resident = Math.min(this.#resident, resident);
      return;
    }
    system.trim();
    this.#resident = system.resident();
    this.#doneAt = system.now();
  }
}

/** Of this process. */
export function ownSpareMemory(): SpareMemory {
  let before = performance.eventLoopUtilization();
  let give: (() => void) | undefined;
  return new SpareMemory({
    resident: ownResident,
    utilization: () => {
      const current = performance.eventLoopUtilization();
      const { utilization } = performance.eventLoopUtilization(current, before);
      before = current;
      return utilization;
    },
    now: () => performance.now(),
    trim: () => {
      // Not before it is wanted: loading takes its time, too.
      give ??= giving();
      give();
    },
  });
}

/** What is mapped of files comes and goes as the system sees fit. */
function ownResident(): number {
  if (process.platform !== "linux") return process.memoryUsage.rss();
  const own = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"));
  return own === null ? process.memoryUsage.rss() : Number(own[1]) * 1024;
}

/** Gives back both kinds; the program's pages as soon as they are known. */
function giving(): () => void {
  const trim = loadTrim();
  const libc = loadLibc();
  let forget = (): void => {};
  if (libc !== null) {
    programPages(libc).then(
      (known) => {
        forget = known;
        forget();
      },
      () => {}, // No such file system, or a system that does not let it look: then they stay.
    );
  }
  return () => {
    trim?.(0);
    forget();
  };
}

/**
 * Large buffers are memory of their own, which goes back when they do, instead of holes in the heap; and threads share it.
 * For the whole process, from any thread. Without it a drain of messages that lie on the disk keeps 50 MiB more.
 */
export function keepHeapTight(): void {
  const libc = loadGlibc();
  if (libc === null) return;
  const set = libc.func("int mallopt(int parameter, int value)") as (
    parameter: number,
    value: number,
  ) => number;
  // Each but for the last also ends that the library adapts it to what it sees.
  set(M_MMAP_THRESHOLD, 256 << 10);
  set(M_TRIM_THRESHOLD, 4 << 20);
  set(M_ARENA_MAX, 1);
}

/** From malloc.h of glibc. */
const M_TRIM_THRESHOLD = -1;
const M_MMAP_THRESHOLD = -3;
const M_ARENA_MAX = -8;

type Trim = (padding: number) => number;

function loadTrim(): Trim | null {
  return (loadGlibc()?.func("int malloc_trim(size_t padding)") as Trim | undefined) ?? null;
}

/** Null where it is not glibc. */
function loadGlibc(): Libc | null {
  const libc = loadLibc();
  try {
    libc?.func("const char *gnu_get_libc_version()");
    return libc;
  } catch {
    return null;
  }
}
