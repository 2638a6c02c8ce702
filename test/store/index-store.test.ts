import test from "ava";
import fc from "fast-check";
import {
  DEFAULT_SHAPE,
  indexFileName,
  indexFileSize,
  indexKeyHash,
  indexKeyHashOfBytes,
} from "../../src/store/index-format.ts";
import { IndexReader, IndexStore } from "../../src/store/index-store.ts";
import { FaultyStorage, ProcessDied } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";

const shape = { slots: 7, entries: 20 };
const directory = "/store/index";
const ALWAYS = [0, Number.MAX_SAFE_INTEGER] as const;

interface Put {
  readonly key: string;
  readonly at: number;
  readonly time: number;
}

function disk(seed = 1): FaultyStorage {
  const storage = new FaultyStorage(new Random(seed));
  storage.makeDirectory(directory);
  return storage;
}

const storeOn = (storage: FaultyStorage, now = () => 1_700_000_000_000): IndexStore =>
  new IndexStore({ storage, directory, shape, now });

const readerOn = (storage: FaultyStorage): IndexReader =>
  new IndexReader({ storage, directory, shape });

function somePuts(random: Random, count: number): Put[] {
  let at = 0;
  let time = 1_700_000_000_000;
  return Array.from({ length: count }, () => {
    const put = { key: `k${random.below(9)}`, at, time };
    at += random.between(100, 4_000_000_000);
    time += random.below(3000);
    return put;
  });
}

const expected = (puts: readonly Put[], key: string): number[] =>
  puts
    .filter((put) => put.key === key)
    .map((put) => put.at)
    .reverse();

/** Hashes of different keys may collide: candidates hold the right ones in order, and others. */
function assertFinds(
  t: { deepEqual: (a: unknown, b: unknown, message?: string) => unknown },
  reader: IndexReader,
  puts: readonly Put[],
  message?: string,
): void {
  for (let k = 0; k < 9; k++) {
    const found = reader.query("T", `k${k}`, 1000, ...ALWAYS);
    t.deepEqual(found, expected(puts, `k${k}`), message);
  }
}

test("a file of RocketMQ's shape has RocketMQ's length", (t) => {
  t.is(indexFileSize(DEFAULT_SHAPE), 420_000_040);
});

test("key hashes are Java's, made positive, with 0 for the one that cannot be", (t) => {
  t.is(indexKeyHash("", "a"), 0x23 * 31 + 0x61);
  fc.assert(
    fc.property(fc.string(), fc.string({ unit: "grapheme" }), (topic, key) => {
      t.is(indexKeyHash(topic, key), javaHash(`${topic}#${key}`));
      const bytes = Buffer.from(`.${topic}.${key}.`);
      const topicBytes = Buffer.byteLength(topic);
      const keyStart = 2 + topicBytes;
      const hash = indexKeyHashOfBytes(bytes, 1, 1 + topicBytes, keyStart, bytes.length - 1);
      const isAscii = bytes.every((byte) => byte < 0x80);
      t.is(hash, isAscii ? indexKeyHash(topic, key) : null);
    }),
  );
});

function javaHash(text: string): number {
  let hash = 0n;
  for (let i = 0; i < text.length; i++) {
    hash = BigInt.asIntN(32, hash * 31n + BigInt(text.charCodeAt(i)));
  }
  if (hash === -(2n ** 31n)) return 0;
  return Number(hash < 0n ? -hash : hash);
}

test("every key put is found, newest first, across files", (t) => {
  const random = new Random(11);
  for (let round = 0; round < 20; round++) {
    const storage = disk();
    const puts = somePuts(random, random.between(1, 90));
    const store = storeOn(storage);
    store.open(true, Number.MAX_SAFE_INTEGER);
    for (const put of puts) store.put("T", put.key, put.at, put.time);
    store.flush();
    assertFinds(t, readerOn(storage), puts);
    t.is(storage.list(directory).length, Math.ceil(puts.length / (shape.entries - 1)));
  }
});

test("a query is bounded by its maximum and by time, to the second", (t) => {
  const storage = disk();
  const store = storeOn(storage);
  store.open(true, Number.MAX_SAFE_INTEGER);
  const start = 1_700_000_000_500;
  for (let i = 0; i < 60; i++) store.put("T", "k", i * 100, start + i * 1000);
  store.flush();
  const reader = readerOn(storage);
  t.deepEqual(reader.query("T", "k", 3, ...ALWAYS), [5900, 5800, 5700]);
  t.deepEqual(reader.query("T", "k", 64, start + 10_000, start + 12_000), [1200, 1100, 1000]);
  t.deepEqual(reader.query("T", "k", 64, start + 58_000, start + 90_000), [5900, 5800]);
  t.deepEqual(reader.query("T", "k", 64, start + 61_000, start + 90_000), []);
  t.deepEqual(reader.query("T", "k", 64, 0, start - 1), []);
  t.is(reader.query("T", "k", 64, 0, start + 30_000).length, 31);
});

