import test from "ava";
import fc from "fast-check";
import { putUint32 } from "../../src/util/big-endian.ts";

test("writes what Buffer writes, also of a negative number's bits, and nothing beside it", (t) => {
  fc.assert(
    fc.property(fc.integer({ min: -(2 ** 31), max: 2 ** 32 - 1 }), (value) => {
      const out = Buffer.alloc(6, 0xee);
      putUint32(out, 1, value);
      const expected = Buffer.alloc(6, 0xee);
      expected.writeUInt32BE(value >>> 0, 1);
      t.deepEqual(out, expected);
    }),
  );
});
