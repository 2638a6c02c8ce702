import test from "ava";
import { OUTCOME, type StartPosition } from "../../src/broker/facade.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { openTestBroker, type TestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

async function replay({ broker }: TestBroker, name: string): Promise<string[]> {
  broker.keepHouse();
  const sink = consume(connect(broker), topic(name), { from: { kind: "first" } });
  await settle();
  sink.consumer.close(OUTCOME.RELEASE);
  return sink.texts;
}

const POLICIES = [
  { match: "counted", settings: { historyCount: 3 } },
  { match: "sized", settings: { historyBytes: 2000 } },
  { match: "kept", settings: { historyMs: 3_600_000 } },
];

test("a history keeps the newest by count and by bytes, also after a restart, and nothing without a limit", async (t) => {
  const host = await openTestBroker({ policies: POLICIES });
  const peer = connect(host.broker);
  for (const name of ["counted", "sized", "kept", "none"]) {
    const target = peer.openTarget(topic(name));
    for (let i = 0; i < 10; i++) target.publish(draft(`${i}`.padEnd(300, ".")));
  }
  await settle();
  const numbers = (texts: string[]): string => texts.map((text) => text[0]).join("");
  t.is(numbers(await replay(host, "counted")), "789");
  t.is(numbers(await replay(host, "kept")), "0123456789");
  t.is(numbers(await replay(host, "none")), "");
  const sized = numbers(await replay(host, "sized"));
  t.true(sized.length >= 3 && sized.length <= 6 && sized.endsWith("9"), sized);
  const node = host.broker.registry.find("topic", "/", "sized")!;
  t.true(node.storedBytes <= 2000, `${node.storedBytes}`);
  await host.close();
  const again = await openTestBroker({ policies: POLICIES, store: host.store });
  t.is(again.broker.registry.find("topic", "/", "sized")!.storedBytes, node.storedBytes);
  t.is(numbers(await replay(again, "sized")), sized);
  await again.close();
});

test("a history limit never takes what a group is owed", async (t) => {
  const host = await openTestBroker({ policies: POLICIES });
  const peer = connect(host.broker);
  const group = { name: "g", mode: "clustering" as const };
  const sink = consume(peer, topic("counted"), { group, credit: 2 });
  const target = peer.openTarget(topic("counted"));
  for (let i = 0; i < 8; i++) target.publish(draft(`${i}`));
  await settle();
  host.broker.keepHouse();
  sink.consumer.setCredit(100);
  await settle();
  t.deepEqual(sink.texts, ["0", "1", "2", "3", "4", "5", "6", "7"]);
  sink.consumer.settle(0, 7, OUTCOME.ACCEPT);
  t.deepEqual(await replay(host, "counted"), ["5", "6", "7"]);
  await host.close();
});

test("a single active consumer is the only one with a selector as well", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "q", settings: { isSingleActive: true } }],
  });
  const peer = connect(broker);
  const first = consume(peer, queue("q"), { selector: "JMSPriority > 1" });
  const second = consume(peer, queue("q"), { selector: "JMSPriority > 1" });
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2", "3"]) target.publish(draft(text));
  await settle();
  t.deepEqual([first.texts, second.texts], [["1", "2", "3"], []]);
  await close();
});

test("after keyed messages are done a queue's messages take the plain path again", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const one = consume(peer, queue("q"));
  const target = peer.openTarget(queue("q"));
  target.publish(draft("k", { group: "key" }));
  await settle();
  one.consumer.settle(0, 0, OUTCOME.ACCEPT);
  for (const text of ["a", "b"]) target.publish(draft(text));
  target.publish(draft("k2", { group: "key" }));
  target.publish(draft("c"));
  await settle();
  t.deepEqual(one.texts, ["k", "a", "b", "k2", "c"]);
  await close();
});

test("a topic is read again from an offset or a time on, and forgets by its age", async (t) => {
  const disk = new MemoryStorage();
  const policies = [
    { match: "long", settings: { historyMs: 3_600_000 } },
    { match: "short", settings: { historyMs: 200 } },
  ];
  let { broker } = await openLogBroker(disk, { policies });
  const publish = async (texts: string): Promise<void> => {
    for (const name of ["long", "short"]) {
      const target = connect(broker).openTarget(topic(name));
      for (const text of texts) target.publish(draft(text));
      target.close();
    }
    await settle();
  };
  await publish("0123");
  const before = Date.now();
  await until("the clock to go on", () => Date.now() > before + 20);
  const time = Date.now();
  await publish("456");
  const read = async (name: string, from: StartPosition): Promise<string> => {
    const sink = consume(connect(broker), topic(name), { from });
    await settle();
    sink.consumer.close(OUTCOME.RELEASE);
    return sink.texts.join("");
  };
  for (const isRestarted of [false, true]) {
    if (isRestarted) {
      await broker.close();
      ({ broker } = await openLogBroker(disk, { policies }));
    }
    t.is(await read("long", { kind: "first" }), "0123456");
    t.is(await read("long", { kind: "offset", offset: 5 }), "56");
    t.is(await read("long", { kind: "time", timestampMs: time }), "456");
    t.is(await read("long", { kind: "time", timestampMs: Date.now() + 60_000 }), "");
  }
  await until("the short history to be over", () => {
    broker.turn.touch();
    for (let i = 0; i < 10; i++) broker.keepHouse();
    const [queue] = broker.registry.find("topic", "/", "short")!.shards;
    return queue!.minOffset === queue!.maxOffset;
  });
  t.is(await read("short", { kind: "first" }), "");
  t.is(await read("long", { kind: "first" }), "0123456");
  await broker.close();
});
