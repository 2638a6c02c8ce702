/**
 * The broker under test as its own process, exactly as a user starts it with `npm start -- --port N --data DIR`.
 * Can be stopped, killed without warning and started again on the same data. A broker that somebody else runs can stand in
 * for it (`--against`), to see what a peer does in a step; that one can be neither stopped nor killed.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { NODE_FLAGS, ROOT, scratchDir } from "./paths.ts";
import { killGroup, lastLines, spawnTracked } from "./process.ts";

const START_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 10_000;
const OUTPUT_MAX = 256 * 1024;

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** Clients speak TLS and trust this authority alone. */
  readonly tls?: Authority;
}

/** The certificate of an authority: where it lies, and its text. */
export interface Authority {
  readonly file: string;
  readonly pem: string;
  /** A certificate of the client's own, by which it logs in instead of by name and password; PEM texts. */
  readonly identity?: { readonly cert: string; readonly key: string };
}

export interface BrokerOptions {
  /** More arguments for `serve`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where its data lies; a new folder when absent. Removed with the broker. */
  readonly dataDir?: string;
  /** CPU list for taskset. */
  readonly cpus?: string;
}

export class BrokerProcess implements Endpoint {
  readonly host = "127.0.0.1";
  readonly user = "guest";
  readonly password = "guest";
  readonly dataDir: string;
  readonly port: number;
  readonly #options: BrokerOptions;
  #child: ChildProcess | undefined;
  #output = "";
  #startMs = 0;

  private constructor(port: number, options: BrokerOptions) {
    this.port = port;
    this.#options = options;
    this.dataDir = options.dataDir ?? scratchDir("data");
  }

  static async start(options: BrokerOptions = {}): Promise<BrokerProcess> {
    const broker = new BrokerProcess(await freePort(), options);
    await broker.restart();
    return broker;
  }

  /** Starts on the same port and data; resolves when a client can connect. */
  async restart(): Promise<void> {
    const began = performance.now();
    const serve = [
      ...NODE_FLAGS,
      join(ROOT, "dist/src/main.js"),
      "serve",
      "--port",
      String(this.port),
    ];
    const args = [...serve, "--data", this.dataDir, ...(this.#options.args ?? [])];
    const pinned = this.#options.cpus;
    const [command, all] =
      pinned === undefined
        ? [process.execPath, args]
        : ["taskset", ["-c", pinned, process.execPath, ...args]];
    this.#output = "";
    const child = spawnTracked(command, all, { env: { ...this.#options.env } });
    this.#child = child;
    const keep = (text: string): void => {
      this.#output = (this.#output + text).slice(-OUTPUT_MAX);
    };
    child.stdout?.setEncoding("utf8").on("data", keep);
    child.stderr?.setEncoding("utf8").on("data", keep);
    let failure: string | undefined;
    child.once("error", (error) => {
      failure = String(error);
    });
    child.once("exit", (status, signal) => {
      failure = `left with ${signal ?? `status ${status}`}`;
    });
    while (!(await accepts(this.host, this.port))) {
      if (failure !== undefined || performance.now() - began > START_LIMIT_MS) {
        killGroup(child, "SIGKILL");
        const what = failure ?? `no listener on port ${this.port} after ${START_LIMIT_MS} ms`;
        throw new Error(`broker: ${what}\n${lastLines(this.#output, 20)}`);
      }
      await sleep(5);
    }
    this.#startMs = performance.now() - began;
  }

  /** From spawn to the first accepted connection of the last start. */
  get startMs(): number {
    return this.#startMs;
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get isRunning(): boolean {
    return (
      this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null
    );
  }

  /** What the broker wrote to its console since the last start. */
  get output(): string {
    return this.#output;
  }

  /** Resident size in KiB, from /proc. */
  residentKb(): number {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0);
  }

  /** SIGSTOP: the process stands still until `resume`; the kernel goes on taking what clients send. */
  pause(): void {
    if (this.#child !== undefined) killGroup(this.#child, "SIGSTOP");
  }

  resume(): void {
    if (this.#child !== undefined) killGroup(this.#child, "SIGCONT");
  }

  /** SIGTERM; the exit status. Rejects when the process has not left in time. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return child?.exitCode ?? null;
    const left = exited(child);
    child.kill("SIGTERM");
    const inTime = await Promise.race([left.then(() => true), sleep(STOP_LIMIT_MS, false)]);
    if (!inTime) {
      killGroup(child, "SIGKILL");
      await left;
      throw new Error(`broker: still there ${STOP_LIMIT_MS} ms after SIGTERM`);
    }
    return child.exitCode;
  }

  /** SIGKILL, and waits until the process is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.isRunning) return;
    const left = exited(child);
    killGroup(child, "SIGKILL");
    await left;
  }

  /** Kills it if need be and removes the data. */
  async dispose(): Promise<void> {
    await this.kill();
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

const exited = (child: ChildProcess): Promise<void> =>
  new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve();
    else child.once("exit", () => resolve());
  });

export const sleep = <T = void>(ms: number, value?: T): Promise<T> =>
  new Promise((resolve) => setTimeout(() => resolve(value as T), ms));

/**
 * A port nobody listens on now, below those that the system gives away by itself: a broker that was killed must find it
 * free again, and clients that try meanwhile must not meet somebody else there.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries++) {
    const port = 15_000 + Math.floor(Math.random() * 17_000);
    if (await isFree(port)) return port;
  }
  throw new Error("no free port between 15,000 and 32,000");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

export function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (yes: boolean): void => {
      socket.destroy();
      resolve(yes);
    };
    socket.once("connect", () => done(true));
    socket.once("error", () => done(false));
  });
}
