/** Subscribers that end with their link and do not take what comes: what waits for them is bounded, one by one and in all. */
import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import type { ShardProgress } from "../../src/broker/shard-progress.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, settle, topic } from "../support/test-client.ts";

const CHUNK_SLACK = 256 + 64;

async function publishMany(
  target: { publish(message: ReturnType<typeof draft>): number },
  count: number,
): Promise<void> {
  for (let i = 0; i < count; i++) {
    target.publish(draft(`${i}`));
    if (i % 100 === 99) await settle(2);
  }
  await settle();
}

test("lists in memory share their room when it is used up; who takes his messages loses none", async (t) => {
  const { broker, close } = await openTestBroker();
  const { overflow } = broker.core;
  overflow.memoryEntries = 8192;
  const peer = connect(broker);
  const slow = [1, 2, 3, 4].map(() => consume(peer, topic("+/a"), { credit: 0 }));
  const quick = consume(peer, topic("+/a"), { credit: 100_000, preSettled: true });
  const target = peer.openTarget(topic("t/a"));
  await publishMany(target, 6000);
  t.is(quick.received.length, 6000);
  const held = overflow.memory.chunks;
  t.true(held * 256 <= 8192 + slow.length * CHUNK_SLACK + 512, `${held} chunks`);
  // It stays like that however long it goes on.
  await publishMany(target, 6000);
  t.true(overflow.memory.chunks <= held + 1, `${overflow.memory.chunks} chunks`);
  t.is(quick.received.length, 12_000);
  t.true(overflow.dropped > 0);
  // What is left are the newest, in order.
  slow[0]!.consumer.setCredit(100_000);
  await settle(100);
  const numbers = slow[0]!.texts.map(Number);
  t.is(numbers.at(-1), 5999);
  t.true(numbers.length >= 1024);
  for (let i = 1; i < numbers.length; i++) t.is(numbers[i], numbers[i - 1]! + 1);
  for (const { consumer } of slow) consumer.close(OUTCOME.RELEASE);
  quick.consumer.close(OUTCOME.RELEASE);
  await settle();
  t.is(overflow.memory.chunks, 0);
  t.is(overflow.memory.holders, 0);
  await close();
});

test("a plain subscriber that takes nothing keeps the log no longer than so many messages", async (t) => {
  const { broker, close } = await openTestBroker();
  broker.sessions.limits = { ...broker.sessions.limits, maxQueuedInMemory: 100 };
  const peer = connect(broker);
  const slow = consume(peer, topic("t"), { credit: 0 });
  const durable = consume(peer, topic("t"), {
    credit: 0,
    subscription: { clientId: "c", name: "s", isDurable: true, isShared: false },
  });
  await publishMany(peer.openTarget(topic("t")), 500);
  broker.keepHouse();
  t.is(slow.consumer.available, 100);
  t.is(durable.consumer.available, 500, "it was promised everything");
  slow.consumer.setCredit(1000);
  await settle();
  t.deepEqual(
    slow.texts,
    Array.from({ length: 100 }, (_, i) => `${400 + i}`),
  );
  await close();
});

test("messages that a client has and never acknowledges do not keep those that were dropped behind them", async (t) => {
  const { broker, close } = await openTestBroker();
  broker.sessions.limits = { ...broker.sessions.limits, maxQueuedInMemory: 2000 };
  const peer = connect(broker);
  const slow = consume(peer, topic("+/a"), { credit: 10 });
  await publishMany(peer.openTarget(topic("t/a")), 40_000);
  t.is(slow.received.length, 10);
  const { chunks } = broker.core.overflow.memory;
  t.true(chunks * 256 <= 2000 + 4 * 256, `${chunks} chunks`);
  const [shard] = (slow.consumer as unknown as { group: { shards: ShardProgress[] } }).group.shards;
  t.true(shard!.state.ownBytes <= 5 * 4096, `${shard!.state.ownBytes} bytes of progress`);
  // What it has it may still settle, and the rest is the newest.
  slow.consumer.settle(0, 9, OUTCOME.ACCEPT);
  slow.consumer.setCredit(100_000);
  await settle(50);
  const rest = slow.texts.slice(10).map(Number);
  t.is(rest.at(-1), 39_999);
  t.true(rest.length >= 2000 && rest.length < 2100, `${rest.length}`);
  for (let i = 1; i < rest.length; i++) t.is(rest[i], rest[i - 1]! + 1);
  slow.consumer.close(OUTCOME.RELEASE);
  await settle();
  t.is(broker.core.overflow.memory.chunks, 0);
  await close();
});
