import test from "ava";
import { NumberMap } from "../../src/util/number-map.ts";
import { Random } from "../support/random.ts";

test("behaves as a map does, whatever is set, changed and deleted", (t) => {
  for (let seed = 0; seed < 10; seed++) {
    const random = new Random(seed);
    const map = new NumberMap();
    const model = new Map<number, number>();
    for (let i = 0; i < 20_000; i++) {
      const key = random.chance(50) ? random.below(500) : 2 ** 32 - 1 - random.below(500);
      if (random.chance(40)) t.is(map.delete(key), model.delete(key));
      else {
        map.set(key, i);
        model.set(key, i);
      }
      const other = random.below(500);
      if (map.get(other) !== model.get(other)) t.is(map.get(other), model.get(other));
    }
    t.is(map.size, model.size);
    t.deepEqual([...map.values()].sort(), [...model.values()].sort());
  }
});

test("numbers that are a power of two apart are found about as fast as others", (t) => {
  const took = (step: number): number => {
    const map = new NumberMap();
    const begun = performance.now();
    for (let i = 0; i < 100_000; i++) map.set(i * step, i);
    for (let i = 0; i < 100_000; i++) if (map.get(i * step) !== i) t.fail();
    return performance.now() - begun;
  };
  took(1);
  t.true(took(4096) < Math.max(20, took(1)) * 100);
});
