/**
 * Pages of queue entries in shared memory, so that the store thread writes them to files without a copy.
 *
 * A page is 4096 bytes: 96 bytes of header (used in the arena only) and 200 entries of 20 bytes. Slabs of 64 pages are
 * made as they are needed. Over its limit the pool takes back pages whose entries are all in their file, those first
 * that were not used for longest (second chance); pages with unwritten entries are never taken.
 */
import type { ConsumeQueue } from "./consume-queue.ts";

export const PAGE_BYTES = 4096;
export const PAGE_HEADER = 96;
export const PAGE_ENTRIES = 200;
const SLAB_PAGES = 64;
const SLAB_SHIFT = 6;

export class PagePool {
  readonly #limit: number;
  readonly #onSlab: (index: number, memory: SharedArrayBuffer) => void;
  readonly #views: DataView[] = [];
  readonly #owners: Array<ConsumeQueue | null> = [];
  readonly #pageNumbers: number[] = [];
  /** Entries below this slot are not in memory. */
  readonly #firstSlots: number[] = [];
  /** Entries below this slot have been handed to the writer. */
  readonly #flushed: number[] = [];
  /** Sequence number of the last command that writes this page. */
  readonly #commands: number[] = [];
  readonly #isUsed: boolean[] = [];
  readonly #free: number[] = [];
  #hand = 0;
  #done = 0;

  constructor(limit: number, onSlab: (index: number, memory: SharedArrayBuffer) => void) {
    this.#limit = limit;
    this.#onSlab = onSlab;
  }

  /** Pages in use. */
  get size(): number {
    return this.#owners.length - this.#free.length;
  }
  /** Too many pages are in use, and none could be taken back. */
  get isOverfull(): boolean {
    return this.size > this.#limit * 2;
  }

  /** `done`: commands up to this sequence number are carried out. */
  allocate(owner: ConsumeQueue, pageNumber: number, firstSlot: number, done: number): number {
    this.#done = done;
    let page = -1;
    if (this.size >= this.#limit) page = this.#takeBack();
    if (page < 0) page = this.#free.pop() ?? this.#grow();
    this.#owners[page] = owner;
    this.#pageNumbers[page] = pageNumber;
    this.#firstSlots[page] = firstSlot;
    this.#flushed[page] = firstSlot;
    this.#commands[page] = 0;
    this.#isUsed[page] = true;
    return page;
  }

  release(page: number): void {
    this.#owners[page] = null;
    this.#free.push(page);
  }

  view(page: number): DataView {
    return this.#views[page >> SLAB_SHIFT]!;
  }
  /** Index of the page's first byte in its view. */
  base(page: number): number {
    return (page & (SLAB_PAGES - 1)) * PAGE_BYTES;
  }
  firstSlot(page: number): number {
    return this.#firstSlots[page]!;
  }
  flushed(page: number): number {
    return this.#flushed[page]!;
  }
  setFlushed(page: number, slot: number, command: number): void {
    this.#flushed[page] = slot;
    this.#commands[page] = command;
  }
  touch(page: number): void {
    this.#isUsed[page] = true;
  }

  #grow(): number {
    const first = this.#owners.length;
    const memory = new SharedArrayBuffer(SLAB_PAGES * PAGE_BYTES);
    this.#onSlab(this.#views.length, memory);
    this.#views.push(new DataView(memory));
    for (let i = 0; i < SLAB_PAGES; i++) {
      this.#owners.push(null);
      this.#pageNumbers.push(0);
      this.#firstSlots.push(0);
      this.#flushed.push(0);
      this.#commands.push(0);
      this.#isUsed.push(false);
      if (i > 0) this.#free.push(first + SLAB_PAGES - i);
    }
    return first;
  }

  #takeBack(): number {
    const count = this.#owners.length;
    // Twice around: the first time clears the mark of recent use.
    for (let tries = Math.min(2 * count, 512); tries > 0; tries--) {
      const page = this.#hand;
      this.#hand = page + 1 === count ? 0 : page + 1;
      const owner = this.#owners[page];
      if (!owner) continue;
      if (this.#isUsed[page]) {
        this.#isUsed[page] = false;
        continue;
      }
      if (this.#commands[page]! > this.#done) continue;
      if (!owner.dropPage(page, this.#pageNumbers[page]!, this.#flushed[page]!)) continue;
      return page;
    }
    return -1;
  }
}

/** Pages in the writer, by id. */
export class PageSlabs {
  readonly #slabs: Buffer[] = [];

  add(index: number, memory: SharedArrayBuffer): void {
    this.#slabs[index] = Buffer.from(memory);
  }
  bytes(page: number): Buffer {
    return this.#slabs[page >> SLAB_SHIFT]!;
  }
  base(page: number): number {
    return (page & (SLAB_PAGES - 1)) * PAGE_BYTES;
  }
}
