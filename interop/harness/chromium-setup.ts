/**
 * Where a Chromium is: the one on the machine, else a headless build from the npm registry that brings the libraries it needs,
 * else Debian's package. The first two need no rights on the machine.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import { workDir } from "./paths.ts";
import { run, runOrThrow } from "./process.ts";
import { debianCommand, type Setup } from "./toolchain.ts";
import { NPM_CHROMIUM } from "./versions.ts";

export interface ChromiumProgram {
  readonly command: string;
  readonly env: Readonly<Record<string, string>>;
}

const NAMES = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

let program: Promise<ChromiumProgram> | undefined;

export const chromiumProgram = (): Promise<ChromiumProgram> => {
  program ??= find();
  return program;
};

export const chromiumSetup: Setup = {
  name: "chromium",
  prepare: async () => {
    await chromiumProgram();
  },
};

async function installed(): Promise<ChromiumProgram | undefined> {
  for (const name of NAMES) {
    const { status, stdout } = await run("which", [name], { limitMs: 10_000 });
    if (status === 0) return { command: stdout.trim(), env: {} };
  }
  return undefined;
}

async function find(): Promise<ChromiumProgram> {
  const there = await installed();
  if (there !== undefined) return there;
  let why = `no build for ${process.platform} ${process.arch} in the npm registry`;
  if (process.platform === "linux" && process.arch === "x64") {
    try {
      return await fromNpm();
    } catch (error) {
      why = String(error);
    }
  }
  await debianCommand("chromium", "chromium")
    .prepare()
    .catch((error) => {
      throw new Error(`no Chromium here, and none could be installed: ${why}; ${String(error)}`);
    });
  return (await installed())!;
}

/** The npm package holds the browser and its libraries compressed; nothing of it is run but what it unpacks to. */
async function fromNpm(): Promise<ChromiumProgram> {
  const dir = workDir("toolchain", "chromium");
  const command = join(dir, `chromium-${NPM_CHROMIUM}`);
  const program = { command, env: { LD_LIBRARY_PATH: join(dir, "lib") } };
  if (existsSync(command)) return program;
  const spec = `@sparticuz/chromium@${NPM_CHROMIUM}`;
  const flags = ["--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir];
  mkdirSync(dir, { recursive: true });
  await runOrThrow("npm", ["install", ...flags, spec], { cwd: dir, limitMs: 300_000 });
  const packed = join(dir, "node_modules/@sparticuz/chromium/bin");
  const libraries = join(dir, "libraries.tar");
  writeFileSync(libraries, brotliDecompressSync(readFileSync(join(packed, "al2023.tar.br"))));
  await runOrThrow("tar", ["xf", libraries, "-C", dir], { limitMs: 60_000 });
  writeFileSync(command, brotliDecompressSync(readFileSync(join(packed, "chromium.br"))));
  chmodSync(command, 0o755);
  return program;
}
