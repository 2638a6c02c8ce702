import test from "ava";
import { Pacer } from "../../src/broker/pacer.ts";
import { Turn } from "../../src/util/turn.ts";

/** A sender and a loop on a clock of our own: how many messages a ms arrive depends on whether the loop sleeps. */
function rig() {
  let now = 1000;
  let slept = 0;
  let handOvers = 0;
  let appended = 0;
  let delivered = 0;
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
    () => delivered,
    () => now,
  );
  return {
    pacer,
    get slept() {
      return slept;
    },
    get now() {
      return now - 1000;
    },
    /** Turns whose messages went to the store. */
    get handOvers() {
      return handOvers;
    },
    /** One turn with `messages` of `bytes` each, after `ms` without; as many were delivered as `out` says. */
    turn(messages: number, bytes: number, ms: number, out = messages): void {
      now += ms;
      pacer.messages += messages;
      delivered += out;
      appended += messages * bytes;
      if (!pacer.holdsBack(appended)) handOvers++;
      for (const task of due.splice(0)) task();
    },
  };
}

type Rig = ReturnType<typeof rig>;

/** `rate` messages a ms whatever the loop does: those of the time slept come together. None while held up. */
function stream(it: Rig, until: number, rate: number, isHeld = (_at: number) => false): void {
  let owed = 1;
  while (it.now < until) {
    const before = it.now;
    const wait = Math.max(0.1, (1 - owed) / rate);
    const count = isHeld(it.now) ? 0 : Math.floor(owed + wait * rate + 1e-9);
    it.turn(count, 1200, wait);
    owed += (it.now - before) * rate - count;
  }
}

test("thousands of small turns a second: the loop lingers, and says so by sleeping", (t) => {
  const it = rig();
  stream(it, 500, 10);
  t.true(it.pacer.isLingering);
  t.true(it.slept > 400, `slept ${it.slept} ms of 500`);
});

test("while the loop lingers every third turn is handed to the store, with those before it", (t) => {
  const it = rig();
  stream(it, 100, 10);
  t.true(it.pacer.isLingering);
  for (let at = it.handOvers; it.handOvers === at; ) it.turn(12, 1200, 0.1);
  const before = it.handOvers;
  for (let turns = 0; turns < 90; turns++) it.turn(12, 1200, 0.1);
  t.true(it.pacer.isLingering);
  t.is(it.handOvers - before, 30);
  // Whatever was held back goes with the next turn, also when that has nothing of its own.
  it.turn(12, 1200, 0.1);
  it.turn(0, 0, 0.1);
  t.is(it.handOvers - before, 31);
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

test("a sender that waits for its confirms is seen behind a stream that does not", (t) => {
  const it = rig();
  let owed = 0;
  let slept = 0;
  const end = 10_000;
  while (it.now < end) {
    const before = it.now;
    const count = 1 + Math.round(owed);
    it.turn(count, 1200, 0.15);
    owed += (it.now - before) * 4 - (count - 1);
    slept = it.slept;
  }
  t.true(slept < end * 0.1, `slept ${slept} ms of ${end}`);
});

test("a consumer that gets a few messages at a time ends the lingering as well", (t) => {
  const it = rig();
  let ready = 0;
  const end = 10_000;
  while (it.now < end) {
    const before = it.now;
    // Ten a ms come whatever happens; two a turn can go.
    const out = Math.min(ready, 2);
    const count = Math.max(1, Math.round((it.now - before) * 10));
    it.turn(count, 1200, 0.15, out);
    ready += Math.round((it.now - before) * 10) - out;
  }
  t.true(it.slept < end * 0.1, `slept ${it.slept} ms of ${end}`);
});

test("hitches of the machine do not end the lingering", (t) => {
  const it = rig();
  stream(it, 200, 10);
  t.true(it.pacer.isLingering);
  const before = it.slept;
  stream(it, 10_200, 10, (at) => at % 100 >= 40 && at % 100 < 46);
  t.true(it.slept - before > 8000, `slept ${it.slept - before} ms of 10,000`);
});

test("traffic that gets less by itself is looked at, and lingered for again", (t) => {
  const it = rig();
  stream(it, 1000, 10);
  t.true(it.pacer.isLingering);
  let looks = 0;
  for (let end = 1010; end <= 3000; end += 10) {
    stream(it, end, 6);
    if (!it.pacer.isLingering) looks++;
  }
  t.true(looks > 0 && looks < 20, `not lingering at ${looks} of 200 times`);
});

test("few turns, or large ones, are not slowed down", (t) => {
  const few = rig();
  while (few.now < 1000) few.turn(1, 1200, 1);
  t.is(few.slept, 0);
  const large = rig();
  while (large.now < 1000) large.turn(60, 1200, 0.2);
  t.is(large.slept, 0);
});

test("a large turn is neither followed by a sleep nor held back while the loop lingers", (t) => {
  const it = rig();
  stream(it, 100, 10);
  t.true(it.pacer.isLingering);
  const { slept, handOvers } = it;
  it.turn(100, 1200, 0.1);
  t.is(it.slept, slept);
  t.is(it.handOvers, handOvers + 1);
});

test("after a pause nothing is known: the loop does not sleep until it has measured again", (t) => {
  const it = rig();
  stream(it, 100, 10);
  t.true(it.pacer.isLingering);
  const { slept } = it;
  it.turn(1, 1200, 300);
  t.false(it.pacer.isLingering);
  t.is(it.slept, slept);
});
