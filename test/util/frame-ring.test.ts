/** Promises of src/util/frame-ring.ts: what is found is what was put, or nothing. */
import test from "ava";
import fc from "fast-check";
import { FrameRing } from "../../src/util/frame-ring.ts";

function put(ring: FrameRing, key: number, length: number, kind = 7): void {
  const at = ring.room(length);
  ring.bytes.fill(key & 0xff, at, at + length);
  ring.put(key, at, length, kind, key % 50, length - 1);
}

/** How many of a hundred neighbouring keys a reader is asked to put here. */
function wanted(ring: FrameRing, from: number, length = 10): number {
  let count = 0;
  for (let i = 0; i < 100; i++) if (ring.wants(from + i * 200, length)) count++;
  return count;
}

test("a frame is wanted by the second reader that asks, not by the first", (t) => {
  const ring = new FrameRing();
  t.is(wanted(ring, 1000), 0);
  t.true(wanted(ring, 1000) > 50);
  t.true(wanted(ring, 1_000_000) < 30, "each reader has its own messages");
  t.is(wanted(ring, 1000, 32 * 1024 + 1), 0, "long frames are not kept");
});

test("readers that lag behind do not push out what the others use, until nobody uses it", (t) => {
  const ring = new FrameRing();
  put(ring, 5_000_000, 100);
  let asked = 0;
  while (wanted(ring, 4000) === 0) asked += 100;
  t.true(asked > 500 && asked < 10_000, `${asked}`);
});

test("whatever is put, in whatever sizes, a frame that is found is whole", (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 32 * 1024 }), { maxLength: 300 }), (sizes) => {
      const ring = new FrameRing();
      let key = 0;
      const keys: number[] = [];
      for (const size of sizes) {
        key += size + 91;
        keys.push(key);
        put(ring, key, size);
        t.true(ring.find(key) >= 0);
      }
      let isGone = false;
      for (const [i, one] of keys.entries()) {
        const slot = ring.find(one);
        if (slot < 0) continue;
        const start = ring.starts[slot]!;
        t.is(ring.lengths[slot], sizes[i]!);
        t.is(ring.details[slot], one % 50);
        t.is(ring.sizes[slot], sizes[i]! - 1);
        for (let n = 0; n < sizes[i]!; n++) {
          if (ring.bytes[start + n] !== (one & 0xff)) isGone = true;
        }
      }
      t.false(isGone);
    }),
    { numRuns: 50 },
  );
});

test("a run is frames behind each other, alike, whose keys follow; and no more than was asked for", (t) => {
  const ring = new FrameRing();
  for (let i = 1; i <= 10; i++) put(ring, i * 100, 50, i === 8 ? 1 : 7);
  const keys = Float64Array.from([100, 200, 300, 400, 600, 700, 800, 900, 1000]);
  const first = ring.find(200);
  t.is(ring.runFrom(first, keys, 1, 8, 1e6), 3, "400 is followed by 500 there, by 600 here");
  t.is(ring.runFrom(first, keys, 1, 2, 1e6), 2);
  t.is(ring.runFrom(first, keys, 1, 8, 149), 2);
  t.is(ring.runFrom(ring.find(600), keys, 4, 5, 1e6), 2, "800 is of another kind");
  t.is(ring.runFrom(ring.find(900), keys, 7, 2, 1e6), 2);
});

test("a run does not go on over the end of the ring, nor into what was overwritten", (t) => {
  const ring = new FrameRing();
  const size = 30_000;
  const perLap = Math.floor(ring.bytes.length / size);
  const keys = Float64Array.from({ length: perLap + 5 }, (_, i) => (i + 1) * 40_000);
  for (const key of keys) put(ring, key, size);
  for (let i = 0; i < 5; i++) t.is(ring.find(keys[i]!), -1);
  t.true(ring.find(keys[5]!) >= 0);
  const count = ring.runFrom(ring.find(keys[5]!), keys, 5, perLap, 1e9);
  t.is(count, perLap - 5, "up to the end of the lap");
});

test("more frames than there are entries: the oldest go", (t) => {
  const ring = new FrameRing();
  for (let i = 1; i <= 5000; i++) put(ring, i * 100, 10);
  t.is(ring.find(900 * 100), -1);
  let found = 0;
  for (let i = 1000; i <= 5000; i++) if (ring.find(i * 100) >= 0) found++;
  t.true(found > 2000, `${found}: those of one hash hide each other`);
  t.true(ring.find(5000 * 100) >= 0);
});
