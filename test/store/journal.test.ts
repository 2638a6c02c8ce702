import test from "ava";
import { FRAME_HEADER, JOURNAL_HEADER, MAX_ENTRY_BYTES } from "../../src/store/journal-format.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { MessageStore } from "../../src/store/message-store.ts";
import { SILENT, storeOn } from "../support/built-store.ts";
import { fieldsOf } from "../support/store-events.ts";

const ROOT = "/data";

async function opened(storage: MemoryStorage): Promise<MessageStore> {
  const store = storeOn(storage, ROOT);
  await store.open(SILENT);
  return store;
}

function append(store: MessageStore, ...texts: string[]): number {
  let position = 0;
  for (const text of texts) {
    const bytes = Buffer.from(`..${text}..`);
    position = store.journal.append(bytes, 2, bytes.length - 2);
  }
  return position;
}

function replayed(store: MessageStore): string[] {
  const found: string[] = [];
  store.journal.replay((bytes) => void found.push(bytes.toString()));
  return found;
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("entries come back in order, over any number of starts", async (t) => {
  const storage = new MemoryStorage();
  const expected: string[] = [];
  for (let life = 0; life < 4; life++) {
    const store = await opened(storage);
    t.deepEqual(replayed(store), expected);
    for (let i = 0; i < 20; i++) expected.push(`${life} ${i}`);
    append(store, ...expected.slice(-20));
    store.publish(false);
    await store.close();
  }
});

test("a snapshot replaces what was before it, and the files of that go", async (t) => {
  const storage = new MemoryStorage();
  const store = await opened(storage);
  append(store, "a", "b");
  store.publish(false);
  t.true(store.journal.bytesSinceSnapshot > 0);
  store.journal.snapshot([Buffer.from("a and b")]);
  t.is(store.journal.bytesSinceSnapshot, 0);
  const { snapshotBytes } = store.journal;
  t.true(snapshotBytes > "a and b".length && snapshotBytes < 100, `${snapshotBytes} bytes`);
  append(store, "c");
  store.publish(false);
  await turn();
  const names = storage.list(`${ROOT}/journal`).map(({ name }) => name);
  t.is(names.length, 2, names.join(" "));
  const crashed = await opened(storage.copy());
  t.deepEqual(replayed(crashed), ["a and b", "c"]);
  await store.close();
  const again = await opened(storage);
  t.deepEqual(replayed(again), ["a and b", "c"]);
  const { snapshotBytes: known } = again.journal;
  t.true(known >= snapshotBytes && known < snapshotBytes + 100, `${known} bytes after a start`);
  // Every opener may begin with a snapshot.
  again.journal.snapshot([Buffer.from("all")]);
  await again.close();
  t.deepEqual(replayed(await opened(storage)), ["all"]);
});

test("a sync that was asked for makes log and journal durable, the log first", async (t) => {
  const storage = new MemoryStorage();
  const store = await opened(storage);
  const logged = store.append(store.queue("q", 0), fieldsOf("x"));
  const noted = append(store, "about x");
  store.journal.requestSync();
  store.publish(false);
  await turn();
  t.true(store.journal.durable >= noted);
  t.true(store.watermarks.durable >= logged);
  await store.close();
});

test("entries that nobody waits for are durable soon, by themselves", async (t) => {
  const store = await opened(new MemoryStorage());
  const position = append(store, "lazy");
  store.publish(false);
  await turn();
  t.true(store.journal.written >= position);
  t.true(store.journal.durable < position);
  for (let i = 0; i < 500 && store.journal.durable < position; i++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  t.true(store.journal.durable >= position);
  await store.close();
});

test("more entries than the ring holds wait their turn", async (t) => {
  const storage = new MemoryStorage();
  const store = await opened(storage);
  const expected: string[] = [];
  for (let i = 0; i < 60; i++) {
    expected.push(`${i} `.repeat(10_000));
    append(store, expected[i]!);
  }
  store.publish(false);
  for (let i = 0; i < 10; i++) await turn();
  await store.close();
  t.deepEqual(replayed(await opened(storage)), expected);
});

test("an entry is 1 to 65,536 bytes", async (t) => {
  const store = await opened(new MemoryStorage());
  const bytes = Buffer.alloc(MAX_ENTRY_BYTES + 1);
  t.throws(() => store.journal.append(bytes, 0, bytes.length), { instanceOf: RangeError });
  t.throws(() => store.journal.append(bytes, 5, 5), { instanceOf: RangeError });
  t.notThrows(() => store.journal.append(bytes, 1, bytes.length));
  t.throws(() => store.journal.snapshot([bytes]), { instanceOf: RangeError });
  await store.close();
});

test("a journal that ends at any byte gives the entries that are whole", async (t) => {
  const storage = new MemoryStorage();
  const store = await opened(storage);
  const texts = ["one", "two and a half", "3"];
  append(store, ...texts);
  store.publish(false);
  await turn();
  const path = `${ROOT}/journal/${"1".padStart(20, "0")}`;
  const size = storage.stat(path)!.size;
  const ends = [JOURNAL_HEADER];
  for (const text of texts) ends.push(ends.at(-1)! + FRAME_HEADER + text.length);
  t.is(size, ends.at(-1)!);
  for (let cut = 0; cut <= size; cut++) {
    const copy = storage.copy();
    copy.open(path, "write").truncate(cut);
    const again = await opened(copy);
    const whole = ends.filter((end) => end <= cut).length - 1;
    t.deepEqual(replayed(again), texts.slice(0, Math.max(0, whole)), `cut at ${cut}`);
    // What comes next follows what is left.
    append(again, "next");
    again.publish(false);
    await again.close();
    t.deepEqual(replayed(await opened(copy)), [...texts.slice(0, Math.max(0, whole)), "next"]);
  }
});

test("a hole that was never synced ends the journal; damage to what was synced costs only itself", async (t) => {
  const storage = new MemoryStorage();
  const store = await opened(storage);
  append(store, "one", "two");
  store.publish(true);
  await turn();
  const path = `${ROOT}/journal/${"1".padStart(20, "0")}`;
  const second = JOURNAL_HEADER + FRAME_HEADER + 3;
  const zeros = Buffer.alloc(FRAME_HEADER + 3);

  // "three" was written when nothing before it was known to be durable.
  append(store, "three");
  store.publish(false);
  await turn();
  const torn = storage.copy();
  torn.open(path, "write").write(zeros, 0, zeros.length, second);
  const afterCut = storeOn(torn, ROOT);
  const cut = await afterCut.open(SILENT);
  t.deepEqual(replayed(afterCut), ["one"]);
  t.regex(cut.warnings.join(), /never synced/);

  // Once "four" is written it says that all before it was durable.
  store.journal.requestSync();
  store.publish(false);
  await turn();
  append(store, "four");
  store.publish(false);
  await turn();
  const rotten = storage.copy();
  rotten.open(path, "write").write(zeros, 0, zeros.length, second);
  const afterRot = storeOn(rotten, ROOT);
  const rot = await afterRot.open(SILENT);
  t.deepEqual(replayed(afterRot), ["one", "three", "four"]);
  t.regex(rot.warnings.join(), /damaged/);
  await store.close();
});

test("a journal of more entries than fit into the arguments of a call opens", async (t) => {
  const storage = new MemoryStorage();
  const store = await opened(storage);
  const count = 300_000;
  for (let i = 0; i < count; i++) {
    append(store, `${i}`);
    if (i % 1000 === 999) {
      store.publish(false);
      await turn();
    }
  }
  await store.close();
  const again = await opened(storage);
  const found = replayed(again);
  t.is(found.length, count);
  t.is(found[count - 1], `${count - 1}`);
  await again.close();
});
