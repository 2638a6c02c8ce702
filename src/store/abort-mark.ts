/** RocketMQ's `abort` file: there while the store is open. Who finds it knows that the last one did not close it. */
import { join } from "node:path";
import type { Storage } from "./storage-file.ts";

export function writeAbort(storage: Storage, path: string): void {
  const text = Buffer.from(`${process.pid}\n`);
  const file = storage.open(path, "create");
  file.truncate(0);
  file.write(text, 0, text.length, 0);
  file.sync();
  file.close();
  storage.syncDirectory(join(path, ".."));
}
