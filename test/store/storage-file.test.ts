import { closeSync, fstatSync, openSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { fileSystem, isDiskFull } from "../../src/store/storage-file.ts";
import { storageSuite } from "../suites/storage-file.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

storageSuite("file system", test, (t) => ({ storage: fileSystem, root: temporaryFolder(t) }));
storageSuite("simulated disk", test, () => {
  const storage = new FaultyStorage(new Random(1));
  storage.makeDirectory("/data");
  return { storage, root: "/data" };
});

test("disk full and quota are told from errors that do not pass", (t) => {
  t.true(isDiskFull(Object.assign(new Error("x"), { code: "ENOSPC" })));
  t.true(isDiskFull(Object.assign(new Error("x"), { code: "EDQUOT" })));
  t.false(isDiskFull(Object.assign(new Error("x"), { code: "EIO" })));
  t.false(isDiskFull(new Error("x")));
  t.false(isDiskFull(null));
});

test("closing gives the descriptor back, and never closes somebody else's", (t) => {
  const root = temporaryFolder(t);
  const file = fileSystem.open(join(root, "a"), "create");
  file.close();
  const other = openSync(join(root, "b"), "w");
  file.close();
  t.notThrows(() => fstatSync(other));
  closeSync(other);
});
