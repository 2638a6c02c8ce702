/**
 * What a catalog amounts to, as a start needs it: columns of numbers and the places of names, no objects, so that a million
 * queues are read in a second.
 */
import { NumberMap } from "../util/number-map.ts";
import { type CatalogHandler, type CatalogName, textOf } from "./catalog.ts";
import { ConsumeQueue, keptEntries } from "./consume-queue.ts";
import { ENTRY_SIZE } from "./page-pool.ts";

/** Entries from `from` on, in parts; where two say something of an entry, the later one counts. */
export interface CatalogTail {
  from: number;
  parts: Array<{ readonly first: number; readonly entries: Buffer }>;
}

const endOf = ({ first, entries }: CatalogTail["parts"][number]): number =>
  first + entries.length / ENTRY_SIZE;

const FIRST_ROWS = 1024;
const NONE = -1;

/** Grows by doubling. */
class Column<T extends Int32Array | Float64Array> {
  #values: T;
  readonly #make: (length: number) => T;

  constructor(make: (length: number) => T) {
    this.#make = make;
    this.#values = make(FIRST_ROWS);
  }
  get(row: number): number {
    return this.#values[row]!;
  }
  set(row: number, value: number): void {
    if (row >= this.#values.length) {
      const larger = this.#make(Math.max(this.#values.length * 2, row + 1));
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[row] = value;
  }
}

const integers = (): Column<Int32Array> => new Column((length) => new Int32Array(length));
const doubles = (): Column<Float64Array> => new Column((length) => new Float64Array(length));

export class CatalogLoader implements CatalogHandler {
  /** Queue number → row. */
  readonly #rows = new NumberMap();
  readonly #name: CatalogName;
  readonly #numbers = doubles();
  readonly #nameStarts = doubles();
  readonly #nameEnds = doubles();
  /** Queue id, or -1 for a light queue. */
  readonly #queueIds = integers();
  readonly #mins = doubles();
  readonly #maxs = doubles();
  /** Most light queues have one block: its page, or -1, and itself. */
  readonly #pages = doubles();
  readonly #blocks = doubles();
  /** Where all entries of a light queue lie that needs no block for them, or -1. */
  readonly #kepts = doubles();
  /** By row, of those with more: page, block, page, block … */
  readonly #moreBlocks = new Map<number, number[]>();
  /** By row: entries that the queue's file may not have. */
  readonly #tails = new Map<number, CatalogTail>();
  /** By row: what is known of moved records. */
  readonly #moved = new Map<number, number>();
  #count = 0;
  maxNumber = 0;

  /** `bytes`: of the catalog that is read. */
  constructor(bytes: Buffer) {
    this.#name = { bytes, start: 0, end: 0 };
  }

  define(number: number, { start, end }: CatalogName, queueId: number, isLight: boolean): void {
    this.maxNumber = Math.max(this.maxNumber, number);
    // A file that was begun anew says it once more.
    if (this.#rows.get(number) !== undefined) return;
    const row = this.#count++;
    this.#rows.set(number, row);
    this.#numbers.set(row, number);
    this.#nameStarts.set(row, start);
    this.#nameEnds.set(row, end);
    this.#queueIds.set(row, isLight ? NONE : queueId);
    this.#mins.set(row, 0);
    this.#maxs.set(row, 0);
    this.#pages.set(row, NONE);
    this.#blocks.set(row, NONE);
    this.#kepts.set(row, NONE);
  }

  state(number: number, minOffset: number, maxOffset: number): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    this.#mins.set(row, minOffset);
    this.#maxs.set(row, maxOffset);
    this.#kepts.set(row, NONE);
    if (this.#tails.size > 0) this.#tails.delete(row);
  }

  tail(number: number, minOffset: number, from: number, first: number, entries: Buffer): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    this.#mins.set(row, minOffset);
    this.#maxs.set(row, first + entries.length / ENTRY_SIZE);
    let tail = this.#tails.get(row);
    if (tail === undefined) {
      tail = { from, parts: [] };
      this.#tails.set(row, tail);
    }
    tail.from = from;
    tail.parts = tail.parts.filter((part) => endOf(part) > from);
    if (entries.length > 0) tail.parts.push({ first, entries });
  }

  kept(number: number, minOffset: number, _bytes: Buffer, at: number, count: number): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    this.#mins.set(row, minOffset);
    this.#maxs.set(row, minOffset + count);
    this.#kepts.set(row, at);
  }

