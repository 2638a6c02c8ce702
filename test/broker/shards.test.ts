/** Topics with several shards: a key is in one, in order, whoever of a group takes it, and through restarts and growth. */
import test from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { DEFAULT_SETTINGS, type Policy } from "../../src/broker/policy.ts";
import { keyShard } from "../../src/broker/target.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { Random } from "../support/random.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { type Collector, connect, consume, draft, settle, topic } from "../support/test-client.ts";

const shardsOf = (count: number): Policy[] => [
  { match: "orders", kind: "topic", settings: { shards: count } },
];
const GROUP = { group: { name: "g", mode: "clustering" } } as const;
const KEYS = ["a", "b", "c", "d", "e", "f", "g", "h"];

const nodeOf = (broker: Broker) => broker.registry.find("topic", "/", "orders")!;
const ends = (broker: Broker): number[] => nodeOf(broker).shards.map(({ maxOffset }) => maxOffset);

/** `key number`, each key counted from `from`. */
function publish(broker: Broker, from: number, to: number): void {
  const target = connect(broker).openTarget(topic("orders"));
  for (let number = from; number < to; number++) {
    for (const key of KEYS) target.publish(draft(`${key} ${number}`, { group: key }));
  }
  target.close();
}

/** Keys are done in order, one number after the other; what comes again must have been done before. */
class Ledger {
  readonly done = new Map<string, number>();

  take(text: string): void {
    const [key, number] = text.split(" ") as [string, string];
    const last = this.done.get(key) ?? -1;
    if (Number(number) > last + 1) throw new Error(`${text} was done after ${last}`);
    this.done.set(key, Math.max(last, Number(number)));
  }

  get count(): number {
    return [...this.done.values()].reduce((sum, last) => sum + last + 1, 0);
  }
}

test("messages of a key lie in one shard, others in that of their producer or topic name; a queue has one", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "#", settings: { shards: 4 } }],
  });
  consume(connect(broker), topic("orders"), { ...GROUP });
  publish(broker, 0, 5);
  await settle();
  const { shards } = nodeOf(broker);
  t.is(shards.length, 4);
  const expected = [0, 0, 0, 0];
  for (const key of KEYS) expected[keyShard(key, 4)]! += 5;
  t.deepEqual(ends(broker), expected);
  const peer = connect(broker, "producer");
  const before = ends(broker);
  for (let i = 0; i < 6; i++) {
    const target = peer.openTarget(topic("orders"));
    target.publish(draft("no key"));
    target.close();
  }
  const grown = ends(broker).map((end, at) => end - before[at]!);
  t.deepEqual(
    grown.filter((each) => each > 0),
    [6],
    "one producer, one shard, each time it comes",
  );
  const queue = peer.openTarget({ ...topic("q"), kind: "queue" });
  queue.publish(draft("x", { group: "a" }));
  t.is(broker.registry.find("queue", "/", "q")!.shards.length, 1);
  await close();
});

test("members come, go and break off while keys of all shards are worked on: each key stays in order, nothing is lost", async (t) => {
  const random = new Random(7);
  const { broker, close } = await openTestBroker({ policies: shardsOf(4) });
  const ledger = new Ledger();
  const held = new Map<string, Collector>();
  const members: Array<{ sink: Collector; at: number; leave(): void }> = [];
  const join = (): void => {
    const peer = connect(broker, `m${members.length}`);
    const sink = consume(peer, topic("orders"), { ...GROUP, credit: random.between(1, 6) });
    members.push({ sink, at: 0, leave: () => peer.close() });
  };
  join();
  let number = 0;
  for (let round = 0; round < 400; round++) {
    if (number < 40 && random.chance(30)) publish(broker, number, ++number);
    if (random.chance(10) && members.length < 5) join();
    if (random.chance(8) && members.length > 1) {
      const [member] = members.splice(random.below(members.length), 1);
      for (const [key, holder] of held) if (holder === member!.sink) held.delete(key);
      member!.leave();
    }
    await settle(1);
    for (const member of members) {
      for (const { text } of member.sink.received.slice(member.at)) {
        const key = text.split(" ")[0]!;
        const holder = held.get(key);
        const isElsewhere =
          holder !== undefined && holder !== member.sink && holder.consumer.unsettledCount > 0;
        t.false(isElsewhere, `${text} beside another member`);
        held.set(key, member.sink);
        ledger.take(text);
      }
      member.at = member.sink.received.length;
      if (random.chance(60)) {
        member.sink.consumer.settle(0, member.at - 1, OUTCOME.ACCEPT);
        for (const [key, holder] of held) if (holder === member.sink) held.delete(key);
      }
      member.sink.consumer.setCredit(random.between(1, 6));
    }
  }
  if (members.length === 0) join();
  for (let i = 0; i < 200 && ledger.count < number * KEYS.length; i++) {
    for (const { sink } of members) {
      sink.consumer.setCredit(50);
      for (const { text } of sink.received) ledger.take(text);
      if (sink.received.length > 0)
        sink.consumer.settle(0, sink.received.length - 1, OUTCOME.ACCEPT);
    }
    await settle(1);
  }
  t.is(ledger.count, number * KEYS.length);
  t.true(number > 20);
  await close();
});

