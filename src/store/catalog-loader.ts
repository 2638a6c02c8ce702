/**
 * Reads the catalog at the start: each queue that it ends with is handed over once, whatever it went through. Until then
 * a queue is a few numbers, so that a million of them are read in a second.
 */
import type { CatalogHandler } from "./catalog.ts";
import { ConsumeQueue } from "./consume-queue.ts";
import { ENTRY_SIZE } from "./page-pool.ts";

/** Entries from `from` on, in parts; where two say something of an entry, the later one counts. */
export interface CatalogTail {
  from: number;
  parts: Array<{ readonly first: number; readonly entries: Buffer }>;
}

const endOf = ({ first, entries }: CatalogTail["parts"][number]): number =>
  first + entries.length / ENTRY_SIZE;

export class CatalogLoader implements CatalogHandler {
  /** Queue number → index in the lists. */
  readonly #indexes = new Map<number, number>();
  readonly #numbers: number[] = [];
  readonly #topics: string[] = [];
  /** Queue id, or -1 for a light queue. */
  readonly #queueIds: number[] = [];
  readonly #mins: number[] = [];
  readonly #maxs: number[] = [];
  /** By index: page, block, page, block … */
  readonly #blocks = new Map<number, number[]>();
  /** By index: entries that the queue's file may not have. */
  readonly #tails = new Map<number, CatalogTail>();
  /** By index: what is known of moved records. */
  readonly #moved = new Map<number, number>();
  maxNumber = 0;

  define(number: number, topic: string, queueId: number, isLight: boolean): void {
    this.maxNumber = Math.max(this.maxNumber, number);
    // A file that was begun anew says it once more.
    if (this.#indexes.has(number)) return;
    this.#indexes.set(number, this.#numbers.length);
    this.#numbers.push(number);
    this.#topics.push(topic);
    this.#queueIds.push(isLight ? -1 : queueId);
    this.#mins.push(0);
    this.#maxs.push(0);
  }

  state(number: number, minOffset: number, maxOffset: number): void {
    const index = this.#indexes.get(number);
    if (index === undefined) return;
    this.#mins[index] = minOffset;
    this.#maxs[index] = maxOffset;
    this.#tails.delete(index);
  }

  tail(number: number, minOffset: number, from: number, first: number, entries: Buffer): void {
    const index = this.#indexes.get(number);
    if (index === undefined) return;
    this.#mins[index] = minOffset;
    this.#maxs[index] = first + entries.length / ENTRY_SIZE;
    let tail = this.#tails.get(index);
    if (tail === undefined) {
      tail = { from, parts: [] };
      this.#tails.set(index, tail);
    }
    tail.from = from;
    tail.parts = tail.parts.filter((part) => endOf(part) > from);
    if (entries.length > 0) tail.parts.push({ first, entries });
  }

  dropped(number: number): void {
    const index = this.#indexes.get(number);
    if (index === undefined) return;
    this.#indexes.delete(number);
    this.#blocks.delete(index);
    this.#moved.delete(index);
    this.#tails.delete(index);
  }

  moved(number: number, offset: number): void {
    const index = this.#indexes.get(number);
    if (index !== undefined) this.#moved.set(index, offset);
  }

  block(number: number, page: number, block: number): void {
    const index = this.#indexes.get(number);
    if (index === undefined) return;
    this.#remove(index, page);
    const blocks = this.#blocks.get(index);
    if (blocks === undefined) this.#blocks.set(index, [page, block]);
    else blocks.push(page, block);
  }

  free(number: number, page: number): void {
    const index = this.#indexes.get(number);
    if (index !== undefined) this.#remove(index, page);
  }

  #remove(index: number, page: number): void {
    const blocks = this.#blocks.get(index);
    if (blocks === undefined) return;
    for (let at = 0; at < blocks.length; at += 2) {
      if (blocks[at] !== page) continue;
      blocks.splice(at, 2);
      if (blocks.length === 0) this.#blocks.delete(index);
      return;
    }
  }

  /** What of this queue only the catalog has. */
  tailOf(number: number): CatalogTail | undefined {
    return this.#tails.get(this.#indexes.get(number) ?? -1);
  }

  /** Every queue there is, in the order of their numbers. */
  *queues(): Generator<ConsumeQueue> {
    for (const [number, index] of this.#indexes) {
      const queueId = this.#queueIds[index]!;
      const queue = new ConsumeQueue(
        this.#topics[index]!,
        Math.max(queueId, 0),
        queueId < 0,
        number,
      );
      queue.isDefined = true;
      queue.restore(this.#mins[index]!, this.#maxs[index]!);
      const blocks = this.#blocks.get(index) ?? NO_BLOCKS;
      const pairs: Array<[number, number]> = [];
      for (let at = 0; at < blocks.length; at += 2) pairs.push([blocks[at]!, blocks[at + 1]!]);
      pairs.sort((a, b) => a[0] - b[0]);
      for (const [page, block] of pairs) queue.setBlock(page, block);
      queue.movedTo = this.#moved.get(index) ?? 0;
      yield queue;
    }
  }

  /** Blocks of the arena that hold something. */
  *usedBlocks(): Generator<number> {
    for (const blocks of this.#blocks.values()) {
      for (let at = 1; at < blocks.length; at += 2) yield blocks[at]!;
    }
  }
}

const NO_BLOCKS: readonly number[] = [];
