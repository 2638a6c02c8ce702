/** Processes of a scale run (child.ts): what idle ones cost, and whether traffic minds the number of queues. */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ROOT, scratchDir } from "../../interop/harness/paths.ts";
import type { Flow } from "./busy.ts";
import type { Kind } from "./kinds.ts";
import type { Facts } from "./mqtt.ts";

/** Where the compiled programs are. */
const CHILD = join(ROOT, "dist/bench/scale/child.js");
const MESSAGES = 300_000;

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

/** Traffic through one queue and through many; alone, and beside so many idle light queues with a message each. */
export async function busy(count: number, many: number, say: Say): Promise<Facts> {
  const alone = scratchDir("scale-alone");
  const beside = scratchDir("scale-busy");
  say(`making ${count.toLocaleString("en-US")} idle ones`);
  const maker = new Child(["make", beside, "light-filled", count]);
  await maker.facts();
  await maker.stop();
  const flow = async (directory: string, links: number, queues: number): Promise<Flow> => {
    const where = directory === alone ? "alone" : "beside the idle ones";
    say(`${where}: ${links} producers and consumers, ${queues} queues`);
    const worker = new Child(["busy", directory, "light-filled", count, links, queues, MESSAGES]);
    const { rate, micros } = await worker.facts();
    await worker.stop();
    return { rate: rate!, micros: micros! };
  };
  const facts: Facts = { idle: count, queues: many };
  for (const [name, directory] of [
    ["alone", alone],
    ["beside", beside],
  ] as const) {
    const shapes: ReadonlyArray<readonly [string, number, number]> = [
      ["OneLinkOneQueue", 1, 1],
      ["ManyLinksOneQueue", many, 1],
      ["ManyLinksManyQueues", many, many],
    ];
    for (const [shape, links, queues] of shapes) {
      const { rate, micros } = await flow(directory, links, queues);
      facts[`${name}${shape}Rate`] = rate;
      facts[`${name}${shape}Micros`] = micros;
    }
  }
  for (const directory of [alone, beside]) rmSync(directory, { recursive: true });
  return facts;
}
