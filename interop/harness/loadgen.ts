/** The load generator of `bench/loadgen`: one run, its verdict and its numbers. */
import type { Endpoint } from "./broker-process.ts";
import { lastLines, run } from "./process.ts";
import { rustProgram } from "./toolchain.ts";

export const loadgenProgram = rustProgram("loadgen", "bench/loadgen");

export type LoadProtocol = "amqp10" | "amqp091" | "stomp" | "stomp-ws" | "mqtt" | "mqtt-ws";

export interface LoadResult {
  /** Ended by itself, and nothing was lost, duplicated, out of order, rejected or left unconfirmed. */
  readonly ok: boolean;
  /** The generator's own line, or why there is none. */
  readonly text: string;
  readonly numbers: Readonly<Record<string, number>>;
}

const FAULTS = ["lost", "duplicated", "out_of_order", "rejected", "unconfirmed", "stale"];

export interface LoadOptions {
  /** CPU list for taskset. */
  readonly cpus?: string;
  readonly limitMs?: number;
}

export async function loadgen(
  protocol: LoadProtocol,
  endpoint: Endpoint,
  args: readonly string[],
  options: LoadOptions = {},
): Promise<LoadResult> {
  const where = ["--proto", protocol, "--host", endpoint.host, "--port", String(endpoint.port)];
  const login = protocol.startsWith("mqtt")
    ? []
    : ["--user", endpoint.user, "--pass", endpoint.password];
  const all = [...where, ...login, ...args, "--json"];
  const { binary } = loadgenProgram;
  const [command, argv] =
    options.cpus === undefined ? [binary, all] : ["taskset", ["-c", options.cpus, binary, ...all]];
  const result = await run(command, argv, { limitMs: options.limitMs ?? 120_000 });
  const lines = result.stdout.trim().split("\n");
  const json = lines.findLast((line) => line.startsWith("{"));
  const said = lines.findLast((line) => line !== "" && !line.startsWith("{")) ?? "";
  if (json === undefined) {
    const why = result.timedOut ? "stopped by the time limit" : `status ${result.status}`;
    return { ok: false, text: `${why}: ${lastLines(result.stderr + said, 3)}`, numbers: {} };
  }
  const numbers = JSON.parse(json) as Record<string, number>;
  const faults = FAULTS.filter((fault) => (numbers[fault] ?? 0) > 0);
  const ok = result.status === 0 && faults.length === 0;
  const errors = lastLines(result.stderr, 3);
  return { ok, text: errors === "" ? said : `${said} ${errors}`, numbers };
}
