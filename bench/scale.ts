/**
 * How Sluice bears many of everything: what idle ones cost, how fast it starts with them, whether traffic minds them.
 *
 *   node dist/bench/scale.js [--part idle,busy,connections,retained,sessions,wildcards] [--scale 1] [--name NAME]
 *
 * `--scale 0.01` makes a hundredth of all counts. Writes bench/results/DATE-NAME.{json,md} (name: scale), part by part: what
 * is not run now is kept from the file of the day. Memory is heap and external memory of the process, after collection.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadgenProgram } from "../interop/harness/loadgen.ts";
import { ROOT } from "../interop/harness/paths.ts";
import { argumentsOf, NAME, NUMBER } from "./arguments.ts";
import { thisMachine } from "./report.ts";
import { busyConnections, connections } from "./scale/connections.ts";
import { busy, idle, type Say } from "./scale/idle.ts";
import { type Facts, retained, sessions, wildcards } from "./scale/mqtt.ts";
import { markdown, scaleGoals } from "./scale/report.ts";

const ALL_PARTS = "idle,busy,connections,retained,sessions,wildcards";
const ANY_PART = ALL_PARTS.replaceAll(",", "|");
const USAGE = `npm run bench:scale -- [options]
Many of everything: what idle ones cost, how fast it starts with them, whether traffic minds them.

  --part ${ALL_PARTS}
                     some of these (default: all)
  --scale 1          0.01 makes a hundredth of all counts
  --name scale       of the files in bench/results; what is not run now is kept
  --help

Example: npm run bench:scale -- --part idle,busy --scale 0.01 --name quick
`;
const values = argumentsOf(
  USAGE,
  {
    part: { type: "string", default: ALL_PARTS },
    scale: { type: "string", default: "1" },
    name: { type: "string", default: "scale" },
  },
  {
    part: {
      pattern: new RegExp(`^(${ANY_PART})(,(${ANY_PART}))*$`),
      expected: `some of ${ALL_PARTS}`,
    },
    scale: NUMBER,
    name: NAME,
  },
);
const scale = Number(values.scale);
const scaled = (count: number): number => Math.max(1, Math.round(count * scale));
const wanted = new Set(values.part.split(","));

type Part = readonly [part: string, name: string, run: (say: Say) => Promise<Facts>];

const PARTS: readonly Part[] = [
  ["idle", "Idle light queues", (say) => idle("light", scaled(1_000_000), say)],
  [
    "idle",
    "Idle light queues with a message each",
    (say) => idle("light-filled", scaled(1_000_000), say),
  ],
  ["idle", "Idle queues", (say) => idle("queues", scaled(100_000), say)],
  ["idle", "Idle topics", (say) => idle("topics", scaled(100_000), say)],
  ["idle", "Groups on one topic", (say) => idle("groups-one", scaled(50_000), say)],
  ["idle", "Groups on as many topics", (say) => idle("groups-many", scaled(50_000), say)],
  [
    "busy",
    "Traffic beside idle light queues",
    (say) => busy(scaled(1_000_000), scaled(10_000), say),
  ],
  ["busy", "Traffic over AMQP 1.0 connections", (say) => busyConnections(scaled(1000), say)],
  ["connections", "AMQP 1.0 connections", (say) => connections("amqp10", scaled(20_000), say)],
  ["connections", "MQTT connections", (say) => connections("mqtt", scaled(20_000), say)],
  ["retained", "MQTT retained topics", () => retained(scaled(1_000_000))],
  ["sessions", "MQTT kept sessions", () => sessions(scaled(10_000), 100)],
  ["wildcards", "MQTT wildcard filters", () => wildcards(scaled(100_000), 100_000)],
];

const folder = join(ROOT, "bench/results");
mkdirSync(folder, { recursive: true });
const file = join(folder, `${new Date().toISOString().slice(0, 10)}-${values.name}`);
const results: Record<string, Facts> = existsSync(`${file}.json`)
  ? ((JSON.parse(readFileSync(`${file}.json`, "utf8")) as { results?: Record<string, Facts> })
      .results ?? {})
  : {};
await loadgenProgram.prepare();
let passed = 0;
let failed = 0;
for (const [part, name, run] of PARTS) {
  if (!wanted.has(part)) continue;
  const machine = thisMachine(Number.NaN);
  const began = performance.now();
  const say = (what: string): void => {
    const seconds = Math.round((performance.now() - began) / 1000);
    process.stdout.write(`${name}, ${seconds} s: ${what}\n`);
  };
  say("begins");
  try {
    results[name] = await run(say);
    say(JSON.stringify(results[name]));
    passed++;
  } catch (error) {
    failed++;
    say(`FAULT ${String(error)}`);
  }
  // In the order of the parts, whichever were run when.
  const ordered = Object.fromEntries(
    PARTS.flatMap(([, key]) => (results[key] === undefined ? [] : [[key, results[key]]])),
  );
  writeFileSync(
    `${file}.json`,
    `${JSON.stringify({ machine, scale, results: ordered }, null, 1)}\n`,
  );
  writeFileSync(`${file}.md`, markdown(ordered, machine, scale));
}
if (scale === 1) {
  for (const { what, wanted: goal, measured, isReached } of scaleGoals(results)) {
    process.stdout.write(`${isReached ? "reached" : "missed "}  ${what}: ${measured} (${goal})\n`);
  }
}
process.stdout.write(`${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
