/** Damage of every kind to every kind of file: found by check, survived by open, mended by repair as far as can be. */
import test, { type ExecutionContext } from "ava";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { exportStore } from "../../src/store/export.ts";
import { repairStore } from "../../src/store/repair.ts";
import { StoreOpenError } from "../../src/store/store-lock.ts";
import {
  allFiles,
  type BuiltStore,
  buildStore,
  readBodies,
  SEGMENT_BYTES,
  SILENT,
  storeOn,
} from "../support/built-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { recordFields } from "../support/record-fields.ts";

const check = ({ storage, directory }: BuiltStore) => checkStore({ storage, directory });
const repair = ({ storage, directory }: BuiltStore) => repairStore({ storage, directory });

const keyOf = (message: { queue: string; queueOffset: number }): string =>
  `${message.queue}@${message.queueOffset}`;

/** Everything that can be read is right; returns what is missing, by key. */
async function missingFrom(t: ExecutionContext, built: BuiltStore): Promise<Set<string>> {
  const { bodies, journal } = await readBodies(storeOn(built.storage, built.directory));
  const missing = new Set<string>();
  for (const message of built.messages) {
    const body = bodies.get(keyOf(message));
    if (body === undefined) missing.add(keyOf(message));
    else if (!body.equals(message.body)) t.fail(`wrong body at ${keyOf(message)}`);
    bodies.delete(keyOf(message));
  }
  t.deepEqual([...bodies.keys()], [], "nothing is invented");
  t.true(
    journal.every((entry) => built.journal.includes(entry)),
    "no journal entry is invented",
  );
  return missing;
}

/** The keys of messages with a byte in `[from, to)` of the log, and of everything in their atomic batches. */
function hitBy(built: BuiltStore, from: number, to: number): Set<string> {
  const hit = built.messages.filter((message) => message.from < to && message.to > from);
  const batches = new Set(hit.map((message) => message.batch).filter((batch) => batch > 0));
  return new Set(
    built.messages
      .filter((message) => hit.includes(message) || batches.has(message.batch))
      .map(keyOf),
  );
}

function overwrite(storage: FaultyStorage, path: string, at: number, bytes: Buffer): void {
  const file = storage.open(path, "write");
  file.write(bytes, 0, bytes.length, at);
  file.sync();
  file.close();
}

function flipBit(storage: FaultyStorage, path: string, at: number): void {
  const file = storage.open(path, "write");
  const byte = Buffer.alloc(1);
  file.readInto(byte, 0, 1, at);
  byte[0]! ^= 1 << (at % 8);
  file.write(byte, 0, 1, at);
  file.close();
}

function truncate(storage: FaultyStorage, path: string, size: number): void {
  const file = storage.open(path, "write");
  file.truncate(size);
  file.close();
}

function swap(storage: FaultyStorage, a: string, b: string): void {
  storage.rename(a, `${a}.x`);
  storage.rename(b, a);
  storage.rename(`${a}.x`, b);
}

const segmentPath = (index: number): string =>
  `/data/commitlog/${String(index * SEGMENT_BYTES).padStart(20, "0")}`;

test("a store that was closed in order is sound, and the check changes nothing", async (t) => {
  const built = await buildStore();
  const before = built.storage.mutations;
  const progress: string[] = [];
  const report = await checkStore({
    storage: built.storage,
    directory: built.directory,
    onProgress: ({ path }) => void progress.push(path),
  });
  t.is(built.storage.mutations, before);
  t.deepEqual(
    report.files.filter((file) => file.state !== "sound").map((file) => [file.path, file.findings]),
    [],
  );
  t.is(report.state, "sound");
  t.true(report.logEnd > 3 * SEGMENT_BYTES);
  t.is(report.lightQueues, 2);
  t.true(report.journalEntries >= 200);
  t.true(progress.length > 5);
  const kinds = new Set(report.files.map((file) => file.kind));
  for (const kind of [
    "commitlog",
    "consumequeue",
    "arena",
    "index",
    "checkpoint",
    "catalog",
    "journal",
  ]) {
    t.true(kinds.has(kind as never), `no file of kind ${kind}`);
  }
  t.true(report.files.filter((file) => file.kind === "index").every((file) => file.items > 60));
});

