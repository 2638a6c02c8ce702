/** One group whichever protocol's members made it, in whatever order they come, and how long it lasts. */
import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { CrashingBroker } from "../support/crashing-broker.ts";
import { MqttPeer } from "../support/mqtt-peer.ts";
import { connect, consume, draft, settle, topic } from "../support/test-client.ts";

const PATH = "t/a";
const V5 = { protocolVersion: 5 } as const;
const identity = (isDurable: boolean) =>
  ({ clientId: "", name: "g", isShared: true, isDurable }) as const;
const WAYS = {
  named: { group: { name: "g", mode: "clustering" } },
  durable: { subscription: identity(true) },
  volatile: { subscription: identity(false) },
} as const;
type Way = keyof typeof WAYS | "share";

interface Member {
  texts(): Promise<string[]>;
  leave(): Promise<void>;
}

async function join(test: CrashingBroker, way: Way): Promise<Member> {
  if (way === "share") {
    const { peer } = await MqttPeer.connect(test, V5);
    await peer.subscribe(`$share/g/${PATH}`, 1);
    return {
      texts: async () => {
        await settle();
        await peer.settle();
        return peer.publishes.map(({ payload }) => payload.toString());
      },
      leave: async () => {
        peer.disconnect();
        await peer.closed();
      },
    };
  }
  const sink = consume(connect(test.broker), topic(PATH), WAYS[way]);
  return {
    texts: async () => {
      await settle();
      // What was received is acknowledged when it is looked at.
      const last = sink.received.at(-1)?.number;
      if (last !== undefined) sink.consumer.settle(0, last, OUTCOME.ACCEPT);
      return sink.texts;
    },
    leave: async () => sink.consumer.close(OUTCOME.RELEASE),
  };
}

async function publish(test: CrashingBroker, ...texts: string[]): Promise<void> {
  const target = connect(test.broker).openTarget(topic(PATH));
  for (const text of texts) target.publish(draft(text, { isDurable: true }));
  await settle();
  await settle();
}

/** JMS keeps its two kinds apart unless somebody else names the group of both. */
const ORDERS: Way[][] = [
  ["durable", "named", "share"],
  ["durable", "share", "named"],
  ["named", "durable", "share"],
  ["named", "share", "durable"],
  ["share", "durable", "named"],
  ["share", "named", "durable"],
  ["volatile", "named", "share"],
  ["volatile", "share", "named"],
  ["named", "volatile", "share"],
  ["named", "share", "volatile"],
  ["share", "volatile", "named"],
  ["share", "named", "volatile"],
  ["volatile", "named", "share", "durable"],
  ["share", "durable", "volatile", "named"],
];
const numbers = Array.from({ length: 30 }, (_, at) => `${at}`);

for (const order of ORDERS) {
  test(`${order.join(", then ")}: one group divides the messages, each comes once`, async (t) => {
    const test = await CrashingBroker.open();
    const members: Member[] = [];
    for (const way of order) members.push(await join(test, way));
    for (const text of numbers) await publish(test, text);
    const got = await Promise.all(members.map((member) => member.texts()));
    t.true(
      got.every((texts) => texts.length > 0),
      got.map((texts) => texts.length).join(),
    );
    t.deepEqual(
      got.flat().sort((a, b) => Number(a) - Number(b)),
      numbers,
    );
    await test.broker.close();
  });
}

test("JMS: a durable and another shared subscription of a name are two", async (t) => {
  for (const order of [
    ["durable", "volatile"],
    ["volatile", "durable"],
  ] as const) {
    const test = await CrashingBroker.open();
    const members = [await join(test, order[0]), await join(test, order[1])];
    await publish(test, "for both");
    for (const member of members) t.deepEqual(await member.texts(), ["for both"]);
    await test.broker.close();
  }
});

test("who names the group makes it last, also one that was to end with its members", async (t) => {
  for (const first of ["volatile", "durable", "share"] as const) {
    let test = await CrashingBroker.open();
    const maker = await join(test, first);
    test.broker.sessions.shareExpiryMs = 0;
    await publish(test, "before");
    t.deepEqual(await maker.texts(), ["before"]);
    await settle();
    const named = await join(test, "named");
    await maker.leave();
    await named.leave();
    await settle();
    if (first === "durable") connect(test.broker).deleteSubscription(identity(true));
    test.broker.sessions.keepHouse();
    await publish(test, "waits");
    test = await test.crash();
    test.broker.sessions.shareExpiryMs = 0;
    test.broker.sessions.keepHouse();
    t.deepEqual(await (await join(test, "named")).texts(), ["waits"], first);
    await test.broker.close();
  }
});

