/**
 * Child processes of the harness: run one to its end with a time limit, or keep one and talk to it.
 * Every child leads its own process group, so that a time-out ends its children too; whatever still runs when the harness
 * leaves is killed by group, and nothing else ever is.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

const alive = new Set<ChildProcess>();

process.on("exit", () => {
  for (const child of alive) killGroup(child, "SIGKILL");
});

export interface SpawnedOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: "pipe" | "ignore";
}

export function spawnTracked(
  command: string,
  args: readonly string[],
  options: SpawnedOptions = {},
): ChildProcess {
  const spawnOptions: SpawnOptions = {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: [options.stdin ?? "ignore", "pipe", "pipe"],
    detached: true,
  };
  const child = spawn(command, [...args], spawnOptions);
  alive.add(child);
  child.once("close", () => alive.delete(child));
  child.once("error", () => alive.delete(child));
  return child;
}

export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Already gone.
  }
}

export interface RunResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

export interface RunOptions extends SpawnedOptions {
  readonly limitMs: number;
  /** Goes to its standard input. */
  readonly input?: string;
  /** Sees each line of standard output as it comes. */
  readonly onLine?: (line: string) => void;
}

const OUTPUT_MAX = 8 * 1024 * 1024;

/** Runs a command to its end. Never rejects for its status; `runOrThrow` does. */
export function run(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  return new Promise((resolve) => {
    const { input } = options;
    const child = spawnTracked(command, args, {
      ...options,
      ...(input === undefined ? {} : { stdin: "pipe" }),
    });
    child.stdin?.end(input);
    let stdout = "";
    let stderr = "";
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child, "SIGKILL");
    }, options.limitMs);
    const emit = options.onLine === undefined ? undefined : lineSplitter(options.onLine);
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (stdout.length < OUTPUT_MAX) stdout += text;
      emit?.(text);
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      if (stderr.length < OUTPUT_MAX) stderr += text;
    });
    child.once("error", (error) => {
      clearTimeout(timer);
      resolve({ status: null, stdout, stderr: `${stderr}${String(error)}`, timedOut });
    });
    child.once("close", (status) => {
      clearTimeout(timer);
      resolve({ status, stdout, stderr, timedOut });
    });
  });
}

export async function runOrThrow(
  command: string,
  args: readonly string[],
  options: RunOptions,
): Promise<RunResult> {
  const result = await run(command, args, options);
  if (result.status !== 0) {
    const why = result.timedOut ? `stopped after ${options.limitMs} ms` : `status ${result.status}`;
    const tail = lastLines(`${result.stdout}\n${result.stderr}`, 20);
    throw new Error(`${command} ${args.join(" ")}: ${why}\n${tail}`);
  }
  return result;
}

/** Calls back once for each complete line of a stream of text. */
export function lineSplitter(onLine: (line: string) => void): (text: string) => void {
  let rest = "";
  return (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  };
}

export const lastLines = (text: string, count: number): string =>
  text.trimEnd().split("\n").slice(-count).join("\n");
