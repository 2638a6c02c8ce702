/**
 * The broker is killed with SIGKILL at random moments while real clients send and receive, and started again on its data.
 * `--rounds N` sets how often. What must hold is in `harness/ledger.ts`; the traffic is in `harness/crash-traffic.ts`.
 */
import { existsSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BrokerProcess, sleep } from "../harness/broker-process.ts";
import { CrashTraffic } from "../harness/crash-traffic.ts";
import { truly } from "../harness/expect.ts";
import type { Ledger, Rule } from "../harness/ledger.ts";
import { loadgen, loadgenProgram } from "../harness/loadgen.ts";
import { workDir } from "../harness/paths.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import type { Step, StepContext } from "../harness/step.ts";

const CLIENT = "rhea";
const DEFAULT_ROUNDS = 10;
const READY_LIMIT_MS = 3000;
/** A million messages may cost this many starts of an empty broker: on a quiet machine, where one takes 0.6 s, less than the 3 s. */
const EMPTY_STARTS = 4;
const STOP_LIMIT_MS = 5000;

const PROMISES: readonly (readonly [Rule, string])[] = [
  ["lost", "every confirmed message is delivered"],
  ["came back", "no acknowledged message comes back"],
  ["invented", "nothing is delivered that was not sent"],
  ["disordered", "each producer's order holds"],
];

/** Everything in the data directory that is derived from the log. */
function deleteDerived(dataDir: string): string[] {
  const derived = ["consumequeue", "index", "snapshots", "checkpoint"];
  const there = derived.filter((name) => existsSync(join(dataDir, name)));
  for (const name of there) rmSync(join(dataDir, name), { recursive: true, force: true });
  return there;
}

async function killRounds(context: StepContext, rounds: number): Promise<void> {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const broker = await context.ownBroker();
  const traffic = new CrashTraffic(random);
  const restarts: number[] = [];
  const began = performance.now();
  for (let round = 1; round <= rounds; round++) {
    await traffic.live(broker);
    await sleep(200 + random() * 1300);
    traffic.ledger.killed();
    await broker.kill();
    await traffic.ended();
    await broker.restart();
    restarts.push(broker.startMs);
  }
  await traffic.drain(broker);
  const { ledger } = traffic;
  ledger.close();
  const seconds = (performance.now() - began) / 1000;
  reportRounds(context, ledger, { seed, rounds, seconds, restarts });
}

interface RoundsResult {
  readonly seed: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly restarts: readonly number[];
}

function reportRounds(context: StepContext, ledger: Ledger, result: RoundsResult): void {
  const { seed, rounds, seconds, restarts } = result;
  const worst = Math.max(...restarts);
  const summary = {
    date: new Date().toISOString().slice(0, 10),
    seed,
    rounds,
    seconds: Number(seconds.toFixed(1)),
    confirmed: ledger.confirmedCount,
    delivered: ledger.deliveredCount,
    redelivered: ledger.redeliveredCount,
    acknowledgementsConfirmed: ledger.ackConfirmedCount,
    restartMsMax: Math.round(worst),
    broken: PROMISES.map(([rule]) => ledger.broken(rule)).filter((text) => text !== ""),
  };
  writeFileSync(join(workDir("interop"), "crash.json"), `${JSON.stringify(summary, null, 2)}\n`);
  const note =
    `${rounds} kills, ${ledger.confirmedCount} confirmed, ${ledger.redeliveredCount} redelivered, ` +
    `restart at most ${Math.round(worst)} ms, SEED=${seed}`;
  for (const [rule, promise] of PROMISES) {
    const broken = ledger.broken(rule);
    if (broken === "") context.pass(CLIENT, promise, note);
    else context.fail(CLIENT, promise, `${broken}; ${note}`);
  }
}

async function fillQueue(broker: BrokerProcess, count: number, bytes: number): Promise<void> {
  const args = ["--mode", "throughput", "-C", "0", "-P", "1", "-Q", "1", "--addr", "crash.backlog"];
  const result = await loadgen("amqp10", broker, [
    ...args,
    "-n",
    String(count),
    "-b",
    String(bytes),
  ]);
  truly(result.ok && result.numbers["confirmed"] === count, `published ${count}: ${result.text}`);
}

/** Takes and accepts `count` messages from the head of the backlog. */
async function takeSome(broker: BrokerProcess, count: number): Promise<void> {
  const peer = await RheaPeer.connect(broker);
  const receiver = await peer.receiver("crash.backlog");
  const messages = await receiver.acceptAll(count, 30_000);
  truly(messages.length === count, `${count} messages from the backlog`);
  await peer.close();
}

async function millionQueued(context: StepContext): Promise<void> {
  const broker = await context.ownBroker();
  await fillQueue(broker, 1_000_000, 100);
  await context.check(CLIENT, "1,000,000 queued: serves again within 3 s of SIGKILL", async () => {
    const empty = await context.ownBroker();
    const emptyMs = empty.startMs;
    await empty.stop();
    await broker.kill();
    const began = performance.now();
    await broker.restart();
    await takeSome(broker, 1);
    const ms = performance.now() - began;
    const measured = `first message ${Math.round(ms)} ms after the start, an empty broker ready after ${Math.round(emptyMs)} ms`;
    // A machine on which an empty broker takes a second or more is busy with other things: judged by that broker then.
    truly(ms <= Math.max(READY_LIMIT_MS, EMPTY_STARTS * emptyMs), measured);
    return measured;
  });
  await context.check(CLIENT, "without its derived files the broker rebuilds them", async () => {
    await broker.kill();
    const gone = deleteDerived(broker.dataDir);
    truly(
      gone.includes("consumequeue"),
      `derived files in ${readdirSync(broker.dataDir).join(" ")}`,
    );
    await broker.restart();
    await takeSome(broker, 1000);
    return `ready after ${Math.round(broker.startMs)} ms without ${gone.join(", ")}`;
  });
  await context.check(
    CLIENT,
    "SIGTERM: leaves with status 0 within 5 s, and all is there",
    async () => {
      const began = performance.now();
      const status = await broker.stop();
      const ms = performance.now() - began;
      truly(status === 0, `exit status ${String(status)}\n${broker.output.slice(-500)}`);
      truly(ms <= STOP_LIMIT_MS, `stopped after ${Math.round(ms)} ms`);
      await broker.restart();
      await takeSome(broker, 1000);
      return `stopped after ${Math.round(ms)} ms`;
    },
  );
}

export const crash: Step = {
  name: "crash",
  about: "SIGKILL at random moments under load, restart, count (--rounds N)",
  table: "Crashes",
  limitSeconds: 1800,
  ownBrokerOnly: true,
  isAlone: true,
  needs: [loadgenProgram],
  async run(context) {
    await killRounds(context, context.rounds ?? DEFAULT_ROUNDS);
    await millionQueued(context);
  },
};