test("the keys of a record are its UNIQ_KEY and every word of KEYS, also outside of ASCII", (t) => {
  const storage = disk();
  const store = storeOn(storage);
  store.open(true, Number.MAX_SAFE_INTEGER);
  const put = (topic: string, properties: string, at: number) => {
    const bytes = Buffer.from(`..${topic}${properties}`);
    const topicEnd = 2 + Buffer.byteLength(topic);
    store.putRecord(bytes, 2, topicEnd, topicEnd, bytes.length, at, 1_700_000_000_000);
  };
  put("T", "x-enc\x01raw\x02KEYS\x01a  b c \x02UNIQ_KEY\x01u1\x02XKEYS\x01no\x02", 100);
  put("T", "KEYS\x01größe", 200);
  put("T", "UNIQ_KEY\x01\x02KEYS\x01\x02", 300);
  put("T", "", 400);
  store.flush();
  const reader = readerOn(storage);
  for (const key of ["a", "b", "c", "u1"]) {
    t.true(reader.query("T", key, 64, ...ALWAYS).includes(100), key);
  }
  t.true(reader.query("T", "größe", 64, ...ALWAYS).includes(200));
  const all = ["a", "b", "c", "u1", "größe", "no", "", "x"].flatMap((key) =>
    reader.query("T", key, 64, ...ALWAYS),
  );
  t.deepEqual([...new Set(all)].sort(), [100, 200]);
});

test("after a clean stop everything is there, and put again it is not doubled", (t) => {
  const storage = disk();
  const puts = somePuts(new Random(12), 50);
  const store = storeOn(storage);
  store.open(true, Number.MAX_SAFE_INTEGER);
  for (const put of puts.slice(0, 30)) store.put("T", put.key, put.at, put.time);
  store.close();
  const again = storeOn(storage);
  t.is(again.open(true, Number.MAX_SAFE_INTEGER), puts[29]!.at);
  for (const put of puts) again.put("T", put.key, put.at, put.time);
  again.close();
  assertFinds(t, readerOn(storage), puts);
});

test("after a crash or a power cut in any write, a redo of the log gives the whole index", (t) => {
  for (let seed = 0; seed < 1500; seed++) {
    const random = new Random(seed);
    const storage = disk(seed);
    const puts = somePuts(random, random.between(1, 70));
    for (let life = 0; life < 3; life++) {
      const isLast = life === 2;
      if (!isLast) storage.dieAfter(random.between(0, 60));
      try {
        const store = storeOn(storage, () => 1_700_000_000_000 + life);
        store.open(false, Number.MAX_SAFE_INTEGER);
        for (const put of puts) {
          store.put("T", put.key, put.at, put.time);
          if (random.chance(30)) store.flush();
          if (random.chance(10)) store.checkpoint();
        }
        if (isLast) store.flush();
      } catch (error) {
        if (!(error instanceof ProcessDied)) throw error;
      }
      if (!isLast) storage.restart(random.chance(70) ? "power" : "process");
    }
    assertFinds(t, readerOn(storage), puts, `seed ${seed}`);
  }
});

test("a checkpoint is kept by every power cut: the redo may begin behind it", (t) => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const storage = disk(seed);
    const puts = somePuts(random, 60);
    const store = storeOn(storage);
    store.open(true, Number.MAX_SAFE_INTEGER);
    const cut = random.between(1, 59);
    for (const put of puts.slice(0, cut)) store.put("T", put.key, put.at, put.time);
    store.checkpoint();
    for (const put of puts.slice(cut)) store.put("T", put.key, put.at, put.time);
    store.flush();
    storage.restart("power");
    const again = storeOn(storage);
    again.open(false, Number.MAX_SAFE_INTEGER);
    for (const put of puts.slice(cut)) again.put("T", put.key, put.at, put.time);
    again.flush();
    assertFinds(t, readerOn(storage), puts, `seed ${seed}`);
  }
});

test("a full disk refuses a put without half doing it; with space again nothing is missing", (t) => {
  const storage = disk();
  const store = storeOn(storage);
  store.open(true, Number.MAX_SAFE_INTEGER);
  const puts = somePuts(new Random(13), 80);
  storage.capacityBytes = 4096;
  let refused = 0;
  for (const [i, put] of puts.entries()) {
    for (let isDone = false; !isDone; ) {
      try {
        store.put("T", put.key, put.at, put.time);
        isDone = true;
        if (i % 7 === 0) store.checkpoint();
      } catch (error) {
        t.is((error as { code?: string }).code, "ENOSPC");
        refused++;
        storage.capacityBytes += 4096;
      }
    }
  }
  for (;;) {
    try {
      store.close();
      break;
    } catch {
      refused++;
      storage.capacityBytes += 4096;
    }
  }
  t.true(refused > 1);
  assertFinds(t, readerOn(storage), puts);
});

