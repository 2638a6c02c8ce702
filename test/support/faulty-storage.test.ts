/** The simulated disk is what the crash tests rest on: it has to be as bad as it says, and no worse. */
import test from "ava";
import { FaultyStorage, ProcessDied } from "./faulty-storage.ts";
import { Random } from "./random.ts";

function disk(seed: number): FaultyStorage {
  const storage = new FaultyStorage(new Random(seed));
  storage.makeDirectory("/d");
  return storage;
}

function contents(storage: FaultyStorage, path: string): string | undefined {
  if (storage.stat(path) === undefined) return undefined;
  const file = storage.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  file.readInto(bytes, 0, bytes.length, 0);
  return bytes.toString("latin1");
}

test("a synced write of a synced name survives every power cut", (t) => {
  for (let seed = 0; seed < 200; seed++) {
    const storage = disk(seed);
    const file = storage.open("/d/a", "new");
    file.write(Buffer.from("safe"), 0, 4, 0);
    file.sync();
    storage.syncDirectory("/d");
    file.write(Buffer.from("maybe"), 0, 5, 4);
    storage.restart("power");
    t.is(contents(storage, "/d/a")?.slice(0, 4), "safe");
  }
});

test("unsynced writes come back whole, torn, out of order, or not at all; names likewise", (t) => {
  const seen = new Set<string | undefined>();
  for (let seed = 0; seed < 2000; seed++) {
    const storage = disk(seed);
    const file = storage.open("/d/a", "new");
    file.write(Buffer.from("11"), 0, 2, 0);
    file.write(Buffer.from("22"), 0, 2, 2);
    storage.restart("power");
    seen.add(contents(storage, "/d/a"));
  }
  for (const state of [undefined, "", "11", "1122", "\0\0\0\0", "\0\x0022", "112\0", "11\0\0"]) {
    t.true(seen.has(state), `never saw ${JSON.stringify(state)}`);
  }
  for (const state of seen) t.regex(state ?? "", /^([1\0]{2}([2\0]{2})?)?$/);
});

test("a crash of the process alone loses nothing that was written", (t) => {
  const storage = disk(3);
  const file = storage.open("/d/a", "new");
  file.write(Buffer.from("kept"), 0, 4, 0);
  storage.restart("process");
  t.is(contents(storage, "/d/a"), "kept");
  t.throws(() => file.write(Buffer.from("ghost"), 0, 5, 0), { instanceOf: ProcessDied });
});

test("the process dies in the chosen operation, with any first part of that write done", (t) => {
  const lengths = new Set<number>();
  for (let seed = 0; seed < 200; seed++) {
    const storage = disk(seed);
    const file = storage.open("/d/a", "new");
    storage.dieAfter(1);
    file.write(Buffer.from("one"), 0, 3, 0);
    t.throws(() => file.write(Buffer.from("two"), 0, 3, 3), { instanceOf: ProcessDied });
    t.throws(() => storage.stat("/d/a"), { instanceOf: ProcessDied });
    storage.restart("process");
    lengths.add(contents(storage, "/d/a")!.length);
  }
  t.deepEqual([...lengths].sort(), [3, 4, 5, 6]);
});

test("a failed sync loses what it should have saved, even when the next one succeeds", (t) => {
  const storage = disk(4);
  const file = storage.open("/d/a", "new");
  storage.syncDirectory("/d");
  file.write(Buffer.from("lost"), 0, 4, 0);
  storage.fail({ operation: "sync", path: "/d/a", code: "EIO" });
  t.throws(() => file.sync(), { code: "EIO" });
  file.write(Buffer.from("kept"), 0, 4, 4);
  file.sync();
  storage.restart("power");
  t.is(contents(storage, "/d/a"), "\0\0\0\0kept");
});

test("a full disk takes the part that fits, then refuses until space is freed", (t) => {
  const storage = disk(5);
  const other = storage.open("/d/b", "new");
  other.write(Buffer.alloc(8192, 1), 0, 8192, 0);
  storage.capacityBytes = 5 * 4096;
  const file = storage.open("/d/a", "new");
  t.throws(() => file.write(Buffer.alloc(20_000, 2), 0, 20_000, 0), { code: "ENOSPC" });
  t.is(file.size(), 3 * 4096);
  file.write(Buffer.from("in place"), 0, 8, 0);
  t.is(storage.freeBytes(), 0);
  storage.remove("/d/b");
  t.is(storage.freeBytes(), 0, "still open");
  other.close();
  t.is(storage.freeBytes(), 8192);
  file.write(Buffer.alloc(10, 3), 0, 10, 3 * 4096);
  t.is(storage.freeBytes(), 4096);
});

test("a rename without a sync of the directory leaves the old name or the new one, never neither", (t) => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 100; seed++) {
    const storage = disk(seed);
    for (const name of ["/d/old", "/d/new"]) {
      const file = storage.open(name, "new");
      file.write(Buffer.from(name), 0, name.length, 0);
      file.sync();
      file.close();
    }
    storage.syncDirectory("/d");
    storage.rename("/d/new", "/d/old");
    storage.restart("power");
    const state = `${contents(storage, "/d/old")} ${contents(storage, "/d/new")}`;
    seen.add(state);
  }
  t.deepEqual([...seen].sort(), ["/d/new undefined", "/d/old /d/new"]);
});

test("rules fail what they name, after and as often as they say, having done a part", (t) => {
  const storage = disk(6);
  const file = storage.open("/d/a", "new");
  storage.fail({
    operation: "write",
    path: /a$/,
    code: "EIO",
    after: 1,
    times: 2,
    partialBytes: 1,
  });
  file.write(Buffer.from("ok"), 0, 2, 0);
  t.throws(() => file.write(Buffer.from("xy"), 0, 2, 2), { code: "EIO" });
  t.throws(() => file.write(Buffer.from("zy"), 0, 2, 3), { code: "EIO" });
  file.write(Buffer.from("!"), 0, 1, 4);
  t.is(contents(storage, "/d/a"), "okxz!");
  storage.fail({ operation: "open", code: "EACCES" });
  t.throws(() => storage.open("/d/a", "read"), { code: "EACCES" });
  t.is(contents(storage, "/d/a"), "okxz!");
});
