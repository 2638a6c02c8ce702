import test from "ava";
import fc from "fast-check";
import { AckState, STATE } from "../../src/broker/ack-state.ts";

/** The same, kept the simplest way. */
class Naive {
  readonly states = new Map<number, number>();
  low: number;
  constructor(low: number) {
    this.low = low;
  }
  of(offset: number): number {
    return offset < this.low ? STATE.SETTLED : (this.states.get(offset) ?? STATE.READY);
  }
  mark(from: number, count: number, state: number): void {
    for (let offset = from; offset < from + count; offset++) {
      if (offset >= this.low) this.states.set(offset, state);
    }
    while (this.states.get(this.low) === STATE.SETTLED) this.states.delete(this.low++);
  }
}

const END = 20_000;
const VERBS = ["acquire", "unacquire", "release", "settle", "park"] as const;
const STATE_OF = {
  acquire: STATE.ACQUIRED,
  unacquire: STATE.READY,
  release: STATE.READY_AGAIN,
  settle: STATE.SETTLED,
  park: STATE.PARKED,
} as const;

test("every sequence of acquire, release, park and settle gives the states a plain map gives", (t) => {
  const step = fc.record({
    verb: fc.constantFrom(...VERBS, "settleBelow" as const),
    at: fc.nat(9000),
    count: fc.integer({ min: 1, max: 5000 }),
  });
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.nat(5000), fc.array(step, { maxLength: 25 }), (low, steps) => {
        const real = new AckState(low);
        const naive = new Naive(low);
        for (const { verb, at, count } of steps) {
          const from = Math.max(at, naive.low);
          if (from + count > END) continue;
          if (verb === "settleBelow") {
            real.settleBelow(at);
            naive.mark(naive.low, Math.max(0, at - naive.low), STATE.SETTLED);
          } else {
            real[verb](from, count);
            naive.mark(from, count, STATE_OF[verb]);
          }
          if (real.low !== naive.low) return false;
        }
        let held = 0;
        let settled = 0;
        for (let offset = low; offset < END; offset++) {
          const state = naive.of(offset);
          if (real.stateOf(offset) !== state) return false;
          if (state === STATE.ACQUIRED || state === STATE.PARKED) held++;
          if (state === STATE.SETTLED && offset >= naive.low) settled++;
        }
        if (real.heldCount !== held) return false;
        if (real.backlog(END) !== END - naive.low - settled) return false;
        const runs: number[] = [];
        real.forEachSettledRun((from, count) => {
          for (let i = 0; i < count; i++) runs.push(from + i);
        });
        return (
          runs.length === settled && runs.every((offset) => naive.of(offset) === STATE.SETTLED)
        );
      }),
      { numRuns: 150 },
    ),
  );
});

test("findReady gives the lowest ready offset, released ones before fresh ones", (t) => {
  const state = new AckState(100);
  state.acquire(100, 5000);
  t.is(state.findReady(100, 10_000), 5100);
  state.release(4300, 2);
  t.is(state.findReady(100, 10_000), 4300);
  t.is(state.readyRun(4300, 100), 2);
  state.settle(100, 4200);
  t.is(state.low, 4300);
  t.is(state.findReady(0, 4300), 4300, "an empty range gives its end");
});

test("an idle group holds no pages: its low-water mark follows what is settled", (t) => {
  const state = new AckState(0);
  for (let at = 0; at < 100_000; at += 100) {
    state.acquire(at, 100);
    t.true(state.settle(at, 100));
  }
  t.is(state.low, 100_000);
  t.is(state.frontier, 100_000);
  t.is(state.heldCount, 0);
});

test("progress beyond the log's end is cut: what lies there never happened", (t) => {
  const state = new AckState(0);
  state.settle(0, 10);
  state.settle(20, 10);
  const clamped = state.clampedTo(25);
  t.is(clamped.low, 10);
  t.is(clamped.stateOf(24), STATE.SETTLED);
  t.is(clamped.stateOf(25), STATE.READY);
  t.is(clamped.clampedTo(5).low, 5);
});

