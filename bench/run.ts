/**
 * `npm run bench`: our broker and its peers under the same load on the same cores in the same run.
 *
 *   npm run bench -- [--peer artemis]... [--protocol amqp10|stomp|stomp-ws|mqtt|mqtt-ws]... [--runs 3] [--seconds 5] [--rows TEXT[;TEXT]] [--placement pinned|shared] [--smoke] [--name NAME]
 *
 * Brokers take turns cell by cell; the ones not measured are stopped meanwhile. Writes bench/results/DATE-NAME.{json,md}.
 * `--smoke`: ours alone, a second per row, no files; only loss, duplication, disorder and failure count.
 * The last line is `N passed, N failed`.
 */
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { sleep } from "../interop/harness/broker-process.ts";
import { type LoadProtocol, loadgen, loadgenProgram } from "../interop/harness/loadgen.ts";
import { ROOT, scratchDir } from "../interop/harness/paths.ts";
import { reason } from "../interop/harness/step.ts";
import { makeSessions } from "../interop/steps/load.ts";
import { argumentsOf, NUMBER, WHOLE } from "./arguments.ts";
import { type BrokerKind, type MeasuredBroker, ours, PEERS } from "./brokers.ts";
import { type BenchCell, backlogCell, cellsOf } from "./cells.ts";
import { goalsTable } from "./goals.ts";
import {
  type BrokerFacts,
  type Measured,
  markdown,
  median,
  type Numbers,
  thisMachine,
} from "./report.ts";

const say = (text: string): void => {
  process.stdout.write(`${text}\n`);
};

const USAGE = `npm run bench -- [options]
Our broker and its peers under the same load, on the same cores, in the same run.

  --peer NAME        a peer beside ours; may be repeated (see bench/README.md)
  --protocol NAME    amqp10, stomp, stomp-ws, mqtt, mqtt-ws; may be repeated
  --runs 3           of every cell, taking turns
  --seconds 5        of every run
  --backlog 1000000  messages of the rows with a backlog
  --rows TEXT        rows whose names hold it; several by ";"
  --placement WHERE  pinned or shared cores
  --smoke            ours alone, a second a row, no files
  --name NAME        of the files in bench/results
  --help

Example: npm run bench -- --protocol mqtt --runs 1 --seconds 2 --rows "1 KiB"
`;
const values = argumentsOf(
  USAGE,
  {
    peer: { type: "string", multiple: true, default: [] },
    protocol: { type: "string", multiple: true, default: ["amqp10"] },
    runs: { type: "string", default: "3" },
    seconds: { type: "string", default: "5" },
    backlog: { type: "string", default: "1000000" },
    rows: { type: "string", default: "" },
    placement: { type: "string" },
    name: { type: "string" },
    smoke: { type: "boolean", default: false },
  },
  { runs: WHOLE, seconds: NUMBER, backlog: WHOLE },
);

const isSmoke = values.smoke;
const RUNS = isSmoke ? 1 : Number(values.runs);
const SECONDS = isSmoke ? 1 : Number(values.seconds);
const BACKLOG = isSmoke ? 50_000 : Number(values.backlog);
const protocols = values.protocol.flatMap((list) => list.split(",")) as LoadProtocol[];

/** Rows whose name has one of the texts; a text that ends with `$` is the end of the name. */
const WANTED = values.rows.split(";");
const isWanted = (row: string): boolean =>
  WANTED.some((text) =>
    text.endsWith("$") ? row.endsWith(text.slice(0, -1)) : row.includes(text),
  );

function chosenPeers(): BrokerKind[] {
  return values.peer
    .flatMap((list) => list.split(","))
    .map((name) => {
      const found = PEERS.find((peer) => peer.name === name);
      if (found === undefined) {
        throw new Error(
          `no peer called ${name}; there are ${PEERS.map((peer) => peer.name).join(", ")}`,
        );
      }
      return found;
    });
}

