import test from "ava";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

/** Every byte of this text in the log's first segment becomes zero. */
function erase(disk: Storage, text: string): void {
  const file = disk.open("/data/commitlog/00000000000000000000", "write");
  const bytes = Buffer.alloc(1 << 16);
  file.readInto(bytes, 0, bytes.length, 0);
  const at = bytes.indexOf(text);
  if (at < 0) throw new Error(`no '${text}' in the log`);
  file.write(Buffer.alloc(text.length), 0, text.length, at);
  file.close();
}

for (const group of ["", "key"]) {
  const kind = group === "" ? "plain queue" : "queue with ordering keys";
  test(`a damaged record near the end of the log is left out, and no other is delivered in its place (${kind})`, async (t) => {
    const disk = new MemoryStorage();
    const first = await openLogBroker(disk);
    const target = connect(first.broker).openTarget(queue("q"));
    for (const text of ["before it", "damaged one", "after it"])
      target.publish(draft(text, { group }));
    await settle();
    await first.broker.close();
    erase(disk, "damaged one");
    const { broker } = await openLogBroker(disk);
    const reader = consume(connect(broker), queue("q"));
    await settle(20);
    t.deepEqual(reader.texts, ["before it", "after it"]);
    await broker.close();
  });
}

test("a damaged record among delayed messages is told and waited for no longer; the others come", async (t) => {
  const disk = new MemoryStorage();
  const first = await openLogBroker(disk);
  const target = connect(first.broker).openTarget(queue("q"));
  const deliverAt = Date.now() + 500;
  for (const text of ["before it", "damaged one", "after it"]) {
    target.publish(draft(text, { deliverAt }));
  }
  await settle();
  await first.broker.close();
  erase(disk, "damaged one");
  const { broker } = await openLogBroker(disk);
  const reader = consume(connect(broker), queue("q"));
  await until("both are there", () => reader.texts.length === 2);
  t.deepEqual(reader.texts, ["before it", "after it"]);
  await until("nothing waits", () => broker.registry.find("queue", "/", "~delayed")?.backlog === 0);
  await broker.close();
});

test("a delayed message survives a crash that the definition of its new queue does not", async (t) => {
  const disk = new MemoryStorage();
  const first = await openLogBroker(disk);
  const target = connect(first.broker).openTarget(queue("new"));
  target.publish(draft("later", { deliverAt: Date.now() + 300 }));
  await settle();
  // The log is on the disk; the journal, synced after it, is not.
  const crashed = disk.copy();
  crashed.removeTree("/data/journal");
  const { broker } = await openLogBroker(crashed);
  t.is(broker.registry.find("queue", "/", "new")?.backlog, 0, "nobody has asked for it yet");
  const reader = consume(connect(broker), queue("new"));
  await until("it came", () => reader.texts.length === 1);
  t.deepEqual(reader.texts, ["later"]);
  await broker.close();
  await first.broker.close();
});

test("the first retained message of a broker survives a crash that its index's definition does not", async (t) => {
  const disk = new MemoryStorage();
  const first = await openLogBroker(disk);
  connect(first.broker)
    .openTarget(topic("state"))
    .publish(draft("kept", { isRetained: true }));
  await settle();
  const crashed = disk.copy();
  crashed.removeTree("/data/journal");
  const { broker } = await openLogBroker(crashed);
  t.is(broker.sessions.retained.count, 1);
  await broker.close();
  await first.broker.close();
});