test("behind an offset that is never settled, settled ones cost no memory, whatever their number", (t) => {
  const state = new AckState(0);
  const end = 100_000;
  state.acquire(0, 3);
  for (let at = 3; at < end; at += 7) state.settle(at, Math.min(7, end - at));
  t.true(state.ownBytes <= 2 * 4096, `${state.ownBytes}`);
  t.is(state.backlog(end + 5), 8);
  t.is(state.findReady(0, end + 5), end);
  const runs: number[][] = [];
  state.forEachSettledRun((from, count) => runs.push([from, count]));
  t.deepEqual(runs, [[3, end - 3]]);
  // Settled twice is settled once.
  state.settle(50_000, 10);
  t.is(state.backlog(end), 3);
  // Back to the beginning: nothing is left of it, and pages that others get are clean.
  state.release(0, 3);
  state.settle(0, 3);
  t.is(state.low, end);
  t.is(state.ownBytes, 0);
  const other = new AckState(0);
  other.acquire(1, 1);
  t.is(other.findReady(0, 10), 0);
  t.is(other.readyRun(2, 8), 8);
  t.is(other.backlog(10), 10);
});

/** The same as an array, over so many offsets that most pages are packed. */
const MANY = 60 * 4096;

/** What the real one says otherwise than a plain list of states; empty when it does not. */
function differenceOf(real: AckState, states: Uint8Array): string {
  for (let offset = 0; offset < MANY; offset++) {
    const wanted = states[offset]!;
    const found = real.stateOf(offset);
    if (found !== wanted) return `${offset} is ${found}, not ${wanted}`;
  }
  const owed = new Uint8Array(MANY);
  real.markOwed(0, MANY, owed);
  const settled = new Uint8Array(MANY);
  real.forEachSettledRun((from, count) => settled.fill(1, from, from + count));
  let low = 0;
  while (states[low] === STATE.SETTLED) low++;
  if (low !== real.low) return `low is ${real.low}, not ${low}`;
  let held = 0;
  let settledCount = 0;
  for (let offset = 0; offset < MANY; offset++) {
    const state = states[offset];
    if (state === STATE.ACQUIRED || state === STATE.PARKED) held++;
    if (state === STATE.SETTLED) settledCount++;
    if ((owed[offset] === 1) !== (state !== STATE.SETTLED)) return `${offset} owed`;
    if (offset >= low && (settled[offset] === 1) !== (state === STATE.SETTLED)) {
      return `${offset} in a run`;
    }
  }
  if (real.heldCount !== held) return `${real.heldCount} held, not ${held}`;
  if (real.backlog(MANY) !== MANY - settledCount) return "backlog";
  for (let from = 0; from < MANY; from += 1777) {
    const isReady = (one?: number): boolean => one === STATE.READY || one === STATE.READY_AGAIN;
    let at = from;
    while (at < MANY && !isReady(states[at])) at++;
    const found = real.findReady(from, MANY);
    if (found !== at) return `ready at ${found}, not ${at}`;
    let end = at;
    while (end < MANY && end - at < 9000 && isReady(states[end])) end++;
    const most = Math.min(9000, MANY - at);
    if (at < MANY && real.readyRun(at, most) !== end - at) return `run at ${at}`;
  }
  return "";
}

test("packed pages keep every state, also of what was released, whoever looks or changes it", (t) => {
  const step = fc.record({
    verb: fc.constantFrom(...VERBS),
    at: fc.nat(MANY - 1),
    count: fc.integer({ min: 1, max: 9000 }),
    /** Every so many of them: pages with all kinds of states. */
    every: fc.constantFrom(1, 2, 3, 7),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
      const real = new AckState(0);
      const states = new Uint8Array(MANY);
      // A random half of everything: every page is touched, most are packed by the end.
      for (let at = 0; at < MANY; at += 64) {
        real.acquire(at, 64);
        for (let i = at; i < at + 64; i++) {
          if (((i * 2654435761) >>> 7) & 1) real.release(i, 1);
          else real.settle(i, 1);
          states[i] = ((i * 2654435761) >>> 7) & 1 ? STATE.READY_AGAIN : STATE.SETTLED;
        }
      }
      for (const { verb, at, count, every } of steps) {
        for (let i = at; i < Math.min(at + count, MANY); i += every) {
          if (i < real.low) continue;
          real[verb](i, 1);
          states[i] = STATE_OF[verb];
        }
      }
      t.is(differenceOf(real, states), "", "what differs");
    }),
    { numRuns: 12 },
  );
});

