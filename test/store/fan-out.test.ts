/** Messages for many light queues: stored once, all or nothing, and known again from the log alone. */
import test from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { BLOCK_HEADER } from "../../src/store/arena.ts";
import { KEPT_MAX } from "../../src/store/catalog.ts";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { exportStore } from "../../src/store/export.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { StoreEvents, StoreQueue } from "../../src/store/message-store.ts";
import { ENTRY_SIZE } from "../../src/store/page-pool.ts";
import { Random } from "../support/random.ts";
import { recordFields } from "../support/record-fields.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const ROOT = "/data";
const DERIVED = ["consumequeue", "queues", "index", "checkpoint"];
const SILENT: StoreEvents = { onWatermark() {}, onRoom() {}, onHealth() {}, onReadable() {} };

interface Shape {
  readonly segmentBytes?: number;
  readonly events?: Partial<StoreEvents>;
}

async function opened(disk: MemoryStorage, shape: Shape = {}): Promise<CommitLogStore> {
  const store = new CommitLogStore({
    directory: ROOT,
    segmentBytes: shape.segmentBytes ?? 1 << 20,
    ringBytes: 1 << 20,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: disk,
    reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
  });
  await store.open({ ...SILENT, ...shape.events });
  return store;
}

const newDisk = (): MemoryStorage => new MemoryStorage();

function removeDerived(disk: MemoryStorage): void {
  for (const name of DERIVED) disk.removeTree(`${ROOT}/${name}`);
}

const lights = (store: CommitLogStore, count: number, prefix = "session-"): StoreQueue[] =>
  Array.from({ length: count }, (_, i) => store.lightQueue(`${prefix}${i}`));

function publish(store: CommitLogStore, body: string, dispatch: readonly StoreQueue[]): number {
  return store.append(store.queue("news", 0), recordFields({ body, dispatch }));
}

const entry = entryBatch();

function bodyAt(store: CommitLogStore, queue: StoreQueue, offset: number): string | null {
  const view = new RecordView();
  if (store.read(queue, offset, 1, entry) !== 1) return null;
  if (!store.view(entry.physicalOffset[0]!, entry.size[0]!, view)) return null;
  return view.buffer.toString("latin1", view.bodyStart, view.bodyEnd);
}

/** All that a store has, by queue. */
function contents(store: CommitLogStore): Record<string, Array<string | null>> {
  const all: Record<string, Array<string | null>> = {};
  for (const queue of store.queues()) {
    if (queue.maxOffset === 0) continue;
    const bodies: Array<string | null> = [];
    for (let i = queue.minOffset; i < queue.maxOffset; i++) bodies.push(bodyAt(store, queue, i));
    all[`${queue.isLight ? "~" : ""}${queue.topic}`] = bodies;
  }
  return Object.fromEntries(Object.entries(all).sort());
}

test("a large message for six thousand sessions is stored once, and each of them has it", async (t) => {
  const directory = temporaryFolder(t);
  const store = new CommitLogStore({ directory, segmentBytes: 64 << 20, minFreeBytes: 0 });
  await store.open(SILENT);
  const sessions = lights(store, 6000, "9f86d081-884c-4d65-9a2f-eaa0c55ad015-");
  const body = "x".repeat(1_000_000);
  const before = store.watermarks.appended;
  publish(store, body, sessions);
  const first = store.watermarks.appended - before;
  t.true(first < 2 * body.length, `${first} bytes of log`);
  publish(store, body, sessions);
  const again = store.watermarks.appended;
  publish(store, body, sessions);
  const third = store.watermarks.appended - again;
  // The names are known by now.
  t.true(third < body.length + 1000, `${third} bytes of log`);
  store.publish(true);
  const places = new Set<number>();
  for (const session of sessions) {
    t.is(session.maxOffset, 3);
    t.is(store.read(session, 2, 1, entry), 1);
    places.add(entry.physicalOffset[0]!);
  }
  t.is(places.size, 1);
  await store.close();
});

