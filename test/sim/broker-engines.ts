/** Engines for the simulation of the broker, and the runs of one seed on each. */
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { MessageStore } from "../../src/store/message-store.ts";
import { FaultyStorage, ProcessDied } from "../support/faulty-storage.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { Random } from "../support/random.ts";
import { BrokerSimulation, type Engine } from "./broker-simulation.ts";
import { SimulatedPerformance } from "./simulated-performance.ts";

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
  readonly #segmentBytes: number;
  /** Does the store's clock run, so that segments are emptied and removed? */
  readonly #isTicking: boolean;
  #store: CommitLogStore | null = null;
  #lives = 0;
  #writer: Array<() => void> = [];
  #loop: Array<() => void> = [];
  movedRecords = 0;

  /** A failed write or sync: only a reboot makes the disk's state known again. */
  #isBroken = false;
  /** Its trouble is that it refuses to give what it has. */
  readonly #isUnreadable: boolean;
  time: SimulatedPerformance | null = null;

  constructor(random: Random, segmentBytes = 1 << 16, isTicking = false, isUnreadable = false) {
    this.#random = random;
    this.#disk = new FaultyStorage(random);
    this.#segmentBytes = segmentBytes;
    this.#isTicking = isTicking;
    this.#isUnreadable = isUnreadable;
  }

  get refusals(): number {
    return this.#disk.refusals;
  }
  giveAll(): void {
    if (this.#isUnreadable) this.#disk.heal();
  }

  #refuseReads(skipped: number): string {
    const random = this.#random;
    const path = random.pick([/commitlog/, /consumequeue|queues/, /./]);
    const times = random.between(1, 12);
    this.#disk.fail({ operation: "read", code: "EIO", path, after: random.below(skipped), times });
    return `${times} reads of ${path} will fail`;
  }

  open(): MessageStore {
    this.#writer = [];
    this.#loop = [];
    this.#store = new CommitLogStore({
      directory: "/data",
      segmentBytes: this.#segmentBytes,
      reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
      ringBytes: 1 << 14,
      sideBytes: 1 << 20,
      queuePages: 32,
      // Lists of light queues in records of their own, in every second life.
      fanAbove: this.#lives++ % 2 === 0 ? 0 : 32,
      syncedQueues: 2,
      minFreeBytes: 0,
      journalRingBytes: 1 << 16,
      indexShape: { slots: 512, entries: 4096 },
      tickMs: 0,
      inlineOn: this.#disk,
      inlineSchedule: {
        writer: (task) => void this.#writer.push(task),
        loop: (task) => void this.#loop.push(task),
        later: (task) => void this.#writer.push(task),
      },
    });
    return this.#store;
  }

  progress(): void {
    if (this.#isTicking && this.#random.chance(40)) {
      const before = this.#store!.reclaimed.movedRecords;
      this.#store!.tick(this.#random.chance(30));
      this.movedRecords += this.#store!.reclaimed.movedRecords - before;
    }
    this.time?.pass();
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
    this.#disk.heal();
    this.#disk.restart(this.#isBroken || this.#random.chance(70) ? "power" : "process");
    this.#isBroken = false;
  }

  /** Dies in one of its next operations, often while it is being opened. */
  endanger(): void {
    const random = this.#random;
    this.#disk.dieAfter(random.chance(30) ? random.below(40) : random.below(600));
    if (this.#isUnreadable && random.chance(40)) this.#refuseReads(60);
  }

  calm(): void {
    this.#disk.dieAfter(Number.POSITIVE_INFINITY);
    this.#disk.heal();
  }

  trouble(): string {
    if (this.#isUnreadable) return this.#refuseReads(4);
    const random = this.#random;
    const roll = random.below(10);
    if (roll < 4) {
      this.#disk.capacityBytes = this.#disk.usedBytes + random.below(30_000);
      this.#disk.fullCode = random.chance(50) ? "ENOSPC" : "EDQUOT";
      return "disk is full";
    }
    if (roll < 9) {
      this.#disk.capacityBytes = Number.POSITIVE_INFINITY;
      return "disk has space";
    }
    this.#isBroken = true;
    const operation = random.pick(["write", "sync"] as const);
    this.#disk.fail({ operation, code: "EIO", partialBytes: random.below(5000) });
    return `${operation} will fail`;
  }

  get isBroken(): boolean {
    return this.#isBroken;
  }

  isEnd(error: unknown): boolean {
    const isRefused = this.#isUnreadable && /cannot read/.test(String(error));
    return this.#disk.isDead || error instanceof ProcessDied || isRefused;
  }
}

/**
 * "emptied": as "log", with segments so small that records are moved out of them all the time.
 * "troubled": as "log", on a disk that fills up, fails, and dies in the middle of any operation; with topics as well.
 * "retained": as "troubled", with retained messages.
 * "deep": as "troubled" or "emptied", with everything that policies ask for.
 * "unreadable": as "emptied", on a disk that refuses reads now and then, at any time; with topics and retained messages.
 */
export type EngineKind =
  | "memory"
  | "log"
  | "emptied"
  | "troubled"
  | "retained"
  | "deep"
  | "unreadable";

/** Runs the story of this seed. Throws, with the seed in the message, when a promise does not hold. */
export async function simulateBroker(
  seed: number,
  kind: EngineKind,
  trace: Trace = null,
): Promise<BrokerSimulation> {
  const random = new Random(seed);
  const engine = engineOf(kind, random);
  const hasRetained = kind === "retained" || kind === "unreadable";
  const simulation = new BrokerSimulation(random, engine, trace, {
    isTroubled: kind === "troubled" || kind === "deep" || hasRetained,
    hasRetained,
    isDeep: kind === "deep",
  });
  const time = new SimulatedPerformance(new Random(seed + 1_000_000));
  if (engine instanceof LogEngine) engine.time = time;
  try {
    await time.during(() => simulation.run(), kind === "deep" ? simulation.now : null);
    if (engine instanceof LogEngine) simulation.movedRecords = engine.movedRecords;
  } catch (error) {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`${kind} seed ${seed}: ${reason}`, { cause: error });
  }
  return simulation;
}

function engineOf(kind: EngineKind, random: Random): Engine {
  if (kind === "memory") return new MemoryEngine(random);
  if (kind === "unreadable") return new LogEngine(random, 1 << 12, true, true);
  if (kind === "deep" && random.chance(50)) return new LogEngine(random, 1 << 13, true);
  return kind === "emptied" ? new LogEngine(random, 1 << 12, true) : new LogEngine(random);
}