test("rows of offsets are gathered, taken and settled as each of them by itself", (t) => {
  const step = fc.record({
    at: fc.nat(MANY - 1),
    max: fc.integer({ min: 1, max: 400 }),
    /** The first so many that were gathered are taken, every so many of those settled. */
    taken: fc.integer({ min: 1, max: 400 }),
    every: fc.constantFrom(1, 1, 2, 5),
    isReleased: fc.boolean(),
  });
  const isReady = (one?: number): boolean => one === STATE.READY || one === STATE.READY_AGAIN;
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), fc.nat(5), (steps, sparse) => {
      const real = new AckState(0);
      const states = new Uint8Array(MANY);
      // Half, a quarter … is left of the first pages, none of those after them, all of the rest.
      for (let at = 0; at < 30 * 4096; at++) {
        const isLeft = at < 20 * 4096 && Math.imul(at + 1, 0x9e3779b1) >>> (31 - sparse) === 0;
        if (isLeft) continue;
        real.settle(at, 1);
        states[at] = STATE.SETTLED;
      }
      const row = new Float64Array(400);
      for (const { at, max, taken, every, isReleased } of steps) {
        const end = Math.min(MANY, at + 70_000);
        for (const isOwed of [true, false]) {
          const wanted: number[] = [];
          for (let i = Math.max(at, real.low); i < end && wanted.length < max; i++) {
            if (isOwed ? states[i] !== STATE.SETTLED : isReady(states[i])) wanted.push(i);
          }
          const found = isOwed
            ? real.gatherOwed(at, end, max, row)
            : real.gatherReady(at, end, max, row);
          t.deepEqual([...row.subarray(0, found)], wanted);
        }
        const count = Math.min(taken, real.gatherReady(at, end, max, row));
        if (count === 0) continue;
        real.acquireRow(row, count);
        for (let i = 0; i < count; i++) states[row[i]!] = STATE.ACQUIRED;
        if (isReleased) {
          real.release(row[0]!, 1);
          states[row[0]!] = STATE.READY_AGAIN;
        }
        const chosen = row.slice(0, count).filter((_, i) => i % every === 0);
        for (const offset of chosen) states[offset] = STATE.SETTLED;
        const before = real.low;
        const isMoved = real.settleRow(Float64Array.of(-1, ...chosen), 1, chosen.length);
        t.is(isMoved, real.low > before);
      }
      t.is(differenceOf(real, states), "", "what differs");
    }),
    { numRuns: 12 },
  );
});

test("half of a million settled at random costs a quarter of a byte for each", (t) => {
  const end = 1_000_000;
  const state = new AckState(0);
  const isHeads = (at: number): boolean => ((Math.imul(at, 0x9e3779b1) >>> 13) & 1) === 1;
  for (let at = 0; at < end; at++) {
    if (!isHeads(at)) continue;
    state.acquire(at, 1);
    state.settle(at, 1);
  }
  t.true(state.ownBytes <= end / 4 + 34 * 4096, `${state.ownBytes}`);
  // The rest is there, in its place, and nothing is left when it is settled as well.
  let owed = 0;
  for (let at = state.findReady(0, end); at < end; at = state.findReady(at, end)) {
    const count = state.readyRun(at, end - at);
    for (let i = 0; i < count; i++) t.false(isHeads(at + i) && at + i < end, "comes twice");
    state.acquire(at, count);
    owed += count;
    state.settle(at, count);
  }
  t.is(owed, Array.from({ length: end }, (_, at) => at).filter((at) => !isHeads(at)).length);
  t.is(state.backlog(end), 0);
  t.is(state.ownBytes, 0);
});

test("pages of which something is held stay as they are, however many", (t) => {
  const state = new AckState(0);
  for (let page = 0; page < 200; page++) {
    state.acquire(page * 4096 + 5, 1);
    state.settle(page * 4096 + 9, 1);
  }
  t.is(state.ownBytes, 200 * 4096);
  for (let page = 0; page < 200; page++) state.settle(page * 4096 + 5, 1);
  // The next that are opened make up for it.
  for (let page = 200; page < 400; page++) state.settle(page * 4096 + 9, 1);
  t.true(state.ownBytes <= 400 * 1024 + 33 * 4096, `${state.ownBytes}`);
});