test("sessions that are ahead of one another cost some bytes each, not their names", async (t) => {
  const store = await opened(newDisk());
  const sessions = lights(store, 3000, "a-client-with-a-long-identifier-");
  publish(store, "to know the names", sessions);
  publish(store, "to know them better", sessions);
  for (const [i, session] of sessions.entries()) {
    if (i % 3 === 0) publish(store, "one", [session]);
    if (i % 7 === 0) publish(store, "two", [session, sessions[(i + 1) % 3000]!]);
  }
  const before = store.watermarks.appended;
  publish(store, "now", sessions);
  const bytes = store.watermarks.appended - before;
  t.true(bytes < 3000 * 5, `${bytes} bytes of log`);
  await store.close();
});

test("wherever the log ends, a publish to many is in all of its queues or in none", async (t) => {
  const disk = newDisk();
  const store = await opened(disk);
  const sessions = lights(store, 40);
  publish(store, "before", sessions);
  const ends = [0, store.watermarks.appended];
  ends.push(publish(store, "many", [...sessions, ...lights(store, 60, "other-")]));
  // In a transaction: the batch counts as a whole.
  store.beginAtomic();
  publish(store, "in batch", sessions);
  publish(store, "in batch too", [...sessions, ...lights(store, 10, "third-")]);
  ends.push(store.endAtomic());
  ends.push(publish(store, "after", sessions));
  const expected: string[][] = [
    [],
    ["before"],
    ["before", "many"],
    ["before", "many", "in batch", "in batch too"],
    ["before", "many", "in batch", "in batch too", "after"],
  ];
  store.publish(true);
  const image = disk.copy();
  const path = `${ROOT}/commitlog/${"0".repeat(20)}`;
  for (let cut = 0; cut <= ends.at(-1)!; cut += cut < ends[1]! ? 61 : 5) {
    const copy = image.copy();
    const file = copy.open(path, "write");
    file.truncate(cut);
    file.truncate(1 << 20);
    const whole = ends.filter((end) => end > 0 && end <= cut).length;
    const again = await opened(copy);
    const found = contents(again);
    t.deepEqual(found["news"] ?? [], expected[whole]!, `cut at ${cut}`);
    t.deepEqual(found["~session-0"] ?? [], expected[whole]!, `cut at ${cut}`);
    t.deepEqual(found["~session-39"] ?? [], expected[whole]!, `cut at ${cut}`);
    t.deepEqual(found["~other-59"] ?? [], whole >= 2 ? ["many"] : [], `cut at ${cut}`);
    t.deepEqual(found["~third-9"] ?? [], whole >= 3 ? ["in batch too"] : [], `cut at ${cut}`);
    // What is left of a list stays behind and means nothing to the next one.
    publish(again, "new", lights(again, 40));
    again.publish(true);
    await again.close();
    removeDerived(copy);
    const rebuilt = await opened(copy);
    t.deepEqual(contents(rebuilt)["~session-39"], [...expected[whole]!, "new"], `cut at ${cut}`);
    await rebuilt.close();
  }
});

test("any damaged record of a list, or of the message, costs that message and no other", async (t) => {
  const disk = newDisk();
  const store = await opened(disk);
  const sessions = lights(store, 100);
  const starts: number[] = [];
  for (const body of ["one", "two", "three", "four"]) {
    starts.push(store.watermarks.appended);
    publish(store, body, sessions);
  }
  starts.push(store.watermarks.appended);
  store.publish(true);
  const image = disk.copy();
  const all = ["one", "two", "three", "four"];
  for (let at = 0; at < starts[4]!; at += 31) {
    const copy = image.copy();
    const file = copy.open(`${ROOT}/commitlog/${"0".repeat(20)}`, "write");
    const byte = Buffer.alloc(1);
    file.readInto(byte, 0, 1, at);
    byte[0]! ^= 1 << (at % 8);
    file.write(byte, 0, 1, at);
    removeDerived(copy);
    const hit = starts.findLastIndex((start) => start <= at);
    const again = await opened(copy);
    const left = all.map((body, i) => (i === hit ? null : body));
    const found = contents(again);
    for (const name of ["news", "~session-0", "~session-99"]) {
      const bodies = found[name]!;
      // The first one's place may be lost with it.
      const expected = hit === 0 ? left.slice(1) : left;
      t.deepEqual(
        bodies.slice(-expected.length),
        hit === 3 ? left.slice(0, bodies.length) : expected,
        `byte ${at}, ${name}`,
      );
    }
    await again.close();
  }
});

