/** "At this time, this offset of this shard": retries that wait. One timer for all; slots are reused. */
import { MinHeap } from "../util/min-heap.ts";
import type { ShardProgress } from "./shard-progress.ts";

export class ShardTimers {
  readonly #heap = new MinHeap();
  readonly #shards: Array<ShardProgress | null> = [];
  readonly #offsets: number[] = [];
  readonly #free: number[] = [];
  readonly #fire: (shard: ShardProgress, offset: number) => void;
  #timer: NodeJS.Timeout | undefined;
  #timerDue = Number.POSITIVE_INFINITY;

  constructor(fire: (shard: ShardProgress, offset: number) => void) {
    this.#fire = fire;
  }

  get size(): number {
    return this.#heap.size;
  }

  add(due: number, shard: ShardProgress, offset: number): void {
    const slot = this.#free.pop() ?? this.#shards.length;
    this.#shards[slot] = shard;
    this.#offsets[slot] = offset;
    this.#heap.push(due, slot);
    this.#arm();
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    const due = this.#heap.topKey;
    if (due >= this.#timerDue) return;
    clearTimeout(this.#timer);
    this.#timerDue = due;
    const wait = Math.min(Math.max(0, due - Date.now()), 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.#run(), wait);
    this.#timer.unref();
  }

  #run(): void {
    this.#timerDue = Number.POSITIVE_INFINITY;
    const now = Date.now();
    while (this.#heap.topKey <= now) {
      const slot = this.#heap.pop();
      const shard = this.#shards[slot]!;
      this.#shards[slot] = null;
      this.#free.push(slot);
      this.#fire(shard, this.#offsets[slot]!);
    }
    if (this.#heap.size > 0) this.#arm();
  }
}
