import test from "ava";
import { simulateBroker } from "./broker-engines.ts";

/** More by hand, or as `.ci/run` does: `node dist/test/sim/run.js memory 1 3000`. */
const SEEDS = 60;

test.serial(
  "whatever happens to a broker, nothing confirmed is lost, nothing acknowledged comes back, nothing is invented",
  async (t) => {
    let delivered = 0;
    let lives = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const { delivered: count, restarts } = await simulateBroker(seed, "memory");
      delivered += count;
      lives += restarts;
    }
    t.true(delivered > SEEDS * 20, `${delivered} deliveries`);
    t.true(lives > SEEDS * 2, `${lives} lives`);
  },
);

test.serial(
  "the same holds on the real store, on a disk that keeps any part of what was not synced",
  async (t) => {
    for (let seed = 1; seed <= 10; seed++) {
      await t.notThrowsAsync(simulateBroker(seed, "log"));
    }
  },
);

test.serial(
  "the same holds on a disk that fills up, fails and dies in the middle of anything, with durable subscriptions as well",
  async (t) => {
    for (let seed = 1; seed <= 15; seed++) {
      await t.notThrowsAsync(simulateBroker(seed, "troubled"));
    }
  },
);

test.serial(
  "the same holds while the store moves what is owed out of almost empty segments and removes them",
  async (t) => {
    let moved = 0;
    for (let seed = 1; seed <= 25; seed++) {
      moved += (await simulateBroker(seed, "emptied")).movedRecords;
    }
    t.true(moved > 100, `${moved} records were moved`);
  },
);

/** A second snapshot before the first was written: the entries between them lay in a file that the second made void. */
test.serial(
  "settlements between two snapshots that are near each other stay settled (log seeds 55, 91, 97, 161)",
  async (t) => {
    for (const seed of [55, 91, 97, 161]) await t.notThrowsAsync(simulateBroker(seed, "log"));
  },
);

/** The index of retained messages was lost with the journal; one that was over hid one that came back. */
test.serial("retained messages stay, and stay away (retained seeds 14, 66)", async (t) => {
  for (const seed of [14, 66]) await t.notThrowsAsync(simulateBroker(seed, "retained"));
});

test.serial(
  "the same holds with newest values, duplicates, histories, full queues that refuse or hold back, and messages taken back",
  async (t) => {
    for (let seed = 1; seed <= 15; seed++) {
      await t.notThrowsAsync(simulateBroker(seed, "deep"));
    }
  },
);

/** It came after the newer one, and the last thing that a consumer heard of the key was wrong. */
test.serial(
  "a value that is given back does not come again when there is a newer one of its key (deep seeds 16, 32)",
  async (t) => {
    for (const seed of [16, 32]) await t.notThrowsAsync(simulateBroker(seed, "deep"));
  },
);

/** Values of one priority each were all kept, or the older one, when they were stored in the same millisecond. */
test.serial(
  "after a crash a key has one value, the newest, whatever the priorities of its messages were (deep seeds 3, 5, 18, 20)",
  async (t) => {
    for (const seed of [3, 5, 18, 20]) await t.notThrowsAsync(simulateBroker(seed, "deep"));
  },
);

/** The journal ended before the entry of new shards: they came back in another order, and keys changed theirs. */
test.serial(
  "a key stays in its shard through a crash that takes the news of new shards (deep seeds 717, 866)",
  async (t) => {
    for (const seed of [717, 866]) await t.notThrowsAsync(simulateBroker(seed, "deep"));
  },
);

/** Reads failed while free segments were looked for, and took the broker with them. */
test.serial(
  "what the disk refuses to give costs nothing but time (unreadable seeds 39, 43, 139, 179)",
  async (t) => {
    for (const seed of [39, 43, 139, 179]) {
      await t.notThrowsAsync(simulateBroker(seed, "unreadable"));
    }
  },
);
