import test from "ava";
import { simulateBroker } from "./broker-engines.ts";

/** More by hand: `node dist/test/sim/run-broker.js memory 1 5000`. */
const SEEDS = 150;

test("whatever happens to a broker, nothing confirmed is lost, nothing acknowledged comes back, nothing is invented", async (t) => {
  let delivered = 0;
  let lives = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { delivered: count, restarts } = await simulateBroker(seed, "memory");
    delivered += count;
    lives += restarts;
  }
  t.true(delivered > SEEDS * 20, `${delivered} deliveries`);
  t.true(lives > SEEDS * 2, `${lives} lives`);
});

const FOUND: ReadonlyArray<readonly [seed: number, promise: string]> = [
  [28, "an acknowledgement is confirmed when it is durable, also when nothing else was under way"],
  [286, "two groups never share a number in the journal, whatever of it a crash has left"],
  [11, "messages of a priority are found again when the journal ends before their shard's entry"],
  [9, "a transaction settles what it settled, even in a queue that the journal has forgotten"],
  [4, "control records stay until the journal that replaces them is durable"],
  [36, "what lies in a queue that the journal has forgotten still expires"],
  [391, "a queue whose group is lost still checks what expires"],
];
for (const [seed, promise] of FOUND) {
  test(`${promise} (seed ${seed})`, async (t) => {
    await t.notThrowsAsync(simulateBroker(seed, "memory"));
  });
}

test("the same holds on the real store, on a disk that keeps any part of what was not synced", async (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    await t.notThrowsAsync(simulateBroker(seed, "log"));
  }
});
