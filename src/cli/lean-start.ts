/**
 * Keeps the start from inflating the young generation: what is allocated while modules load survives, so V8 would grow
 * its nursery to 16 MiB that an idle broker then holds for good (measured: 9 MiB resident). Under load it grows as ever.
 *
 * A limit from the command line (`--max-semi-space-size`) has been taken over for the main thread by now. It is taken back
 * here: it would overrule the lower ones that threads are started with.
 */
import { setFlagsFromString } from "node:v8";

export const keepHeapSmall = (): void => {
  setFlagsFromString("--semi-space-growth-factor=1");
  setFlagsFromString("--max-semi-space-size=0");
};
export const growHeapAgain = (): void => setFlagsFromString("--semi-space-growth-factor=2");
