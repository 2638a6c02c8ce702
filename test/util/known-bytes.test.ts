import test from "ava";
import fc from "fast-check";
import { KnownBytes } from "../../src/util/known-bytes.ts";

test("what is known is found where it is, and nowhere else", (t) => {
  const bytes = fc.uint8Array({ maxLength: 40, max: 2 });
  fc.assert(
    fc.property(bytes, fc.nat(40), bytes, fc.nat(45), fc.nat(40), fc.nat(40), (...all) => {
      const [memory, start, other, at, a, b] = all;
      const known = new KnownBytes();
      const learnt = memory.subarray(start);
      known.learn(memory, Math.min(start, memory.length), memory.length);
      t.is(known.length, learnt.length);
      const from = Math.min(a, b, learnt.length);
      const to = Math.min(Math.max(a, b), learnt.length);
      const found = Buffer.from(other).subarray(at, at + to - from);
      const isThere = at + to - from <= other.length && found.equals(learnt.subarray(from, to));
      t.is(known.isAt(other, at, from, to), isThere);
    }),
    { numRuns: 5000 },
  );
});

test("a view into the middle of a memory is compared where it lies", (t) => {
  const memory = Buffer.from("0123456789abcdef");
  const known = new KnownBytes();
  known.learn(Buffer.from("xx6789abx"), 2, 8);
  t.true(known.isAt(memory, 6));
  t.true(known.isAt(memory.subarray(5), 1));
  t.false(known.isAt(memory.subarray(5), 0));
  t.true(known.isAt(memory, 6, 0, 4));
  t.true(known.isAt(memory, 8, 2, 6));
});

test("what is learnt takes the place of what was known", (t) => {
  const known = new KnownBytes();
  known.learn(Buffer.from("a long one"), 0, 10);
  known.learn(Buffer.from("ab"), 0, 2);
  t.is(known.length, 2);
  t.true(known.isAt(Buffer.from("ab"), 0));
  known.learn(Buffer.alloc(1000, 7), 0, 1000);
  t.true(known.isAt(Buffer.alloc(1001, 7), 1));
  t.false(known.isAt(Buffer.alloc(1001, 7), 2));
});
