import test from "ava";
import { uptimeClock } from "../../src/util/uptime.ts";

function rig() {
  let now = 5000;
  const uptime = uptimeClock(() => now);
  const pass = (ms: number): number => {
    now += ms;
    return uptime();
  };
  return { uptime, pass };
}

test("uptime begins at 0 and goes on as time passes", (t) => {
  const { uptime, pass } = rig();
  t.is(uptime(), 0);
  for (let i = 1; i <= 100; i++) t.is(pass(1000), i * 1000);
});

test("a time in which nobody asked, since the process stood still, counts for a second", (t) => {
  const { pass } = rig();
  t.is(pass(900), 900);
  t.is(pass(3_600_000), 1900);
  t.is(pass(100), 2000);
  t.is(pass(60_000), 3000);
});

test("an event loop that is late by a second or two is not taken for one that stood still", (t) => {
  const { pass } = rig();
  t.is(pass(2500), 2500);
  t.is(pass(3000), 5500);
});
