/**
 * One process of the scale run: a broker over the real store, in process, that makes or opens many idle things and says
 * what they cost. Run by ../scale.ts with --expose-gc.
 *
 *   child.js make DIR KIND COUNT    makes them, waits until they rest, prints a line of JSON, waits for a line on stdin
 *   child.js open DIR KIND COUNT    opens what is there, prints a line of JSON, waits for a line on stdin
 *   child.js busy DIR KIND COUNT QUEUES MESSAGES    opens what is there; messages through one queue and through so many
 *   child.js made DIR KIND COUNT QUEUES MESSAGES    makes COUNT idle ones, and at once the same
 */
import { createInterface } from "node:readline";
import { bareBroker } from "../bare-broker.ts";
import { shapesOf, through } from "./busy.ts";
import { type Kind, makeMany } from "./kinds.ts";

const [mode, directory, kind] = process.argv.slice(2) as [string, string, Kind];
const [count = 0, queues = 1, messages = 1] = process.argv.slice(5).map(Number);
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});

const say = (facts: Record<string, number>): void => {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
};

function memory(): { used: number; rss: number } {
  collect();
  collect();
  const { heapUsed, external, rss } = process.memoryUsage();
  return { used: heapUsed + external, rss };
}

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Until the broker has put away what is not in use: its memory stands still. */
async function settled(): Promise<void> {
  let before = Number.POSITIVE_INFINITY;
  let awakeBefore = -1;
  for (let round = 0; round < 200; round++) {
    await rest(2000);
    const { awakeCount } = broker.registry;
    const isStill = awakeCount === awakeBefore;
    awakeBefore = awakeCount;
    // To collect a large heap takes longer than the round.
    if (!isStill) continue;
    const { used } = memory();
    if (used > before * 0.98) return;
    before = used;
  }
}

const broker = bareBroker(directory);
const { turn } = broker;

const before = memory();
const began = performance.now();
const cpu = process.cpuUsage();
await broker.open();
const openMs = performance.now() - began;
const openCpu = process.cpuUsage(cpu);
const facts: Record<string, number> = {
  openMs: Math.round(openMs),
  openCpuMs: Math.round((openCpu.user + openCpu.system) / 1000),
};
const isTraffic = mode === "busy" || mode === "made";
if (mode === "make" || mode === "made") {
  const from = performance.now();
  await makeMany(broker, kind, count);
  facts["madePerSecond"] = Math.round((count * 1000) / (performance.now() - from));
}
if (!isTraffic) await settled();
// Before traffic nothing is collected: what was made just now lies as it lies.
const after = isTraffic ? before : memory();
facts["bytesEach"] = Math.round((after.used - before.used) / count);
facts["rssBytesEach"] = Math.round((after.rss - before.rss) / count);
facts["rssMiB"] = Math.round(after.rss / (1 << 20));
for (const [name, links, among] of isTraffic ? shapesOf(queues) : []) {
  const load = { links, queues: among, messages, burst: 1, times: 2 };
  const { rate, micros } = await through(broker, turn, load);
  facts[`${name}Rate`] = rate;
  facts[`${name}Micros`] = micros;
}
say(facts);
for await (const line of createInterface({ input: process.stdin })) {
  if (line !== "stop") continue;
  const from = performance.now();
  await broker.close();
  say({ stopMs: Math.round(performance.now() - from) });
  break;
}
process.exit(0);
