/**
 * Where things are: the checkout, the cache that survives runs (`.work/`, ignored by git), and a fresh folder per run for data.
 * The compiled files live in `dist/interop/`, the Java, Python and Go sources beside the TypeScript, so both start from the root.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function findRoot(): string {
  let dir = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(dir, "package.json"))) {
    const parent = dirname(dir);
    if (parent === dir) throw new Error("no package.json above the interop programs");
    dir = parent;
  }
  return dir;
}

export const ROOT = findRoot();
const WORK = join(ROOT, ".work");

/** What `npm start` tells Node.js. */
export const NODE_FLAGS: readonly string[] = /\bnode ((?:--\S+ )*)dist\/src\/main\.js serve/
  .exec(readFileSync(join(ROOT, "package.json"), "utf8"))![1]!
  .split(" ")
  .filter((flag) => flag !== "");

/** A folder under `.work/`, made when missing. */
export function workDir(...parts: string[]): string {
  const dir = join(WORK, ...parts);
  mkdirSync(dir, { recursive: true });
  return dir;
}

/** A new empty folder outside the checkout; whoever asks removes it. */
export const scratchDir = (name: string): string => mkdtempSync(join(tmpdir(), `sluice-${name}-`));
