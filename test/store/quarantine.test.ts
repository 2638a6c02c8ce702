/** Which places of the log are known to be damaged or left out. */
import test from "ava";
import { Quarantine } from "../../src/store/quarantine.ts";
import { SegmentList } from "../../src/store/segment-list.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";

const SEGMENT = 4096;

test("every place that a report speaks of is known, also where ranges overlap, and after a start", (t) => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = new Random(seed);
    const storage = new FaultyStorage(random);
    storage.makeDirectory("/data/commitlog");
    const segments = new SegmentList(storage, "/data/commitlog", SEGMENT);
    const quarantine = new Quarantine(storage, "/data");
    const isKnown = new Array<boolean>(3000).fill(false);
    const names = new Set<string>();
    for (let i = random.between(1, 8); i > 0; i--) {
      const from = random.below(2500);
      const to = from + random.between(1, 400);
      quarantine.add(segments, from, to, "a test");
      isKnown.fill(true, from, to);
      names.add(`${from}-${to}`);
    }
    for (const one of [quarantine, new Quarantine(storage, "/data")]) {
      const wrong = isKnown.findIndex((known, offset) => one.has(offset) !== known);
      t.is(wrong, -1, `seed ${seed}`);
      t.is(one.count, names.size);
    }
  }
});