test("a folder that is no store is refused with a sentence", async (t) => {
  const { storage } = await buildStore(1, "/data", 5);
  const error = await t.throwsAsync(checkStore({ storage, directory: "/nowhere" }), {
    instanceOf: StoreOpenError,
  });
  t.regex(error!.message, /no folder commitlog/);
});

test("one flipped bit anywhere in the log costs the record it hits, and its batch, and nothing else", async (t) => {
  const places = [
    0,
    5,
    9,
    21,
    30,
    45,
    60,
    90,
    1000,
    20_000,
    SEGMENT_BYTES + 3,
    2 * SEGMENT_BYTES + 777,
  ];
  const probe = await buildStore();
  // Into a batch, into the last record of a segment, into the last of the log.
  places.push(probe.messages.find((message) => message.batch === 3)!.from + 50);
  places.push(probe.messages.findLast((message) => message.to <= SEGMENT_BYTES)!.to - 1);
  for (const at of places) {
    const built = await buildStore();
    flipBit(built.storage, segmentPath(Math.floor(at / SEGMENT_BYTES)), at % SEGMENT_BYTES);
    const hit = hitBy(built, at, at + 1);
    const report = await check(built);
    t.is(report.state, hit.size > 0 ? "damaged" : report.state, `check at ${at}`);
    const repaired = await repair(built);
    t.is(repaired.after.state, "sound", `repair at ${at}: ${findings(repaired.after)}`);
    t.deepEqual(await missingFrom(t, built), hit, `bit at ${at}`);
    if (hit.size > 0) t.true(repaired.after.quarantined > 0, "the damaged range is kept aside");
  }
});

function findings(report: Awaited<ReturnType<typeof check>>): string {
  return report.files
    .filter((file) => file.state !== "sound")
    .map((file) => `${file.path}: ${file.findings[0]}`)
    .join("; ");
}

test("damage to the log is survived by a start without repair, too", async (t) => {
  const harms: Array<[string, (storage: FaultyStorage) => [from: number, to: number]]> = [
    [
      "a zeroed range",
      (storage) => {
        overwrite(storage, segmentPath(1), 5000, Buffer.alloc(9000));
        return [SEGMENT_BYTES + 5000, SEGMENT_BYTES + 14_000];
      },
    ],
    [
      "noise",
      (storage) => {
        overwrite(storage, segmentPath(0), 30_000, Buffer.alloc(3000, 0xdb));
        return [30_000, 33_000];
      },
    ],
    [
      "a zeroed segment",
      (storage) => {
        overwrite(storage, segmentPath(1), 0, Buffer.alloc(SEGMENT_BYTES));
        return [SEGMENT_BYTES, 2 * SEGMENT_BYTES];
      },
    ],
    [
      "a missing segment in the middle",
      (storage) => {
        storage.remove(segmentPath(2));
        return [2 * SEGMENT_BYTES, 3 * SEGMENT_BYTES];
      },
    ],
    [
      "a shortened segment",
      (storage) => {
        truncate(storage, segmentPath(1), 20_000);
        return [SEGMENT_BYTES + 20_000, 2 * SEGMENT_BYTES];
      },
    ],
  ];
  for (const [what, harm] of harms) {
    const built = await buildStore();
    const [from, to] = harm(built.storage);
    const hit = hitBy(built, from, to);
    const report = await check(built);
    t.is(report.state, "damaged", what);
    t.true(
      report.files.some((file) => file.kind === "commitlog" && file.state === "damaged"),
      what,
    );
    const missing = await missingFrom(t, built);
    t.true(
      [...missing].every((key) => hit.has(key)),
      `${what}: lost more than was hit`,
    );
    const repaired = await repair(built);
    t.not(repaired.after.state, "damaged", `${what}: ${findings(repaired.after)}`);
    t.deepEqual(await missingFrom(t, built), hit, what);
  }
});