test("shards, groups and what they have done of each are there after a stop, and after a crash", async (t) => {
  const disk = new MemoryStorage();
  const options = { policies: shardsOf(3) };
  let { broker } = await openLogBroker(disk, options);
  const first = consume(connect(broker), topic("orders"), { ...GROUP });
  publish(broker, 0, 4);
  await settle(20);
  t.is(first.received.length, 32);
  for (const { text, number } of first.received) {
    if (text.endsWith(" 0") || text.endsWith(" 1"))
      first.consumer.settle(number, number, OUTCOME.ACCEPT);
  }
  await settle(20);
  await broker.close();
  ({ broker } = await openLogBroker(disk, { policies: [] }));
  t.is(nodeOf(broker).shards.length, 3, "never fewer");
  const again = consume(connect(broker), topic("orders"), { ...GROUP });
  await settle(20);
  const texts = KEYS.flatMap((key) => [`${key} 2`, `${key} 3`]);
  t.deepEqual([...again.texts].sort(), texts.sort());
  await broker.close();
});

test("a topic that is there gets more shards when it is published to; its groups are owed what is in all of them, after a crash too", async (t) => {
  const store = new MemoryStore();
  const { broker } = await openTestBroker({ store, policies: shardsOf(1) });
  consume(connect(broker), topic("orders"), { ...GROUP, credit: 0 });
  publish(broker, 0, 2);
  const changed = broker.reconfigure({
    queueDefaults: DEFAULT_SETTINGS,
    topicDefaults: DEFAULT_SETTINGS,
    policies: shardsOf(4),
    autoCreate: true,
  });
  t.is(changed, 1);
  publish(broker, 2, 4);
  await settle();
  t.is(nodeOf(broker).shards.length, 4);
  store.sync();
  store.crash(new Random(1));
  const after = await openTestBroker({ store, policies: shardsOf(4) });
  t.is(nodeOf(after.broker).shards.length, 4);
  const reader = consume(connect(after.broker), topic("orders"), { ...GROUP });
  await settle();
  const texts = [0, 1, 2, 3].flatMap((number) => KEYS.map((key) => `${key} ${number}`));
  t.deepEqual([...reader.texts].sort(), texts.sort());
  await after.close();
});

test("a key that moves to another shard is held there until what it has in the old one is done, and then comes at once", async (t) => {
  const { broker, close } = await openTestBroker({ policies: shardsOf(1) });
  const first = consume(connect(broker), topic("orders"), { ...GROUP, credit: 1 });
  const second = consume(connect(broker), topic("orders"), { ...GROUP, credit: 0 });
  publish(broker, 0, 1);
  await settle();
  t.deepEqual(first.texts, ["a 0"]);
  t.not(keyShard("a", 4), 0);
  broker.reconfigure({
    queueDefaults: DEFAULT_SETTINGS,
    topicDefaults: DEFAULT_SETTINGS,
    policies: shardsOf(4),
    autoCreate: true,
  });
  const target = connect(broker).openTarget(topic("orders"));
  target.publish(draft("a 1", { group: "a" }));
  second.consumer.setCredit(100);
  await settle();
  t.false(second.texts.includes("a 1"));
  first.consumer.settle(0, 0, OUTCOME.ACCEPT);
  await settle();
  t.true(second.texts.includes("a 1"));
  await close();
});
