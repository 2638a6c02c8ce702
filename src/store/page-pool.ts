/**
 * Pages of queue entries in shared memory, so that the store thread writes them to files without a copy.
 *
 * There are two pools: pages of 200 entries for topic queues, of 20 for light queues, of which many may be touched by
 * one message. Slabs are made as they are needed. Over its limit the pool takes back pages whose entries are all in
 * their file, those first that were not used for longest (second chance). Pages with unwritten entries are never
 * taken, and a page that a command still needs is not used again before the command is done. A deep queue takes its own
 * pages back long before that: whoever reads it from its beginning reads what lies in the file.
 */
import type { CommandRing } from "./command-ring.ts";
import type { ConsumeQueue } from "./consume-queue.ts";

export const ENTRY_SIZE = 20;
export const TOPIC_PAGE_ENTRIES = 200;
export const LIGHT_PAGE_ENTRIES = 20;
const SLAB_BYTES = 256_000;
/** Slabs without a page in use that stay: 4 MB. */
const SPARE_SLABS = 16;
const NO_VIEW = new DataView(new ArrayBuffer(0));
const NO_BYTES = new Uint8Array(0);
/** Of a queue that takes its own pages back so many are looked at. */
const OWN_TRIES = 4;

export interface PoolHost {
  /** Pages that may be in use before some are taken back. */
  limit(): number;
  /** One queue with so many pages uses its oldest again, however much room there is. */
  readonly ownLimit: number;
  /** A slab of this number is there, or, null, is no more. */
  onSlab(index: number, memory: SharedArrayBuffer | null): void;
}

export class PagePool {
  readonly entries: number;
  readonly #pageBytes: number;
  readonly #perSlab: number;
  readonly #host: PoolHost;
  readonly #commands: CommandRing;
  readonly #views: DataView[] = [];
  readonly #bytes: Uint8Array[] = [];
  readonly #owners: Array<ConsumeQueue | null> = [];
  readonly #pageNumbers: number[] = [];
  /** Entries below this slot are not in memory. */
  readonly #firstSlots: number[] = [];
  /** Sequence number of the last command that writes this page. */
  readonly #lastCommands: number[] = [];
  readonly #isUsed: boolean[] = [];
  #free: number[] = [];
  /** Given back, but a command still needs them: oldest first. */
  #leaving: number[] = [];
  #hand = 0;
  /** Pages looked at since one was taken back, while the writer was so far. */
  #barren = 0;
  #barrenAt = -1;
  /** Numbers of slabs that were given up. */
  readonly #gone: number[] = [];

  constructor(entries: number, commands: CommandRing, host: PoolHost) {
    this.entries = entries;
    this.#pageBytes = entries * ENTRY_SIZE;
    this.#perSlab = SLAB_BYTES / this.#pageBytes;
    this.#commands = commands;
    this.#host = host;
  }