test("from a checkpoint on, from the whole log, and after a drop, the lists name the same queues", async (t) => {
  const disk = newDisk();
  let store = await opened(disk, { segmentBytes: 64 << 10 });
  const random = new Random(7);
  for (let round = 0; round < 120; round++) {
    const sessions = lights(store, 200).filter(() => random.chance(70));
    publish(store, `body ${round} ${"x".repeat(random.below(900))}`, sessions);
    if (round % 10 === 3) store.dropQueue(store.lightQueue(`session-${random.below(200)}`));
    if (round % 16 === 5) store.tick(true);
    store.publish(true);
  }
  const expected = contents(store);
  const dying = disk.copy();
  store = await opened(dying, { segmentBytes: 64 << 10 });
  t.deepEqual(contents(store), expected);
  await store.close();
  t.deepEqual(await checked(dying), []);
  removeDerived(dying);
  store = await opened(dying, { segmentBytes: 64 << 10 });
  t.deepEqual(contents(store), expected);
  await store.close();
  t.deepEqual(await checked(dying), []);
});

const checked = async (disk: MemoryStorage): Promise<string[]> =>
  (await checkStore({ directory: ROOT, storage: disk })).files
    // The simulated Index has another shape than the check expects of it.
    .filter(({ kind, state }) => kind !== "index" && state !== "sound" && state !== "unknown")
    .flatMap(({ path, findings }) => findings.map((finding) => `${path}: ${finding}`));

test("an entry that no list names is found by the check", async (t) => {
  const disk = newDisk();
  const store = await opened(disk);
  // More than the catalog keeps of a queue: they are in blocks.
  for (let i = 0; i <= KEPT_MAX; i++) publish(store, `message ${i}`, lights(store, 50));
  store.publish(true);
  await store.close();
  const arena = disk.open(`${ROOT}/queues/arena`, "write");
  // The first entry of the first block speaks of the second message from now on.
  const second = Buffer.alloc(ENTRY_SIZE);
  arena.readInto(second, 0, ENTRY_SIZE, BLOCK_HEADER + ENTRY_SIZE);
  arena.write(second, 0, ENTRY_SIZE, BLOCK_HEADER);
  t.regex((await checked(disk)).join("\n"), /not dispatched there/);
});

test("export tells all light queues of a message, and the lists are no messages", async (t) => {
  const disk = newDisk();
  const store = await opened(disk);
  publish(store, "one", lights(store, 70));
  publish(store, "two", lights(store, 70).reverse());
  store.publish(true);
  await store.close();
  const lines: string[] = [];
  const report = await exportStore({ directory: ROOT, storage: disk }, (line) => lines.push(line));
  t.is(report.records, 2);
  const messages = lines.map((line) => JSON.parse(line) as { light: Array<[string, number]> });
  t.deepEqual(messages[0]!.light[69], ["session-69", 0]);
  t.deepEqual(messages[1]!.light[0], ["session-69", 1]);
  t.is(messages[1]!.light.length, 70);
});

/** A store whose owner has settled what is in `settled`: "queue offset". */
function owing(settled: ReadonlySet<string>): Partial<StoreEvents> {
  return {
    owed: (queue, from, count, into) => {
      let owed = 0;
      for (let i = 0; i < count; i++) {
        owed += into[i] = settled.has(`${queue.topic} ${from + i}`) ? 0 : 1;
      }
      return owed;
    },
  };
}

/** Enough messages that are settled at once for segments to be almost dead. */
function fill(store: CommitLogStore, settled: Set<string>): void {
  const filler = store.queue("filler", 0);
  for (let i = 0; i < 600; i++) {
    settled.add(`filler ${filler.maxOffset}`);
    store.append(filler, recordFields({ body: "y".repeat(900) }));
    store.publish(true);
  }
  const note = Buffer.from("settled");
  store.journal.append(note, 0, note.length);
}

const SESSIONS = 2500;

