/**
 * Installs what foreign clients need, from package registries only, into `.work/toolchain/`. Each set-up has a name, runs at
 * most once per process, and is done at once when its mark from an earlier run is still good (the mark holds the inputs).
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { ROOT, workDir } from "./paths.ts";
import { run, runOrThrow } from "./process.ts";

const MINUTE = 60_000;

export interface Setup {
  readonly name: string;
  /** Installs when needed; rejects with what is missing and how to get it. */
  prepare(): Promise<void>;
}

/** One set-up that runs once, however many steps ask for it. */
function once(name: string, work: () => Promise<void>): Setup {
  let pending: Promise<void> | undefined;
  return {
    name,
    prepare: () => {
      pending ??= work();
      return pending;
    },
  };
}

/** Skips the work when `dir/.ready` already says it was done for exactly these inputs. */
async function cached(dir: string, inputs: string, work: () => Promise<void>): Promise<void> {
  const mark = join(dir, ".ready");
  const digest = createHash("sha256").update(inputs).digest("hex");
  if (existsSync(mark) && readFileSync(mark, "utf8") === digest) return;
  rmSync(mark, { force: true });
  await work();
  writeFileSync(mark, digest);
}

async function requireTool(command: string, args: readonly string[], hint: string): Promise<void> {
  const result = await run(command, args, { limitMs: MINUTE });
  if (result.status !== 0) throw new Error(`${command} is missing (${hint})`);
}

const sourcesOf = (dir: string): string[] =>
  readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => /\.(java|xml|go|mod|sum|rs|toml)$/.test(name))
    .sort();

const digestOf = (dir: string): string =>
  sourcesOf(dir)
    .map((name) => `${name}\n${readFileSync(join(dir, name), "utf8")}`)
    .join("\n");

// --- Java -----------------------------------------------------------------------------------------------------------

export interface JavaProgram extends Setup {
  /** For `java -cp`. */
  readonly classPath: string;
}

export interface JavaProgramOptions {
  readonly name: string;
  /** Folders with the sources, from the root. */
  readonly sources: readonly string[];
  /** The pom.xml whose dependencies it runs with, from the root. */
  readonly pom: string;
  /** Rewrites each source before it is compiled: one program serves two generations of an API. */
  readonly rewrite?: (source: string) => string;
}

/** Fetches the pom's dependencies with Maven, then compiles the sources with javac. */
export function javaProgram(options: JavaProgramOptions): JavaProgram {
  const dir = workDir("toolchain", options.name);
  const lib = join(dir, "lib");
  const classes = join(dir, "classes");
  const setup = once(options.name, async () => {
    await requireTool("java", ["-version"], "Debian: openjdk-17-jdk-headless");
    await requireTool("mvn", ["-v"], "Debian: maven");
    const pom = join(ROOT, options.pom);
    const folders = options.sources.map((folder) => join(ROOT, folder));
    const inputs = folders.map(digestOf).join("\n") + readFileSync(pom, "utf8");
    await cached(dir, inputs, async () => {
      rmSync(lib, { recursive: true, force: true });
      rmSync(classes, { recursive: true, force: true });
      await copyDependencies(pom, lib);
      const staged = join(dir, "src");
      rmSync(staged, { recursive: true, force: true });
      mkdirSync(staged);
      const files = folders.flatMap((folder) => stageSources(folder, staged, options.rewrite));
      await runOrThrow("javac", ["-nowarn", "-cp", `${lib}/*`, "-d", classes, ...files], {
        limitMs: 3 * MINUTE,
      });
    });
  });
  return { ...setup, classPath: `${classes}:${lib}/*` };
}

/** Copies the Java files of a folder, rewritten where asked; returns where they are now. */
function stageSources(
  folder: string,
  staged: string,
  rewrite: ((source: string) => string) | undefined,
): string[] {
  return sourcesOf(folder)
    .filter((name) => name.endsWith(".java"))
    .map((name) => {
      const file = join(staged, basename(name));
      const text = readFileSync(join(folder, name), "utf8");
      writeFileSync(file, rewrite?.(text) ?? text);
      return file;
    });
}

const COPY_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";
let lastMaven: Promise<unknown> = Promise.resolve();

/** One Maven at a time: its local repository is not made for two that fetch the same files. */
function copyDependencies(pom: string, lib: string): Promise<unknown> {
  const args = ["-q", "-B", "-f", pom, COPY_GOAL, `-DoutputDirectory=${lib}`];
  const next = lastMaven
    .catch(() => undefined)
    .then(() => runOrThrow("mvn", args, { limitMs: 6 * MINUTE }));
  lastMaven = next;
  return next;
}

// --- Python ---------------------------------------------------------------------------------------------------------

