import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle } from "../support/test-client.ts";

const send = (connection: ReturnType<typeof connect>, name: string, ...texts: string[]): void => {
  const target = connection.openTarget(queue(name));
  for (const text of texts) target.publish(draft(text));
  target.close();
};

test("messages come in the order they were sent, published before or after the consumer", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  send(peer, "q", "a", "b");
  const sink = consume(peer, queue("q"));
  await settle();
  send(peer, "q", "c");
  await settle();
  t.deepEqual(sink.texts, ["a", "b", "c"]);
  await close();
});

test("a consumer gets as many messages as it has credit for", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  send(peer, "q", "1", "2", "3", "4", "5");
  const sink = consume(peer, queue("q"), { credit: 2 });
  await settle();
  t.deepEqual(sink.texts, ["1", "2"]);
  sink.consumer.setCredit(1);
  await settle();
  t.deepEqual(sink.texts, ["1", "2", "3"]);
  await close();
});

test("a released delivery goes back to its place, in front of newer ones, and is not counted", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  send(peer, "q", "1", "2", "3");
  const first = consume(peer, queue("q"), { credit: 2 });
  await settle();
  first.consumer.settle(1, 1, OUTCOME.ACCEPT);
  first.consumer.settle(0, 0, OUTCOME.RELEASE);
  const second = consume(peer, queue("q"));
  await settle();
  t.deepEqual(second.texts, ["1", "3"]);
  t.is(second.received[0]!.deliveryCount, 0);
  t.true(second.received[0]!.isRedelivered);
  t.false(second.received[1]!.isRedelivered);
  await close();
});

test("a failed delivery comes back counted, and is a dead letter with its history at the limit", async (t) => {
  const { broker, close } = await openTestBroker({ settings: { maxDeliveries: 3 } });
  const peer = connect(broker);
  send(peer, "q", "poison", "fine");
  const sink = consume(peer, queue("q"), { credit: 100 });
  await settle();
  for (let attempt = 0; attempt < 3; attempt++) {
    const last = sink.received.findLast((message) => message.text === "poison")!;
    t.is(last.deliveryCount, attempt);
    sink.consumer.settle(last.number, last.number, OUTCOME.FAIL);
    await settle();
  }
  t.is(sink.texts.filter((text) => text === "poison").length, 3);
  const dead = consume(peer, queue("DLQ.q"));
  await settle();
  t.deepEqual(dead.texts, ["poison"]);
  const node = broker.registry.find("queue", "/", "q")!;
  t.is(node.counters.deadLettered, 1);
  t.is(node.backlog, 1, "only the good message is still owed");
  await close();
});

test("consumers of a queue share its messages, none twice", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const sinks = [1, 2, 3, 4].map(() => consume(peer, queue("q"), { credit: 10_000 }));
  const texts = Array.from({ length: 4000 }, (_, i) => `m${i}`);
  send(peer, "q", ...texts);
  await settle(40);
  const all = sinks.flatMap((sink) => sink.texts);
  t.is(all.length, 4000);
  t.is(new Set(all).size, 4000);
  for (const sink of sinks) t.true(sink.texts.length >= 500, `a fair share: ${sink.texts.length}`);
  await close();
});

test("a higher consumer priority gets everything while it has credit", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const low = consume(peer, queue("q"), { credit: 10 });
  const high = consume(peer, queue("q"), { credit: 2, priority: 5 });
  send(peer, "q", "1", "2", "3");
  await settle();
  t.deepEqual(high.texts, ["1", "2"]);
  t.deepEqual(low.texts, ["3"]);
  await close();
});

test("what a vanished consumer held is delivered to another, in order", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const other = connect(broker);
  send(peer, "q", "1", "2", "3");
  const first = consume(other, queue("q"));
  await settle();
  t.is(first.texts.length, 3);
  other.close();
  const second = consume(peer, queue("q"));
  await settle();
  t.deepEqual(second.texts, ["1", "2", "3"]);
  t.true(second.received.every((message) => message.isRedelivered));
  await close();
});

