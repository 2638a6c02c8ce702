/** The C library of this process, through koffi (an optional dependency). Linux only; whoever asks can do without it. */
import { createRequire } from "node:module";

export type Libc = ReturnType<typeof import("koffi").load>;

/** Null where it is another system, or koffi is not there. Synchronous: the store thread has no event loop to come back to. */
export function loadLibc(): Libc | null {
  if (process.platform !== "linux") return null;
  try {
    const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
    return koffi.load(null);
  } catch {
    return null;
  }
}
