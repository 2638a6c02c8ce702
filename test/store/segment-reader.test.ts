import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import test from "ava";
import { loadFileMapper, MAX_VIEW_BYTES } from "../../src/store/file-mapping.ts";
import { MAP_AFTER, SegmentReader } from "../../src/store/segment-reader.ts";
import { fileSystem } from "../../src/store/storage-file.ts";
import { segmentReaderSuite } from "../suites/segment-reader.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const outcome = await loadFileMapper();

segmentReaderSuite("reading by position", test, (t) => ({
  storage: fileSystem,
  root: temporaryFolder(t),
  mapper: null,
}));
segmentReaderSuite("simulated disk", test, () => {
  const storage = new FaultyStorage(new Random(1));
  storage.makeDirectory("/data");
  return { storage, root: "/data", mapper: null };
});
if (outcome.mapper !== null) {
  const { mapper } = outcome;
  segmentReaderSuite("mapped", test, (t) => ({
    storage: fileSystem,
    root: temporaryFolder(t),
    mapper,
  }));

  test("scattered reads of a sealed segment end on a mapping; a segment still written never does", (t) => {
    const size = 2 ** 25;
    const reader = new SegmentReader({ segmentSize: size, mapper, cacheBytes: 65_536 });
    const root = temporaryFolder(t);
    for (let i = 0; i < 2; i++) {
      const file = fileSystem.open(join(root, String(i)), "create");
      file.truncate(size);
      reader.add({ base: i * size, size, file }, i === 0);
    }
    const scatter = (base: number) => {
      for (let i = 0; i < 200; i++) {
        if (!reader.locate(base + ((i * 9_999_991) % size), 50, 2 * size)) t.fail("not located");
      }
    };
    scatter(size);
    t.is(reader.viewsMapped, 0);
    scatter(0);
    t.is(reader.viewsMapped, 1);
    t.true(MAP_AFTER > 1, "a few lookups must not cost a mapping");
    reader.seal(size);
    scatter(size);
    t.is(reader.viewsMapped, 2);
  });

  test.serial(
    "a view is unmapped when nothing refers to it any more, and not before",
    async (t) => {
      setFlagsFromString("--expose-gc");
      const collect = runInNewContext("gc") as () => void;
      const path = join(temporaryFolder(t), "a");
      const file = fileSystem.open(path, "create");
      file.write(Buffer.alloc(200_000, 9), 0, 200_000, 0);
      const before = mapper.mappedViews;
      const held: { slice: Buffer | null } = { slice: null };
      (() => {
        held.slice = mapper.map(path, 65_536, 100_000).subarray(500, 600);
      })();
      t.is(mapper.mappedViews, before + 1);
      for (let i = 0; i < 5; i++) {
        collect();
        await new Promise(setImmediate);
      }
      t.is(mapper.mappedViews, before + 1, "a slice is still held");
      t.is(held.slice?.[99], 9);
      held.slice = null;
      for (let i = 0; i < 500 && mapper.mappedViews > before; i++) {
        collect();
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      t.is(mapper.mappedViews, before);
      file.close();
    },
  );

  test("a view that would end the process is refused: too long, or beyond the end of the file", (t) => {
    const path = join(temporaryFolder(t), "a");
    const file = fileSystem.open(path, "create");
    file.truncate(100_000);
    t.throws(() => mapper.map(path, 0, 100_001), { message: /has 100000 bytes/ });
    t.throws(() => mapper.map(path, 65_536, 65_536), { instanceOf: RangeError });
    t.throws(() => mapper.map(path, 10, 100), { instanceOf: RangeError });
    t.throws(() => mapper.map(path, 0, 0), { instanceOf: RangeError });
    file.truncate(MAX_VIEW_BYTES * 2);
    t.throws(() => mapper.map(path, 0, MAX_VIEW_BYTES + 1), { instanceOf: RangeError });
    t.is(mapper.map(path, 0, MAX_VIEW_BYTES).length, MAX_VIEW_BYTES);
    file.close();
  });
}

test("when mapping fails, reading goes on", (t) => {
  let asked = 0;
  const broken = {
    mappedViews: 0,
    mappedBytes: 0,
    map: () => {
      asked++;
      throw new Error("no address space");
    },
  };
  const file = fileSystem.open(join(temporaryFolder(t), "a"), "create");
  file.write(Buffer.alloc(2 ** 20, 3), 0, 2 ** 20, 0);
  const reader = new SegmentReader({ segmentSize: 2 ** 20, mapper: broken, cacheBytes: 16_384 });
  reader.add({ base: 0, size: 2 ** 20, file }, true);
  for (let i = 0; i < 500; i++) {
    t.true(reader.locate((i * 99_991) % 1_000_000, 50, 2 ** 20));
    t.is(reader.buffer[reader.offset + 49], 3);
  }
  t.is(asked, 1, "a refusal is remembered");
});

test("a bad sector costs the records on it, not the ones read together with them", (t) => {
  const storage = new FaultyStorage(new Random(2));
  storage.makeDirectory("/d");
  const file = storage.open("/d/a", "new");
  file.write(Buffer.alloc(100_000, 5), 0, 100_000, 0);
  const reader = new SegmentReader({ segmentSize: 2 ** 20 });
  reader.add({ base: 0, size: 2 ** 20, file }, false);
  storage.fail({ operation: "read", code: "EIO" });
  t.true(reader.locate(50, 100, 100_000));
  t.is(reader.buffer[reader.offset], 5);
  storage.fail({ operation: "read", code: "EIO", times: 2 });
  t.throws(() => reader.locate(40_000, 100, 100_000), { code: "EIO" });
  t.true(reader.locate(40_000, 100, 100_000), "a later try may work");
});

test("a file that is shorter than it should be gives nothing rather than other bytes", (t) => {
  const storage = new FaultyStorage(new Random(2));
  storage.makeDirectory("/d");
  const file = storage.open("/d/a", "new");
  file.write(Buffer.alloc(1000, 5), 0, 1000, 0);
  const reader = new SegmentReader({ segmentSize: 2 ** 20 });
  reader.add({ base: 0, size: 2 ** 20, file }, false);
  t.true(reader.locate(900, 100, 5000));
  t.false(reader.locate(950, 100, 5000));
});
