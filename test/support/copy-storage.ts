/** A copy of everything below a folder of a storage, in a new one in memory, which is cheap to copy further. */
import { join } from "node:path";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { Storage } from "../../src/store/storage-file.ts";

export function copyStorage(from: Storage, folder: string): MemoryStorage {
  const to = new MemoryStorage();
  const copy = (path: string): void => {
    to.makeDirectory(path);
    for (const { name, isDirectory } of from.list(path)) {
      const inner = join(path, name);
      if (isDirectory) copy(inner);
      else copyFile(from, to, inner);
    }
  };
  copy(folder);
  return to;
}

/** Parts that were never written stay holes. */
function copyFile(from: Storage, to: Storage, path: string): void {
  const source = from.open(path, "read");
  const target = to.open(path, "create");
  const size = source.size();
  target.truncate(size);
  const chunk = Buffer.alloc(1 << 20);
  const zeros = Buffer.alloc(chunk.length);
  for (let at = 0; at < size; at += chunk.length) {
    const got = source.readInto(chunk, 0, Math.min(chunk.length, size - at), at);
    if (chunk.compare(zeros, 0, got, 0, got) !== 0) target.write(chunk, 0, got, at);
  }
  source.close();
  target.close();
}
