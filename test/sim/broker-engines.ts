/** Engines for the simulation of the broker, and the runs of one seed on each. */
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { MessageStore } from "../../src/store/message-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { Random } from "../support/random.ts";
import { BrokerSimulation, type Engine } from "./broker-simulation.ts";

type Trace = ((line: string) => void) | null;

/** The store in memory: what is not synced is lost in a crash, of the log and of the journal independently. */
class MemoryEngine implements Engine {
  readonly #store = new MemoryStore();
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
    this.#store.isManual = true;
  }
  open(): MessageStore {
    return this.#store;
  }
  progress(): void {
    if (this.#random.chance(50)) this.#store.sync();
  }
  sync(): void {
    this.#store.sync();
  }
  crash(): void {
    this.#store.crash(this.#random);
  }
}

/** The real store on a simulated disk, both of its threads on this one; the seed decides who runs when. */
class LogEngine implements Engine {
  readonly #disk: FaultyStorage;
  readonly #random: Random;
  #writer: Array<() => void> = [];
  #loop: Array<() => void> = [];

  constructor(random: Random) {
    this.#random = random;
    this.#disk = new FaultyStorage(random);
  }

  open(): MessageStore {
    this.#writer = [];
    this.#loop = [];
    return new CommitLogStore({
      directory: "/data",
      segmentBytes: 1 << 16,
      ringBytes: 1 << 14,
      sideBytes: 1 << 20,
      queuePages: 32,
      minFreeBytes: 0,
      indexShape: { slots: 512, entries: 4096 },
      tickMs: 0,
      inlineOn: this.#disk,
      inlineSchedule: {
        writer: (task) => void this.#writer.push(task),
        loop: (task) => void this.#loop.push(task),
        later: (task) => void this.#writer.push(task),
      },
    });
  }

  progress(): void {
    const tasks = this.#random.chance(50) ? this.#writer : this.#loop;
    tasks.shift()?.();
  }

  sync(): void {
    for (let i = 0; i < 50 && this.#writer.length + this.#loop.length > 0; i++) {
      this.#writer.shift()?.();
      this.#loop.shift()?.();
    }
  }

  crash(): void {
    this.#writer = [];
    this.#loop = [];
    this.#disk.restart(this.#random.chance(70) ? "power" : "process");
  }
}

export type EngineKind = "memory" | "log";

/** Runs the story of this seed. Throws, with the seed in the message, when a promise does not hold. */
export async function simulateBroker(
  seed: number,
  kind: EngineKind,
  trace: Trace = null,
): Promise<BrokerSimulation> {
  const random = new Random(seed);
  const engine = kind === "memory" ? new MemoryEngine(random) : new LogEngine(random);
  const simulation = new BrokerSimulation(random, engine, trace);
  try {
    await simulation.run();
  } catch (error) {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${kind} seed ${seed}: ${reason}`, { cause: error });
  }
  return simulation;
}