/** One run of one cell; the broker's CPU and memory come with it. */
async function measure(broker: MeasuredBroker, cell: BenchCell): Promise<Numbers | string> {
  const isPinned = cell.placement === "pinned";
  await broker.pin(isPinned ? "0" : "0,1");
  const timed = cell.shows === "backlog" ? [] : ["-s", String(SECONDS), "-w", isSmoke ? "0" : "1"];
  const load = [...cell.args, ...timed, ...addressOf(cell)];
  if (cell.shows === "backlog") await makeSessions(cell.protocol, broker.at(cell.protocol), load);
  const args = [...load, "--pid", String(broker.pid)];
  const result = await loadgen(cell.protocol, broker.at(cell.protocol), args, {
    ...(isPinned ? { cpus: "1" } : {}),
    limitMs: cell.shows === "backlog" ? 300_000 : (SECONDS + 40) * 1000,
  });
  if (Object.keys(result.numbers).length === 0) return result.text;
  if (!result.ok && (broker.name === ours.name || !isOnlyDisorder(result.numbers))) {
    return result.text;
  }
  return result.numbers;
}

/** A peer that mixes up the order still moved every message: its figure counts, and the table says so. */
const isOnlyDisorder = (numbers: Numbers): boolean =>
  (numbers["out_of_order"] ?? 0) > 0 &&
  ["lost", "duplicated", "rejected", "unconfirmed"].every((fault) => (numbers[fault] ?? 0) === 0);

let addressCount = 0;

/** A fresh address for every run: what an earlier one left behind is not this one's work. */
function addressOf(cell: BenchCell): string[] {
  const name = `bench${++addressCount}`;
  const isFanout = cell.args.includes("fanout");
  switch (cell.protocol) {
    case "stomp":
    case "stomp-ws":
      return ["--addr", isFanout ? `/topic/${name}` : `/queue/${name}.{}`];
    case "mqtt":
    case "mqtt-ws":
      return ["--addr", isFanout ? name : `${name}/{}`, "--persistent-session"];
    default:
      return ["--addr", isFanout ? name : `${name}.{}`];
  }
}

async function warmUp(kind: BrokerKind, broker: MeasuredBroker): Promise<void> {
  const seconds = isSmoke ? 0 : kind.warmSeconds;
  if (seconds === 0) return;
  for (const protocol of protocols.filter((each) => kind.protocols.includes(each))) {
    const load = ["-P", "4", "-C", "4", "-Q", "4", "-b", "1024", "--max-backlog", "20000"];
    const [cell] = cellsOf(protocol) as [BenchCell];
    await loadgen(protocol, broker.at(protocol), [
      ...load,
      "-s",
      String(seconds),
      ...addressOf(cell),
    ]);
  }
}

function fdatasyncMicroseconds(): number {
  const dir = scratchDir("fdatasync");
  const file = openSync(join(dir, "probe"), "w");
  const page = Buffer.alloc(4096, 1);
  const times: number[] = [];
  for (let index = 0; index < 200; index++) {
    writeSync(file, page);
    const began = performance.now();
    fdatasyncSync(file);
    times.push((performance.now() - began) * 1000);
  }
  closeSync(file);
  rmSync(dir, { recursive: true });
  return median(times);
}

interface Running {
  readonly kind: BrokerKind;
  readonly broker: MeasuredBroker;
  readonly idleMiB: number;
}

async function startAll(kinds: readonly BrokerKind[]): Promise<Running[]> {
  const running: Running[] = [];
  for (const kind of kinds) {
    const broker = await kind.start();
    await sleep(isSmoke ? 200 : 3000);
    const idleMiB = broker.residentKb() / 1024;
    say(
      `${kind.name}: ${broker.version}, ${Math.round(broker.startMs)} ms to the first answer, ${Math.round(idleMiB)} MiB`,
    );
    await warmUp(kind, broker);
    if (kinds.length > 1) broker.pause();
    running.push({ kind, broker, idleMiB });
  }
  return running;
}

