import test from "ava";
import { Pacer } from "../../src/broker/pacer.ts";
import { Turn } from "../../src/util/turn.ts";

/** A sender and a loop on a clock of our own: how many messages a ms arrive depends on whether the loop sleeps. */
function rig() {
  let now = 0;
  let slept = 0;
  const due: Array<() => void> = [];
  const turn = new Turn({
    now: () => now,
    uptime: () => now,
    soon: (task) => void due.push(task),
    after: () => 0,
    cancel: () => {},
  });
  const pacer = new Pacer(
    turn,
    {
      sleep: (ms) => {
        slept += ms;
        now += ms;
      },
    },
    () => now,
  );
  let appended = 0;
  return {
    pacer,
    get slept() {
      return slept;
    },
    get now() {
      return now;
    },
    /** One turn with `messages` of `bytes` each, after `ms` without. */
    turn(messages: number, bytes: number, ms: number): void {
      now += ms;
      pacer.messages += messages;
      appended += messages * bytes;
      pacer.onPublish(appended);
      for (const task of due.splice(0)) task();
    },
  };
}

test("thousands of small turns a second: the loop lingers, and says so by sleeping", (t) => {
  const it = rig();
  let last = 0;
  // Ten messages a ms whatever we do: those of the time slept come together.
  while (it.now < 500) {
    const count = Math.max(1, Math.round((it.now - last) * 10));
    last = it.now;
    it.turn(count, 1200, 0.1);
  }
  t.true(it.pacer.isLingering);
  t.true(it.slept > 250, `slept ${it.slept} ms of 500`);
});

test("a sender that waits for its confirms ends the lingering, for longer each time", (t) => {
  const it = rig();
  const sleptUntil = (end: number): number => {
    const before = it.slept;
    while (it.now < end) it.turn(1, 1200, 0.2);
    return it.slept - before;
  };
  const first = sleptUntil(1000);
  t.true(first > 0, "it was tried");
  t.true(first < 100, `slept ${first} ms of 1000`);
  const later = sleptUntil(20_000);
  t.true(later < 19_000 * 0.02, `slept ${later} ms of 19,000`);
});

test("a hitch that the next messages make up for does not end the lingering; lasting loss does", (t) => {
  const it = rig();
  /** `rate` a ms whatever we do: those of the time slept come together. Those of a hitch come after it. */
  const run = (end: number, rate: number, hitches: boolean): void => {
    let owed = 0;
    while (it.now < end) {
      const before = it.now;
      const at = it.now % 100;
      const isHeld = hitches && at >= 40 && at < 46;
      const count = isHeld ? 0 : Math.max(1, Math.round(owed));
      it.turn(count, 1200, 0.1);
      owed += (it.now - before) * rate - count;
    }
  };
  run(200, 10, false);
  t.true(it.pacer.isLingering);
  const before = it.slept;
  run(10_200, 10, true);
  t.true(it.slept - before > 6500, `slept ${it.slept - before} ms of 10,000`);
  run(10_300, 8, false);
  t.false(it.pacer.isLingering);
});

test("few turns, or large ones, are not slowed down", (t) => {
  const few = rig();
  while (few.now < 1000) few.turn(1, 1200, 1);
  t.is(few.slept, 0);
  const large = rig();
  while (large.now < 1000) large.turn(60, 1200, 0.2);
  t.is(large.slept, 0);
});

test("a large turn is not followed by a sleep while the loop lingers", (t) => {
  const it = rig();
  while (!it.pacer.isLingering) it.turn(1, 1200, 0.1);
  it.turn(1, 1200, 0.1);
  const before = it.slept;
  t.true(before > 0);
  it.turn(100, 1200, 0.1);
  t.is(it.slept, before);
});
