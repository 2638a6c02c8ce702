import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import test, { type ExecutionContext } from "ava";
import { bundledStart } from "../../src/cli/bundle.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

/** A `dist` with these files, each written so many seconds after the first. */
function dist(
  t: ExecutionContext,
  files: Readonly<Record<string, number>>,
): { folder: string; main: string } {
  const folder = temporaryFolder(t);
  for (const name of ["src", "bundle"]) mkdirSync(join(folder, name));
  for (const [name, seconds] of Object.entries(files)) {
    const path = join(folder, name);
    writeFileSync(path, "");
    utimesSync(path, 1_700_000_000 + seconds, 1_700_000_000 + seconds);
  }
  return { folder, main: pathToFileURL(join(folder, "src/main.js")).href };
}

test("a bundle made of what was compiled is what starts", (t) => {
  const { folder, main } = dist(t, { ".tsbuildinfo": 0, "bundle/start.js": 1 });
  t.is(bundledStart(main), pathToFileURL(join(folder, "bundle/start.js")).href);
});

test("the bundle of a package, which brings no notes of the compiler, is what starts", (t) => {
  const { folder, main } = dist(t, { "bundle/start.js": 0 });
  t.is(bundledStart(main), pathToFileURL(join(folder, "bundle/start.js")).href);
});

test("a bundle that is older than what was compiled, or as old, is left alone", (t) => {
  for (const compiled of [1, 2]) {
    const { main } = dist(t, { "bundle/start.js": 1, ".tsbuildinfo": compiled });
    t.is(bundledStart(main), undefined);
  }
});

test("without a bundle, and from the sources, the modules start", (t) => {
  t.is(bundledStart(dist(t, { ".tsbuildinfo": 0 }).main), undefined);
  const { folder } = dist(t, { "bundle/start.js": 0 });
  t.is(bundledStart(pathToFileURL(join(folder, "src/main.ts")).href), undefined);
});
