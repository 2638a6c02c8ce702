/**
 * `npm run bench:depth`: a queue so deep that only the disk holds it, on the real process.
 *
 *   npm run bench:depth -- [--messages 10M] [--body 1024] [--segment 1GiB] [--name NAME] [--wait 900]
 *       [--backlog no]
 *
 * Queues and drains as many messages with the load generator. Then fills a queue, takes a random half out of it, waits
 * until the disk has given back what that frees, publishes beside it, kills the broker without warning, starts it again,
 * and takes the rest, of which every message has to come once and in order. Writes bench/results/DATE-NAME.{json,md}.
 * Exits with 1 when something was lost, doubled or out of order.
 */
import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BrokerProcess, sleep } from "../../interop/harness/broker-process.ts";
import { loadgen, loadgenProgram } from "../../interop/harness/loadgen.ts";
import { ROOT } from "../../interop/harness/paths.ts";
import { argumentsOf, COUNT, NAME, WHOLE } from "../arguments.ts";
import { thisMachine } from "../report.ts";
import { drain, fill, isHeads } from "./amqp-client.ts";

const USAGE = `npm run bench:depth -- [options]
A queue so deep that only the disk holds it: filled, half emptied at random, killed, drained.

  --messages 10M     how many (k, M)
  --body 1024        bytes of each
  --segment 1GiB     size of a file of the log
  --wait 900         seconds for the disk to give back what is free
  --backlog no       without the backlog of the load generator (default: yes)
  --name depth       of the files in bench/results
  --help

Example: npm run bench:depth -- --messages 1M --name quick
Exit 1 when a message was lost, doubled or out of order.
`;
const values = argumentsOf(
  USAGE,
  {
    messages: { type: "string", default: "10M" },
    body: { type: "string", default: "1024" },
    segment: { type: "string", default: "1GiB" },
    wait: { type: "string", default: "900" },
    backlog: { type: "string", default: "yes" },
    name: { type: "string", default: "depth" },
  },
  {
    messages: COUNT,
    body: WHOLE,
    wait: WHOLE,
    backlog: { pattern: /^(yes|no)$/, expected: "yes or no" },
    name: NAME,
  },
);

const count = Number(values.messages.replace(/M$/, "000000").replace(/k$/, "000"));
const bodyBytes = Number(values.body);
const QUEUE = "deep";
const IDLE_MS = 5000;
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const figures: Record<string, number> = { messages: count, bodyBytes };

function note(name: string, value: number, unit = ""): void {
  figures[name] = Math.round(value * 1000) / 1000;
  say(`${name}: ${Math.round(value * 10) / 10} ${unit}`);
}

/** Space that the data directory takes, by what is in it. */
function diskMiB(directory: string): Record<string, number> {
  const sizes: Record<string, number> = { all: 0 };
  for (const name of readdirSync(directory, { recursive: true }) as string[]) {
    let blocks = 0;
    try {
      const stat = statSync(join(directory, name));
      blocks = stat.isFile() ? stat.blocks * 512 : 0;
    } catch {
      continue; // Removed meanwhile.
    }
    const part = name.split("/")[0]!;
    sizes[part] = (sizes[part] ?? 0) + blocks / 2 ** 20;
    sizes["all"]! += blocks / 2 ** 20;
  }
  return sizes;
}

function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function publishRate(broker: BrokerProcess, label: string): Promise<void> {
  const rates: number[] = [];
  const costs: number[] = [];
  for (let i = 0; i < 3; i++) {
    const args = ["-P", "1", "-C", "0", "-s", "4", "-w", "1", "-b", String(bodyBytes)];
    const addr = ["--addr", `probe-${label}-${i}`, "--pid", String(broker.pid)];
    const { numbers, text } = await loadgen("amqp10", broker, [...args, ...addr]);
    if (numbers["pub_rate"] === undefined) throw new Error(text);
    rates.push(numbers["pub_rate"]);
    costs.push(numbers["broker_cpu_us_per_msg"] ?? 0);
    await admin(broker, "DELETE", `/api/queues/probe-${label}-${i}`);
  }
  note(`publishRate_${label}`, rates.sort((a, b) => a - b)[1]!, "/s");
  note(`publishCpuUs_${label}`, costs.sort((a, b) => a - b)[1]!, "µs");
}

async function admin(broker: BrokerProcess, method: string, path: string): Promise<string> {
  const response = await fetch(`http://127.0.0.1:${broker.port}${path}`, {
    method,
    headers: { "content-type": "application/json" },
  });
  return response.text();
}

/** Most that was resident since it was noted last. */
let peakMiB = 0;
const PEAK_EVERY_MS = 250;

function lookAtPeak(broker: BrokerProcess): void {
  // Between two lives it has none.
  if (broker.isRunning) peakMiB = Math.max(peakMiB, broker.residentKb() / 1024);
}

function watch(broker: BrokerProcess, label: string): void {
  const disk = diskMiB(broker.dataDir);
  const status = readFileSync(`/proc/${broker.pid}/status`, "utf8");
  const mib = (name: string): number =>
    Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1024;
  note(`rssMiB_${label}`, mib("VmRSS"), "MiB");
  note(`rssMiB_mostUntil_${label}`, Math.max(peakMiB, mib("VmRSS")), "MiB");
  peakMiB = 0;
  // Pages of programs and libraries: the kernel takes them back when it needs them.
  note(`rssOfFilesMiB_${label}`, mib("RssFile"), "MiB");
  note(`diskMiB_${label}`, disk["all"]!, "MiB");
  say(
    `  ${JSON.stringify(disk, (_, value) => (typeof value === "number" ? Math.round(value) : value))}`,
  );
}

