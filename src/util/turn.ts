/**
 * One event-loop turn as a batching point: work that was asked for while sockets were read runs once, after all of
 * them, in a fixed order. What is scheduled from within a phase runs in the same turn when its phase is still to come,
 * else in the next. Time and timers come from here as well, so that a simulation decides about both.
 */

import { uptimeClock } from "./uptime.ts";
import { WorkList } from "./work-list.ts";

export const PHASE = {
  /** Hand the turn's appends and journal entries to the store thread: first, so that the disk works while we go on. */
  PUBLISH: 0,
  /** Pair arrivals with credit, encode deliveries. */
  DISPATCH: 1,
  /** Protocol connections encode what they owe (dispositions, flows, receipts). */
  ENCODE: 2,
  /** Write each connection's output once. */
  FLUSH: 3,
  /** Wait, where waiting makes the next turn worth more. */
  REST: 4,
} as const;
const PHASES = 5;

export interface TurnTask {
  /** Runs once per request. */
  runTurn(): void;
}

export interface Clock {
  /** ms since the epoch. */
  now(): number;
  /** ms for which peers could be heard, from any beginning (uptime.ts). */
  uptime(): number;
  /** Once, after what is being done now. */
  soon(task: () => void): void;
  /** Once, after so many ms; does not keep the process alive. */
  after(ms: number, task: () => void): unknown;
  cancel(timer: unknown): void;
}

export const REAL_CLOCK: Clock = {
  now: Date.now,
  uptime: uptimeClock(),
  soon: setImmediate,
  after: (ms, task) => setTimeout(task, ms).unref(),
  cancel: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
};

export class Turn {
  readonly #tasks = Array.from({ length: PHASES }, () => new WorkList<TurnTask>());
  readonly #spare = Array.from({ length: PHASES }, () => new WorkList<TurnTask>());
  #isScheduled = false;
  readonly #run = (): void => this.#runAll();
  readonly clock: Clock;
  /** ms since the epoch, read once per turn; refreshed by `touch`. */
  now: number;
  /** The same for limits on silence: ms of the clock's `uptime`. */
  uptime: number;

  constructor(clock: Clock = REAL_CLOCK) {
    this.clock = clock;
    this.now = clock.now();
    this.uptime = clock.uptime();
  }

  /** Call at the start of every event from outside (socket data, timer, store wake-up). */
  touch(): void {
    this.now = this.clock.now();
    this.uptime = this.clock.uptime();
  }

  /** The caller makes sure it asks once per turn (a boolean field of its own). */
  request(phase: number, task: TurnTask): void {
    this.#tasks[phase]!.push(task);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      this.clock.soon(this.#run);
    }
  }

  #runAll(): void {
    this.#isScheduled = false;
    this.touch();
    for (let phase = 0; phase < PHASES; phase++) {
      const tasks = this.#tasks[phase]!;
      if (tasks.length === 0) continue;
      this.#tasks[phase] = this.#spare[phase]!;
      for (let i = 0; i < tasks.length; i++) tasks.at(i).runTurn();
      tasks.clear();
      this.#spare[phase] = tasks;
    }
  }
}
