/**
 * Which offsets of one ConsumeQueue a group has acquired and settled: the group's progress, kept as one byte per
 * offset between the low-water mark and the furthest offset ever touched, or two bits where nothing happens
 * (state-pages.ts).
 *
 *   settled … settled | low … mixed … | frontier … never touched (ready) …
 *
 * - Below `low` everything is settled. From `frontier` on nothing was ever marked. Between them a page per 4,096 offsets.
 * - A released offset simply becomes ready again in its place: `findReady` is told to look from there, so redelivery keeps
 *   the original order and costs no memory, whatever the number.
 * - What is taken and settled in order needs no bytes: where there are no pages, all from `low` to `frontier` is acquired.
 * - Ranges are filled and searched natively (fill, indexOf): a batch costs a few hundred nanoseconds, not per message.
 * - A row is a list of ascending offsets with gaps between them: what is left of a queue of which a random half is settled.
 *   It is gathered, acquired and settled in one pass over its pages.
 */
import assert from "node:assert/strict";
import { fillFrom, maskOf } from "./settled-mask.ts";
import { PAGE_MASK, PAGE_SIZE, STATE, StatePages } from "./state-pages.ts";

export { STATE };

const scratch = new Uint8Array(PAGE_SIZE);
/** By state: does a row have it? */
const IS_READY = tableOf(STATE.READY, STATE.READY_AGAIN);
const IS_OWED = tableOf(STATE.READY, STATE.READY_AGAIN, STATE.ACQUIRED, STATE.PARKED);
/** So many offsets in a row that do not count: the next one that does is searched for natively. */
const LEAP = 64;

export class AckState {
  /** Everything below is settled. */
  low: number;
  /** Nothing at or above was ever marked. */
  frontier: number;
  /** Most groups are idle: they have none. */
  #pages: StatePages | null = null;
  /** Offsets in READY_AGAIN. */
  #again = 0;
  /** Offsets in ACQUIRED or PARKED. */
  #held = 0;
  /** Offsets settled above `low`. */
  #settledAbove = 0;

  constructor(low: number) {
    this.low = low;
    this.frontier = low;
  }

  get heldCount(): number {
    return this.#held;
  }

  /** Offsets owed by this group, given the queue's end. */
  backlog(maxOffset: number): number {
    return maxOffset - this.low - this.#settledAbove;
  }

  stateOf(offset: number): number {
    if (offset < this.low) return STATE.SETTLED;
    if (offset >= this.frontier) return STATE.READY;
    return this.#pages === null ? STATE.ACQUIRED : this.#pages.stateOf(offset);
  }

  /** First ready offset at or after `from` and below `end`; `end` when there is none. */
  findReady(from: number, end: number): number {
    const pages = this.#pages;
    let at = Math.max(from, pages === null ? this.frontier : this.low);
    while (at < end) {
      if (at >= this.frontier) return at;
      const number = Math.floor(at / PAGE_SIZE);
      const page = pages!.get(number);
      if (page === undefined) return at;
      const index = at & PAGE_MASK;
      let found = page.indexOf(STATE.READY, index);
      if (this.#again > 0) {
        const again = page.indexOf(STATE.READY_AGAIN, index);
        if (again >= 0 && (found < 0 || again < found)) found = again;
      }
      if (found >= 0) return Math.min(number * PAGE_SIZE + found, end);
      at = (number + 1) * PAGE_SIZE;
    }
    return end;
  }

  /** How many offsets from `from` on are ready in one run, at most `max`. `from` is ready. */
  readyRun(from: number, max: number): number {
    if (from >= this.frontier) return max;
    let count = 0;
    while (count < max) {
      const offset = from + count;
      if (offset >= this.frontier) return max;
      const page = this.#pages?.get(Math.floor(offset / PAGE_SIZE));
      let index = offset & PAGE_MASK;
      if (page === undefined) {
        count += Math.min(PAGE_SIZE - index, max - count);
        continue;
      }
      for (; index < PAGE_SIZE && count < max; index++, count++) {
        const state = page[index]!;
        if (state !== STATE.READY && state !== STATE.READY_AGAIN) return count;
      }
    }
    return count;
  }

