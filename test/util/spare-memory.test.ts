import test from "ava";
import { ownSpareMemory, SpareMemory } from "../../src/util/spare-memory.ts";

const MIB = 1 << 20;

function machine() {
  const state = { resident: 80 * MIB, busy: 0, now: 0, trims: 0, spare: 0 };
  const memory = new SpareMemory({
    resident: () => state.resident,
    utilization: () => state.busy,
    now: () => state.now,
    trim: () => {
      state.trims++;
      state.resident -= state.spare;
      state.spare = 0;
    },
  });
  const seconds = (count: number): void => {
    for (let i = 0; i < count; i++) {
      state.now += 1000;
      memory.tick();
    }
  };
  return { state, seconds };
}

test("what a burst has left is given back in the next quiet moment, once", (t) => {
  const { state, seconds } = machine();
  seconds(10);
  t.is(state.trims, 1, "what the start has left");
  state.resident = 120 * MIB;
  state.spare = 35 * MIB;
  state.busy = 0.9;
  seconds(20);
  t.is(state.trims, 1);
  state.busy = 0.05;
  seconds(11);
  t.is(state.trims, 2);
  t.is(state.resident, 85 * MIB);
  seconds(60);
  t.is(state.trims, 2);
});

test("what the start has left goes soon, also where there is work at once", (t) => {
  const { state, seconds } = machine();
  state.busy = 1;
  seconds(1);
  t.is(state.trims, 0);
  seconds(1);
  t.is(state.trims, 1);
  seconds(60);
  t.is(state.trims, 1);
});

test("under load it is given back when there is much of it, and not more than twice a minute", (t) => {
  const { state, seconds } = machine();
  state.busy = 1;
  for (let i = 0; i < 60; i++) {
    state.resident += 30 * MIB;
    state.spare += 30 * MIB;
    seconds(1);
  }
  t.is(state.trims, 2);
});

test("memory that is in use does not make it try again and again", (t) => {
  const { state, seconds } = machine();
  state.resident = 500 * MIB;
  seconds(100);
  t.is(state.trims, 1);
});

test("this process's own memory is looked at without harm", (t) => {
  const memory = ownSpareMemory();
  t.notThrows(() => memory.tick());
});
