import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import test from "ava";

const SKIPPED = new Set(["node_modules", "dist", "data", ".git", ".work", "target"]);

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (SKIPPED.has(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? walk(path) : [path];
  });
}
const files = walk(".");
const sources = files.filter((file) => /^(src|protocols)\/.*\.ts$/.test(file));
const typescript = files.filter((file) => /\.ts$/.test(file));
const read = (file: string): string => readFileSync(file, "utf8");

/** Lines that match, as `file:line: text`. */
function linesWith(pattern: RegExp, among: readonly string[]): string[] {
  return among.flatMap((file) =>
    read(file)
      .split("\n")
      .flatMap((line, index) =>
        pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [],
      ),
  );
}

test("every source file begins by saying what it is", (t) => {
  const silent = sources.filter((file) => !/^(#!.*\n)?\/\*\*/.test(read(file)));
  t.deepEqual(silent, []);
});

test("no file is longer than 900 lines", (t) => {
  const long = typescript.filter((file) => read(file).split("\n").length > 900);
  t.deepEqual(long, []);
});

test("nothing is left for later in the sources", (t) => {
  const word = new RegExp(["TO", "DO|FIX", "ME|XX", "X\\b"].join(""));
  t.deepEqual(
    linesWith(word, [...sources, ...files.filter((file) => file.startsWith("interop/"))]),
    [],
  );
});

test("only commands write to the console and end the process", (t) => {
  const library = sources.filter((file) => !file.startsWith("src/cli/"));
  t.deepEqual(linesWith(/\bconsole\.\w+\(/, library), []);
  t.deepEqual(
    linesWith(
      /\bprocess\.exit\(/,
      library.filter((file) => file !== "src/main.ts"),
    ),
    [],
  );
});

test("no test is skipped or left alone to run", (t) => {
  const call = new RegExp(`\\btest\\.(${["on", "ly|sk", "ip|to", "do|fail", "ing"].join("")})\\b`);
  t.deepEqual(
    linesWith(
      call,
      typescript.filter((file) => /^(test|interop)\//.test(file)),
    ),
    [],
  );
});

test("links between pages lead somewhere", (t) => {
  const broken = files
    .filter((file) => file.endsWith(".md"))
    .flatMap((file) =>
      [...read(file).matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)]
        .map(([, target]) => normalize(join(dirname(file), target!)))
        .filter((target) => !existsSync(target))
        .map((target) => `${file} -> ${target}`),
    );
  t.deepEqual(broken, []);
});

test("the lock file names no download addresses and no file is a stray binary", (t) => {
  t.false(read("package-lock.json").includes('"resolved"'));
  const stray = files.filter((file) => /\.(cpuprofile|heapsnapshot|tgz|zip|jar|class)$/.test(file));
  t.deepEqual(stray, []);
});