/** Runs a cell on each broker in turn, `RUNS` times over. */
async function takeTurns(running: readonly Running[], cell: BenchCell): Promise<Measured[]> {
  const able = running.filter(({ kind }) => kind.protocols.includes(cell.protocol));
  const runs = new Map<string, Numbers[]>(able.map(({ kind }) => [kind.name, []]));
  const faults = new Map<string, string[]>(able.map(({ kind }) => [kind.name, []]));
  for (let turn = 0; turn < RUNS; turn++) {
    for (const { kind, broker } of able) {
      if (running.length > 1) broker.resume();
      const outcome = await measure(broker, cell);
      if (running.length > 1) broker.pause();
      if (typeof outcome === "string") faults.get(kind.name)?.push(outcome);
      else runs.get(kind.name)?.push(outcome);
      say(`  ${kind.name} ${cell.placement} ${cell.row}: ${brief(outcome)}`);
    }
  }
  return able.map(({ kind: { name } }) => ({
    broker: name,
    cell,
    runs: runs.get(name) ?? [],
    faults: faults.get(name) ?? [],
  }));
}

function brief(outcome: Numbers | string): string {
  if (typeof outcome === "string") return `FAULT ${outcome}`;
  const rate = outcome["both_rate"] ?? outcome["con_rate"] ?? 0;
  const us = outcome["broker_cpu_us_per_msg"] ?? Number.NaN;
  const p99 = outcome["lat_p99_us"];
  const latency = p99 === undefined ? "" : `, p99 ${(p99 / 1000).toFixed(2)} ms`;
  return `${Math.round(rate)}/s, ${us.toFixed(2)} µs${latency}`;
}

async function backlogs(kinds: readonly BrokerKind[], protocol: LoadProtocol): Promise<Measured[]> {
  const cell = backlogCell(protocol, BACKLOG);
  if (!isWanted(cell.row)) return [];
  const measured: Measured[] = [];
  for (const kind of kinds.filter((each) => each.protocols.includes(protocol))) {
    const broker = await kind.start();
    await warmUp(kind, broker);
    const outcome = await measure(broker, cell);
    say(`  ${kind.name} ${cell.row}: ${brief(outcome)}`);
    const isFault = typeof outcome === "string";
    measured.push({
      broker: kind.name,
      cell,
      runs: isFault ? [] : [outcome],
      faults: isFault ? [outcome] : [],
    });
    await broker.dispose();
  }
  return measured;
}

async function main(): Promise<boolean> {
  const kinds = [ours, ...chosenPeers()];
  await loadgenProgram.prepare();
  for (const kind of kinds) await kind.prepare();
  const machine = thisMachine(fdatasyncMicroseconds());
  const running = await startAll(kinds);
  const measured: Measured[] = [];
  const cells = protocols
    .flatMap(cellsOf)
    .filter(({ row }) => isWanted(row))
    .filter(({ placement }) => placement === (values.placement ?? placement));
  for (const cell of cells) measured.push(...(await takeTurns(running, cell)));
  const brokers: BrokerFacts[] = running.map(({ kind, broker, idleMiB }) => ({
    name: kind.name,
    version: broker.version,
    startMs: broker.startMs,
    idleMiB,
    loadedMiB: broker.residentKb() / 1024,
  }));
  for (const { broker } of running) await broker.dispose();
  for (const protocol of protocols) measured.push(...(await backlogs(kinds, protocol)));

  const date = new Date().toISOString().slice(0, 10);
  const report = { date, machine, secondsPerRun: SECONDS, brokers, measured };
  const text = markdown(report) + goalsTable(report);
  say(`\n${text}`);
  if (!isSmoke) {
    const file = join(ROOT, "bench/results", `${date}-${values.name ?? protocols.join("-")}`);
    mkdirSync(join(ROOT, "bench/results"), { recursive: true });
    writeFileSync(`${file}.json`, `${JSON.stringify(report, null, 1)}\n`);
    writeFileSync(`${file}.md`, text);
    say(`written: ${file}.json and .md`);
  }
  const own = measured.filter(({ broker }) => broker === ours.name);
  const failed = own.filter(({ faults }) => faults.length > 0).length;
  say(`${own.length - failed} passed, ${failed} failed`);
  return failed === 0 && own.length > 0;
}

main().then(
  (good) => process.exit(good ? 0 : 1),
  (error) => {
    say(`bench: ${reason(error)}`);
    say("0 passed, 1 failed");
    process.exit(2);
  },
);
