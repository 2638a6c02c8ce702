/**
 * Runs simulations on all processors and says which seeds fail. `.ci/run` calls it without arguments.
 *
 *   node dist/test/sim/run.js [KIND FIRST [COUNT]] [--seconds LIMIT] [--workers N]
 *
 * KIND is `store` (the store on a simulated disk), or the whole broker on one of broker-engines.ts. One seed alone is told
 * step by step. What the limit does not leave time for is not run, and said. The last line is `N passed, N failed`.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker } from "node:worker_threads";
import { simulateBroker } from "./broker-engines.ts";
import { simulateStore } from "./store-simulation.ts";

const KINDS = [
  "store",
  "memory",
  "log",
  "emptied",
  "troubled",
  "retained",
  "deep",
  "unreadable",
] as const;
type Kind = (typeof KINDS)[number];

interface Seeds {
  readonly kind: Kind;
  readonly first: number;
  readonly count: number;
}

/** What `.ci/run` runs, each from its first seed on. */
const ALL: readonly Seeds[] = [
  { kind: "store", first: 1, count: 6300 },
  { kind: "troubled", first: 1, count: 1400 },
  { kind: "retained", first: 1, count: 550 },
  { kind: "deep", first: 1, count: 250 },
  { kind: "unreadable", first: 1, count: 550 },
  { kind: "log", first: 1, count: 275 },
  { kind: "emptied", first: 1, count: 275 },
  { kind: "memory", first: 1, count: 400 },
];
const SEEDS_AT_ONCE = 20;
const SHOWN_FAILURES = 20;

type Trace = ((line: string) => void) | null;

async function simulate(kind: Kind, seed: number, trace: Trace): Promise<void> {
  if (kind === "store") await simulateStore(seed, trace);
  else await simulateBroker(seed, kind, trace);
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function tellOne({ kind, first }: Seeds): Promise<number> {
  try {
    await simulate(kind, first, say);
    say("1 passed, 0 failed");
    return 0;
  } catch (error) {
    say(String(error));
    say("0 passed, 1 failed");
    return 1;
  }
}

/** What a worker answers to a piece of work. */
interface Answer {
  readonly passed: number;
  readonly failures: ReadonlyArray<{ readonly seed: number; readonly reason: string }>;
}

async function work({ kind, first, count }: Seeds): Promise<Answer> {
  const failures: Array<{ seed: number; reason: string }> = [];
  for (let seed = first; seed < first + count; seed++) {
    try {
      await simulate(kind, seed, null);
    } catch (error) {
      failures.push({ seed, reason: String(error).split("\n")[0]! });
    }
  }
  return { passed: count - failures.length, failures };
}

function* pieces(all: readonly Seeds[]): Generator<Seeds> {
  for (const { kind, first, count } of all) {
    for (let at = 0; at < count; at += SEEDS_AT_ONCE) {
      yield { kind, first: first + at, count: Math.min(SEEDS_AT_ONCE, count - at) };
    }
  }
}

async function runAll(all: readonly Seeds[], workers: number, seconds: number): Promise<number> {
  const began = performance.now();
  const queue = pieces(all);
  let passed = 0;
  let failed = 0;
  let isOver = false;
  const take = (): Seeds | null => {
    isOver ||= performance.now() - began > seconds * 1000;
    return isOver ? null : (queue.next().value ?? null);
  };
  const onAnswer = (kind: Kind, answer: Answer): void => {
    passed += answer.passed;
    failed += answer.failures.length;
    for (const { seed, reason } of answer.failures) {
      if (failed > SHOWN_FAILURES) continue;
      say(`FAILED ${reason}\n  again: node dist/test/sim/run.js ${kind} ${seed}`);
    }
  };
  await Promise.all(Array.from({ length: workers }, () => runWorker(take, onAnswer)));
  const total = all.reduce((sum, { count }) => sum + count, 0);
  const took = (performance.now() - began) / 1000;
  const left = total - passed - failed;
  if (left > 0) say(`${left} of ${total} seeds were not run within ${seconds} s`);
  say(`${passed + failed} seeds on ${workers} workers in ${took.toFixed(0)} s`);
  say(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

function runWorker(
  take: () => Seeds | null,
  onAnswer: (kind: Kind, answer: Answer) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url));
    let current = take();
    const next = (): void => {
      if (current === null) void worker.terminate();
      else worker.postMessage(current);
    };
    worker.on("message", (answer: Answer) => {
      onAnswer(current!.kind, answer);
      current = take();
      next();
    });
    worker.on("error", reject);
    worker.on("exit", () => resolve());
    next();
  });
}

async function main(): Promise<number> {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { seconds: { type: "string" }, workers: { type: "string" } },
  });
  const [kind, first = "1", count = "1"] = positionals;
  const workers = Number(values.workers ?? availableParallelism());
  const seconds = Number(values.seconds ?? Number.POSITIVE_INFINITY);
  if (kind === undefined) return runAll(ALL, workers, seconds);
  if (!KINDS.includes(kind as Kind)) {
    say(`'${kind}' is no kind of simulation: ${KINDS.join(", ")}`);
    return 2;
  }
  const seeds = { kind: kind as Kind, first: Number(first), count: Number(count) };
  return seeds.count === 1 ? tellOne(seeds) : runAll([seeds], workers, seconds);
}

if (isMainThread) process.exitCode = await main();
else parentPort!.on("message", async (seeds: Seeds) => parentPort!.postMessage(await work(seeds)));