  dropped(number: number): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    this.#rows.delete(number);
    this.#pages.set(row, NONE);
    this.#moreBlocks.delete(row);
    this.#moved.delete(row);
    this.#tails.delete(row);
  }

  moved(number: number, offset: number): void {
    const row = this.#rows.get(number);
    if (row !== undefined) this.#moved.set(row, offset);
  }

  block(number: number, page: number, block: number): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    const known = this.#pages.get(row);
    if (known === NONE || known === page) {
      if (known === NONE) this.#remove(row, page);
      this.#pages.set(row, page);
      this.#blocks.set(row, block);
      return;
    }
    this.#remove(row, page);
    const blocks = this.#moreBlocks.get(row);
    if (blocks === undefined) this.#moreBlocks.set(row, [page, block]);
    else blocks.push(page, block);
  }

  free(number: number, page: number): void {
    const row = this.#rows.get(number);
    if (row === undefined) return;
    if (this.#pages.get(row) === page) this.#pages.set(row, NONE);
    else this.#remove(row, page);
  }

  /** From those beyond the first. */
  #remove(row: number, page: number): void {
    if (this.#moreBlocks.size === 0) return;
    const blocks = this.#moreBlocks.get(row);
    if (blocks === undefined) return;
    for (let at = 0; at < blocks.length; at += 2) {
      if (blocks[at] !== page) continue;
      blocks.splice(at, 2);
      if (blocks.length === 0) this.#moreBlocks.delete(row);
      return;
    }
  }

  get size(): number {
    return this.#rows.size;
  }

  /** Rows of all queues there are, in the order in which they were defined. */
  *rows(): Generator<number> {
    for (let row = 0; row < this.#count; row++) {
      if (this.#rows.get(this.#numbers.get(row)) === row) yield row;
    }
  }

  /** What of this queue only the catalog has. */
  tailOf(row: number): CatalogTail | undefined {
    return this.#tails.size === 0 ? undefined : this.#tails.get(row);
  }

  numberOf(row: number): number {
    return this.#numbers.get(row);
  }
  /** -1 for a light queue. */
  queueIdOf(row: number): number {
    return this.#queueIds.get(row);
  }
  minOf(row: number): number {
    return this.#mins.get(row);
  }
  maxOf(row: number): number {
    return this.#maxs.get(row);
  }
  /** The next one has the same object. */
  nameOf(row: number): CatalogName {
    this.#name.start = this.#nameStarts.get(row);
    this.#name.end = this.#nameEnds.get(row);
    return this.#name;
  }
  /** Does a name, two offsets and a block at most tell all of it? */
  isPlain(row: number): boolean {
    if (this.#kepts.get(row) !== NONE && this.#pages.get(row) !== NONE) return false;
    return (
      (this.#moreBlocks.size === 0 || !this.#moreBlocks.has(row)) &&
      (this.#moved.size === 0 || !this.#moved.has(row))
    );
  }
  /** Of a plain one: the page of its block, or -1. */
  pageOf(row: number): number {
    return this.#pages.get(row);
  }
  blockOf(row: number): number {
    return this.#blocks.get(row);
  }

  /** Entries of a light queue that lie here, all of them; copied to `into`. Returns how many. */
  copyKept(row: number, into: Buffer, at: number): number {
    const from = this.#kepts.get(row);
    if (from === NONE) return 0;
    const count = this.maxOf(row) - this.minOf(row);
    const { bytes } = this.#name;
    for (let i = 0; i < count * ENTRY_SIZE; i++) into[at + i] = bytes[from + i]!;
    return count;
  }

  queue(row: number): ConsumeQueue {
    const queueId = this.#queueIds.get(row);
    const topic = textOf(this.nameOf(row));
    const queue = new ConsumeQueue(topic, Math.max(queueId, 0), queueId < 0, this.numberOf(row));
    queue.isDefined = true;
    queue.restore(this.minOf(row), this.maxOf(row));
    const pairs: Array<[number, number]> = [];
    if (this.pageOf(row) !== NONE) pairs.push([this.pageOf(row), this.blockOf(row)]);
    const blocks = this.#moreBlocks.get(row) ?? [];
    for (let at = 0; at < blocks.length; at += 2) pairs.push([blocks[at]!, blocks[at + 1]!]);
    pairs.sort((a, b) => a[0] - b[0]);
    for (const [page, block] of pairs) queue.setBlock(page, block);
    queue.movedTo = this.#moved.get(row) ?? 0;
    if (this.#kepts.get(row) !== NONE) {
      const bytes = new Uint8Array((this.maxOf(row) - this.minOf(row)) * ENTRY_SIZE);
      this.copyKept(row, Buffer.from(bytes.buffer), 0);
      queue.kept = keptEntries(this.minOf(row), bytes);
    }
    return queue;
  }

  /** Tells each block of the arena that holds something. */
  forEachBlock(tell: (block: number) => void): void {
    for (let row = 0; row < this.#count; row++) {
      if (this.#pages.get(row) !== NONE) tell(this.#blocks.get(row));
    }
    for (const blocks of this.#moreBlocks.values()) {
      for (let at = 1; at < blocks.length; at += 2) tell(blocks[at]!);
    }
  }
}
