import test from "ava";
import fc from "fast-check";
import { VARINT_MAX, VarintReader, writeVarint, zigzag } from "../../src/util/varint.ts";

const written = (value: number): number[] => {
  const bytes = new Uint8Array(VARINT_MAX);
  return [...bytes.subarray(0, writeVarint(bytes, 0, value))];
};

test("the bytes are those on the disks of today, at each end of a length", (t) => {
  const cases: ReadonlyArray<readonly [number, readonly number[]]> = [
    [0, [0]],
    [1, [1]],
    [2 ** 7 - 1, [0x7f]],
    [2 ** 7, [0x80, 1]],
    [300, [0xac, 2]],
    [2 ** 14 - 1, [0xff, 0x7f]],
    [2 ** 14, [0x80, 0x80, 1]],
    [2 ** 31 - 1, [0xff, 0xff, 0xff, 0xff, 7]],
    [2 ** 31, [0x80, 0x80, 0x80, 0x80, 8]],
    [2 ** 32 + 1, [0x81, 0x80, 0x80, 0x80, 0x10]],
    [2 ** 53 - 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]],
  ];
  for (const [value, bytes] of cases) {
    t.deepEqual(written(value), bytes, `${value}`);
    t.is(new VarintReader(Uint8Array.from(bytes), 0, bytes.length).next(), value);
  }
});

test("small numbers of either sign are small numbers", (t) => {
  t.deepEqual([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
  t.is(written(zigzag(-64)).length, 1);
  t.is(written(zigzag(64)).length, 2);
});

test("any numbers read back as they were written, one after the other, wherever they lie", (t) => {
  fc.assert(
    fc.property(fc.array(fc.maxSafeNat()), fc.nat(20), (values, start) => {
      const bytes = Buffer.alloc(start + values.length * VARINT_MAX, 0xff);
      let end = start;
      for (const value of values) end = writeVarint(bytes, end, value);
      const reader = new VarintReader(bytes, start, end);
      t.deepEqual(
        values.map(() => reader.next()),
        values,
      );
      t.is(reader.at, end);
      t.false(reader.isBroken);
    }),
  );
});

test("so do numbers with a sign, within 2^52 of 0", (t) => {
  const signed = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const large = fc.maxSafeInteger().map((value) => Math.trunc(value / 2) + 0);
  fc.assert(
    fc.property(fc.array(fc.oneof(signed, large)), (values) => {
      const bytes = Buffer.alloc(values.length * VARINT_MAX);
      let end = 0;
      for (const value of values) end = writeVarint(bytes, end, zigzag(value));
      const reader = new VarintReader(bytes, 0, end);
      t.deepEqual(
        values.map(() => reader.nextSigned() + 0),
        values,
      );
      t.false(reader.isBroken);
    }),
  );
});

test("a number that does not end where it should is said to be broken, and nothing beyond is read", (t) => {
  fc.assert(
    fc.property(fc.maxSafeNat(), fc.nat(VARINT_MAX), (value, cut) => {
      const bytes = Buffer.alloc(VARINT_MAX + 1, 1);
      const end = Math.min(cut, writeVarint(bytes, 0, value) - 1);
      const reader = new VarintReader(bytes, 0, end);
      t.is(reader.next(), 0);
      t.true(reader.isBroken);
      t.is(reader.at, end);
    }),
  );
  const endless = new VarintReader(Buffer.alloc(100, 0xff), 0, 100);
  endless.next();
  t.true(endless.isBroken);
  t.is(endless.at, VARINT_MAX);
});
