import test from "ava";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { MemoryStore } from "../../src/store/memory-store.ts";
import { messageStoreSuite } from "../suites/message-store.ts";
import { storageSuite } from "../suites/storage-file.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

messageStoreSuite(
  "commit log store",
  test,
  (t) => {
    const directory = temporaryFolder(t);
    return () => new CommitLogStore({ directory, segmentBytes: 64 << 20 });
  },
  true,
);

messageStoreSuite(
  "commit log store, small ring and segments",
  test,
  (t) => {
    const directory = temporaryFolder(t);
    return () => new CommitLogStore({ directory, segmentBytes: 8 << 20, ringBytes: 64 << 10 });
  },
  true,
);

messageStoreSuite(
  "commit log store in line on a simulated disk",
  test,
  () => {
    const storage = new FaultyStorage(new Random(1));
    return () =>
      new CommitLogStore({ directory: "/data", segmentBytes: 8 << 20, inlineOn: storage });
  },
  true,
);

messageStoreSuite(
  "memory store",
  test,
  () => {
    const storage = new MemoryStorage();
    return () => new MemoryStore(storage);
  },
  true,
);

storageSuite("memory storage", test, () => {
  const storage = new MemoryStorage();
  storage.makeDirectory("/data");
  return { storage, root: "/data" };
});
