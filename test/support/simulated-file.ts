/**
 * The contents of one simulated file: what a reader sees now, and the history of changes since the last sync, from
 * which a power cut makes any state that a disk may be left in.
 */
import type { Random } from "./random.ts";

export const PAGE = 4096;

/** Sparse bytes: a page that was never written reads as zeros and takes no space. */
class SparseBytes {
  readonly pages = new Map<number, Buffer>();
  size = 0;

  /** How many pages a write would add. */
  pagesNeeded(position: number, length: number): number {
    let needed = 0;
    for (let page = Math.floor(position / PAGE); page * PAGE < position + length; page++) {
      if (!this.pages.has(page)) needed++;
    }
    return needed;
  }

  read(target: Uint8Array, start: number, length: number, position: number): number {
    const count = Math.max(0, Math.min(length, this.size - position));
    for (let done = 0; done < count; ) {
      const page = Math.floor((position + done) / PAGE);
      const inPage = (position + done) % PAGE;
      const run = Math.min(count - done, PAGE - inPage);
      const bytes = this.pages.get(page);
      if (bytes === undefined) target.fill(0, start + done, start + done + run);
      else bytes.copy(target, start + done, inPage, inPage + run);
      done += run;
    }
    return count;
  }

  /** Leaves `size` alone when `grow` is false: bytes beyond it are there but not seen. */
  write(source: Buffer, position: number, grow = true): void {
    for (let done = 0; done < source.length; ) {
      const page = Math.floor((position + done) / PAGE);
      const inPage = (position + done) % PAGE;
      const run = Math.min(source.length - done, PAGE - inPage);
      let bytes = this.pages.get(page);
      if (bytes === undefined) {
        bytes = Buffer.alloc(PAGE);
        this.pages.set(page, bytes);
      }
      source.copy(bytes, inPage, done, done + run);
      done += run;
    }
    if (grow) this.size = Math.max(this.size, position + source.length);
  }

  /** Gives the range its pages; what they read as stays. */
  allocate(position: number, length: number): void {
    for (let page = Math.floor(position / PAGE); page * PAGE < position + length; page++) {
      if (!this.pages.has(page)) this.pages.set(page, Buffer.alloc(PAGE));
    }
  }

  truncate(size: number): void {
    for (const [page, bytes] of this.pages) {
      if (page * PAGE >= size) this.pages.delete(page);
      else if ((page + 1) * PAGE > size) bytes.fill(0, size - page * PAGE);
    }
    this.size = size;
  }

  copy(): SparseBytes {
    const copy = new SparseBytes();
    for (const [page, bytes] of this.pages) copy.pages.set(page, Buffer.from(bytes));
    copy.size = this.size;
    return copy;
  }
}

type Change =
  | { readonly kind: "write"; readonly position: number; readonly bytes: Buffer }
  | { readonly kind: "truncate"; readonly size: number };

export class Inode {
  /** What a reader sees. */
  current = new SparseBytes();
  /** What is on the platter for sure. */
  durable = new SparseBytes();
  /** Changes since the last sync, oldest first. */
  #changes: Change[] = [];
  modifiedMs = 0;
  openCount = 0;

  get isDirty(): boolean {
    return this.#changes.length > 0;
  }

  write(bytes: Buffer, position: number): void {
    this.current.write(bytes, position);
    this.#changes.push({ kind: "write", position, bytes });
  }

  truncate(size: number): void {
    this.current.truncate(size);
    this.#changes.push({ kind: "truncate", size });
  }

  sync(): void {
    for (const change of this.#changes) {
      if (change.kind === "write") this.durable.write(change.bytes, change.position);
      else this.durable.truncate(change.size);
    }
    this.#changes = [];
  }

  /**
   * A sync failed: the kernel has dropped the dirty pages. They can still be read until it forgets them, but no later
   * sync will write them; lengths, being metadata, are kept.
   */
  loseChanges(): void {
    this.durable.truncate(this.current.size);
    this.#changes = [];
  }

  /**
   * The power is cut. Of the unsynced writes any part survives: whole, cut at any byte, single pages, nothing; in any
   * order. Lengths follow the order in which they were changed, up to any of them, independent of the data.
   */
  cut(random: Random): void {
    const sizeChanges = this.#changes.length === 0 ? 0 : random.between(0, this.#changes.length);
    const mood = random.below(4);
    const after = this.durable;
    let size = after.size;
    for (const [index, change] of this.#changes.entries()) {
      const keepsSize = index < sizeChanges;
      if (change.kind === "truncate") {
        if (!keepsSize) continue;
        after.truncate(change.size);
        size = change.size;
        continue;
      }
      if (keepsSize) size = Math.max(size, change.position + change.bytes.length);
      // Moods: nothing in most places, everything in most places, or as it comes.
      const percent = mood === 0 ? 10 : mood === 1 ? 90 : 50;
      writePieces(after, change.position, change.bytes, percent, random);
    }
    after.truncate(size);
    this.current = after.copy();
    this.#changes = [];
  }

  /** The process died, the machine did not: everything written is kept, synced or not. */
  forget(): void {
    this.openCount = 0;
  }
}

/** Writes the pages of one change, each of them wholly, up to some byte, from some byte on, or not at all. */
function writePieces(
  into: SparseBytes,
  position: number,
  bytes: Buffer,
  percent: number,
  random: Random,
): void {
  for (let done = 0; done < bytes.length; ) {
    const run = Math.min(bytes.length - done, PAGE - ((position + done) % PAGE));
    if (random.chance(percent)) {
      let from = 0;
      let to = run;
      if (random.chance(20)) to = random.between(0, run);
      else if (random.chance(10)) from = random.between(0, run);
      into.write(bytes.subarray(done + from, done + to), position + done + from, false);
    }
    done += run;
  }
}
