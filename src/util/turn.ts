/**
 * One event-loop turn as a batching point: work that was asked for while sockets were read runs once, after all of
 * them, in a fixed order. What is scheduled from within a phase runs in the same turn when its phase is still to come,
 * else in the next.
 */

export const PHASE = {
  /** Hand the turn's appends and journal entries to the store thread: first, so that the disk works while we go on. */
  PUBLISH: 0,
  /** Pair arrivals with credit, encode deliveries. */
  DISPATCH: 1,
  /** Protocol connections encode what they owe (dispositions, flows, receipts). */
  ENCODE: 2,
  /** Write each connection's output once. */
  FLUSH: 3,
} as const;
const PHASES = 4;

export interface TurnTask {
  /** Runs once per request. */
  runTurn(): void;
}

export class Turn {
  readonly #tasks: TurnTask[][] = Array.from({ length: PHASES }, () => []);
  readonly #spare: TurnTask[][] = Array.from({ length: PHASES }, () => []);
  #isScheduled = false;
  readonly #run = (): void => this.#runAll();
  /** ms since the epoch, read once per turn; refreshed by `touch`. */
  now = Date.now();

  /** Call at the start of every event from outside (socket data, timer, store wake-up). */
  touch(): void {
    this.now = Date.now();
  }

  /** The caller makes sure it asks once per turn (a boolean field of its own). */
  request(phase: number, task: TurnTask): void {
    this.#tasks[phase]!.push(task);
    if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#run);
    }
  }

  #runAll(): void {
    this.#isScheduled = false;
    this.touch();
    for (let phase = 0; phase < PHASES; phase++) {
      const tasks = this.#tasks[phase]!;
      if (tasks.length === 0) continue;
      this.#tasks[phase] = this.#spare[phase]!;
      for (let i = 0; i < tasks.length; i++) tasks[i]!.runTurn();
      tasks.length = 0;
      this.#spare[phase] = tasks;
    }
  }
}
