import test from "ava";
import fc from "fast-check";
import { ByteTable } from "../../src/util/byte-table.ts";

const valueAt = (table: ByteTable, key: string): string | undefined => {
  const found = table.find(key);
  return found < 0 ? undefined : table.valueOf(found).toString("utf8");
};

test("behaves as a map does, whatever is set, changed, deleted and tidied", (t) => {
  const key = fc.integer({ min: 0, max: 60 }).map((n) => `k${n}${"é".repeat(n % 7)}`);
  const step = fc.oneof(
    fc.record({ do: fc.constant("set" as const), key, value: fc.string({ maxLength: 40 }) }),
    fc.record({ do: fc.constant("delete" as const), key, value: fc.constant("") }),
    fc.record({ do: fc.constant("tidy" as const), key, value: fc.constant("") }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const table = new ByteTable();
      const map = new Map<string, string>();
      for (const { do: what, key, value } of steps) {
        if (what === "set") {
          table.set(key, Buffer.from(value));
          map.set(key, value);
        } else if (what === "delete") t.is(table.delete(key), map.delete(key));
        else table.tidy();
      }
      t.is(table.size, map.size);
      for (const [key, value] of map) t.is(valueAt(table, key), value);
      // With what is known not to be there; and once more after it has grown, and shrunk.
      for (let i = 0; i < 40; i++) table.addBytes(Buffer.from(`more ${i}`), Buffer.from("+"));
      for (const [key, value] of map) t.is(valueAt(table, key), value);
      for (let i = 0; i < 40; i++) t.true(table.delete(`more ${i}`));
      const found = [...table.references()].map((reference) => table.keyOf(reference));
      t.deepEqual(found.sort(), [...map.keys()].sort());
    }),
  );
});

test("holds a hundred thousand in a few bytes more than they are, and gives memory back", (t) => {
  const table = new ByteTable();
  const value = Buffer.alloc(20, 7);
  for (let i = 0; i < 100_000; i++) table.set(`queue-${i}`, value);
  t.is(table.size, 100_000);
  t.true(table.bytes < 100_000 * 64, `${table.bytes} bytes`);
  for (let i = 0; i < 100_000; i++) if (i % 10 !== 0) table.delete(`queue-${i}`);
  while (table.tidy());
  t.is(table.size, 10_000);
  t.true(table.bytes < 2_500_000, `${table.bytes} bytes`);
  for (let i = 0; i < 100_000; i += 10) t.deepEqual(table.valueOf(table.find(`queue-${i}`)), value);
  t.is(table.find("queue-1"), -1);
});

test("a scan finds the records of a kind with a field of each, deleted ones left out", (t) => {
  const table = new ByteTable();
  const value = Buffer.alloc(9);
  for (let i = 0; i < 50_000; i++) {
    value.writeUInt32LE(0xffff_0000 + i, 3);
    table.set(`${i % 2 === 0 ? "q" : "t"}-${i}`, value, 7 + (i % 3));
  }
  for (let i = 0; i < 50_000; i += 5) table.delete(`${i % 2 === 0 ? "q" : "t"}-${i}`);
  const found = new Map<string, number>();
  table.scan("q".charCodeAt(0), 3, (reference, field) => found.set(table.keyOf(reference), field));
  t.is(found.size, 20_000);
  for (const [key, field] of found) {
    const number = Number(key.slice(2));
    if (field !== 0xffff_0000 + number || number % 2 !== 0 || number % 5 === 0) t.fail(key);
  }
});

test("what is deleted while it is walked through is not met any more", (t) => {
  const table = new ByteTable();
  for (let i = 0; i < 1000; i++) table.set(`${i}`, Buffer.from("x"));
  const met: string[] = [];
  for (const reference of table.references()) {
    met.push(table.keyOf(reference));
    table.delete(`${met.length + 500}`);
  }
  t.is(new Set(met).size, met.length);
  t.is(met.length, 501);
  t.is(table.size, 501);
});

test("a key or a value too long for a record is refused, at the limit it is not", (t) => {
  const table = new ByteTable();
  table.set("a".repeat(10_922), Buffer.alloc(65_535));
  t.is(table.valueOf(table.find("a".repeat(10_922))).length, 65_535);
  t.throws(() => table.set("a".repeat(10_923), Buffer.alloc(1)), { instanceOf: RangeError });
  t.throws(() => table.set("a", Buffer.alloc(65_536)), { instanceOf: RangeError });
});

test("a search by value finds what is wanted, with pauses, while records are deleted and their memory is used again", (t) => {
  const table = new ByteTable();
  const value = Buffer.alloc(8);
  for (let i = 0; i < 60_000; i++) {
    value.writeDoubleLE(i);
    table.set(`key-${i}`, value);
  }
  const isWanted = (view: DataView, at: number): boolean => view.getFloat64(at, true) % 100 === 7;
  let pauses = 0;
  const found = new Set<string>();
  for (const reference of table.seek(isWanted, 1000)) {
    if (reference >= 0) {
      found.add(table.keyOf(reference));
      continue;
    }
    // Whole chunks go, before and behind the place, and others of another shape come in their stead.
    const from = pauses++ * 1000;
    for (let i = from; i < from + 1000; i++) if (i % 100 !== 7) table.delete(`key-${i}`);
    table.tidy();
    for (let i = 0; i < 300; i++) table.set(`new-${from + i}-${"x".repeat(i % 50)}`, value, 3);
  }
  t.true(pauses >= 59, `${pauses} pauses`);
  for (const key of found) t.regex(key, /^(key|new)-/);
  for (let i = 7; i < 60_000; i += 100) t.true(table.find(`key-${i}`) >= 0, `key-${i}`);
});
