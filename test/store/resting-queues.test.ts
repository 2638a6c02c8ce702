import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "ava";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { bodiesOf } from "../suites/message-store.ts";
import { fieldsOf, StoreProbe } from "../support/store-events.ts";

test("ten thousand queues that were let go come back whole, over restarts, and take hardly any memory", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-resting-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const names = Array.from({ length: 10_000 }, (_, i) => `sub-${i}`);
  const first = new CommitLogStore({ directory, tickMs: 0, minFreeBytes: 0 });
  const probe = new StoreProbe();
  await first.open(probe);
  for (let i = 0; i < names.length; i++) {
    const dispatch = [first.lightQueue(names[i]!), first.lightQueue(names[(i + 1) % 10_000]!)];
    if (!first.hasRoom(4096)) await probe.until("room", () => first.hasRoom(4096));
    first.append(first.queue("news", 0), fieldsOf(`m${i}`, { dispatch }));
    if (i % 100 === 99) first.publish(false);
  }
  for (const name of names) first.rest(first.lightQueue(name));
  first.tick(true);
  t.deepEqual(bodiesOf(first, first.lightQueue("sub-5000")), ["m4999", "m5000"]);
  await first.close();

  const second = new CommitLogStore({ directory, tickMs: 0, minFreeBytes: 0 });
  await second.open(new StoreProbe());
  t.teardown(() => second.close());
  t.is([...second.queues()].length, 10_001);
  for (let i = 1; i < names.length; i += 977) {
    const queue = second.lightQueue(names[i]!);
    t.deepEqual(bodiesOf(second, queue), [`m${i - 1}`, `m${i}`]);
    second.rest(queue);
  }
});

test("hundreds of thousands of journal entries in one turn are all there after a close", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "sluice-journal-"));
  t.teardown(() => rmSync(directory, { recursive: true }));
  const first = new CommitLogStore({ directory, tickMs: 0, minFreeBytes: 0 });
  await first.open(new StoreProbe());
  for (let i = 0; i < 130_000; i++) {
    const entry = Buffer.alloc(i % 100 === 0 ? 1000 : 13);
    entry.writeUInt32BE(i);
    first.journal.append(entry, 0, entry.length);
  }
  first.publish(false);
  await first.close();
  const second = new CommitLogStore({ directory, tickMs: 0, minFreeBytes: 0 });
  await second.open(new StoreProbe());
  t.teardown(() => second.close());
  const found: number[] = [];
  second.journal.replay((bytes) => void found.push(bytes.readUInt32BE(0)));
  t.deepEqual(
    found,
    Array.from({ length: 130_000 }, (_, i) => i),
  );
});
