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

test("every sequence of acquire, release, park and settle gives the states a plain map gives", (t) => {
  const step = fc.record({
    verb: fc.constantFrom("acquire", "release", "settle", "park", "settleBelow" as const),
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
            const state = {
              acquire: STATE.ACQUIRED,
              release: STATE.READY_AGAIN,
              settle: STATE.SETTLED,
              park: STATE.PARKED,
            }[verb];
            naive.mark(from, count, state);
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
