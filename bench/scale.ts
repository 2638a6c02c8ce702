/**
 * How Sluice bears many of everything: what idle ones cost, how fast it starts with them, whether traffic minds them.
 *
 *   node dist/bench/scale.js [--part idle,busy,connections,retained,sessions,wildcards] [--scale 1] [--name NAME]
 *
 * `--scale 0.01` makes a hundredth of all counts. Writes bench/results/DATE-NAME.{json,md} (name: scale), part by part: what
 * is not run now is kept from the file of the day. Memory is heap and external memory of the process, after collection.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { loadgenProgram } from "../interop/harness/loadgen.ts";
import { ROOT, scratchDir } from "../interop/harness/paths.ts";
import { thisMachine } from "./report.ts";
import { connections } from "./scale/connections.ts";
import type { Kind } from "./scale/kinds.ts";
import { type Facts, retained, sessions, wildcards } from "./scale/mqtt.ts";

const { values } = parseArgs({
  options: {
    part: { type: "string", default: "idle,busy,connections,retained,sessions,wildcards" },
    scale: { type: "string", default: "1" },
    name: { type: "string", default: "scale" },
  },
});
const scaled = (count: number): number => Math.max(1, Math.round(count * Number(values.scale)));

/** Where the compiled programs are. */
const CHILD = join(ROOT, "dist/bench/scale/child.js");

class Child {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(args: readonly string[]) {
    this.#process = spawn(
      process.execPath,
      ["--expose-gc", "--max-old-space-size=8192", CHILD, ...args],
      { stdio: ["pipe", "pipe", "inherit"] },
    );
    const lines = createInterface({ input: this.#process.stdout! });
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async facts(): Promise<Facts> {
    const line = await this.#lines.next();
    if (line.done === true) throw new Error("scale: the child ended without an answer");
    return JSON.parse(line.value) as Facts;
  }
  async stop(): Promise<Facts> {
    this.#process.stdin!.write("stop\n");
    return this.facts();
  }
  kill(): Promise<void> {
    return new Promise((resolve) => {
      this.#process.once("exit", () => resolve());
      this.#process.kill("SIGKILL");
    });
  }
}

/** Makes them, kills, opens, stops, opens. */
async function idle(kind: Kind, count: number): Promise<Facts> {
  const directory = scratchDir(`scale-${kind}`);
  const args = [directory, kind, String(count)];
  const maker = new Child(["make", ...args]);
  const made = await maker.facts();
  await maker.kill();
  const afterKill = new Child(["open", ...args]);
  const killed = await afterKill.facts();
  const { stopMs } = await afterKill.stop();
  const afterStop = new Child(["open", ...args]);
  const opened = await afterStop.facts();
  await afterStop.kill();
  rmSync(directory, { recursive: true });
  return {
    count,
    madePerSecond: made["madePerSecond"]!,
    bytesEach: made["bytesEach"]!,
    bytesEachOpened: opened["bytesEach"]!,
    residentMiB: opened["rssMiB"]!,
    startMs: opened["openMs"]!,
    startCpuMs: opened["openCpuMs"]!,
    startAfterKillMs: killed["openMs"]!,
    startAfterKillCpuMs: killed["openCpuMs"]!,
    stopMs: stopMs!,
  };
}

/** Traffic beside a million idle light queues. */
async function busy(count: number): Promise<Facts> {
  const directory = scratchDir("scale-busy");
  const args = [directory, "light-filled", String(count)];
  const maker = new Child(["make", ...args]);
  await maker.facts();
  await maker.stop();
  const worker = new Child(["busy", ...args]);
  const facts = await worker.facts();
  await worker.stop();
  const alone = new Child(["busy", scratchDir("scale-alone"), "light", "1"]);
  const bare = await alone.facts();
  await alone.stop();
  rmSync(directory, { recursive: true });
  return {
    idle: count,
    aloneOneQueueRate: bare["oneRate"]!,
    aloneOneQueueMicros: bare["oneMicros"]!,
    oneQueueRate: facts["oneRate"]!,
    oneQueueMicros: facts["oneMicros"]!,
    tenThousandQueuesRate: facts["manyRate"]!,
    tenThousandQueuesMicros: facts["manyMicros"]!,
  };
}

type Results = Record<string, Facts>;

function markdown(results: Results, machine: ReturnType<typeof thisMachine>): string {
  const lines = [
    "# Many of everything",
    "",
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, Linux ${machine.kernel}, Node ${process.versions.node}; load average ${machine.loadAverage} when the last part began.`,
    "Times are wall-clock unless they say CPU; on a busy machine the CPU figures are the ones to compare.",
  ];
  for (const [name, facts] of Object.entries(results)) {
    lines.push("", `## ${name}`, "", "| | |", "|---|---|");
    for (const [key, value] of Object.entries(facts)) {
      const words = key.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
      lines.push(`| ${words} | ${value.toLocaleString("en-US")} |`);
    }
  }
  return `${lines.join("\n")}\n`;
}

const PARTS: ReadonlyArray<readonly [part: string, name: string, run: () => Promise<Facts>]> = [
  ["idle", "Idle light queues", () => idle("light", scaled(1_000_000))],
  ["idle", "Idle light queues with a message each", () => idle("light-filled", scaled(1_000_000))],
  ["idle", "Idle queues", () => idle("queues", scaled(100_000))],
  ["idle", "Idle topics", () => idle("topics", scaled(100_000))],
  ["idle", "Groups on one topic", () => idle("groups-one", scaled(50_000))],
  ["idle", "Groups on as many topics", () => idle("groups-many", scaled(50_000))],
  ["busy", "Traffic beside idle light queues", () => busy(scaled(1_000_000))],
  ["connections", "AMQP 1.0 connections", () => connections("amqp10", scaled(20_000))],
  ["connections", "MQTT connections", () => connections("mqtt", scaled(20_000))],
  ["retained", "MQTT retained topics", () => retained(scaled(1_000_000))],
  ["sessions", "MQTT kept sessions", () => sessions(scaled(10_000), 100)],
  ["wildcards", "MQTT wildcard filters", () => wildcards(scaled(100_000), 100_000)],
];

const folder = join(ROOT, "bench/results");
mkdirSync(folder, { recursive: true });
const file = join(folder, `${new Date().toISOString().slice(0, 10)}-${values.name}`);
const results: Results = existsSync(`${file}.json`)
  ? (JSON.parse(readFileSync(`${file}.json`, "utf8")) as { results: Results }).results
  : {};
await loadgenProgram.prepare();
let failed = 0;
for (const [part, name, run] of PARTS) {
  if (!values.part.split(",").includes(part)) continue;
  const machine = thisMachine(Number.NaN);
  try {
    results[name] = await run();
    process.stdout.write(`${name}: ${JSON.stringify(results[name])}\n`);
  } catch (error) {
    failed++;
    process.stdout.write(`${name}: FAULT ${String(error)}\n`);
  }
  writeFileSync(`${file}.json`, `${JSON.stringify({ machine, results }, null, 1)}\n`);
  writeFileSync(`${file}.md`, markdown(results, machine));
}
process.stdout.write(`${Object.keys(results).length} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