  /** Pages that are not free. */
  get size(): number {
    return this.#owners.length - this.#gone.length * this.#perSlab - this.#free.length;
  }
  /** Bytes of memory held. */
  get memory(): number {
    return (this.#views.length - this.#gone.length) * SLAB_BYTES;
  }
  get isFull(): boolean {
    return this.size >= this.#host.limit();
  }
  /** So many pages are in use beyond the limit that appending has to wait until some are written. */
  isOverfull(): boolean {
    const most = this.#host.limit() * 2;
    if (this.size < most) return false;
    this.#settle();
    for (let tries = 64; tries > 0; tries--) {
      const page = this.#takeBack();
      if (page >= 0) this.#free.push(page);
    }
    return this.size >= most;
  }

  allocate(owner: ConsumeQueue, pageNumber: number, firstSlot: number): number {
    if (this.#leaving.length > 0) this.#settle();
    let page = -1;
    if (owner.pageCount >= this.#host.ownLimit) page = this.#takeOwn(owner);
    if (page < 0 && this.isFull) page = this.#takeBack();
    if (page < 0) page = this.#free.pop() ?? this.#grow();
    this.#owners[page] = owner;
    this.#pageNumbers[page] = pageNumber;
    this.#firstSlots[page] = firstSlot;
    this.#lastCommands[page] = 0;
    this.#isUsed[page] = true;
    return page;
  }

  release(page: number): void {
    this.#owners[page] = null;
    if (this.#lastCommands[page]! > this.#commands.done) this.#leaving.push(page);
    else this.#free.push(page);
  }

  view(page: number): DataView {
    return this.#views[Math.floor(page / this.#perSlab)]!;
  }
  /** The same memory as the view. */
  bytes(page: number): Uint8Array {
    return this.#bytes[Math.floor(page / this.#perSlab)]!;
  }
  /** Index of a slot's entry in the page's view. */
  at(page: number, slot: number): number {
    return (page % this.#perSlab) * this.#pageBytes + slot * ENTRY_SIZE;
  }
  firstSlot(page: number): number {
    return this.#firstSlots[page]!;
  }
  /** All slots of the page are in memory now. */
  setWhole(page: number): void {
    this.#firstSlots[page] = 0;
  }
  setCommand(page: number, command: number): void {
    this.#lastCommands[page] = command;
  }
  touch(page: number): void {
    this.#isUsed[page] = true;
  }

  #grow(): number {
    const slab = this.#gone.pop() ?? this.#views.length;
    const first = slab * this.#perSlab;
    const memory = new SharedArrayBuffer(SLAB_BYTES);
    this.#host.onSlab(slab, memory);
    this.#views[slab] = new DataView(memory);
    this.#bytes[slab] = new Uint8Array(memory);
    for (let page = first; page < first + this.#perSlab; page++) {
      this.#owners[page] = null;
      this.#pageNumbers[page] = 0;
      this.#firstSlots[page] = 0;
      this.#lastCommands[page] = 0;
      this.#isUsed[page] = false;
    }
    for (let page = first + this.#perSlab - 1; page > first; page--) this.#free.push(page);
    return first;
  }

  /** Gives up slabs of which no page is in use, when there are many; some stay for what comes. */
  shrink(): void {
    this.#settle();
    const slabs = this.#views.length;
    const spare = Math.floor(this.#free.length / this.#perSlab);
    if (spare <= SPARE_SLABS || this.#free.length * 2 < this.#owners.length) return;
    const free = new Uint16Array(slabs);
    for (const page of this.#free) free[Math.floor(page / this.#perSlab)]!++;
    let left = spare - SPARE_SLABS;
    for (let slab = slabs - 1; slab >= 0 && left > 0; slab--) {
      if (free[slab] !== this.#perSlab) continue;
      free[slab] = 0;
      this.#views[slab] = NO_VIEW;
      this.#bytes[slab] = NO_BYTES;
      this.#gone.push(slab);
      this.#host.onSlab(slab, null);
      left--;
    }
    // Of what stays, slabs in their order: new pages lie close together, and others can go later.
    const bySlab = Array.from({ length: slabs }, (): number[] => []);
    for (const page of this.#free) {
      const slab = Math.floor(page / this.#perSlab);
      if (free[slab]! > 0) bySlab[slab]!.push(page);
    }
    this.#free = bySlab.reverse().flat();
  }

  #settle(): void {
    const { done } = this.#commands;
    let gone = 0;
    while (gone < this.#leaving.length && this.#lastCommands[this.#leaving[gone]!]! <= done) {
      this.#free.push(this.#leaving[gone++]!);
    }
    if (gone > 0) this.#leaving.splice(0, gone);
  }

  /** The queue's oldest page, where it can be had. What it has beyond its share, because the writer was behind, is free again. */
  #takeOwn(owner: ConsumeQueue): number {
    let taken = -1;
    for (const page of owner.oldestPages(OWN_TRIES)) {
      if (this.#lastCommands[page]! > this.#commands.done) continue;
      if (!owner.dropPage(page, this.#pageNumbers[page]!)) continue;
      this.#owners[page] = null;
      if (taken < 0) taken = page;
      else this.#free.push(page);
      if (owner.pageCount < this.#host.ownLimit) break;
    }
    return taken;
  }

  #takeBack(): number {
    const count = this.#owners.length;
    const { done } = this.#commands;
    if (done !== this.#barrenAt) {
      this.#barrenAt = done;
      this.#barren = 0;
    }
    // The first time around only clears the mark of recent use. A bound, for when nothing can be taken.
    for (let tries = 256; tries > 0; tries--) {
      // All of it was looked at, twice, and no command was carried out since: nothing can have changed.
      if (this.#barren > count * 2) return -1;
      this.#barren++;
      const page = this.#hand;
      this.#hand = page + 1 === count ? 0 : page + 1;
      const owner = this.#owners[page];
      if (!owner) continue;
      if (this.#isUsed[page]) {
        this.#isUsed[page] = false;
        continue;
      }
      if (this.#lastCommands[page]! > done) continue;
      if (!owner.dropPage(page, this.#pageNumbers[page]!)) continue;
      this.#owners[page] = null;
      this.#barren = 0;
      return page;
    }
    return -1;
  }
}

const NO_BUFFER = Buffer.alloc(0);

/** The pool's pages as the writer sees them. */
export class PageSlabs {
  readonly #slabs: Buffer[] = [];
  readonly #pageBytes: number;
  readonly #perSlab: number;

  constructor(entries: number) {
    this.#pageBytes = entries * ENTRY_SIZE;
    this.#perSlab = SLAB_BYTES / this.#pageBytes;
  }

  add(index: number, memory: SharedArrayBuffer | null): void {
    this.#slabs[index] = memory === null ? NO_BUFFER : Buffer.from(memory);
  }
  bytes(page: number): Buffer {
    return this.#slabs[Math.floor(page / this.#perSlab)]!;
  }
  at(page: number, slot: number): number {
    return (page % this.#perSlab) * this.#pageBytes + slot * ENTRY_SIZE;
  }
}