export interface PythonEnvironment extends Setup {
  readonly python: string;
  readonly dir: string;
}

/** A virtual environment with exactly these packages. */
export function pythonEnvironment(name: string, packages: readonly string[]): PythonEnvironment {
  const dir = join(workDir("toolchain"), `python-${name}`);
  const python = join(dir, "bin/python");
  const setup = once(`python-${name}`, async () => {
    await requireTool("python3", ["-m", "venv", "-h"], "Debian: python3-venv");
    await cached(workDir("toolchain", `python-${name}`), packages.join("\n"), async () => {
      rmSync(dir, { recursive: true, force: true });
      await runOrThrow("python3", ["-m", "venv", dir], { limitMs: 2 * MINUTE });
      await runOrThrow(
        python,
        ["-m", "pip", "-q", "install", "--disable-pip-version-check", ...packages],
        { limitMs: 6 * MINUTE },
      );
    });
  });
  return { ...setup, python, dir };
}

// --- Go -------------------------------------------------------------------------------------------------------------

export interface GoProgram extends Setup {
  readonly binary: string;
}

/** Builds one of our Go programs (its go.mod and go.sum pin what it needs). */
export function goProgram(name: string, sources: string): GoProgram {
  const dir = workDir("toolchain", name);
  const binary = join(dir, name);
  const setup = once(name, async () => {
    await requireTool("go", ["version"], "https://go.dev, 1.24 or newer");
    const cwd = join(ROOT, sources);
    await cached(dir, digestOf(cwd), async () => {
      await runOrThrow("go", ["build", "-o", binary, "."], { cwd, limitMs: 6 * MINUTE });
    });
  });
  return { ...setup, binary };
}

export interface GoSuite extends Setup {
  readonly binary: string;
  /** Where the module's own sources lie, once prepared. */
  sourceDir(): Promise<string>;
}

/** Compiles the tests that are inside a published Go module. */
export function goSuite(name: string, module: string, version: string): GoSuite {
  const dir = workDir("toolchain", name);
  const binary = join(dir, "suite.test");
  const env = { GOFLAGS: "-mod=mod" };
  const setup = once(name, async () => {
    await requireTool("go", ["version"], "https://go.dev, 1.24 or newer");
    await cached(dir, `${module}@${version}`, async () => {
      const options = { cwd: dir, env, limitMs: 6 * MINUTE };
      if (!existsSync(join(dir, "go.mod")))
        await runOrThrow("go", ["mod", "init", "suite"], options);
      await runOrThrow("go", ["get", "-t", `${module}@${version}`], options);
      await runOrThrow("go", ["test", "-c", "-o", binary, module], options);
    });
  });
  return {
    ...setup,
    binary,
    async sourceDir() {
      const list = ["list", "-m", "-f", "{{.Dir}}", module];
      const { stdout } = await runOrThrow("go", list, { cwd: dir, env, limitMs: MINUTE });
      return stdout.trim();
    },
  };
}

// --- Rust -----------------------------------------------------------------------------------------------------------

export interface RustProgram extends Setup {
  readonly binary: string;
}

/** Builds one of our Rust programs, which use the standard library alone. */
export function rustProgram(name: string, sources: string): RustProgram {
  const dir = workDir("toolchain", name);
  const setup = once(name, async () => {
    await requireTool("cargo", ["--version"], "https://rustup.rs, or Debian: cargo");
    const cwd = join(ROOT, sources);
    await cached(dir, digestOf(cwd), async () => {
      const args = ["build", "-q", "--release", "--offline"];
      await runOrThrow("cargo", args, { cwd, env: { CARGO_TARGET_DIR: dir }, limitMs: 6 * MINUTE });
    });
  });
  return { ...setup, binary: join(dir, "release", name) };
}

// --- Debian ---------------------------------------------------------------------------------------------------------

/** A command from a Debian package; installed when it is missing and we may. */
export function debianCommand(command: string, packageName: string): Setup {
  return once(packageName, async () => {
    if ((await run("which", [command], { limitMs: MINUTE })).status === 0) return;
    if (process.getuid?.() !== 0) throw new Error(`${command} is missing (Debian: ${packageName})`);
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    // Others may be installing as well.
    const patient = ["-o", "DPkg::Lock::Timeout=300"];
    const install = [...patient, "install", "-y", "-q", "--no-install-recommends", packageName];
    const first = await run("apt-get", install, { env, limitMs: 6 * MINUTE });
    if (first.status === 0) return;
    await runOrThrow("apt-get", ["update", "-q"], { env, limitMs: 3 * MINUTE });
    await runOrThrow("apt-get", install, { env, limitMs: 6 * MINUTE });
  });
}
