/**
 * The global bound on partial frames that wait for their rest. Every connection may keep a little uncounted; above that
 * all of them share one budget. Over the limit, connections in the middle of a large frame stop reading, except one at a
 * time, so that frames still complete; one that stalls while others wait loses its turn. Far over the limit (many peers
 * began a frame at the same time) the peer that asks for more is let go.
 */
import type { TurnTask } from "../util/turn.ts";

/** Kept bytes below this are not counted. */
export const UNCOUNTED_BYTES = 4096;
const HARD_FACTOR = 2;

export interface BudgetHolder {
  /** May read on. */
  onBudget(): void;
  /** Bytes received so far, to see whether it moves. */
  readonly receivedBytes: number;
}

export class InputBudget implements TurnTask {
  limitBytes: number;
  usedBytes = 0;
  readonly #waiting = new Set<BudgetHolder>();
  /** The one that may go on although the limit is reached. */
  #favoured: BudgetHolder | null = null;
  #favouredBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Counts `delta` more (or fewer, when negative) bytes. */
  add(delta: number): void {
    this.usedBytes += delta;
    if (delta < 0 && this.#waiting.size > 0) this.runTurn();
  }

  get isExhausted(): boolean {
    return this.usedBytes > this.limitBytes;
  }
  /** No more for `holder`: far over the limit, and it is not the one that may go on. */
  isFarExceededFor(holder: BudgetHolder): boolean {
    return this.usedBytes > this.limitBytes * HARD_FACTOR && this.#favoured !== holder;
  }

  /** True: read on. False: stop reading until `onBudget`. */
  mayContinue(holder: BudgetHolder): boolean {
    if (!this.isExhausted || this.#favoured === holder) return true;
    if (this.#favoured === null) {
      this.#favour(holder);
      return true;
    }
    this.#waiting.add(holder);
    return false;
  }

  /** The holder keeps nothing counted any more, or is gone. */
  leave(holder: BudgetHolder): void {
    this.#waiting.delete(holder);
    if (this.#favoured === holder) {
      this.#favoured = null;
      this.runTurn();
    }
  }

  /** Lets waiting connections go on as far as the budget allows. */
  runTurn(): void {
    for (const holder of this.#waiting) {
      if (this.isExhausted) {
        if (this.#favoured !== null) return;
        this.#favour(holder);
      }
      this.#waiting.delete(holder);
      holder.onBudget();
    }
  }

  /** About every ten seconds: a favoured connection that did not move makes room for the next. */
  rotate(): void {
    const favoured = this.#favoured;
    if (favoured === null || this.#waiting.size === 0) return;
    if (favoured.receivedBytes !== this.#favouredBytes) {
      this.#favouredBytes = favoured.receivedBytes;
      return;
    }
    this.#favoured = null;
    this.runTurn();
  }

  #favour(holder: BudgetHolder): void {
    this.#favoured = holder;
    this.#favouredBytes = holder.receivedBytes;
  }
}
