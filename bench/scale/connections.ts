/** Connections at scale through a real broker process: memory and CPU each, with one subscription each. */
import { readFileSync } from "node:fs";
import { BrokerProcess } from "../../interop/harness/broker-process.ts";
import { type LoadProtocol, loadgen } from "../../interop/harness/loadgen.ts";
import type { Facts } from "./mqtt.ts";

const HOLD_SECONDS = 5;
/** Files that a process needs besides its sockets. */
const OTHER_FILES = 100;

/** How many files this system lets a process open. */
function fileLimit(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  return Number(/Max open files\s+\d+\s+(\d+)/.exec(limits)?.[1] ?? Number.NaN);
}

export async function connections(protocol: LoadProtocol, wanted: number): Promise<Facts> {
  const count = Math.min(wanted, fileLimit() - OTHER_FILES);
  const broker = await BrokerProcess.start();
  const load = ["--mode", "connections", "-n", String(count), "--attach"];
  const result = await loadgen(
    protocol,
    broker,
    [...load, "--hold", String(HOLD_SECONDS), "--pid", String(broker.pid)],
    { limitMs: 400_000 },
  );
  await broker.dispose();
  const number = (key: string): number => result.numbers[key] ?? Number.NaN;
  if (!(number("open") > 0)) throw new Error(result.text);
  return {
    connections: count,
    alive: number("alive_after_hold"),
    bytesEach: Math.round(number("rss_kb_per_conn") * 1024),
    residentMiB: Math.round(number("rss_hold_kb") / 1024),
    cpuMicrosToOpen: Math.round(number("broker_cpu_us_per_open")),
    idleCpuPercent: number("broker_cpu_pct_idle"),
  };
}
