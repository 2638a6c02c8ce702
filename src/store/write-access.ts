/**
 * At a start: may this user write to the files that the store writes to all the time? One that belongs to somebody else (a
 * command that was run as root, a backup that was put back) would otherwise end the first checkpoint or the first publish.
 */
import { join } from "node:path";
import { offsetOfName } from "./segment-list.ts";
import { isSystemError, type Storage } from "./storage-file.ts";
import { StoreOpenError } from "./store-lock.ts";

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "this user may not write it: give it to the user of the broker",
  EPERM: "this user may not write it: give it to the user of the broker",
  EISDIR: "it is a folder where a file is expected: move it away",
  ELOOP: "it is a link that leads nowhere: put the file back, or remove the link",
  EROFS: "the file system is read-only",
};

/** Throws StoreOpenError for the first one that cannot be opened for writing. */
export function checkWriteAccess(storage: Storage, directory: string): void {
  const paths = ["checkpoint", "queues/checkpoint", "queues/arena"].map((name) =>
    join(directory, name),
  );
  for (const folder of ["commitlog", "journal"]) {
    const names = storage.list(join(directory, folder)).map(({ name }) => name);
    const newest = names.filter((name) => name.length === 20 && offsetOfName(name) >= 0).sort();
    if (newest.length > 0) paths.push(join(directory, folder, newest.at(-1)!));
  }
  for (const path of paths) {
    if (storage.stat(path) === undefined) continue;
    try {
      storage.open(path, "write").close();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      throw new StoreOpenError(`${path}: ${REASONS[error.code ?? ""] ?? error.message}`, {
        cause: error,
      });
    }
  }
}
