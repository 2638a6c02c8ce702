import test from "ava";
import { SegmentReader } from "../../src/store/segment-reader.ts";
import { fileSystem } from "../../src/store/storage-file.ts";
import { segmentReaderSuite } from "../suites/segment-reader.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

segmentReaderSuite("reading by position", test, (t) => ({
  storage: fileSystem,
  root: temporaryFolder(t),
}));
segmentReaderSuite("simulated disk", test, () => {
  const storage = new FaultyStorage(new Random(1));
  storage.makeDirectory("/data");
  return { storage, root: "/data" };
});
test("a bad sector costs the records on it, not the ones read together with them", (t) => {
  const storage = new FaultyStorage(new Random(2));
  storage.makeDirectory("/d");
  const file = storage.open("/d/a", "new");
  file.write(Buffer.alloc(100_000, 5), 0, 100_000, 0);
  const reader = new SegmentReader({ segmentSize: 2 ** 20 });
  reader.add({ base: 0, size: 2 ** 20, file });
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
  reader.add({ base: 0, size: 2 ** 20, file });
  t.true(reader.locate(900, 100, 5000));
  t.false(reader.locate(950, 100, 5000));
});
