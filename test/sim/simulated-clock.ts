/** Time that passes when the simulation says so; timers and turns run in order, on the calling stack. */
import type { Clock } from "../../src/util/turn.ts";

interface Timer {
  readonly due: number;
  readonly task: () => void;
  readonly number: number;
}

export class SimulatedClock implements Clock {
  time = 1_700_000_000_000;
  #soon: Array<() => void> = [];
  #timers = new Set<Timer>();
  #number = 0;

  now = (): number => this.time;
  uptime = this.now;

  soon = (task: () => void): void => {
    this.#soon.push(task);
  };

  after = (ms: number, task: () => void): Timer => {
    const timer = { due: this.time + ms, task, number: this.#number++ };
    this.#timers.add(timer);
    return timer;
  };

  cancel = (timer: unknown): void => {
    this.#timers.delete(timer as Timer);
  };

  /** All turns that were asked for, and those that follow from them. */
  run(): void {
    for (let rounds = 0; this.#soon.length > 0; rounds++) {
      if (rounds > 1000) throw new Error("the turns do not come to an end");
      const tasks = this.#soon;
      this.#soon = [];
      for (const task of tasks) task();
    }
  }

  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      let next: Timer | undefined;
      for (const timer of this.#timers) {
        if (timer.due > end) continue;
        const isSooner =
          next === undefined ||
          timer.due < next.due ||
          (timer.due === next.due && timer.number < next.number);
        if (isSooner) next = timer;
      }
      if (next === undefined) break;
      this.#timers.delete(next);
      this.time = Math.max(this.time, next.due);
      next.task();
      this.run();
    }
    this.time = end;
  }

  /** The process is gone, and its timers with it. */
  forget(): void {
    this.#soon = [];
    this.#timers.clear();
  }
}