test("exchanged segments stop a start and a repair before anything is given up; put back, everything is there", async (t) => {
  const built = await buildStore();
  swap(built.storage, segmentPath(0), segmentPath(2));
  t.is((await check(built)).state, "damaged");
  for (const tried of [missingFrom(t, built), repair(built)]) {
    const error = await t.throwsAsync(tried, { instanceOf: StoreOpenError });
    t.true(error.message.startsWith(`${segmentPath(0)} holds the segment `), error.message);
  }
  swap(built.storage, segmentPath(0), segmentPath(2));
  t.not((await check(built)).state, "damaged");
  t.is((await missingFrom(t, built)).size, 0);
});

test("a segment of another store is taken for what it is: not ours", async (t) => {
  const built = await buildStore(1);
  const other = await buildStore(2);
  const bytes = Buffer.alloc(SEGMENT_BYTES);
  const theirs = other.storage.open(segmentPath(1), "read");
  theirs.readInto(bytes, 0, SEGMENT_BYTES, 0);
  overwrite(built.storage, segmentPath(1), 0, bytes);
  const report = await check(built);
  t.is(report.state, "damaged");
  // Its records say that they belong exactly there: nothing in them is wrong by itself. The list of segments and the queues tell.
  t.true(report.files.some((file) => file.kind === "consumequeue" && file.state === "damaged"));
});