  /** Writes the first ready offsets from `from` on and below `end` to `into`, at most `max`; returns how many. */
  gatherReady(from: number, end: number, max: number, into: Float64Array): number {
    return this.#gather(
      this.#pages === null ? this.frontier : from,
      from,
      end,
      max,
      into,
      IS_READY,
    );
  }

  /** The same of all that is not settled. */
  gatherOwed(from: number, end: number, max: number, into: Float64Array): number {
    return this.#gather(this.low, from, end, max, into, IS_OWED);
  }

  #gather(
    first: number,
    from: number,
    end: number,
    max: number,
    into: Float64Array,
    counts: Uint8Array,
  ): number {
    const pages = this.#pages;
    let count = 0;
    let at = Math.max(first, from, this.low);
    while (at < end && count < max) {
      const number = Math.floor(at / PAGE_SIZE);
      const base = number * PAGE_SIZE;
      const isBeyond = at >= this.frontier;
      const page = isBeyond ? undefined : pages?.get(number);
      if (page === undefined) {
        const stop = Math.min(
          isBeyond || pages === null ? end : base + PAGE_SIZE,
          at + max - count,
        );
        for (const last = Math.min(stop, end); at < last; at++) into[count++] = at;
        continue;
      }
      if (pages!.isAllSettled(page)) {
        at = base + PAGE_SIZE;
        continue;
      }
      const stop = Math.min(PAGE_SIZE, end - base);
      let index = at & PAGE_MASK;
      while (index < stop && count < max) {
        const before = count;
        const pause = Math.min(index + LEAP, stop);
        // Without a branch: which of them are settled nobody can guess.
        for (; index < pause && count < max; index++) {
          into[count] = base + index;
          count += counts[page[index]!]!;
        }
        if (count === before && counts === IS_READY) index = this.#readyIn(page, index, stop);
      }
      at = base + index;
    }
    return count;
  }

  /** The first ready offset of a page from `index` on; `stop` when there is none before. */
  #readyIn(page: Uint8Array, index: number, stop: number): number {
    const ready = page.indexOf(STATE.READY, index);
    const found = ready < 0 ? stop : Math.min(ready, stop);
    if (this.#again === 0) return found;
    const again = page.indexOf(STATE.READY_AGAIN, index);
    return again < 0 ? found : Math.min(again, found);
  }

  /** Marks a ready run as held by somebody. */
  acquire(from: number, count: number): void {
    this.#mark(from, count, STATE.ACQUIRED);
  }

  /** The same for the first `count` of these. */
  acquireRow(offsets: Float64Array, count: number): void {
    const first = offsets[0]!;
    if (offsets[count - 1]! - first === count - 1) this.#mark(first, count, STATE.ACQUIRED);
    else this.#markRow(offsets, 0, count, STATE.ACQUIRED);
  }

  park(from: number, count: number): void {
    this.#mark(from, count, STATE.PARKED);
  }

  /** Ready again, in place. */
  release(from: number, count: number): void {
    this.#mark(from, count, STATE.READY_AGAIN);
  }

  /** Ready as if never delivered (a run that the consumer could not take after all). */
  unacquire(from: number, count: number): void {
    this.#mark(from, count, STATE.READY);
  }

  /** Settles a run, whatever its state was; true when `low` moved. */
  settle(from: number, count: number): boolean {
    if (from + count <= this.low) return false;
    if (from < this.low) {
      count -= this.low - from;
      from = this.low;
    }
    if (this.#pages === null && from === this.low && from + count <= this.frontier) {
      this.low += count;
      this.#held -= count;
      return true;
    }
    this.#mark(from, count, STATE.SETTLED);
    if (from !== this.low) {
      this.#compact(from, from + count);
      return false;
    }
    this.#advance(from + count);
    return true;
  }

  /** Settles a row, none of it below `low`; true when `low` moved. */
  settleRow(offsets: Float64Array, at: number, count: number): boolean {
    const from = offsets[at]!;
    const end = offsets[at + count - 1]! + 1;
    const isFirst = from === this.low;
    this.#markRow(offsets, at, count, STATE.SETTLED);
    if (isFirst) this.#advance(from + 1);
    this.#compact(Math.max(from, this.low), end);
    return isFirst;
  }

  /** Are the offsets of `[from, end)` settled, all of them? */
  isSettled(from: number, end: number): boolean {
    for (let at = Math.max(from, this.low); at < end; at++) {
      if (this.stateOf(at) !== STATE.SETTLED) return false;
    }
    return true;
  }

  /** Gives back the pages that a run of settlements has come to the end of, and that are all settled by now. */
  #compact(from: number, end: number): void {
    const stop = Math.floor(end / PAGE_SIZE);
    for (let number = Math.floor(from / PAGE_SIZE); number < stop; number++) {
      if (number * PAGE_SIZE >= this.low) this.#pages?.closeIfSettled(number);
    }
  }

  /** Bytes of pages, for tests. */
  get ownBytes(): number {
    return this.#pages?.ownBytes ?? 0;
  }

  /** Skips to `offset`: all before it is settled. Used by recovery, purge and trim. */
  settleBelow(offset: number): void {
    if (offset <= this.low) return;
    for (let at = this.low; at < Math.min(offset, this.frontier); ) {
      const end = Math.min((Math.floor(at / PAGE_SIZE) + 1) * PAGE_SIZE, offset, this.frontier);
      this.#mark(at, end - at, STATE.SETTLED);
      at = end;
    }
    if (this.frontier < offset) {
      this.#settledAbove += offset - Math.max(this.low, this.frontier);
      this.frontier = offset;
    }
    this.#advance(offset);
  }

  /** Sets `into[i]` to 1 for each of the offsets from `from` on that is not settled. */
  markOwed(from: number, count: number, into: Uint8Array): void {
    const end = from + count;
    let at = Math.max(from, this.low);
    if (count === 1 && at < end) {
      if (this.stateOf(at) !== STATE.SETTLED) into[0] = 1;
      return;
    }
    while (at < end) {
      const number = Math.floor(at / PAGE_SIZE);
      const stop = Math.min(end, (number + 1) * PAGE_SIZE);
      const page = at < this.frontier ? this.#pages?.peek(number) : undefined;
      if (page === undefined) {
        into.fill(1, at - from, stop - from);
        at = stop;
        continue;
      }
      const base = number * PAGE_SIZE;
      for (; at < stop; at++) {
        if (at >= this.frontier || page[at - base] !== STATE.SETTLED) into[at - from] = 1;
      }
    }
  }

  /** Calls back with each settled run above `low`, in order. */
  forEachSettledRun(callback: (from: number, count: number) => void): void {
    if (this.#settledAbove === 0) return;
    let runStart = -1;
    for (let at = this.low; at < this.frontier; ) {
      const number = Math.floor(at / PAGE_SIZE);
      const page = this.#pages?.peek(number);
      const end = Math.min((number + 1) * PAGE_SIZE, this.frontier);
      for (; at < end; at++) {
        const isSettled = page !== undefined && page[at & PAGE_MASK] === STATE.SETTLED;
        if (isSettled && runStart < 0) runStart = at;
        else if (!isSettled && runStart >= 0) {
          callback(runStart, at - runStart);
          runStart = -1;
        }
      }
    }
    if (runStart >= 0) callback(runStart, this.frontier - runStart);
  }

  /** The page that `low` lies in, and the one behind the last that has anything settled, or held. */
  get firstPage(): number {
    return Math.floor(this.low / PAGE_SIZE);
  }
  get endPage(): number {
    return this.#settledAbove === 0 ? this.firstPage : Math.ceil(this.frontier / PAGE_SIZE);
  }

  /**
   * Says of one page what is settled of it at `low` and above: a bit each in `into`, the first offset in the lowest of the
   * first byte. Returns how many runs that makes, or -1 for all of the page.
   */
  settledMask(number: number, into: Uint8Array): number {
    const page = this.#pages?.peek(number);
    if (page === undefined) return 0;
    const base = number * PAGE_SIZE;
    if (this.low <= base && this.#pages!.isAllSettled(page)) return -1;
    const start = Math.max(0, this.low - base);
    const end = Math.min(PAGE_SIZE, this.frontier - base);
    if (start > 0 || end < PAGE_SIZE) {
      scratch.fill(STATE.READY);
      if (start < end) scratch.set(page.subarray(start, end), start);
      return maskOf(scratch, into);
    }
    return maskOf(page, into);
  }

  /** Settles what such a mask says, which begins at `mask[at]`. */
  settleMask(number: number, mask: Uint8Array, at: number): void {
    const base = number * PAGE_SIZE;
    if (base + PAGE_SIZE <= this.low) return;
    if (this.#pages === null) this.#writeOut();
    const pages = this.#pages!;
    const isNew = this.frontier <= base && pages.get(number) === undefined;
    const page = pages.getOrAdd(number);
    if (pages.isAllSettled(page)) return;
    if (isNew && this.low <= base) {
      this.#settledAbove += fillFrom(page, mask, at);
    } else {
      for (let i = Math.max(0, this.low - base); i < PAGE_SIZE; i++) {
        if ((mask[at + (i >>> 3)]! & (1 << (i & 7))) === 0) continue;
        if (base + i < this.frontier) this.#uncount(page, base, i, i + 1);
        page[i] = STATE.SETTLED;
        this.#settledAbove++;
      }
    }
    const last = page.lastIndexOf(STATE.SETTLED);
    if (this.frontier < base + last + 1) this.frontier = base + last + 1;
    if (this.stateOf(this.low) === STATE.SETTLED) this.#advance(this.low);
  }

  /** The same progress over a log that ends at `maxOffset`: what lies beyond never happened. */
  clampedTo(maxOffset: number): AckState {
    if (this.frontier <= maxOffset) return this;
    const clamped = new AckState(Math.min(this.low, maxOffset));
    this.forEachSettledRun((from, count) => {
      if (from < maxOffset) clamped.settle(from, Math.min(count, maxOffset - from));
    });
    this.clear();
    return clamped;
  }

  /** Gives all pages back. */
  clear(): void {
    this.#pages?.clear();
    this.#pages = null;
  }

  #mark(from: number, count: number, state: number): void {
    assert(from >= this.low && count > 0, "ack state: mark below the low-water mark");
    const end = from + count;
    if (this.#pages === null) {
      if (state === STATE.ACQUIRED && from === this.frontier) {
        this.frontier = end;
        this.#held += count;
        return;
      }
      this.#writeOut();
    }
    const pages = this.#pages!;
    for (let at = from; at < end; ) {
      const number = Math.floor(at / PAGE_SIZE);
      let page = pages.getOrAdd(number);
      const isAllSettled = pages.isAllSettled(page);
      if (isAllSettled && state !== STATE.SETTLED) page = pages.reopen(number);
      const index = at & PAGE_MASK;
      const stop = Math.min(PAGE_SIZE, index + (end - at));
      const base = number * PAGE_SIZE;
      this.#uncount(page, base, index, stop);
      if (isAllSettled && state === STATE.SETTLED) {
        // It says so already.
      } else if (stop - index === 1) page[index] = state;
      else page.fill(state, index, stop);
      at = base + stop;
    }
    if (state === STATE.ACQUIRED || state === STATE.PARKED) this.#held += count;
    else if (state === STATE.READY_AGAIN) this.#again += count;
    else if (state === STATE.SETTLED) this.#settledAbove += count;
    if (this.frontier < end) this.frontier = end;
  }

  #markRow(
    offsets: Float64Array,
    at: number,
    count: number,
    state: typeof STATE.ACQUIRED | typeof STATE.SETTLED,
  ): void {
    assert(offsets[at]! >= this.low && count > 0, "ack state: row below the low-water mark");
    if (this.#pages === null) this.#writeOut();
    const pages = this.#pages!;
    const end = at + count;
    let held = 0;
    let again = 0;
    let settled = 0;
    for (let i = at; i < end; ) {
      const number = Math.floor(offsets[i]! / PAGE_SIZE);
      const base = number * PAGE_SIZE;
      const stop = base + PAGE_SIZE;
      let page = pages.getOrAdd(number);
      if (pages.isAllSettled(page)) {
        if (state === STATE.SETTLED) {
          for (; i < end && offsets[i]! < stop; i++) settled--;
          continue;
        }
        page = pages.reopen(number);
      }
      for (; i < end && offsets[i]! < stop; i++) {
        const index = (offsets[i]! - base) | 0;
        const before = page[index]!;
        if (before === STATE.ACQUIRED || before === STATE.PARKED) held--;
        else if (before === STATE.READY_AGAIN) again--;
        else if (before === STATE.SETTLED) settled--;
        page[index] = state;
      }
    }
    if (state === STATE.ACQUIRED) held += count;
    else settled += count;
    this.#held += held;
    this.#again += again;
    this.#settledAbove += settled;
    const last = offsets[end - 1]!;
    if (this.frontier <= last) this.frontier = last + 1;
  }

  /** What was acquired in order gets its bytes. */
  #writeOut(): void {
    const pages = new StatePages();
    this.#pages = pages;
    for (let at = this.low; at < this.frontier; ) {
      const number = Math.floor(at / PAGE_SIZE);
      const stop = Math.min((number + 1) * PAGE_SIZE, this.frontier);
      const base = number * PAGE_SIZE;
      pages.getOrAdd(number).fill(STATE.ACQUIRED, at - base, stop - base);
      at = stop;
    }
  }

  /** Takes the old states of a slice out of the counters. */
  #uncount(page: Uint8Array, base: number, index: number, stop: number): void {
    let held = 0;
    let again = 0;
    let settled = 0;
    const known = Math.min(stop, this.frontier - base);
    for (let i = index; i < known; i++) {
      const state = page[i]!;
      if (state === STATE.ACQUIRED || state === STATE.PARKED) held++;
      else if (state === STATE.READY_AGAIN) again++;
      else if (state === STATE.SETTLED) settled++;
    }
    this.#held -= held;
    this.#again -= again;
    this.#settledAbove -= settled;
  }

  /** `low` moves to `at` and over everything settled behind it; pages left behind are recycled. */
  #advance(at: number): void {
    const before = this.low;
    const pages = this.#pages;
    let low = at;
    while (low < this.frontier) {
      const page = pages?.get(Math.floor(low / PAGE_SIZE));
      if (page === undefined) break;
      let index = low & PAGE_MASK;
      const stop = Math.min(PAGE_SIZE, index + (this.frontier - low));
      const start = index;
      if (pages!.isAllSettled(page)) index = stop;
      while (index < stop && page[index] === STATE.SETTLED) index++;
      low += index - start;
      if (index < stop) break;
    }
    this.#settledAbove -= low - before;
    this.low = low;
    if (this.frontier < low) this.frontier = low;
    const lastPage = Math.floor(low / PAGE_SIZE);
    for (let number = Math.floor(before / PAGE_SIZE); number < lastPage; number++) {
      pages?.drop(number);
    }
    // Nothing outstanding: an idle group holds no page at all, and whatever is taken next begins anew.
    if (low === this.frontier) this.clear();
  }
}

function tableOf(...states: number[]): Uint8Array {
  const table = new Uint8Array(8);
  for (const state of states) table[state] = 1;
  return table;
}
