/**
 * The bundle: all of the program in a few files (`npm run build` makes it of what the compiler has written). Loading
 * some 400 modules one by one costs more than everything else that a start does.
 */
import { statSync } from "node:fs";

/**
 * The start (start.ts) as the bundle beside the compiled main module has it; undefined where there is none, or the
 * compiler has written something since: then what was compiled is the truth.
 */
export function bundledStart(main: string): string | undefined {
  // From the sources there is nothing to look for.
  if (!main.endsWith(".js")) return undefined;
  const bundle = new URL("../bundle/start.js", main);
  const made = writtenAt(bundle);
  if (made === undefined) return undefined;
  const compiled = writtenAt(new URL("../.tsbuildinfo", main));
  return compiled !== undefined && compiled >= made ? undefined : bundle.href;
}

const writtenAt = (file: URL): number | undefined =>
  statSync(file, { throwIfNoEntry: false })?.mtimeMs;
