/**
 * The directory is RocketMQ's: RocketMQ's own store library opens what we wrote, we open what it wrote, and each goes on
 * where the other stopped.
 */
import { readdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreEvents } from "../../src/store/message-store.ts";
import { recordFields } from "../../test/support/record-fields.ts";
import type { FixtureMessage } from "../../test/support/store-fixture.ts";
import { readEverything } from "../../test/support/store-reading.ts";
import { equal, truly } from "../harness/expect.ts";
import { scratchDir } from "../harness/paths.ts";
import { RheaPeer } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";
import {
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
  for (let i = 0; i < OURS; i++) {
    const topic = i % 50 === 0 ? `Long-${"n".repeat(180)}` : `Sluice${i % 3}`;
    const isFanOut = i % 10 === 3;
    const fields = recordFields({
      body: Buffer.alloc((i * 37) % 3000, i),
      ...(i % 4 === 0 ? { tag: i % 8 === 0 ? "tagA" : "größe" } : {}),
      ...(i % 5 === 0 ? { keys: `order-${i} customer-${i % 7}` } : {}),
      ...(i % 6 === 0 ? { bornHost: Buffer.alloc(20, 0x20).fill(0, 16, 18) } : {}),
      properties: { "x-note": `Wert ${i}` },
      flag: i,
      reconsumeTimes: i % 3,
      ...(isFanOut ? { dispatch: lights } : {}),
    });
    if (i % 20 === 10) store.beginAtomic();
    store.append(store.queue(topic, i % 2), fields);
    if (i % 20 === 15) store.endAtomic();
    entries += isFanOut ? 3 : 1;
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

export const rocketmqStoreStep: Step = {
  name: "rocketmq-store",
  about: "RocketMQ's own store library and our store on the same directory",
  table: "RocketMQ's store on our directory",
  limitSeconds: 300,
  needs: [rocketmqStore],
  ownBrokerOnly: true,
  run,
};
