import test from "ava";
import { simulateStore } from "./store-simulation.ts";

/** More by hand, or as `.ci/run` does: `node dist/test/sim/run.js store 1 10000`. */
const SEEDS = 100;

test("whatever happens to process and disk, the store keeps what it confirmed and invents nothing", async (t) => {
  let crashes = 0;
  for (let seed = 1; seed <= SEEDS; seed++) crashes += (await simulateStore(seed)).crashes;
  t.true(crashes > SEEDS, `${crashes} crashes`);
});

/** Every seed that ever failed, by what it found. */
const FOUND: ReadonlyArray<readonly [string, readonly number[]]> = [
  [
    "a store that is closed while its disk is full is not taken for closed in order, whatever an older checkpoint says",
    [772],
  ],
];

for (const [promise, seeds] of FOUND) {
  test(`${promise} (seeds ${seeds.join(", ")})`, async (t) => {
    for (const seed of seeds) await t.notThrowsAsync(simulateStore(seed));
  });
}
