/** What every implementation of the Storage seam promises. Called once per implementation. */
import { join } from "node:path";
import type { ExecutionContext, TestFn } from "ava";
import type { Storage } from "../../src/store/storage-file.ts";

export interface StorageUnderTest {
  readonly storage: Storage;
  /** An empty directory that exists. */
  readonly root: string;
}

export function storageSuite(
  name: string,
  test: TestFn<unknown>,
  make: (t: ExecutionContext<unknown>) => StorageUnderTest,
): void {
  test(`${name}: what was written at a position is read at that position, also beyond 4 GiB`, (t) => {
    const { storage, root } = make(t);
    const file = storage.open(join(root, "a"), "create");
    const far = 5 * 2 ** 30 + 3;
    file.write(Buffer.from("..hello.."), 2, 5, 10);
    file.write(Buffer.from("far"), 0, 3, far);
    const target = Buffer.alloc(9, 0x2a);
    t.is(file.readInto(target, 2, 5, 10), 5);
    t.is(target.toString(), "**hello**");
    t.is(file.readInto(target, 0, 9, far), 3, "a read stops at the end of the file");
    t.is(target.subarray(0, 3).toString(), "far");
    t.is(file.size(), far + 3);
    t.is(file.readInto(target, 0, 9, far + 3), 0);
    t.is(file.readInto(target, 0, 9, far + 300), 0);
    file.close();
  });

  test(`${name}: bytes that nobody wrote read as zeros`, (t) => {
    const { storage, root } = make(t);
    const file = storage.open(join(root, "a"), "create");
    file.truncate(10_000);
    t.is(file.size(), 10_000);
    file.write(Buffer.from("x"), 0, 1, 5000);
    const target = Buffer.alloc(10_000, 1);
    t.is(file.readInto(target, 0, 10_000, 0), 10_000);
    t.is(target[5000], 0x78);
    target[5000] = 0;
    t.true(target.every((byte) => byte === 0));
    file.close();
  });

  test(`${name}: what a truncate cut away does not come back when the file grows again`, (t) => {
    const { storage, root } = make(t);
    const file = storage.open(join(root, "a"), "create");
    file.write(Buffer.alloc(9000, 7), 0, 9000, 0);
    file.truncate(4100);
    file.truncate(9000);
    const target = Buffer.alloc(9000);
    t.is(file.readInto(target, 0, 9000, 0), 9000);
    t.is(target.lastIndexOf(7), 4099);
    file.close();
  });

  test(`${name}: a write from shared memory and a read into it work`, (t) => {
    const { storage, root } = make(t);
    const shared = new Uint8Array(new SharedArrayBuffer(64));
    shared.set(Buffer.from("from the ring"), 20);
    const file = storage.open(join(root, "a"), "create");
    file.write(shared, 20, 13, 4);
    t.is(file.readInto(shared, 0, 13, 4), 13);
    t.is(Buffer.from(shared.slice(0, 13)).toString(), "from the ring");
    file.close();
  });

  test(`${name}: the mode decides whether a file must exist, may not exist, or may be written`, (t) => {
    const { storage, root } = make(t);
    const path = join(root, "a");
    t.throws(() => storage.open(path, "read"), { code: "ENOENT" });
    t.throws(() => storage.open(path, "write"), { code: "ENOENT" });
    const file = storage.open(path, "new");
    file.write(Buffer.from("kept"), 0, 4, 0);
    file.close();
    t.throws(() => storage.open(path, "new"), { code: "EEXIST" });
    const again = storage.open(path, "create");
    t.is(again.size(), 4);
    again.close();
    const readOnly = storage.open(path, "read");
    t.throws(() => readOnly.write(Buffer.from("no"), 0, 2, 0));
    readOnly.close();
    t.throws(() => storage.open(join(root, "missing", "b"), "create"), { code: "ENOENT" });
  });

  test(`${name}: a closed file refuses every use and closes twice`, (t) => {
    const { storage, root } = make(t);
    const file = storage.open(join(root, "a"), "create");
    file.close();
    file.close();
    const target = Buffer.alloc(4);
    t.throws(() => file.readInto(target, 0, 4, 0), { message: /used after close/ });
    t.throws(() => file.write(target, 0, 4, 0), { message: /used after close/ });
    t.throws(() => file.sync(), { message: /used after close/ });
    t.throws(() => file.size(), { message: /used after close/ });
  });

  test(`${name}: a range outside of the caller's bytes is refused`, (t) => {
    const { storage, root } = make(t);
    const file = storage.open(join(root, "a"), "create");
    const bytes = Buffer.alloc(4);
    t.throws(() => file.write(bytes, 2, 3, 0));
    t.throws(() => file.readInto(bytes, 2, 3, 0));
    t.is(file.size(), 0);
    file.close();
  });

  test(`${name}: directories list what they hold, and renames replace`, (t) => {
    const { storage, root } = make(t);
    t.deepEqual(storage.list(join(root, "nowhere")), []);
    storage.makeDirectory(join(root, "x", "y"));
    storage.makeDirectory(join(root, "x", "y"));
    for (const name of ["b", "a"]) {
      const file = storage.open(join(root, "x", name), "new");
      file.write(Buffer.from(name), 0, 1, 0);
      file.sync();
      file.close();
    }
    const names = (path: string) =>
      storage
        .list(path)
        .map((entry) => entry.name + (entry.isDirectory ? "/" : ""))
        .sort();
    t.deepEqual(names(join(root, "x")), ["a", "b", "y/"]);
    storage.rename(join(root, "x", "a"), join(root, "x", "b"));
    storage.syncDirectory(join(root, "x"));
    t.deepEqual(names(join(root, "x")), ["b", "y/"]);
    const file = storage.open(join(root, "x", "b"), "read");
    const one = Buffer.alloc(1);
    file.readInto(one, 0, 1, 0);
    t.is(one.toString(), "a");
    t.is(storage.stat(join(root, "x", "b"))?.size, 1);
    t.true(storage.stat(join(root, "x", "y"))?.isDirectory);
    t.is(storage.stat(join(root, "x", "a")), undefined);
    // An open file outlives its name.
    storage.remove(join(root, "x", "b"));
    storage.remove(join(root, "x", "b"));
    t.is(file.readInto(one, 0, 1, 0), 1);
    file.close();
    storage.removeTree(join(root, "x"));
    storage.removeTree(join(root, "x"));
    t.deepEqual(names(root), []);
    t.true(storage.freeBytes(root) > 0);
  });
}
