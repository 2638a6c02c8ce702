import test from "ava";
import fc from "fast-check";
import { MinHeap } from "../../src/util/min-heap.ts";

test("entries come out by key, then by value", (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(50), fc.nat(50))), (entries) => {
      const heap = new MinHeap();
      for (const [key, value] of entries) heap.push(key, value);
      const sorted = [...entries].sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      for (const [key, value] of sorted) {
        t.is(heap.topKey, key);
        t.is(heap.pop(), value);
      }
      t.is(heap.topKey, Number.POSITIVE_INFINITY);
    }),
  );
});
