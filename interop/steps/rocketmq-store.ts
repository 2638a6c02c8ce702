/**
 * The directory is RocketMQ's: RocketMQ's own store library opens what we wrote, we open what it wrote, and each goes on
 * where the other stopped.
 */
import { closeSync, openSync, readdirSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreEvents, StoreQueue } from "../../src/store/message-store.ts";
import { recordFields } from "../../test/support/record-fields.ts";
import type { FixtureMessage } from "../../test/support/store-fixture.ts";
import { describeRecord, readEverything } from "../../test/support/store-reading.ts";
import { equal, truly } from "../harness/expect.ts";
import { until } from "../harness/group-members.ts";
import { scratchDir } from "../harness/paths.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";
import {
  findByKey,
  type ReadResult,
  readStore,
  rocketmqStore,
  SEGMENT_BYTES,
  writeStore,
} from "../rocketmq-store/java-store.ts";

const CLIENT = "rocketmq-store 5.5.0";
const SILENT: StoreEvents = { onWatermark() {}, onRoom() {}, onHealth() {}, onReadable() {} };
const OURS = 400;

const storeOn = (directory: string): CommitLogStore =>
  new CommitLogStore({ directory, segmentBytes: SEGMENT_BYTES, ringBytes: 1 << 20 });

/** Shards, tags, keys, light queues, IPv6, a long topic, atomic batches, bodies of many sizes over several segments. */
async function writeOurs(directory: string): Promise<number> {
  const store = storeOn(directory);
  await store.open(SILENT);
  let entries = 0;
  // Other names than the program's: each side numbers only the light queues it knows.
  const lights = [store.lightQueue("ours-1"), store.lightQueue("ours-2")];
  // So many that they are named by records of their own, which are no messages to RocketMQ.
  const many = Array.from({ length: 60 }, (_, i) => store.lightQueue(`ours-many-${i}`));
  for (let i = 0; i < OURS; i++) {
    const topic = i % 50 === 0 ? `Long-${"n".repeat(180)}` : `Sluice${i % 3}`;
    const isFanOut = i % 10 === 3;
    const dispatch = i % 20 === 13 ? many : lights;
    const fields = recordFields({
      body: Buffer.alloc((i * 37) % 3000, i),
      ...(i % 4 === 0 ? { tag: i % 8 === 0 ? "tagA" : "größe" } : {}),
      ...(i % 5 === 0 ? { keys: `order-${i} customer-${i % 7}` } : {}),
      ...(i % 6 === 0 ? { bornHost: Buffer.alloc(20, 0x20).fill(0, 16, 18) } : {}),
      properties: { "x-note": `Wert ${i}` },
      flag: i,
      reconsumeTimes: i % 3,
      ...(isFanOut ? { dispatch } : {}),
    });
    if (i % 20 === 10) store.beginAtomic();
    store.append(store.queue(topic, i % 2), fields);
    if (i % 20 === 15) store.endAtomic();
    entries += isFanOut ? 1 + dispatch.length : 1;
    if (i % 20 < 10 || i % 20 >= 15) store.publish(true);
  }
  await store.close();
  return entries;
}

const place = (message: { topic: string; queueId: number; queueOffset: number }): string =>
  `${message.topic} ${message.queueId} ${String(message.queueOffset).padStart(9)}`;

const ordered = (messages: readonly FixtureMessage[]): FixtureMessage[] =>
  [...messages].sort((a, b) => (place(a) < place(b) ? -1 : 1));

async function readOurs(directory: string): Promise<FixtureMessage[]> {
  const store = storeOn(directory);
  const messages = await readEverything(store);
  await store.close();
  return ordered(messages);
}

async function checkSame(directory: string, hasRecordCrc: boolean): Promise<number> {
  // RocketMQ first: our store writes derived files of its own.
  const theirs = await readStore(directory, hasRecordCrc);
  return compare(theirs, await readOurs(directory));
}

