/** Clients over real sockets by the ten thousand: what an idle connection costs, and whether traffic minds the number of queues. */
import { readFileSync } from "node:fs";
import { BrokerProcess } from "../../interop/harness/broker-process.ts";
import { type LoadProtocol, type LoadResult, loadgen } from "../../interop/harness/loadgen.ts";
import { mediansOf, type Say } from "./idle.ts";
import type { Facts } from "./mqtt.ts";

const HOLD_SECONDS = 5;
/**
 * Files that the broker needs besides its sockets: it keeps so many back from the system's limit (src/descriptors.ts), and
 * refuses the connections beyond that, by name.
 */
const OTHER_FILES = 512;
const SECONDS = 8;
const ROUNDS = 3;
const WARM_UP_SECONDS = 5;
/** Of each producer: what waits of a thousand of them fits into the tail ring, and the consumers stay close behind. */
const WINDOW = 10;

/** How many sockets a process can have beside its files. */
function socketLimit(): number {
  const limits = readFileSync("/proc/self/limits", "utf8");
  const files = Number(/Max open files\s+\d+\s+(\d+)/.exec(limits)?.[1] ?? Number.NaN);
  return files - OTHER_FILES;
}

const numberOf = ({ numbers }: LoadResult, key: string): number => numbers[key] ?? Number.NaN;

export async function connections(
  protocol: LoadProtocol,
  wanted: number,
  say: Say,
): Promise<Facts> {
  const count = Math.min(wanted, socketLimit());
  const broker = await BrokerProcess.start();
  say(`opening ${count.toLocaleString("en-US")}`);
  const load = ["--mode", "connections", "-n", String(count), "--attach"];
  const result = await loadgen(
    protocol,
    broker,
    [...load, "--hold", String(HOLD_SECONDS), "--pid", String(broker.pid)],
    { limitMs: 400_000 },
  );
  await broker.dispose();
  if (!(numberOf(result, "open") > 0)) throw new Error(result.text);
  if (!result.ok) say(result.text);
  return {
    wanted,
    connections: count,
    opened: numberOf(result, "open"),
    alive: numberOf(result, "alive_after_hold"),
    openedPerSecond: Math.round(numberOf(result, "open_rate")),
    bytesEach: Math.round(numberOf(result, "rss_kb_per_conn") * 1024),
    residentMiB: Math.round(numberOf(result, "rss_hold_kb") / 1024),
    cpuMicrosToOpen: Math.round(numberOf(result, "broker_cpu_us_per_open")),
    idleCpuPercent: numberOf(result, "broker_cpu_pct_idle"),
  };
}

/**
 * As many producers as consumers, each over a connection of its own: all on one queue, and each pair on its own. In turns, and
 * the medians.
 */
export async function busyConnections(wanted: number, say: Say): Promise<Facts> {
  const pairs = Math.min(wanted, Math.floor(socketLimit() / 2));
  const backlog = pairs * WINDOW;
  const measure = async (queues: number): Promise<LoadResult> => {
    const broker = await BrokerProcess.start();
    const clients = ["-P", pairs, "-C", pairs, "-Q", queues, "--window", WINDOW, "--credit", 20];
    const times = ["-s", SECONDS, "-w", WARM_UP_SECONDS, "--drain-timeout", 60];
    const result = await loadgen(
      "amqp10",
      broker,
      [...clients, ...times, "--max-backlog", backlog, "--pid", broker.pid].map(String),
      { limitMs: 300_000 },
    );
    await broker.dispose();
    if (!result.ok) throw new Error(result.text);
    return result;
  };
  const rounds: Facts[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const found: Facts = {};
    for (const [name, queues] of [
      ["oneQueue", 1],
      ["manyQueues", pairs],
    ] as const) {
      const result = await measure(queues);
      const rate = Math.round(numberOf(result, "both_rate"));
      const micros = Number(numberOf(result, "broker_cpu_us_per_msg").toFixed(2));
      say(`round ${round} of ${ROUNDS}, ${2 * pairs} connections, ${name}: ${rate}, ${micros}`);
      found[`${name}Rate`] = rate;
      found[`${name}CpuMicros`] = micros;
    }
    rounds.push(found);
  }
  return { producers: pairs, consumers: pairs, rounds: ROUNDS, ...mediansOf(rounds) };
}
