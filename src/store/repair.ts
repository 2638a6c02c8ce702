/**
 * `sluice store repair`: makes a store whole that nobody has open. What the log holds is kept, byte for byte; damaged
 * ranges of it are copied to `quarantine/` with a report each; everything that is derived from it is made again.
 *
 * It loses nothing that is still there: a record that cannot be read was lost before. Trims of queues are forgotten with
 * the catalog, and repeated by the broker from its journal at the next start.
 */
import { join } from "node:path";
import { type CheckOptions, checkStore, withStore } from "./check.ts";
import type { StoreReport } from "./check-report.ts";
import { CommitLogStore } from "./commit-log-store.ts";
import type { SegmentList } from "./segment-list.ts";
import type { Storage } from "./storage-file.ts";

/** Derived from the log. RocketMQ's `checkpoint` file only tells how far they were. */
const DERIVED = ["consumequeue", "queues", "index", "checkpoint"] as const;

export interface RepairReport {
  readonly before: StoreReport;
  readonly after: StoreReport;
  /** Were the derived files made again? Not when there was nothing wrong with them. */
  readonly isRebuilt: boolean;
  /** What the start after it had to say: one sentence each. */
  readonly warnings: readonly string[];
}

/** Throws as checkStore does, and what the file system throws: EROFS, EACCES, ENOSPC. May be repeated after that. */
export async function repairStore(options: CheckOptions): Promise<RepairReport> {
  const before = await checkStore(options);
  const isRebuilt = before.state === "damaged";
  if (isRebuilt) {
    await withStore(options, async (directory, storage, segments) => {
      for (const name of DERIVED) storage.removeTree(join(directory, name));
      storage.syncDirectory(directory);
      for (const start of segments.starts()) completeLength(storage, segments, start);
    });
  }
  // Opening cuts a torn end, sets damage aside and makes what is missing; closing makes all of it durable.
  const store = new CommitLogStore({
    directory: options.directory,
    ...(options.storage === undefined ? {} : { inlineOn: options.storage }),
  });
  const { warnings } = await store.open({
    onWatermark() {},
    onRoom() {},
    onHealth() {},
    onReadable() {},
  });
  await store.close();
  return { before, after: await checkStore(options), isRebuilt, warnings };
}

/** A segment that was cut short gets its length back; what is missing reads as zeros and is found to be damage. */
function completeLength(storage: Storage, segments: SegmentList, start: number): void {
  const path = segments.path(start);
  if ((storage.stat(path)?.size ?? 0) >= segments.segmentBytes) return;
  const file = storage.open(path, "write");
  file.truncate(segments.segmentBytes);
  file.sync();
  file.close();
}
