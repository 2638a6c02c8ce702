import test from "ava";
import { ProgressJournal } from "../../src/broker/progress-journal.ts";
import type { ShardProgress } from "../../src/broker/shard-progress.ts";
import type { MessageStore } from "../../src/store/message-store.ts";

/** A journal on a clock of our own, and how often it asked for a turn. */
function rig() {
  let now = 0;
  let asked = 0;
  let entries = 0;
  const timers: Array<{ at: number; task: () => void }> = [];
  const store = { journal: { append: () => ++entries, requestSync: () => {}, durable: 0 } };
  const journal = new ProgressJournal(
    store as unknown as MessageStore,
    {
      now: () => now,
      uptime: () => now,
      soon: (task) => task(),
      after: (ms, task) => timers.push({ at: now + ms, task }),
      cancel: () => {},
    },
    () => asked++,
  );
  let low = 0;
  return {
    journal,
    get asked() {
      return asked;
    },
    get entries() {
      return entries;
    },
    settle(): void {
      const state = { low: ++low };
      const shard = { journalId: 1, state, journaledLow: low - 1, isDirty: true };
      journal.markDirty({
        ...shard,
        pendingRuns: [],
        pendingAttempts: [],
      } as unknown as ShardProgress);
    },
    /** `each` after every ms. */
    pass(ms: number, each = (): void => {}): void {
      for (const end = now + ms; now < end; ) {
        now++;
        for (const timer of timers.splice(0)) {
          if (timer.at <= now) timer.task();
          else timers.push(timer);
        }
        each();
      }
    },
  };
}

test("settlements that nobody waits for ask for a turn of their own after 10 ms, once", (t) => {
  const it = rig();
  it.settle();
  it.settle();
  it.pass(9);
  t.is(it.asked, 0);
  it.pass(1);
  t.is(it.asked, 1);
  it.journal.flush();
  t.is(it.entries, 1);
  it.pass(100);
  t.is(it.asked, 1);
});

test("where turns come anyway, settlements ask for none", (t) => {
  const it = rig();
  it.pass(100, () => {
    it.settle();
    it.journal.flush();
    it.settle();
  });
  t.is(it.asked, 0);
  // The last of them has nobody to go with.
  it.pass(10);
  t.is(it.asked, 1);
});
