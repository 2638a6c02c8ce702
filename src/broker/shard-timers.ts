/** "At this time, this offset of this shard": retries that wait. One timer for all; slots are reused. */
import { Alarm } from "../util/alarm.ts";
import { MinHeap } from "../util/min-heap.ts";
import type { Turn } from "../util/turn.ts";
import type { ShardProgress } from "./shard-progress.ts";

export class ShardTimers {
  readonly #turn: Turn;
  readonly #alarm: Alarm;
  readonly #heap = new MinHeap();
  readonly #shards: Array<ShardProgress | null> = [];
  readonly #offsets: number[] = [];
  readonly #free: number[] = [];
  readonly #fire: (shard: ShardProgress, offset: number) => void;

  constructor(turn: Turn, fire: (shard: ShardProgress, offset: number) => void) {
    this.#turn = turn;
    this.#fire = fire;
    this.#alarm = new Alarm(turn.clock, () => this.#run());
  }

  get size(): number {
    return this.#heap.size;
  }

  add(due: number, shard: ShardProgress, offset: number): void {
    const slot = this.#free.pop() ?? this.#shards.length;
    this.#shards[slot] = shard;
    this.#offsets[slot] = offset;
    this.#heap.push(due, slot);
    this.#alarm.set(due);
  }

  close(): void {
    this.#alarm.clear();
  }

  #run(): void {
    this.#turn.touch();
    while (this.#heap.topKey <= this.#turn.now) {
      const slot = this.#heap.pop();
      const shard = this.#shards[slot]!;
      this.#shards[slot] = null;
      this.#free.push(slot);
      this.#fire(shard, this.#offsets[slot]!);
    }
    if (this.#heap.size > 0) this.#alarm.set(this.#heap.topKey);
  }
}
