/** The real executable as its own process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { until } from "./wait.ts";

const MAIN = join(import.meta.dirname, "../../src/main.js");

/** A machine that runs many test files at once starts processes slowly. */
const START_LIMIT_MS = 45_000;

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly [field: string]: unknown;
}

export class SluiceProcess {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";
  readonly exit: Promise<number | null>;

  constructor(args: readonly string[], options: { env?: NodeJS.ProcessEnv; input?: string } = {}) {
    const env: NodeJS.ProcessEnv = { ...process.env, NO_COLOR: "1", ...options.env };
    for (const name of Object.keys(env)) {
      if (name.startsWith("SLUICE_") && options.env?.[name] === undefined) delete env[name];
    }
    this.child = spawn(process.execPath, [MAIN, ...args], { env });
    this.child.stdin?.end(options.input ?? "");
    this.child.stdout?.on("data", (chunk) => (this.stdout += chunk));
    this.child.stderr?.on("data", (chunk) => (this.stderr += chunk));
    this.exit = once(this.child, "close").then(([code]) => code as number | null);
  }

  get lines(): LogLine[] {
    return this.stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as LogLine);
  }

  /** Waits for the log line `ready`. */
  async ready(): Promise<void> {
    const isReady = (): boolean => {
      if (this.child.exitCode !== null) {
        throw new Error(`left with ${this.child.exitCode}: ${this.stdout}${this.stderr}`);
      }
      return this.stdout.includes('"event":"ready"');
    };
    await until("the broker says ready", isReady, START_LIMIT_MS);
  }

  /** The port of a listener, from its log line. */
  port(listener = "main"): number {
    const line = this.lines.find(
      ({ event, name }) => event === "listener.ready" && name === listener,
    );
    return Number(/:(\d+)$/.exec(String(line?.["address"]))?.[1]);
  }
}
