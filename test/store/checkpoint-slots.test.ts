/** Two slots, one of them damaged: a start uses what is sound and loses nothing that is in the log. */
import test from "ava";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { readBodies, SILENT } from "../support/built-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { copyFiles } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { fieldsOf, StoreProbe } from "../support/store-events.ts";

const SEGMENT = 65_536;
const LOG = "/data/commitlog";
const CHECKPOINT = "/data/queues/checkpoint";
const BODY = "x".repeat(4000);

const storeOn = (disk: FaultyStorage): CommitLogStore =>
  new CommitLogStore({
    ...{ directory: "/data", segmentBytes: SEGMENT, ringBytes: 65_536, tickMs: 0, minFreeBytes: 0 },
    inlineOn: disk,
  });

/** Messages of which only the last few are owed, crashed when a checkpoint had just let go of what the one before counts with. */
async function build(): Promise<FaultyStorage> {
  const disk = new FaultyStorage(new Random(1));
  const store = storeOn(disk);
  const probe = new StoreProbe();
  await store.open(probe);
  const queue = store.queue("A", 0);
  for (let round = 0; round < 30; round++) {
    for (let i = 0; i < 30; i++) {
      if (!store.hasRoom(8192)) await probe.until("room", () => store.hasRoom(8192));
      store.append(queue, fieldsOf(`${round}.${i} ${BODY}`));
      store.publish(true);
      await probe.durable(store, store.watermarks.appended);
    }
    if (round > 1) store.trim(queue, queue.maxOffset - 60);
    for (let i = 0; i < 3; i++) {
      store.tick(true);
      for (let turn = 0; turn < 30; turn++) await new Promise(setImmediate);
      const { bytes, newest } = readSlots(disk);
      const older = (1 - newest) * 512;
      const first = Number(logOf(disk)[0]);
      if (round > 3 && bytes.readDoubleBE(older + 72) - 1 < first) return copyOf(disk);
    }
  }
  throw new Error("no checkpoint has let go of anything");
}

function copyOf(disk: FaultyStorage): FaultyStorage {
  const copy = new FaultyStorage(new Random(2));
  copyFiles(disk, copy, "/data");
  return copy;
}

function readSlots(disk: FaultyStorage): { bytes: Buffer; newest: number } {
  const file = disk.open(CHECKPOINT, "read");
  const bytes = Buffer.alloc(1024);
  file.readInto(bytes, 0, 1024, 0);
  file.close();
  return { bytes, newest: bytes.readDoubleBE(8) > bytes.readDoubleBE(512 + 8) ? 0 : 1 };
}

const NOISE = Buffer.from("damaged!");

function damage(disk: FaultyStorage, slot: number, bytes = NOISE, at = 20): void {
  const file = disk.open(CHECKPOINT, "write");
  file.write(bytes, 0, bytes.length, slot * 512 + at);
  file.close();
}

const logOf = (disk: FaultyStorage): string[] =>
  disk
    .list(LOG)
    .map(({ name }) => name)
    .sort();

for (const [what, bytes, at] of [
  ["noise in", NOISE, 20],
  ["zeros over", Buffer.alloc(512), 0],
] as const) {
  test(`${what} the newest slot after segments went: the log as it is, a copy of the slot, and nothing lost`, async (t) => {
    const disk = await build();
    const before = logOf(disk);
    const whole = await readBodies(storeOn(copyOf(disk)));
    damage(disk, readSlots(disk).newest, bytes, at);
    const store = storeOn(disk);
    const { warnings } = await store.open(SILENT);
    await store.close();
    t.regex(warnings.join("\n"), /newer of its two slots is damaged.*made again from the log/);
    t.notRegex(warnings.join("\n"), /is missing/);
    t.deepEqual(logOf(disk), before, "every segment stays");
    const kept = disk
      .list("/data/quarantine")
      .map(({ name }) => name)
      .sort();
    t.deepEqual(kept, [`checkpoint-${before[0]}`, `checkpoint-${before[0]}.json`]);
    const { bodies } = await readBodies(storeOn(disk));
    t.true(whole.bodies.size >= 20);
    for (const [place, body] of whole.bodies) t.true(bodies.get(place)?.equals(body), place);
    t.deepEqual(
      (await readBodies(storeOn(disk))).bodies.size,
      bodies.size,
      "and so does the next start",
    );
  });
}

test("the older slot damaged, as a power cut leaves it: nobody is told anything", async (t) => {
  const disk = await build();
  damage(disk, 1 - readSlots(disk).newest);
  const store = storeOn(disk);
  t.deepEqual((await store.open(SILENT)).warnings, []);
  await store.close();
  t.deepEqual(disk.list("/data/quarantine"), []);
});

test("with both slots sound, a log that begins behind them is a log without its beginning", async (t) => {
  const disk = await build();
  disk.remove(`${LOG}/${logOf(disk)[0]}`);
  const store = storeOn(disk);
  const { warnings } = await store.open(SILENT);
  await store.close();
  t.regex(warnings.join("\n"), /is missing: put these segments back/);
});