test("a subscription that was to end with its members lasts as long as a share that joined it", async (t) => {
  let test = await CrashingBroker.open();
  const maker = await join(test, "volatile");
  const share = await join(test, "share");
  test.broker.sessions.shareExpiryMs = 60_000;
  await maker.leave();
  await share.leave();
  await publish(test, "waits");
  test.broker.sessions.keepHouse();
  test = await test.restart();
  test.broker.sessions.shareExpiryMs = 60_000;
  test.broker.sessions.keepHouse();
  const again = await join(test, "share");
  await settle();
  t.deepEqual(await again.texts(), ["waits"]);
  await again.leave();
  test.broker.sessions.shareExpiryMs = 0;
  test.broker.sessions.keepHouse();
  t.is(test.broker.subscriptions.named("/", PATH, "g"), undefined, "its time is over");
  test = await test.restart();
  t.is(test.broker.subscriptions.named("/", PATH, "g"), undefined);
  await test.broker.close();
});

test("a durable subscription keeps what it is owed in whatever group it joined, until it is deleted", async (t) => {
  for (const first of ["share", "named"] as const) {
    let test = await CrashingBroker.open();
    const maker = await join(test, first);
    const durable = await join(test, "durable");
    test.broker.sessions.shareExpiryMs = 0;
    await durable.leave();
    await maker.leave();
    test.broker.sessions.keepHouse();
    await publish(test, "owed");
    test = await test.crash();
    test.broker.sessions.shareExpiryMs = 0;
    test.broker.sessions.keepHouse();
    const link = connect(test.broker);
    t.like(link.findSubscription(identity(true)), { backlog: 1, consumerCount: 0 });
    const again = await join(test, "durable");
    t.throws(() => link.deleteSubscription(identity(true)), { message: /active consumer/ });
    t.deepEqual(await again.texts(), ["owed"]);
    await again.leave();
    link.deleteSubscription(identity(true));
    t.is(link.findSubscription(identity(true)), undefined);
    t.throws(() => link.deleteSubscription(identity(true)), { message: /no subscription/ });
    await publish(test, "later");
    const anew = await join(test, "durable");
    // A named group is there still, with what came meanwhile; a share's went with the last who had a claim.
    t.deepEqual(await anew.texts(), first === "named" ? ["later"] : []);
    await test.broker.close();
  }
});

test("what was acknowledged out of order stays so when the subscription becomes a named group", async (t) => {
  let test = await CrashingBroker.open();
  const sink = consume(connect(test.broker), topic(PATH), WAYS.volatile);
  await publish(test, "0", "1", "2");
  sink.consumer.settle(1, 1, OUTCOME.ACCEPT);
  const named = await join(test, "named");
  // As an adapter does before it answers.
  test.broker.settledTo();
  await settle();
  await named.leave();
  test = await test.crash();
  t.deepEqual(await (await join(test, "named")).texts(), ["0", "2"]);
  await test.broker.close();
});

test("names of any length are kept", async (t) => {
  let test = await CrashingBroker.open();
  const name = "n".repeat(200);
  const path = `t/${"p".repeat(200)}`;
  const { peer } = await MqttPeer.connect(test, V5);
  await peer.subscribe(`$share/${name}/${path}`, 1);
  const subscription = { ...identity(true), name };
  consume(connect(test.broker), topic(path), { subscription });
  test.broker.settledTo();
  await settle();
  test = await test.crash();
  const found = connect(test.broker).findSubscription(subscription);
  t.is(found?.address.name, path);
  await test.broker.close();
});

test("a durable subscription that changes its topic leaves the group it had joined", async (t) => {
  const test = await CrashingBroker.open();
  const named = await join(test, "named");
  const first = await join(test, "durable");
  const other = { subscription: identity(true) };
  t.throws(() => consume(connect(test.broker), topic("t/b"), other), { message: /is in use/ });
  await first.leave();
  await named.leave();
  consume(connect(test.broker), topic("t/b"), other);
  await publish(test, "a");
  t.deepEqual(await (await join(test, "named")).texts(), ["a"]);
  t.is(connect(test.broker).findSubscription(identity(true))?.address.name, "t/b");
  await test.broker.close();
});
