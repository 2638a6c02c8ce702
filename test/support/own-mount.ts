/** File systems of one test: a small one in memory, and ways to make a folder unwritable. Needs root. */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";

const run = (command: string, ...args: string[]): void =>
  void execFileSync(command, args, { stdio: "ignore" });

/** May this process mount? Containers mostly may not. */
export const canMount: boolean = (() => {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return false;
  const path = mkdtempSync(join(tmpdir(), "sluice-mount-"));
  try {
    run("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path);
    run("umount", path);
    return true;
  } catch {
    return false;
  } finally {
    rmdirSync(path);
  }
})();

/** A file system of so many MiB, unmounted when the test ends. */
export function smallFileSystem(t: ExecutionContext<unknown>, mebibytes: number): string {
  const path = mkdtempSync(join(tmpdir(), "sluice-mount-"));
  run("mount", "-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", path);
  t.teardown(() => {
    // Lazily: a store that a failed test left open must not keep it.
    run("umount", "-l", path);
    rmdirSync(path);
  });
  mkdirSync(join(path, "data"));
  return path;
}

/** Nothing below `path` (a mount of `smallFileSystem`) can be written from now on. */
export const makeReadOnly = (path: string): void => run("mount", "-o", "remount,ro", path);
export const makeWritable = (path: string): void => run("mount", "-o", "remount,rw", path);
