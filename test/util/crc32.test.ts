import { crc32 as zlibCrc32 } from "node:zlib";
import test from "ava";
import fc from "fast-check";
import { crc32, crc32Combine, NATIVE_FROM } from "../../src/util/crc32.ts";

/** zlib's sum. For no bytes at all it forgets the seed (crc32 of a null pointer is 0), which ours must not. */
const oracle = (bytes: Uint8Array, seed: number): number =>
  bytes.length === 0 ? seed : zlibCrc32(bytes, seed);

test("known sums: the check value of the standard, and RocketMQ's for hello", (t) => {
  const digits = Buffer.from("..123456789..");
  t.is(crc32(digits, 2, 11), 0xcbf43926);
  const hello = Buffer.from("hello");
  t.is(crc32(hello, 0, 5) & 0x7fffffff, 0x3610a686);
  t.is(crc32(hello, 3, 3), 0);
});

test("any range with any seed has the sum that zlib gives, on both sides of the crossover", (t) => {
  const bytes = Buffer.from(Array.from({ length: 1024 }, (_, i) => (i * 167 + (i >> 3)) & 0xff));
  for (let length = 0; length <= NATIVE_FROM + 20; length++) {
    for (const start of [0, 1, 7]) {
      const end = start + length;
      t.is(crc32(bytes, start, end, length), oracle(bytes.subarray(start, end), length));
    }
  }
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 900 }),
      fc.nat(),
      fc.nat(),
      fc.nat(0xffffffff),
      (data, a, b, seed) => {
        const from = Math.min(a, b) % (data.length + 1);
        const to = from + (Math.max(a, b) % (data.length + 1 - from));
        t.is(crc32(data, from, to, seed), oracle(data.subarray(from, to), seed));
      },
    ),
  );
});

test("a range over shared memory is summed like any other", (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(2048)).fill(0x5a);
  const copy = Buffer.from(shared);
  t.is(crc32(shared, 3, 103), zlibCrc32(copy.subarray(3, 103)));
  t.is(crc32(shared, 3, 1803), zlibCrc32(copy.subarray(3, 1803)));
});

test("a sum continued from a seed equals the sum of the whole", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 800 }), fc.nat(800), (data, cut) => {
      const at = Math.min(cut, data.length);
      t.is(crc32(data, at, data.length, crc32(data, 0, at)), crc32(data, 0, data.length));
    }),
  );
});

test("combined sums of two parts equal the sum of the joined bytes", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.uint8Array({ maxLength: 70_000 }), (a, b) => {
      const joined = crc32(Buffer.concat([a, b]), 0, a.length + b.length);
      t.is(crc32Combine(crc32(a, 0, a.length), crc32(b, 0, b.length), b.length), joined);
    }),
  );
});

test("lengths that share a cache slot do not disturb each other, and lengths of gigabytes work", (t) => {
  const zeros = Buffer.alloc(20_000);
  const one = crc32(Buffer.from("x"), 0, 1);
  for (const length of [5, 5 + 4096, 5 + 2 * 4096, 5, 0, 4096]) {
    const expected = crc32(zeros, 0, length, one);
    t.is(crc32Combine(one, crc32(zeros, 0, length), length), expected);
  }
  // Shifting twice by n is shifting once by 2n.
  for (const n of [2 ** 31, 2 ** 32 + 12_345, 2 ** 40 + 1]) {
    t.is(crc32Combine(crc32Combine(one, 0, n), 0, n), crc32Combine(one, 0, 2 * n));
  }
});

test("a range outside of the bytes or an impossible length is refused, not summed as zeros", (t) => {
  const bytes = Buffer.alloc(10);
  t.throws(() => crc32(bytes, 0, 11), { instanceOf: RangeError });
  t.throws(() => crc32(bytes, -1, 4), { instanceOf: RangeError });
  t.throws(() => crc32(bytes, 5, 4), { instanceOf: RangeError });
  t.throws(() => crc32Combine(1, 2, -1), { instanceOf: RangeError });
  t.throws(() => crc32Combine(1, 2, 1.5), { instanceOf: RangeError });
  t.throws(() => crc32Combine(1, 2, 2 ** 48), { instanceOf: RangeError });
});