test("what many sessions still owe of an almost dead segment is moved with all of its queues", async (t) => {
  const disk = newDisk();
  const settled = new Set(["news 0", "news 1"]);
  const shape = { segmentBytes: 128 << 10, events: owing(settled) };
  let store = await opened(disk, shape);
  publish(store, "kept by many", lights(store, SESSIONS));
  publish(store, "kept by few", lights(store, SESSIONS));
  for (const queue of lights(store, SESSIONS).slice(5)) settled.add(`${queue.topic} 1`);
  fill(store, settled);
  for (let i = 0; i < 400 && store.reclaimed.logStart === 0; i++) {
    store.tick(true);
    await new Promise(setImmediate);
  }
  t.true(store.reclaimed.movedRecords >= 2);
  t.true(store.reclaimed.logStart > 0);
  const verify = (): void => {
    for (const [i, queue] of lights(store, SESSIONS).entries()) {
      t.is(bodyAt(store, queue, 0), "kept by many");
      if (i < 5) t.is(bodyAt(store, queue, 1), "kept by few");
    }
  };
  verify();
  await store.close();
  t.deepEqual(await checked(disk), []);
  removeDerived(disk);
  store = await opened(disk, shape);
  verify();
  await store.close();
});

for (const isMoved of [false, true]) {
  test(`a list that is longer than a segment is known as long as somebody owes its message (${isMoved ? "moved" : "not moved"})`, async (t) => {
    const disk = newDisk();
    const settled = new Set<string>();
    const count = 9000;
    const shape = { segmentBytes: 64 << 10, events: isMoved ? owing(settled) : {} };
    let store = await opened(disk, shape);
    // The segment in which the list begins is full of what nobody owes.
    const filler = store.queue("filler", 0);
    for (let i = 0; i < 80; i++) store.append(filler, recordFields({ body: "z".repeat(1000) }));
    for (let i = 0; i < 80; i++) settled.add(`filler ${i}`);
    store.trim(filler, filler.maxOffset);
    publish(store, "kept by some", lights(store, count));
    const begun = store.watermarks.appended;
    t.true(begun > 3 * (64 << 10), "it lies in several segments");
    settled.add("news 0");
    store.trim(store.queue("news", 0), 1);
    const keepers = (): StoreQueue[] => lights(store, count).filter((_, i) => i % 50 === 7);
    for (const [i, queue] of lights(store, count).entries()) {
      if (i % 50 === 7) continue;
      settled.add(`${queue.topic} 0`);
      store.trim(queue, 1);
    }
    fill(store, settled);
    for (let i = 0; i < (isMoved ? 400 : 20); i++) {
      store.tick(true);
      await new Promise(setImmediate);
      if (isMoved && store.reclaimed.logStart > begun) break;
    }
    if (isMoved) t.true(store.reclaimed.logStart > begun, "it is moved, and its segments are gone");
    const verify = (): void => {
      for (const queue of keepers()) t.is(bodyAt(store, queue, 0), "kept by some");
    };
    verify();
    await store.close();
    removeDerived(disk);
    store = await opened(disk, shape);
    verify();
    await store.close();
  });
}

test("a queue that is dropped while its record is moved does not come back, nor its name's next one get it", async (t) => {
  const disk = newDisk();
  const settled = new Set(["news 0"]);
  const shape = { segmentBytes: 128 << 10, events: owing(settled) };
  let store = await opened(disk, shape);
  publish(store, "old", lights(store, SESSIONS));
  fill(store, settled);
  const dropped = new Set<number>();
  for (let i = 0; i < 400 && store.reclaimed.logStart === 0; i++) {
    const victim = (i * 37) % SESSIONS;
    if (i < 60 && !dropped.has(victim)) {
      dropped.add(victim);
      store.dropQueue(store.lightQueue(`session-${victim}`));
      if (i % 2 === 0) publish(store, "new", [store.lightQueue(`session-${victim}`)]);
      store.publish(true);
    }
    store.tick(true);
    await new Promise(setImmediate);
  }
  t.true(store.reclaimed.logStart > 0);
  const expected: Array<string | null> = Array.from({ length: SESSIONS }, (_, i) =>
    dropped.has(i) ? null : "old",
  );
  for (const [i, victim] of [...dropped].entries()) if (i % 2 === 0) expected[victim] = "new";
  const found = (): Array<string | null> =>
    lights(store, SESSIONS).map((queue) =>
      queue.maxOffset === 0 ? null : bodyAt(store, queue, queue.maxOffset - 1),
    );
  t.deepEqual(found(), expected);
  await store.close();
  removeDerived(disk);
  store = await opened(disk, shape);
  t.deepEqual(found(), expected);
  await store.close();
});
