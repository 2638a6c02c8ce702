/** Processes of a scale run (child.ts): what idle ones cost, and whether traffic minds the number of queues. */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT, scratchDir } from "../../interop/harness/paths.ts";
import { median } from "../report.ts";
import { shapesOf } from "./busy.ts";
import type { Kind } from "./kinds.ts";
import type { Facts } from "./mqtt.ts";

/** Where the compiled programs are. */
const CHILD = join(ROOT, "dist/bench/scale/child.js");
const MESSAGES = 300_000;
const ROUNDS = 3;

class Child {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(args: ReadonlyArray<string | number>) {
    this.#process = spawn(
      process.execPath,
      ["--expose-gc", "--max-old-space-size=8192", CHILD, ...args.map(String)],
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

export type Say = (what: string) => void;

/** Makes them, kills, opens, stops, opens. */
export async function idle(kind: Kind, count: number, say: Say): Promise<Facts> {
  const directory = scratchDir(`scale-${kind}`);
  const args = [directory, kind, count];
  say(`making ${count.toLocaleString("en-US")}`);
  const maker = new Child(["make", ...args]);
  const made = await maker.facts();
  await maker.kill();
  say("starting after SIGKILL");
  const afterKill = new Child(["open", ...args]);
  const killed = await afterKill.facts();
  const { stopMs } = await afterKill.stop();
  say("starting after a stop");
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

/**
 * Traffic through one queue and through many: alone, beside so many light queues with a message each that a start has found, and
 * beside as many that were made the moment before. In turns, and the medians of all rounds: the machine may have other work.
 */
export async function busy(count: number, many: number, say: Say): Promise<Facts> {
  const beside = scratchDir("scale-busy");
  say(`making ${count.toLocaleString("en-US")} idle ones with a message each`);
  const maker = new Child(["make", beside, "light-filled", count]);
  await maker.facts();
  await maker.stop();
  const traffic = async (mode: "busy" | "made", directory: string): Promise<Facts> => {
    const worker = new Child([mode, directory, "light", count, many, MESSAGES]);
    const facts = await worker.facts();
    await worker.stop();
    return facts;
  };
  const rounds: Facts[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    // Alone as well it begins with an empty broker each time: its queues are as new as those beside what was just made.
    const alone = scratchDir("scale-alone");
    const made = scratchDir("scale-made");
    const found: Facts = {};
    for (const [place, mode, directory] of [
      ["alone", "busy", alone],
      ["beside", "busy", beside],
      ["justMade", "made", made],
    ] as const) {
      const facts = await traffic(mode, directory);
      const figures = shapesOf(many).flatMap(([shape]) => [`${shape}Rate`, `${shape}Micros`]);
      for (const key of figures) found[`${place}${key}`] = facts[key]!;
      say(`round ${round} of ${ROUNDS}, ${place}: ${figures.map((key) => facts[key]).join(", ")}`);
    }
    rounds.push(found);
    for (const directory of [alone, made]) rmSync(directory, { recursive: true });
  }
  rmSync(beside, { recursive: true });
  return { idle: count, queues: many, rounds: ROUNDS, ...mediansOf(rounds) };
}

/** Of figures that every round has. */
export function mediansOf(rounds: readonly Facts[]): Facts {
  const facts: Facts = {};
  for (const key of Object.keys(rounds[0] ?? {})) {
    facts[key] = median(rounds.map((round) => round[key] ?? Number.NaN));
  }
  return facts;
}
