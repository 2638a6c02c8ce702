import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { openTestBroker, type TestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";

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
