/** A file of a Storage as a whole: what is in it, and something else in its place. */
import type { Storage } from "../../src/store/storage-file.ts";

export function bytesOf(storage: Storage, path: string): Buffer {
  const file = storage.open(path, "read");
  const bytes = Buffer.alloc(file.size());
  file.readInto(bytes, 0, bytes.length, 0);
  file.close();
  return bytes;
}

export function replaceFile(storage: Storage, path: string, bytes: Buffer): void {
  const file = storage.open(path, "create");
  file.truncate(bytes.length);
  if (bytes.length > 0) file.write(bytes, 0, bytes.length, 0);
  file.close();
}
