import test from "ava";
import { OUTCOME, type SubscriptionIdentity } from "../../src/broker/facade.ts";
import { makeAddress } from "../../src/model/address.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, settle, topic } from "../support/test-client.ts";

const durable = (clientId: string, name: string, isShared = false): SubscriptionIdentity => ({
  clientId,
  name,
  isShared,
  isDurable: true,
});

test("every subscriber of a topic gets what is published while it is there", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(topic("news"));
  t.is(target.publish(draft("nobody")), 0, "nobody wants it: nothing to wait for");
  const one = consume(peer, topic("news"));
  const two = consume(peer, topic("news"));
  t.true(target.publish(draft("hello")) > 0);
  await settle();
  t.deepEqual(one.texts, ["hello"]);
  t.deepEqual(two.texts, ["hello"]);
  await close();
});

test("a durable subscription keeps what comes while its consumer is away, also over a restart", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker, "c1");
  const subscription = durable("c1", "s");
  const sink = consume(peer, topic("news"), { subscription });
  await settle();
  sink.consumer.close(OUTCOME.RELEASE);
  peer.openTarget(topic("news")).publish(draft("while away"));
  await settle();
  t.is(peer.findSubscription(subscription)?.backlog, 1);
  await close();
  const again = await openTestBroker({ store });
  const back = connect(again.broker, "c1");
  const second = consume(back, topic("news"), { subscription });
  await settle();
  t.deepEqual(second.texts, ["while away"]);
  t.throws(() => back.deleteSubscription(subscription), { message: /active consumer/ });
  second.consumer.close(OUTCOME.RELEASE);
  back.deleteSubscription(subscription);
  t.is(back.findSubscription(subscription), undefined);
  await again.close();
});

test("members of a shared subscription divide it; a second one gets everything again", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const shared = durable("", "work", true);
  const a = consume(peer, topic("t"), { subscription: shared });
  const b = consume(peer, topic("t"), { subscription: shared });
  const other = consume(peer, topic("t"), { subscription: durable("", "audit", true) });
  const target = peer.openTarget(topic("t"));
  for (let i = 0; i < 10; i++) target.publish(draft(`${i}`));
  await settle();
  t.is(a.texts.length + b.texts.length, 10);
  t.is(new Set([...a.texts, ...b.texts]).size, 10);
  t.is(other.texts.length, 10);
  await close();
});

test("opening an exclusive durable subscription again steals it from the older link", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker, "c");
  const first = consume(peer, topic("t"), { subscription: durable("c", "s") });
  const second = consume(peer, topic("t"), { subscription: durable("c", "s") });
  t.is(first.cancelled?.code, "link-stolen");
  peer.openTarget(topic("t")).publish(draft("x"));
  await settle();
  t.deepEqual(second.texts, ["x"]);
  await close();
});

test("a tag filter takes its tags and nothing else, hash collisions included", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  // "Aa" and "BB" have the same Java hash.
  const sink = consume(peer, topic("orders"), { tags: "Aa || paid" });
  const target = peer.openTarget(topic("orders"));
  for (const tag of ["Aa", "BB", "paid", "", "Aa"]) target.publish(draft(`<${tag}>`, { tag }));
  await settle();
  t.deepEqual(sink.texts, ["<Aa>", "<paid>", "<Aa>"]);
  await close();
});

test("a tag expression sees tags in the path and beside it; a path sees only those in the path", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const tagged = (tags: string) => makeAddress("topic", "orders", { tags });
  const byTag = consume(peer, tagged("red || blue"));
  const byPath = consume(peer, topic("orders/red"));
  const all = consume(peer, topic("orders/#"));
  peer.openTarget(topic("orders/red")).publish(draft("in the path"));
  peer.openTarget(tagged("red")).publish(draft("beside it"));
  peer.openTarget(topic("orders/green")).publish(draft("another"));
  peer.openTarget(topic("orders")).publish(draft("none"));
  await settle();
  t.deepEqual(byTag.texts, ["in the path", "beside it"]);
  t.deepEqual(byPath.texts, ["in the path"]);
  t.deepEqual(all.texts, ["in the path", "beside it", "another", "none"]);
  await close();
});