test("any harm to a derived file: check names it or it does not matter, and repair brings everything back", async (t) => {
  const { storage: template } = await buildStore();
  const targets = allFiles(template, "/data")
    .map(({ path }) => path)
    .filter((path) => /\/(consumequeue\/A\/1|queues|index)\//.test(path));
  t.true(targets.length >= 5, "a queue, the arena, checkpoint, catalog and Index");
  const harms: Array<[string, (storage: FaultyStorage, path: string, size: number) => void]> = [
    ["missing", (storage, path) => storage.remove(path)],
    ["empty", (storage, path) => truncate(storage, path, 0)],
    ["half", (storage, path, size) => truncate(storage, path, Math.floor(size / 2))],
    ["one byte short", (storage, path, size) => truncate(storage, path, size - 1)],
    ["zeroed at the start", (storage, path) => overwrite(storage, path, 0, Buffer.alloc(600))],
    ["noise at the start", (storage, path) => overwrite(storage, path, 0, Buffer.alloc(600, 0x5b))],
    ["a bit at 0", (storage, path) => flipBit(storage, path, 0)],
    ["a bit at 7", (storage, path) => flipBit(storage, path, 7)],
    ["a bit at 109", (storage, path) => flipBit(storage, path, 109)],
  ];
  for (const path of targets) {
    for (const [what, harm] of harms) {
      const built = await buildStore(1, "/data", 120);
      const size = built.storage.stat(path)?.size;
      if (size === undefined) continue;
      harm(built.storage, path, size);
      await t.notThrowsAsync(check(built), `${what}: ${path}`);
      const { after } = await repair(built);
      t.is(after.state, "sound", `${what}: ${path}: ${findings(after)}`);
      t.deepEqual([...(await missingFrom(t, built))], [], `${what}: ${path}`);
    }
  }
});

test("entries that say something else than the log are found", async (t) => {
  const built = await buildStore();
  const path = "/data/consumequeue/A/0/00000000000000000000";
  for (const at of [20 * 3 + 7, 20 * 4 + 11, 20 * 5 + 19]) flipBit(built.storage, path, at);
  swap(
    built.storage,
    "/data/consumequeue/B/0/00000000000000000000",
    "/data/consumequeue/B/1/00000000000000000000",
  );
  const report = await check(built);
  const of = (queue: string) =>
    report.files.find((file) => file.path.startsWith(`consumequeue/${queue}`))!;
  t.is(of("A/0").findingCount, 3);
  t.true(of("B/0").findingCount > 20);
  t.true(of("B/1").findingCount > 20);
  t.is(of("C/0").state, "sound");
});

test("harm to the journal costs the entries it hits, and is told", async (t) => {
  const { storage: template } = await buildStore();
  const files = allFiles(template, "/data/journal");
  t.true(files.length >= 2, "a snapshot and a file");
  for (const { path, size } of files) {
    for (const at of [0, 9, 17, 25, 40, Math.floor(size / 2), size - 3]) {
      const built = await buildStore();
      flipBit(built.storage, path, at);
      const report = await check(built);
      const isTold = report.files.some((file) => file.kind === "journal" && file.state !== "sound");
      t.true(isTold, `bit ${at} of ${path}`);
      await missingFrom(t, built);
    }
  }
});

test("export gives every message once, in order of the log, with its body", async (t) => {
  const built = await buildStore();
  const lines: string[] = [];
  const { storage, directory } = built;
  const report = await exportStore({ storage, directory }, (line) => void lines.push(line));
  t.is(report.records, lines.length);
  t.deepEqual([report.damagedRanges, report.incompleteBatches], [0, 0]);
  const own = built.messages.filter((message) => !message.queue.startsWith("~"));
  t.is(lines.length, own.length);
  for (const [i, line] of lines.entries()) {
    const parsed = JSON.parse(line);
    t.is(`${parsed.topic}/${parsed.queueId}@${parsed.queueOffset}`, keyOf(own[i]!));
    t.is(parsed.body, own[i]!.body.toString("base64"));
  }
  const onlyA: string[] = [];
  await exportStore({ storage, directory, topic: "A" }, (line) => void onlyA.push(line));
  t.is(onlyA.length, own.filter((message) => message.queue.startsWith("A/")).length);
});

test("export of a damaged store gives all that is left of it", async (t) => {
  const built = await buildStore();
  overwrite(built.storage, segmentPath(1), 0, Buffer.alloc(10_000, 1));
  const { storage, directory } = built;
  const lines: string[] = [];
  const report = await exportStore({ storage, directory }, (line) => void lines.push(line));
  t.true(report.damagedRanges >= 1);
  const hit = hitBy(built, SEGMENT_BYTES, SEGMENT_BYTES + 10_000);
  const left = built.messages.filter(
    (message) => !message.queue.startsWith("~") && !hit.has(keyOf(message)),
  );
  t.is(lines.length, left.length);
});

test("what was never written is not read", async (t) => {
  const storage = new FaultyStorage(new Random(1));
  const store = new CommitLogStore({
    directory: "/data",
    segmentBytes: 1 << 28,
    ringBytes: 65_536,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: storage,
  });
  await store.open(SILENT);
  store.append(store.queue("A", 0), recordFields({ body: "one" }));
  store.publish(true);
  await store.close();
  storage.counts.clear();
  const report = await checkStore({ directory: "/data", storage });
  t.is(report.state, "sound");
  t.is(report.records, 1);
  // A segment of 256 MiB and a queue file would be some 400 reads, and the segment is looked at twice.
  t.true(storage.counts.get("read")! < 256, `${storage.counts.get("read")} reads`);
});

test("what the disk refuses to give, or is no file at all, is a finding: the rest is checked, exported and made again", async (t) => {
  const built = await buildStore();
  const { storage, directory } = built;
  const queue = allFiles(storage, directory).find(({ path }) => path.includes("/consumequeue/"))!;
  storage.fail({ operation: "open", path: new RegExp(queue.path), code: "EACCES", times: 9 });
  const refused = await check(built);
  t.is(refused.state, "damaged");
  const file = refused.files.find(({ path }) => queue.path.endsWith(path))!;
  t.regex(file.findings[0]!, /^cannot be read: EACCES/);
  t.true(refused.files.every(({ path, state }) => state === "sound" || queue.path.endsWith(path)));
  storage.heal();
  const segment = `${directory}/commitlog/${SEGMENT_BYTES.toString().padStart(20, "0")}`;
  storage.fail({ operation: "read", path: new RegExp(segment), code: "EIO", times: 2 });
  const whole = await exportStore({ storage, directory }, () => {});
  t.is(whole.refusals.length, 1);
  t.true(whole.refusals[0]!.startsWith(`${segment} cannot be read: `));
  t.true(whole.damagedRanges <= 1);
  t.true(whole.records > built.messages.length / 2);
  storage.heal();
  t.is((await repair(built)).after.state, "sound");
  t.is((await missingFrom(t, built)).size, 0);
});
