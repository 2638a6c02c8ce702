import test from "ava";
import { LoginGate } from "../../src/security/login-gate.ts";
import { BusyError } from "../../src/security/password.ts";
import { addressGroup } from "../../src/util/network.ts";

/** An attempt that ends when the test says so. */
function attempt() {
  let end!: (value: string) => void;
  const ended = new Promise<string>((resolve) => {
    end = resolve;
  });
  const state = { began: false, end };
  const run = () => {
    state.began = true;
    return ended;
  };
  return Object.assign(state, { run });
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("an address has so many logins at a time, the others in order behind them; another address does not wait", async (t) => {
  const gate = new LoginGate(2);
  const [a, b, c, d] = [attempt(), attempt(), attempt(), attempt()];
  const ends = [a, b, c, d].map((one) => gate.run("10.0.0.1", one.run));
  t.deepEqual([a.began, b.began, c.began, d.began], [true, true, false, false]);
  t.is(await gate.run("10.0.0.2", async () => "elsewhere"), "elsewhere");
  b.end("b");
  await settled();
  t.deepEqual([c.began, d.began], [true, false]);
  a.end("a");
  await settled();
  t.true(d.began);
  c.end("c");
  d.end("d");
  t.deepEqual(await Promise.all(ends), ["a", "b", "c", "d"]);
  t.is(gate.held, 2);
});

test("an attempt that fails gives its place to the next", async (t) => {
  const gate = new LoginGate(1);
  const failing = gate.run("10.0.0.1", () => Promise.reject(new Error("no")));
  const next = gate.run("10.0.0.1", async () => "next");
  await t.throwsAsync(failing, { message: "no" });
  t.is(await next, "next");
});

test("who has waited so long that its connection is gone is not looked at any more", async (t) => {
  let now = 0;
  const gate = new LoginGate(1, () => now);
  const [first, late, young] = [attempt(), attempt(), attempt()];
  const ends = [gate.run("10.0.0.1", first.run), gate.run("10.0.0.1", late.run)];
  const refused = t.throwsAsync(ends[1]!, { instanceOf: BusyError });
  now = 9_000;
  const third = gate.run("10.0.0.1", young.run);
  now = 10_001;
  first.end("first");
  await refused;
  t.deepEqual([late.began, young.began], [false, true]);
  young.end("young");
  t.is(await third, "young");
});

test("more than may wait are told to come back later", async (t) => {
  const gate = new LoginGate(1);
  const first = attempt();
  const ends = [gate.run("10.0.0.1", first.run)];
  for (let i = 0; i < 2000; i++) ends.push(gate.run("10.0.0.1", async () => "done"));
  await t.throwsAsync(
    gate.run("10.0.0.1", async () => "one too many"),
    { instanceOf: BusyError },
  );
  first.end("done");
  t.deepEqual(new Set(await Promise.all(ends)), new Set(["done"]));
});

test("of IPv6 the first half is whose address it is, however it is written", (t) => {
  const groups = [
    "2001:db8:1:2:3:4:5:6",
    "2001:db8:1:2::9",
    "2001:0db8:0001:0002:ffff::",
    "2001:db8:1:2::1%eth0",
  ].map(addressGroup);
  t.deepEqual(new Set(groups), new Set(["2001:db8:1:2::"]));
  t.is(addressGroup("2001:db8::1"), "2001:db8:0:0::");
  t.is(addressGroup("2001:db8::3:4:5:6:7"), "2001:db8:0:3::");
  t.is(addressGroup("::1"), "0:0:0:0::");
  t.is(addressGroup("::"), "0:0:0:0::");
  t.is(addressGroup("1::"), "1:0:0:0::");
  t.is(addressGroup("::ffff:10.0.0.9"), "10.0.0.9");
  t.is(addressGroup("10.0.0.9"), "10.0.0.9");
  t.is(addressGroup(""), "");
});