test("a browser sees what is there, acquired or not, takes nothing, and its drain ends at the snapshot", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  send(peer, "q", "1", "2", "3");
  const taker = consume(peer, queue("q"), { credit: 1 });
  await settle();
  const browser = consume(peer, queue("q"), { mode: "browse", credit: 100 });
  send(peer, "q", "4");
  browser.consumer.drain();
  await settle();
  t.deepEqual(browser.texts, ["1", "2", "3"]);
  t.is(browser.drained, 1);
  taker.consumer.setCredit(10);
  await settle();
  t.deepEqual(taker.texts, ["1", "2", "3", "4"]);
  await close();
});

test("a drain on an empty queue is answered in the same turn", async (t) => {
  const { broker, close } = await openTestBroker();
  const sink = consume(connect(broker), queue("q"), { credit: 5 });
  sink.consumer.drain();
  await settle(1);
  t.is(sink.drained, 1);
  t.is(sink.consumer.credit, 0);
  await close();
});

test("a consumer whose connection is full is passed over, and goes on when it has room", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const full = consume(peer, queue("q"));
  full.isOpen = false;
  send(peer, "q", "1");
  await settle();
  t.deepEqual(full.texts, []);
  full.isOpen = true;
  full.consumer.resume();
  await settle();
  t.deepEqual(full.texts, ["1"]);
  await close();
});

test("progress survives a restart: settled messages stay away, others and their counts come back", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker);
  send(peer, "q", "1", "2", "3", "4");
  const sink = consume(peer, queue("q"));
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
  sink.consumer.settle(2, 2, OUTCOME.ACCEPT);
  sink.consumer.setCredit(0);
  sink.consumer.settle(1, 1, OUTCOME.FAIL);
  await settle();
  await close();
  const again = await openTestBroker({ store });
  const second = consume(connect(again.broker), queue("q"));
  await settle();
  t.deepEqual(second.texts, ["2", "4"]);
  t.is(second.received[0]!.deliveryCount, 1);
  await again.close();
});

test("a confirm waits for the durable watermark, a settlement for the journal", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker);
  store.isManual = true;
  const target = peer.openTarget(queue("q"));
  const position = target.publish(draft("x"));
  const sink = consume(peer, queue("q"));
  await settle();
  t.deepEqual(sink.texts, ["x"], "delivered before it is synced");
  t.true(broker.confirmedTo(target.level) < position);
  const settled = sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
  t.true(settled > 0);
  t.true(broker.settledTo() < settled);
  await settle();
  store.sync();
  t.true(broker.confirmedTo(target.level) >= position);
  t.true(broker.settledTo() >= settled);
  store.isManual = false;
  await close();
});

test("a settlement is not durable because nothing was waiting before it", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"));
  await settle();
  store.isManual = true;
  broker.settledTo();
  const settled = sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
  t.true(broker.settledTo() < settled);
  await settle();
  t.true(broker.settledTo() < settled);
  store.sync();
  t.true(broker.settledTo() >= settled);
  store.isManual = false;
  await close();
});

test("deleting a node tells its consumers and makes its targets fail with the reason", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const address = peer.createTemporary("queue", "delete-on-close");
  const sink = consume(peer, address);
  const target = peer.openTarget(address);
  peer.deleteTemporary(address);
  t.is(sink.cancelled?.code, "resource-deleted");
  t.throws(() => target.publish(draft("x")), { message: /was deleted/ });
  await close();
});

test("a temporary queue is consumed only by its maker, and anyone may send to it", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const other = connect(broker);
  const address = peer.createTemporary("queue", "delete-on-close");
  t.throws(() => consume(other, address), { message: /only by the connection that made it/ });
  const sink = consume(peer, address);
  other.openTarget(address).publish(draft("reply"));
  await settle();
  t.deepEqual(sink.texts, ["reply"]);
  await close();
});
