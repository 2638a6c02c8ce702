import test from "ava";
import { simulateStore } from "./store-simulation.ts";

/** More by hand, or as `.ci/run` does: `node dist/test/sim/run.js store 1 10000`. */
const SEEDS = 40;

test.serial(
  "whatever happens to process and disk, the store keeps what it confirmed and invents nothing",
  async (t) => {
    let crashes = 0;
    for (let seed = 1; seed <= SEEDS; seed++) crashes += (await simulateStore(seed)).crashes;
    t.true(crashes > SEEDS, `${crashes} crashes`);
  },
);

/** The rest of a batch whose beginning was damaged, then removed with its segment: not a batch that retention has cut. */
test("what an earlier start has left out stays out when the queues are rebuilt (seed 4288)", async (t) => {
  await t.notThrowsAsync(simulateStore(4288));
});

/** One range lies in the other: both were left out. */
test("what an earlier start has left out stays out when damage inside of it was set aside, too (seed 6034)", async (t) => {
  await t.notThrowsAsync(simulateStore(6034));
});
