import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { openTestBroker, type TestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

function publisher(
  { broker }: TestBroker,
  clientId = "p",
): (path: string, fields?: object) => void {
  const peer = connect(broker, clientId);
  return (path, fields = {}) => {
    const target = peer.openTarget(topic(path));
    target.publish(draft(path, fields));
    target.close();
  };
}

const DURABLE = { clientId: "c", name: "s", isShared: false, isDurable: true };

test("a filter that begins with a wildcard gets every topic that matches, also those made later", async (t) => {
  const host = await openTestBroker();
  const send = publisher(host);
  send("old/alarm");
  const peer = connect(host.broker);
  const level = consume(peer, topic("+/alarm"));
  const all = consume(peer, topic("#"));
  const deep = consume(peer, topic("#/alarm"));
  for (const path of ["old/alarm", "new/alarm", "new/other", "new", "a/b/alarm"]) send(path);
  await settle();
  t.deepEqual(level.texts, ["old/alarm", "new/alarm"]);
  t.deepEqual(all.texts, ["old/alarm", "new/alarm", "new/other", "new", "a/b/alarm"]);
  t.deepEqual(deep.texts, ["old/alarm", "new/alarm", "a/b/alarm"]);
  await host.close();
});

test("topics that begin with $ are not for filters that begin with a wildcard", async (t) => {
  const host = await openTestBroker();
  const all = consume(connect(host.broker), topic("#"));
  const level = consume(connect(host.broker), topic("+/load"));
  const send = publisher(host);
  send("$SYS/load");
  send("host/load");
  await settle();
  t.deepEqual(all.texts, ["host/load"]);
  t.deepEqual(level.texts, ["host/load"]);
  await host.close();
});

test("messages that are not durable, expired or with their own tag are treated as on any topic", async (t) => {
  const host = await openTestBroker();
  const peer = connect(host.broker);
  const all = consume(peer, topic("#"));
  const tagged = consume(peer, topic("#"), { tags: "red" });
  const large = consume(peer, topic("#"), { selector: "JMSPriority > 6" });
  const send = publisher(host);
  send("a", { isDurable: false });
  send("b", { expiresAt: Date.now() - 1 });
  send("c", { tag: "red" });
  send("d", { priority: 9 });
  await settle();
  t.deepEqual(all.texts, ["a", "c", "d"]);
  t.deepEqual(tagged.texts, ["c"]);
  t.deepEqual(large.texts, ["d"]);
  await host.close();
});

test("a durable one keeps what comes while its consumer is away, over a restart, until it is deleted", async (t) => {
  const host = await openTestBroker();
  const sink = consume(connect(host.broker, "c"), topic("+/x"), { subscription: DURABLE });
  const send = publisher(host);
  send("a/x");
  send("b/x", { isDurable: false });
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
  sink.consumer.close(OUTCOME.RELEASE);
  send("new/x");
  send("new/y");
  await settle();
  await host.close();

  const again = await openTestBroker({ store: host.store });
  const peer = connect(again.broker, "c");
  const info = peer.findSubscription(DURABLE)!;
  t.is(info.backlog, 2);
  t.is(info.address.name, "+/x");
  t.is(info.address.kind, "topic");
  publisher(again)("later/x");
  const back = consume(peer, topic("+/x"), { subscription: DURABLE });
  await settle();
  t.deepEqual(back.texts, ["b/x", "new/x", "later/x"]);
  t.throws(() => peer.deleteSubscription(DURABLE), { code: "resource-locked" });
  back.consumer.close(OUTCOME.RELEASE);
  peer.deleteSubscription(DURABLE);
  t.is(peer.findSubscription(DURABLE), undefined);
  await again.close();
  const third = await openTestBroker({ store: host.store });
  t.is(connect(third.broker, "c").findSubscription(DURABLE), undefined);
  t.is([...third.broker.registry.lightNames()].length, 0);
  await third.close();
});

test("shared ones divide what comes, a second name gets everything again, volatile ones end with their last member", async (t) => {
  const host = await openTestBroker();
  const peer = connect(host.broker);
  const share = (name: string, isDurable: boolean) => ({
    subscription: { clientId: "", name, isShared: true, isDurable },
  });
  for (const isDurable of [false, true]) {
    const one = consume(peer, topic("+/s"), share("pool", isDurable));
    const two = consume(peer, topic("+/s"), share("pool", isDurable));
    const other = consume(peer, topic("+/s"), share("other", isDurable));
    const send = publisher(host);
    const paths = ["a/s", "b/s", "c/s", "d/s"];
    for (const path of paths) send(path);
    await settle();
    t.deepEqual([...one.texts, ...two.texts].sort(), paths);
    t.true(one.texts.length > 0 && two.texts.length > 0);
    t.deepEqual(other.texts, paths);
    for (const sink of [one, two, other]) sink.consumer.close(OUTCOME.ACCEPT);
    if (!isDurable) t.is(host.broker.subscriptions.wildcards.count, 0);
  }
  t.is(host.broker.subscriptions.wildcards.count, 2);
  await host.close();
});

test("a named group on a wildcard is one group for all its members", async (t) => {
  const host = await openTestBroker();
  const group = { name: "g", mode: "clustering" as const };
  const one = consume(connect(host.broker), topic("#"), { group });
  const two = consume(connect(host.broker), topic("#"), { group });
  const send = publisher(host);
  for (const path of ["a", "b", "c", "d"]) send(path);
  await settle();
  t.deepEqual([...one.texts, ...two.texts].sort(), ["a", "b", "c", "d"]);
  await host.close();
});

test("no-local keeps a client's own messages from it, on topics old and new", async (t) => {
  const host = await openTestBroker();
  publisher(host, "me")("old");
  const sink = consume(connect(host.broker, "me"), topic("#"), { noLocal: true });
  const mine = publisher(host, "me");
  const other = publisher(host, "you");
  mine("old");
  other("old");
  mine("new");
  other("new/too");
  await settle();
  t.deepEqual(sink.texts, ["old", "new/too"]);
  await host.close();
});

test("a durable one may change its filter while nobody reads it; a second link steals it", async (t) => {
  const host = await openTestBroker();
  const peer = connect(host.broker, "c");
  const first = consume(peer, topic("+/x"), { subscription: DURABLE });
  t.throws(() => consume(peer, topic("#"), { subscription: DURABLE }), { code: "resource-locked" });
  const second = consume(connect(host.broker, "c"), topic("+/x"), { subscription: DURABLE });
  t.is(first.cancelled?.code, "link-stolen");
  second.consumer.close(OUTCOME.RELEASE);
  // To a plain topic and back to a wildcard: one subscription of that name at any time.
  const plain = consume(peer, topic("a/x"), { subscription: DURABLE });
  t.is(host.broker.subscriptions.wildcards.count, 0);
  plain.consumer.close(OUTCOME.RELEASE);
  const wide = consume(peer, topic("#"), { subscription: DURABLE });
  publisher(host)("a/x");
  await settle();
  t.deepEqual(wide.texts, ["a/x"]);
  await host.close();
});

test("redelivery, dead letters and ordering keys work as in every group", async (t) => {
  const host = await openTestBroker({ settings: { maxDeliveries: 2 } });
  const peer = connect(host.broker);
  const shared = { clientId: "", name: "k", isShared: true, isDurable: true };
  const one = consume(peer, topic("+/k"), { subscription: shared });
  const two = consume(peer, topic("+/k"), { subscription: shared });
  const send = publisher(host);
  for (let i = 0; i < 6; i++) send(`t${i}/k`, { group: i % 2 === 0 ? "even" : "odd" });
  await settle();
  for (const key of [0, 1]) {
    const holders = [one, two].filter((sink) =>
      sink.texts.some((text) => Number(text[1]) % 2 === key),
    );
    t.is(holders.length, 1, `key ${key}`);
  }
  const sink = one.texts.length > 0 ? one : two;
  const [first] = sink.texts;
  sink.consumer.settle(0, 0, OUTCOME.RELEASE);
  await until("the message again", () => sink.texts.filter((text) => text === first).length === 2);
  const again = sink.received.findLast(({ text }) => text === first)!;
  sink.consumer.settle(again.number, again.number, OUTCOME.REJECT);
  await settle();
  const dead = consume(peer, queue("DLQ.k"));
  await settle();
  t.deepEqual(dead.texts, [first]);
  await host.close();
});
