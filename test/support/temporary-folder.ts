import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";

/** A folder of its own for one test, removed when the test ends. */
export function temporaryFolder(t: ExecutionContext<unknown>): string {
  const path = mkdtempSync(join(tmpdir(), "sluice-test-"));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** A file with this content, in a folder of its own. */
export function temporaryFile(t: ExecutionContext<unknown>, name: string, content: string): string {
  const file = join(temporaryFolder(t), name);
  writeFileSync(file, content);
  return file;
}
