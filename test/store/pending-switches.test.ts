/** Entries that wait for their copies to be durable: in order, in columns that do not grow with what is moved. */
import test from "ava";
import { ConsumeQueue } from "../../src/store/consume-queue.ts";
import { MOST_SWITCHES, PendingSwitches } from "../../src/store/pending-switches.ts";

const queue = new ConsumeQueue("orders", 0, false, 1);
const addNumbered = (switches: PendingSwitches, number: number): void =>
  switches.add(queue, number, number * 2, number * 3, number % 1000, ~number);

test("entries come out as they were put in, the oldest first, wherever the ring begins", (t) => {
  const switches = new PendingSwitches();
  let added = 0;
  let taken = 0;
  // Several times around, and beyond the ring's end at once.
  for (const [add, take] of [
    [5000, 3000],
    [6000, 7999],
    [8000, 8000],
    [20_000, 100],
    [1, 19_902],
  ] as const) {
    for (let i = 0; i < add; i++) addNumbered(switches, added++);
    for (let i = 0; i < take; i++, taken++) {
      const { queue: of, offset, from, to, size, tagHash } = switches;
      if (i % 97 !== 0) {
        t.is(offset, taken);
      } else {
        t.deepEqual(
          [of, offset, from, to, size, tagHash],
          [queue, taken, taken * 2, taken * 3, taken % 1000, ~taken],
        );
      }
      switches.shift();
    }
    t.is(switches.length, added - taken);
  }
  t.is(switches.length, 0);
});

test("however much passes through, the columns stay as they are, and are full at their bound", (t) => {
  const switches = new PendingSwitches();
  t.is(switches.memory, 0);
  for (let i = 0; i < MOST_SWITCHES; i++) {
    t.false(switches.isFull);
    addNumbered(switches, i);
  }
  t.true(switches.isFull);
  const { memory } = switches;
  t.true(memory < 512 << 10, `${memory} bytes`);
  for (let i = 0; i < 100_000; i++) {
    switches.shift();
    addNumbered(switches, i);
  }
  t.is(switches.memory, memory);
  while (switches.length > 0) switches.shift();
  t.is(switches.memory, memory);
  switches.release();
  t.is(switches.memory, 0);
});

test("what one record needs beyond the bound is given back when all are taken", (t) => {
  const switches = new PendingSwitches();
  for (let i = 0; i < MOST_SWITCHES + 1; i++) addNumbered(switches, i);
  t.true(switches.memory > MOST_SWITCHES * 40);
  while (switches.length > 0) switches.shift();
  t.is(switches.memory, 0);
  addNumbered(switches, 1);
  t.is(switches.memory, MOST_SWITCHES * 40);
});
