/** Files that say something else than the log, met while messages are delivered: nothing is settled that may still be there. */
import test, { type ExecutionContext } from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { connect, consume, draft, queue, settle } from "../support/test-client.ts";

const OPTIONS = { ringBytes: 1 << 14, segmentBytes: 1 << 16 };
const COUNT = 500;
const ENTRIES = "/data/consumequeue/Q-q/0/00000000000000000000";
const ENTRY = 20;
const SEGMENT = `/data/commitlog/${"0".repeat(20)}`;

async function open(disk: FaultyStorage) {
  const clock = new SimulatedClock();
  const opened = await openLogBroker(disk, { ...OPTIONS, clock });
  const run = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) {
      clock.run();
      await settle();
    }
  };
  return { clock, run, ...opened };
}

/** A queue with messages, closed in order. */
async function filled(): Promise<FaultyStorage> {
  const disk = new FaultyStorage(new Random(1));
  const { broker, run } = await open(disk);
  const target = connect(broker).openTarget(queue("q"));
  for (let i = 0; i < COUNT; i++) {
    target.publish(draft(`${i} `.padEnd(600, "x")));
    if (i % 10 === 9) await run();
  }
  await broker.close();
  return disk;
}

function edit(disk: FaultyStorage, path: string, at: number, length: number, to: number): void {
  const file = disk.open(path, "write");
  file.write(Buffer.alloc(length, to), 0, length, at);
  file.sync();
  file.close();
}

/** Accepts everything that comes. */
async function take({ broker, run }: Awaited<ReturnType<typeof open>>): Promise<number[]> {
  const reader = consume(connect(broker), queue("q"), { credit: 10_000 });
  for (let seen = -1; seen !== reader.texts.length; ) {
    seen = reader.texts.length;
    await run();
  }
  reader.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  await run();
  return reader.texts.map((text) => Number.parseInt(text, 10));
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);

async function keepsWhatTheLogHas(t: ExecutionContext, harm: (disk: FaultyStorage) => void) {
  const disk = await filled();
  harm(disk);
  const first = await open(disk);
  const took = await take(first);
  const node = first.broker.registry.find("queue", "/", "q")!;
  t.is(node.counters.dropped, 0);
  t.is(node.backlog, COUNT - took.length);
  t.true(took.length > 0 && took.length < COUNT);
  for (let i = 0; i < 5; i++) {
    first.store.tick(true);
    await first.run();
  }
  await first.broker.close();
  const second = await open(disk);
  const rest = await take(second);
  t.deepEqual(
    [...took, ...rest].sort((a, b) => a - b),
    range(0, COUNT),
  );
  t.is(second.broker.registry.find("queue", "/", "q")!.backlog, 0);
  await second.broker.close();
  const third = await open(disk);
  t.deepEqual(await take(third), []);
  await third.broker.close();
}

test("messages whose entries are zeros are kept, passed over, and there after the next start", (t) =>
  keepsWhatTheLogHas(t, (disk) => edit(disk, ENTRIES, 205 * ENTRY, 90 * ENTRY, 0)));

test("messages whose entries name a place without a record are kept, and there after the next start", (t) =>
  keepsWhatTheLogHas(t, (disk) => edit(disk, ENTRIES, 300 * ENTRY + 7, 1, 0x55)));

test("an entry that points behind the end of the log holds nobody up, and is there after the next start", (t) =>
  keepsWhatTheLogHas(t, (disk) => edit(disk, ENTRIES, 300 * ENTRY + 3, 1, 0x7f)));

test("a browser sees all but what cannot be read, and comes to an end", async (t) => {
  const disk = await filled();
  edit(disk, ENTRIES, 205 * ENTRY, 90 * ENTRY, 0);
  const opened = await open(disk);
  const browser = consume(connect(opened.broker), queue("q"), { mode: "browse", credit: 10_000 });
  for (let i = 0; i < 50 && browser.texts.length < COUNT - 90; i++) await opened.run();
  t.deepEqual(
    browser.texts.map((text) => Number.parseInt(text, 10)),
    [...range(0, 205), ...range(295, COUNT)],
  );
  browser.consumer.drain();
  for (let i = 0; i < 50 && browser.drained === 0; i++) await opened.run();
  t.is(browser.drained, 1);
  await opened.broker.close();
});

test("a segment with a damaged record goes to the quarantine when nobody is owed anything in it", async (t) => {
  const disk = await filled();
  const damaged = 20 * 800;
  edit(disk, SEGMENT, damaged, 1, 0x01);
  const opened = await open(disk);
  const took = await take(opened);
  t.is(took.length, COUNT - 1);
  t.is(opened.broker.registry.find("queue", "/", "q")!.backlog, 0);
  for (let i = 0; i < 20 && disk.stat(SEGMENT) !== undefined; i++) {
    opened.store.tick(true);
    await opened.run();
  }
  t.is(disk.stat(SEGMENT), undefined);
  const aside = `/data/quarantine/segment-${"0".repeat(20)}`;
  t.is(disk.stat(aside)?.size, OPTIONS.segmentBytes);
  const report = disk.open(`${aside}.json`, "read");
  const text = Buffer.alloc(report.size());
  report.readInto(text, 0, text.length, 0);
  const { from, to, reason } = JSON.parse(text.toString());
  t.true(from <= damaged && damaged < to);
  t.is(reason, "checksum");
  await opened.broker.close();
});
