import { readdirSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import test from "ava";
import { Journal } from "../../src/store/journal.ts";
import { parseJournal } from "../../src/store/journal-format.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { Quarantine } from "../../src/store/quarantine.ts";
import { POSITION, SharedControl } from "../../src/store/shared-control.ts";
import { fileSystem } from "../../src/store/storage-file.ts";
import { SILENT, storeOn } from "../support/built-store.ts";
import { fieldsOf } from "../support/store-events.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { until } from "../support/wait.ts";

/** A journal whose store thread does not move. */
function hanging(directory: string): { journal: Journal; control: SharedControl } {
  const control = new SharedControl();
  const journal = new Journal(
    control,
    () => undefined,
    () => 0,
  );
  journal.open(fileSystem, directory, new Quarantine(fileSystem, directory));
  return { journal, control };
}

function append(journal: Journal, texts: readonly string[]): void {
  for (const text of texts) {
    const bytes = Buffer.from(text);
    journal.append(bytes, 0, bytes.length);
  }
  journal.publish();
}

function replayed(journal: Journal): string[] {
  const found: string[] = [];
  journal.replay((bytes) => void found.push(bytes.toString()));
  return found;
}

const aheadOf = (folder: string): string[] =>
  readdirSync(join(folder, "journal")).filter((name) => name.startsWith("ahead-"));

/** How many entries are in such files, each counted once. */
function entriesAhead(folder: string): number {
  return aheadOf(folder).reduce((count, name) => {
    const file = parseJournal(readFileSync(join(folder, "journal", name)));
    return count + (file?.frames.length ?? 0);
  }, 0);
}

test("while the store thread hangs in a sync, acknowledgements reach the page cache all the same", async (t) => {
  const folder = temporaryFolder(t);
  const { journal, control } = hanging(folder);
  const expected = Array.from({ length: 50 }, (_, i) => `entry ${i}`);
  append(journal, expected.slice(0, 20));
  await until("the first entries are in a file", () => entriesAhead(folder) === 20);
  append(journal, expected.slice(20));
  await until("the others, too", () => entriesAhead(folder) === 50);
  t.is(aheadOf(folder).length, 1);
  // The process is killed here: nothing else was written.
  t.deepEqual(replayed(hanging(folder).journal), expected);
  t.deepEqual(aheadOf(folder), []);
  t.deepEqual(replayed(hanging(folder).journal), expected);
  control.setPosition(POSITION.JOURNAL_WRITTEN, journal.end);
  await journal.close();
});

test("so do entries that found no place in the ring", async (t) => {
  const folder = temporaryFolder(t);
  const { journal } = hanging(folder);
  const expected = Array.from({ length: 40 }, (_, i) => `${i} ${"x".repeat(60_000)}`);
  append(journal, expected.slice(0, 30));
  t.true(journal.hasWaiting);
  await until("the first entries are in a file", () => entriesAhead(folder) === 30);
  append(journal, expected.slice(30));
  await until("the others, too", () => entriesAhead(folder) === 40);
  t.deepEqual(replayed(hanging(folder).journal), expected);
  await journal.close();
});

test("once the store thread has written them the file goes, and the next stands for itself", async (t) => {
  const folder = temporaryFolder(t);
  const { journal, control } = hanging(folder);
  append(journal, ["one"]);
  await until("in a file", () => entriesAhead(folder) === 1);
  control.setPosition(POSITION.JOURNAL_WRITTEN, journal.end);
  await until("the file is gone", () => aheadOf(folder).length === 0);
  append(journal, ["two"]);
  await until("in another file", () => entriesAhead(folder) === 1);
  t.is(aheadOf(folder)[0], `ahead-${String(12 + 3).padStart(20, "0")}`);
  // "one" was said to be written and is not: what cannot go on where the journal ends is left out.
  t.deepEqual(replayed(hanging(folder).journal), []);
  await journal.close();
});

test("a kill while the file is written keeps the entries that are whole, and what comes later is not mixed with them", async (t) => {
  for (const cut of [0, 10, 29, 48, 68, 87]) {
    const folder = temporaryFolder(t);
    const { journal } = hanging(folder);
    const expected = ["first", "second", "third"];
    append(journal, expected);
    await until("in a file", () => entriesAhead(folder) === 3);
    await journal.close();
    truncateSync(join(folder, "journal", aheadOf(folder)[0]!), cut);
    const whole = cut < 45 ? 0 : cut < 63 ? 1 : cut < 80 ? 2 : 3;
    const next = hanging(folder).journal;
    t.deepEqual(replayed(next), expected.slice(0, whole), `cut at ${cut}`);
    append(next, ["later"]);
    await until("in a file", () => entriesAhead(folder) === 1);
    await next.close();
    const all = [...expected.slice(0, whole), "later"];
    t.deepEqual(replayed(hanging(folder).journal), all, `cut at ${cut}`);
  }
});

test("nothing is confirmed before what the owner made of the journal at the start is on the disk", async (t) => {
  const disk = new MemoryStorage();
  const first = storeOn(disk, "/data");
  await first.open(SILENT);
  first.journal.append(Buffer.from("speaks of what is lost"), 0, 22);
  await first.close();
  const synced: string[] = [];
  const open = disk.open.bind(disk);
  disk.open = (path, mode) => {
    const file = open(path, mode);
    file.sync = () => void synced.push(path);
    return file;
  };
  disk.syncDirectory = (path) => void synced.push(...disk.list(path).map(({ name }) => name));
  const store = storeOn(disk, "/data");
  await store.open(SILENT);
  synced.length = 0;
  const noted = Buffer.from("noted while it opens");
  store.journal.append(noted, 0, noted.length);
  store.journal.snapshot([Buffer.from("clamped")]);
  store.append(store.queue("q", 0), fieldsOf("takes the place of what is lost"));
  store.publish(true);
  await until("confirmed", () => store.watermarks.durable === store.watermarks.appended);
  const log = synced.findLastIndex((path) => path.includes("commitlog"));
  const snapshot = synced.findIndex((name) => name.endsWith(".snapshot"));
  t.true(snapshot >= 0 && snapshot < log, synced.join(" "));
  await store.close();
});