/** Until the store has stopped moving for a while, or the time is over. */
async function settleDown(broker: BrokerProcess): Promise<void> {
  const began = performance.now();
  const cpu = cpuSeconds(broker.pid);
  let seconds = 0;
  let most = 0;
  let moved = 0;
  let movedAt = 0;
  do {
    await sleep(2000);
    seconds = (performance.now() - began) / 1000;
    most = Math.max(most, diskMiB(broker.dataDir)["all"]!);
    const metrics = await admin(broker, "GET", "/metrics");
    const now = Number(/sluice_log_moved_bytes_total (\d+)/.exec(metrics)?.[1] ?? 0);
    if (now !== moved) movedAt = seconds;
    moved = now;
  } while (seconds < Number(values.wait) && (seconds < 90 || seconds - movedAt < 60));
  note("secondsUntilMoved", movedAt, "s");
  note("movedMiB", moved / 2 ** 20, "MiB");
  note("cpuSecondsToGiveBack", cpuSeconds(broker.pid) - cpu, "s");
  note("diskMiB_most", most, "MiB");
}

/** As many messages queued, and taken out again, by the load generator: it is faster than any client here. */
async function backlog(broker: BrokerProcess): Promise<void> {
  const args = ["--mode", "backlog", "-n", String(count), "-b", String(bodyBytes)];
  const who = ["--addr", "backlog", "--drain-timeout", "30", "--pid", String(broker.pid)];
  const { numbers, text } = await loadgen("amqp10", broker, [...args, ...who], {
    limitMs: 1_200_000,
  });
  say(text.trim());
  if (numbers["con_rate"] === undefined) throw new Error(text);
  note("backlogPublishRate", numbers["pub_rate"] ?? 0, "/s");
  note("backlogDrainRate", numbers["con_rate"], "/s");
  note("backlogDrainCpuUs", numbers["broker_cpu_us_per_msg"] ?? 0, "µs");
  await admin(broker, "DELETE", "/api/queues/backlog");
}

/** Does a part of the run and notes what the broker's CPU time for one of `messages` was: the client may be slower than it. */
async function costing<T>(
  broker: BrokerProcess,
  label: string,
  messages: number,
  part: () => Promise<T>,
): Promise<T> {
  const before = cpuSeconds(broker.pid);
  const result = await part();
  note(`${label}CpuUs`, ((cpuSeconds(broker.pid) - before) * 1e6) / messages, "µs");
  return result;
}

async function run(): Promise<void> {
  await loadgenProgram.prepare();
  const args = [
    "--set",
    `store.segmentBytes=${values.segment}`,
    "--set",
    "store.minFreeBytes=2GiB",
  ];
  const broker = await BrokerProcess.start({ args });
  say(`broker ${broker.pid}, data in ${broker.dataDir}`);
  const peak = setInterval(() => lookAtPeak(broker), PEAK_EVERY_MS);
  try {
    // What only the start needed goes within a few seconds.
    await sleep(IDLE_MS);
    watch(broker, "empty");
    await publishRate(broker, "empty");
    if (values.backlog !== "no") {
      await backlog(broker);
      watch(broker, "backlogGone");
    }
    const filled = () => fill(broker, QUEUE, 0, count, bodyBytes);
    note("fillRate", await costing(broker, "fill", count, filled), "/s");
    watch(broker, "full");
    await publishRate(broker, "full");
    let heads = 0;
    for (let i = 0; i < count; i++) if (isHeads(i)) heads++;
    const wrong = { count: 0, first: -1 };
    const inOrder = (wanted: boolean): ((number: number) => void) => {
      let next = 0;
      return (number) => {
        while (next < count && isHeads(next) !== wanted) next++;
        if (number !== next && wrong.count++ === 0) wrong.first = number;
        next = number + 1;
      };
    };
    const halved = () => drain(broker, QUEUE, heads, bodyBytes, "coin = 'heads'", inOrder(true));
    note("takeHalfRate", await costing(broker, "takeHalf", heads, halved), "/s");
    watch(broker, "half");
    await settleDown(broker);
    watch(broker, "givenBack");
    await publishRate(broker, "half");
    await broker.kill();
    await broker.restart();
    note("restartMs", broker.startMs, "ms");
    watch(broker, "restarted");
    await publishRate(broker, "restarted");
    const drained = () => drain(broker, QUEUE, count - heads, bodyBytes, "", inOrder(false));
    note("drainRate", await costing(broker, "drain", count - heads, drained), "/s");
    watch(broker, "drained");
    note("outOfPlace", wrong.count);
    if (wrong.count > 0) {
      say(`message ${wrong.first} came where it should not`);
      process.exitCode = 1;
    }
  } finally {
    clearInterval(peak);
    if (process.exitCode) say(broker.output);
    await broker.dispose();
  }
}

function report(): void {
  const folder = join(ROOT, "bench", "results");
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${new Date().toISOString().slice(0, 10)}-${values.name}`);
  const machine = thisMachine(0);
  writeFileSync(`${path}.json`, `${JSON.stringify({ machine, figures }, null, 2)}\n`);
  const rows = Object.entries(figures).map(
    ([name, value]) => `| ${name} | ${value.toLocaleString("en-US")} |`,
  );
  const head = `# A deep queue: ${count.toLocaleString("en-US")} messages of ${bodyBytes} bytes, half of them taken at random`;
  const where = `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB; load average at the end ${machine.loadAverage}`;
  writeFileSync(`${path}.md`, [head, "", where, "", "| | |", "|---|---|", ...rows, ""].join("\n"));
}

await run();
report();