test("files that only know of removed segments go, never the newest", (t) => {
  const storage = disk();
  const store = storeOn(storage);
  store.open(true, Number.MAX_SAFE_INTEGER);
  for (let i = 0; i < 70; i++) store.put("T", "k1", i * 100, 1_700_000_000_000 + i);
  store.checkpoint();
  t.is(storage.list(directory).length, 4);
  t.is(store.deleteBelow(1900), 1, "the second file ends with 3700");
  t.is(store.deleteBelow(1900), 0);
  t.is(store.deleteBelow(1_000_000), 2);
  t.is(storage.list(directory).length, 1);
  t.deepEqual(readerOn(storage).query("T", "k1", 2, ...ALWAYS), [6900, 6800]);
});

test("files that are not what they should be are dropped and built again", (t) => {
  const damage: Array<(storage: FaultyStorage, path: string) => void> = [
    (storage, path) => storage.open(path, "write").truncate(100),
    (storage, path) => storage.open(path, "write").write(Buffer.alloc(4, 0x7f), 0, 4, 36),
    (storage, path) => storage.open(path, "write").write(Buffer.alloc(8, 0xff), 0, 8, 0),
    // It begins beyond the log's end: another log's.
    (storage, path) => storage.open(path, "write").write(Buffer.alloc(2, 0x10), 0, 2, 17),
    (storage, path) => storage.remove(path),
  ];
  for (const [which, harm] of damage.entries()) {
    for (const victim of [0, 1, 2]) {
      const storage = disk();
      const puts = somePuts(new Random(14), 45);
      const store = storeOn(storage);
      store.open(true, Number.MAX_SAFE_INTEGER);
      for (const put of puts) store.put("T", put.key, put.at, put.time);
      store.close();
      const names = storage.list(directory).map((entry) => entry.name);
      harm(storage, `${directory}/${names.sort()[victim]}`);
      const again = storeOn(storage);
      again.open(false, puts.at(-1)!.at + 1);
      // A search must neither fail nor invent; what the newest knew comes back with the redo.
      const reader = readerOn(storage);
      for (let k = 0; k < 9; k++) {
        const right = expected(puts, `k${k}`);
        t.true(reader.query("T", `k${k}`, 64, ...ALWAYS).every((at) => right.includes(at)));
      }
      for (const put of puts) again.put("T", put.key, put.at, put.time);
      again.close();
      if (victim === 2) assertFinds(t, readerOn(storage), puts, `damage ${which}`);
    }
  }
});

test("when the log was cut, keys of what was cut are gone, and all others are still found", (t) => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(seed);
    const storage = disk(seed);
    const puts = somePuts(random, random.between(1, 70));
    const store = storeOn(storage);
    store.open(true, Number.MAX_SAFE_INTEGER);
    for (const put of puts) store.put("T", put.key, put.at, put.time);
    store.close();
    const end = random.chance(10) ? 0 : random.pick(puts).at + random.below(2);
    const again = storeOn(storage);
    again.open(random.chance(50), end);
    const left = puts.filter((put) => put.at < end);
    assertFinds(t, readerOn(storage), left, `seed ${seed}`);
    const later = somePuts(random, 10).map((put) => ({ ...put, at: put.at + end }));
    for (const put of later) again.put("T", put.key, put.at, put.time + 1e9);
    again.close();
    assertFinds(t, readerOn(storage), [...left, ...later], `seed ${seed}, later`);
  }
});

test("any bytes in slots and entries: a search ends, and gives offsets or nothing", (t) => {
  for (let seed = 0; seed < 300; seed++) {
    const random = new Random(seed);
    const storage = disk();
    const store = storeOn(storage);
    store.open(true, Number.MAX_SAFE_INTEGER);
    for (let i = 0; i < 15; i++) store.put("T", `k${i % 3}`, i * 100, 1_700_000_000_000);
    store.close();
    const path = `${directory}/${storage.list(directory)[0]!.name}`;
    const file = storage.open(path, "write");
    for (let i = 0; i < 5; i++) {
      const bytes = random.chance(50) ? random.bytes(4) : Buffer.from([0, 0, 0, random.below(20)]);
      file.write(bytes, 0, 4, 40 + 4 * random.below((file.size() - 44) / 4));
    }
    for (let k = 0; k < 3; k++) {
      t.true(readerOn(storage).query("T", `k${k}`, 64, ...ALWAYS).length <= 20);
    }
  }
});

test("file names sort by age even when the clock goes back", (t) => {
  const first = indexFileName(Date.UTC(2026, 10, 21, 1, 2, 3, 45), undefined);
  t.is(first, "20261121010203045");
  const second = indexFileName(Date.UTC(2025, 0, 1), first);
  t.true(second > first);
  t.regex(second, /^\d{17}$/);
  t.is(indexFileName(Date.UTC(2027, 0, 1), second), "20270101000000000");
});