test("paths: a literal level, one level, any levels, and the root alone", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const filters = ["a", "a/b", "a/+", "a/#", "a/+/c", "a/#/c"];
  const sinks = filters.map((filter) => consume(peer, topic(filter)));
  for (const path of ["a", "a/b", "a/x/c", "a/b/c/d"])
    peer.openTarget(topic(path)).publish(draft(path));
  peer.openTarget(topic("a")).publish(draft("tagged", { tag: "b" }));
  await settle();
  t.deepEqual(
    sinks.map((sink) => sink.texts),
    [
      ["a", "tagged"],
      ["a/b"],
      ["a/b"],
      ["a", "a/b", "a/x/c", "a/b/c/d", "tagged"],
      ["a/x/c"],
      ["a/x/c"],
    ],
  );
  await close();
});

test("a group reads a topic from its beginning once, clustered; broadcast members each read all", async (t) => {
  const { broker, close } = await openTestBroker({ settings: { historyMs: 60_000 } });
  const peer = connect(broker, "m1");
  const target = peer.openTarget(topic("log"));
  for (const text of ["1", "2", "3"]) target.publish(draft(text));
  const grouped = makeAddress("topic", "log", { group: "billing" });
  const one = consume(peer, grouped);
  const two = consume(peer, grouped);
  await settle();
  t.deepEqual([...one.texts, ...two.texts].sort(), ["1", "2", "3"]);
  const group = { name: "all", mode: "broadcast" as const };
  const left = consume(connect(broker, "x"), topic("log"), { group });
  const right = consume(connect(broker, "y"), topic("log"), { group });
  await settle();
  t.deepEqual(left.texts, ["1", "2", "3"]);
  t.deepEqual(right.texts, ["1", "2", "3"]);
  await close();
});

test("a topic is replayed from an offset, from the first or the last message", async (t) => {
  const { broker, close } = await openTestBroker({ settings: { historyMs: 60_000 } });
  const peer = connect(broker);
  const target = peer.openTarget(topic("log"));
  for (const text of ["0", "1", "2"]) target.publish(draft(text));
  const first = consume(peer, topic("log"), { from: { kind: "first" } });
  const second = consume(peer, topic("log"), { from: { kind: "offset", offset: 1 } });
  const last = consume(peer, topic("log"), { from: { kind: "last" } });
  const next = consume(peer, topic("log"));
  await settle();
  t.deepEqual(
    [first, second, last, next].map((sink) => sink.texts),
    [["0", "1", "2"], ["1", "2"], ["2"], []],
  );
  await close();
});

test("no-local keeps a client's own messages from it", async (t) => {
  const { broker, close } = await openTestBroker();
  const me = connect(broker, "me");
  const you = connect(broker, "you");
  const sink = consume(me, topic("chat"), { noLocal: true });
  me.openTarget(topic("chat")).publish(draft("mine"));
  you.openTarget(topic("chat")).publish(draft("yours"));
  await settle();
  t.deepEqual(sink.texts, ["yours"]);
  await close();
});

test("an ordered group gives a shard to one member at a time", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const group = { name: "g", mode: "clustering" as const, isOrdered: true };
  const a = consume(peer, topic("t"), { group, credit: 1 });
  const b = consume(peer, topic("t"), { group, credit: 1 });
  const target = peer.openTarget(topic("t"));
  for (const text of ["1", "2", "3"]) target.publish(draft(text));
  await settle();
  t.is(a.texts.length + b.texts.length, 1, "the second waits for the first");
  const [holder] = a.texts.length === 1 ? [a] : [b];
  holder.consumer.settle(0, 0, OUTCOME.ACCEPT);
  await settle();
  t.deepEqual([...a.texts, ...b.texts], ["1", "2"]);
  await close();
});

test("a bare name is a queue's, unless somebody counts on a topic of exactly that name", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const kindOf = (name: string) => peer.openTarget(makeAddress("any", name)).address.kind;
  peer.openTarget(topic("orders/eu"));
  consume(peer, topic("prices/eu"));
  t.is(kindOf("orders"), "queue", "what was published below it says nothing");
  t.is(kindOf("prices"), "queue", "nor who reads below it");
  consume(peer, topic("news"));
  t.is(kindOf("news"), "topic");
  peer.openTarget(makeAddress("any", "orders")).publish(draft("kept"));
  await settle();
  t.is(broker.registry.find("queue", "/", "orders")!.backlog, 1);
  await close();
});