async function inFolder<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = scratchDir("rocketmq-store");
  try {
    return await work(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Both read the same. Our light queues are in no file that RocketMQ knows: those count that it wrote itself. */
function compare(theirs: ReadResult, ours: readonly FixtureMessage[]): number {
  equal(theirs.problems.slice(0, 3).join("; "), "", "what RocketMQ finds wrong");
  const isLight = (message: FixtureMessage): boolean => message.topic.startsWith("%LMQ%");
  const known = new Set(theirs.queues.map((queue) => queue.topic));
  const expected = ordered(ours.filter((message) => !isLight(message) || known.has(message.topic)));
  const found = ordered(theirs.messages);
  equal(found.length, expected.length, "messages that RocketMQ reads");
  for (const [i, message] of found.entries()) {
    equal(show(message), show(expected[i]!), place(message));
  }
  return ours.length;
}

const show = (message: FixtureMessage): string =>
  JSON.stringify({ ...message, properties: Object.entries(message.properties).sort() });

/** Where the broker keeps its log. */
function storeFolder(dataDir: string): string {
  const found = readdirSync(dataDir, { recursive: true, encoding: "utf8" }).find((name) =>
    name.endsWith("commitlog"),
  );
  if (found === undefined) throw new Error(`no commitlog below ${dataDir}`);
  return dirname(join(dataDir, found));
}

async function run(context: StepContext): Promise<void> {
  const check = (capability: string, work: () => Promise<string>): Promise<boolean> =>
    context.check(CLIENT, capability, work, 120_000);

  await check("reads every record, entry and key that our store wrote", () =>
    inFolder(async (directory) => {
      const entries = await writeOurs(directory);
      equal(await checkSame(directory, true), entries, "entries");
      return `${entries} entries`;
    }),
  );
  for (const hasRecordCrc of [false, true]) {
    const what = hasRecordCrc ? "with whole-record checksums" : "with body checksums only";
    await check(`writes a store that ours reads alike, ${what}`, () =>
      inFolder(async (directory) => {
        await writeStore(directory, hasRecordCrc);
        return `${await checkSame(directory, hasRecordCrc)} entries`;
      }),
    );
  }
  await check("goes on where our store stopped, and ours goes on after it", () =>
    inFolder(async (directory) => {
      const ours = await writeOurs(directory);
      await writeStore(directory, true);
      const both = await checkSame(directory, true);
      truly(both > ours, `more than the ${ours} entries of ours`);
      const again = await writeOurs(directory);
      const all = await checkSame(directory, true);
      equal(all, both + again, "entries in the end");
      return `${all} entries`;
    }),
  );
  await check("opens a directory of which records were moved out of the first files", () =>
    inFolder(async (directory) => {
      const { owed, moved } = await writeMoved(directory);
      truly(moved >= STRAGGLERS.length, `${moved} records were moved`);
      const theirs = await readStore(directory, true);
      const found = new Set(theirs.messages.map(nameOf));
      // RocketMQ begins a queue where all that follows is still in the first files it has: what was moved lies before that.
      const isBefore = (name: string): boolean =>
        STRAGGLERS.some((offset) => name === `HalfDone 0 ${offset}` || name === `Busy 0 ${offset}`);
      const missed = [...owed].filter((name) => !found.has(name) && !isBefore(name));
      equal(missed.join(", "), "", "what RocketMQ misses of queues that it counts");
      // It takes the copy of a queue's first message for a new one.
      const wrong = theirs.problems.filter((text) => !/: queueOffset 0$/.test(text));
      equal(wrong.slice(0, 3).join("; "), "", "what RocketMQ finds wrong");
      return `${moved} moved, ${theirs.messages.length} entries`;
    }),
  );
  await check("reads through what a power cut took of entries that were consumed", () =>
    inFolder(async (directory) => {
      const owed = await writeTorn(directory);
      const theirs = await readStore(directory, true);
      const found = new Set(theirs.messages.map(nameOf));
      const missed = owed.filter((name) => !found.has(name));
      equal(missed.join(", "), "", "what RocketMQ misses");
      const { max } = theirs.queues.find(({ topic }) => topic === "Torn")!;
      equal(max, TORN.end, "where the queue ends for RocketMQ");
      return `${owed.length} messages behind ${TORN.to - TORN.from} empty entries`;
    }),
  );
  await check("finds what was moved by its key", () =>
    inFolder(async (directory) => {
      await writeMoved(directory);
      const keys = STRAGGLERS.map((offset) => `key-HalfDone-${offset}`);
      const found = await findByKey(directory, "HalfDone", keys);
      const offsets = found.map(({ queueOffset }) => queueOffset);
      equal(offsets.join(), STRAGGLERS.join(), "their places");
      return `${found.length} found`;
    }),
  );
  await check("leaves what was moved to our store, which reads it afterwards", () =>
    inFolder(async (directory) => {
      const { owed } = await writeMoved(directory);
      await readStore(directory, true);
      const read = await readable(directory);
      const names = read.filter((name) => owed.has(name));
      equal([...names].sort().join(", "), [...owed].sort().join(", "), "each of them once");
      equal(read.filter((name) => name.startsWith("Young")).length, 60, "and nothing is new");
      return `${names.length} messages`;
    }),
  );
  await check("reads what a client sent to the broker", async () => {
    const broker = await context.ownBroker();
    const peer = await RheaPeer.connect(broker);
    const sender = await peer.sender("queue:rocketmq-reads-this");
    await sender.deliverAll(300, (i) => ({
      body: `message ${i} ${"x".repeat(i)}`,
      message_id: `id-${i}`,
      subject: i % 2 === 0 ? "even" : "odd",
    }));
    await peer.close();
    await broker.stop();
    const { messages, problems } = await readStore(storeFolder(broker.dataDir), true);
    equal(problems.slice(0, 3).join("; "), "", "what RocketMQ finds wrong");
    truly(messages.length >= 300, `${messages.length} messages, expected 300`);
    return `${messages.length} entries`;
  });
}

/** What somebody is owed of a queue that was half emptied. */
const STRAGGLERS: readonly number[] = [7, 50, 51, 430];

/**
 * A directory whose first segments are gone: most of what was in them was settled, and what was still owed was moved, some of
 * it out of atomic batches, some of it in light queues only.
 */
async function writeMoved(directory: string): Promise<{ owed: Set<string>; moved: number }> {
  const settled = new Set<string>();
  const queueName = (queue: StoreQueue): string => `${queue.topic} ${queue.queueId}`;
  const store = new CommitLogStore({
    directory,
    segmentBytes: SEGMENT_BYTES,
    ringBytes: 1 << 20,
    reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
  });
  await store.open({
    ...SILENT,
    owed: (queue, from, count, into) => {
      let owed = 0;
      for (let i = 0; i < count; i++) {
        owed += into[i] = settled.has(`${queueName(queue)} ${from + i}`) ? 0 : 1;
      }
      return owed;
    },
  });
  const [half, busy, done, young] = [
    store.queue("HalfDone", 0),
    store.queue("Busy", 0),
    store.queue("AllDone", 0),
    store.queue("Young", 1),
  ];
  const lights = [store.lightQueue("kept-1"), store.lightQueue("kept-2")];
  const put = (queue: StoreQueue, i: number, isFanOut: boolean): void => {
    store.append(
      queue,
      recordFields({
        body: Buffer.alloc(300 + ((i * 37) % 900), i),
        keys: `key-${queue.topic}-${i}`,
        ...(i % 4 === 0 ? { tag: "tagA" } : {}),
        ...(isFanOut ? { dispatch: lights } : {}),
      }),
    );
  };
  for (let i = 0; i < 600; i++) {
    // Batches of which all but one message is settled.
    if (i % 10 === 5) store.beginAtomic();
    put(half, i, false);
    put(busy, i, false);
    put(done, i, i % 100 === 0);
    if (i % 10 === 5) {
      put(done, i, false);
      store.endAtomic();
    }
    if (i % 20 === 19) store.publish(true);
  }
  for (let i = 0; i < 60; i++) {
    put(young, i, false);
    put(busy, 600 + i, false);
  }
  store.publish(true);
  const settle = (queue: StoreQueue, keep: readonly number[] = []): void => {
    for (let offset = 0; offset < queue.maxOffset; offset++) {
      if (!keep.includes(offset)) settled.add(`${queueName(queue)} ${offset}`);
    }
  };
  settle(half, STRAGGLERS);
  settle(busy, [...STRAGGLERS, ...Array.from({ length: 60 }, (_, at) => 600 + at)]);
  settle(done);
  // As an owner does that has settled from the beginning on.
  store.trim(half, STRAGGLERS[0]!);
  store.trim(done, done.maxOffset - 1);
  store.journal.append(Buffer.from("settled"), 0, 7);
  store.publish(true);
  const firstSegment = (): string => readdirSync(join(directory, "commitlog")).sort()[0]!;
  await until("the first files go", () => Number(firstSegment()) > 4 * SEGMENT_BYTES, 60_000);
  const moved = store.reclaimed!.movedRecords;
  const owed = new Set<string>();
  for (const topic of ["HalfDone", "Busy"]) {
    for (const offset of STRAGGLERS) owed.add(`${topic} 0 ${offset}`);
  }
  for (let offset = 600; offset < busy.maxOffset; offset++) owed.add(`Busy 0 ${offset}`);
  for (let offset = 0; offset < young.maxOffset; offset++) owed.add(`Young 1 ${offset}`);
  await store.close();
  return { owed, moved };
}

/** Offsets of a queue: consumed up to `low`, empty in its file from `from` to `to`. */
const TORN = { from: 100, to: 420, low: 450, end: 520 };

/** A directory as a power cut leaves it that comes before consumed entries are on the disk; the store went on there. */
async function writeTorn(directory: string): Promise<string[]> {
  const put = (store: CommitLogStore, count: number): StoreQueue => {
    const queue = store.queue("Torn", 0);
    for (let i = 0; i < count; i++) {
      store.append(queue, recordFields({ body: Buffer.alloc(100, i) }));
      if (i % 20 === 19) store.publish(true);
    }
    return queue;
  };
  const before = storeOn(directory);
  await before.open(SILENT);
  before.trim(put(before, 500), TORN.low);
  await before.close();
  const file = openSync(join(directory, "consumequeue", "Torn", "0", "0".repeat(20)), "r+");
  const bytes = (TORN.to - TORN.from) * 20;
  writeSync(file, Buffer.alloc(bytes), 0, bytes, TORN.from * 20);
  closeSync(file);
  const after = storeOn(directory);
  await after.open(SILENT);
  put(after, TORN.end - 500);
  await after.close();
  return Array.from({ length: TORN.end - TORN.low }, (_, i) => `Torn 0 ${TORN.low + i}`);
}

const nameOf = ({ topic, queueId, queueOffset }: FixtureMessage): string =>
  `${topic} ${queueId} ${queueOffset}`;

/** What our store reads of its queues; entries of what is gone are passed over. */
async function readable(directory: string): Promise<string[]> {
  const store = storeOn(directory);
  await store.open(SILENT);
  const view = new RecordView();
  const entry = entryBatch();
  const names: string[] = [];
  for (const queue of store.queues()) {
    for (let offset = queue.minOffset; offset < queue.maxOffset; offset++) {
      if (store.read(queue, offset, 1, entry) !== 1) continue;
      if (!store.view(entry.physicalOffset[0]!, entry.size[0]!, view)) continue;
      names.push(nameOf(describeRecord(view, entry.size[0]!)));
    }
  }
  await store.close();
  return names.filter((name) => !name.startsWith("AllDone"));
}

export const rocketmqStoreStep: Step = {
  name: "rocketmq-store",
  about: "RocketMQ's own store library and our store on the same directory",
  table: "RocketMQ's store on our directory",
  limitSeconds: 420,
  needs: [rocketmqStore],
  ownBrokerOnly: true,
  run,
};
