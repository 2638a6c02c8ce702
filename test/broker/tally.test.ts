import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { Inspection } from "../../src/broker/inspect.ts";
import { NO_QUOTAS } from "../../src/broker/quotas.ts";
import type { Authorizer } from "../../src/security/authorizer.ts";
import { kept, MqttPeer, mqttAdapter, V5 } from "../support/mqtt-peer.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

/** Nobody may do anything with what is called "secret". */
const guarded: Authorizer = {
  permissionsFor: () => ({
    generation: 1,
    allows: (_action, { name }) => !name.startsWith("secret"),
  }),
};
const some = (counts: Readonly<Record<string, number>>) =>
  Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));

test("a message that is stored nowhere counts as published, and as delivered to each who got it", async (t) => {
  const broker = await openTestBroker();
  const readers: MqttPeer[] = [];
  for (const filter of ["news", "#"]) {
    const { peer } = await MqttPeer.connect(broker, V5);
    await peer.subscribe(filter, 0);
    readers.push(peer);
  }
  const target = connect(broker.broker).openTarget(topic("news"));
  for (const text of ["one", "three"]) target.publish(draft(text, { isDurable: true }));
  for (const reader of readers) t.is((await reader.message()).text, "one");
  const { counters, shards } = broker.broker.registry.find("topic", "/", "news")!;
  t.is(shards[0]!.maxOffset, 0, "nobody needs it in the log");
  t.like(counters, { published: 2, publishedBytes: 8, delivered: 4, accepted: 4, dropped: 0 });
  for (const reader of readers) reader.drop();
  await settle();
  target.publish(draft("nobody", { isDurable: true }));
  t.like(counters, { published: 3, delivered: 4, dropped: 1 });
  t.is(new Inspection(broker.broker).overview().counters.published, 3);
  await broker.close();
});

test("what a session took and acknowledged counts for the broker as a whole", async (t) => {
  const broker = await openTestBroker();
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.subscribe("news", 1);
  const target = connect(broker.broker).openTarget(topic("news"));
  target.publish(draft("one", { isDurable: true }));
  t.is((await peer.message()).text, "one");
  const inspection = new Inspection(broker.broker);
  await until("accepted", () => inspection.overview().counters.accepted === 1);
  t.like(inspection.overview().counters, { published: 1, delivered: 1 });
  peer.drop();
  await broker.close();
});

test("every drop, dead letter and refusal is counted by its reason", async (t) => {
  const { broker, turn, close } = await openTestBroker({
    authorizer: guarded,
    maxMessageBytes: 1000,
    quotas: {
      ...NO_QUOTAS,
      users: [{ name: "few", connections: 1, messageRate: 0, byteRate: 0 }],
    },
    policies: [
      { match: "short", settings: { maxLength: 1 } },
      { match: "full", settings: { maxLength: 1, overflow: "reject" } },
      { match: "aside", settings: { maxLength: 1, overflow: "dead-letter" } },
      { match: "lost", settings: { hasDeadLetters: false } },
    ],
  });
  const peer = connect(broker);
  const send = (to: ReturnType<typeof queue>, ...texts: string[]) => {
    const target = peer.openTarget(to);
    for (const text of texts) target.publish(draft(text, { isDurable: true }));
    target.close();
  };
  send(topic("nobody"), "1", "2");
  send(queue("short"), "1", "2", "3");
  send(queue("aside"), "1", "2");
  t.throws(() => send(queue("full"), "1", "2"), { code: "queue-full" } as object);
  t.throws(() => send(queue("q"), "x".repeat(1001)), { code: "message-too-large" } as object);
  t.throws(() => peer.openTarget(queue("secret")), { code: "unauthorized" } as object);
  const principal = { name: "few", isAnonymous: false, mechanism: "test" };
  connect(broker, "", { principal });
  t.throws(() => connect(broker, "", { principal }), { code: "limit-exceeded" } as object);
  for (const name of ["lost", "kept"]) {
    const sink = consume(peer, queue(name));
    send(queue(name), "bad");
    await settle();
    sink.consumer.settle(0, 0, OUTCOME.REJECT);
  }
  const late = consume(peer, queue("late"), { credit: 0 });
  const target = peer.openTarget(queue("late"));
  target.publish(draft("x", { ttlMs: 1 }));
  await new Promise((resolve) => setTimeout(resolve, 5));
  turn.touch();
  late.consumer.setCredit(1);
  await settle();
  await settle();
  const { dropped, deadLettered, refused } = new Inspection(broker).overview().outcomes;
  t.deepEqual(some(dropped), { no_reader: 2, maxlen: 2, rejected: 1 });
  t.deepEqual(some(deadLettered), { maxlen: 1, rejected: 1, expired: 1 });
  t.deepEqual(some(refused), { full: 1, too_large: 1, unauthorized: 1, quota: 1 });
  await close();
});

test("what MQTT drops by itself is counted by its reason too", async (t) => {
  const test = await openTestBroker({ authorizer: guarded });
  const adapter = mqttAdapter(test, { maxQueued: 1 });
  const { peer: away } = await MqttPeer.connect(test, kept("away"), { adapter });
  await away.subscribe("a", 1);
  away.disconnect();
  await away.closed();
  const { peer: small } = await MqttPeer.connect(
    test,
    {
      ...V5,
      clientId: "small",
      properties: { maximumPacketSize: 100 },
    },
    { adapter },
  );
  await small.subscribe("large", 1);
  const { peer: old } = await MqttPeer.connect(test, { clientId: "old" }, { adapter });
  await old.publish("secret", "x", 1);
  for (const body of ["1", "2", "3"]) await old.publish("a", body, 1);
  await old.publish("large", "x".repeat(200), 1);
  await settle();
  const { dropped } = new Inspection(test.broker).overview().outcomes;
  t.deepEqual(some(dropped), { session_full: 2, too_large_for_client: 1, refused_silently: 1 });
  await test.close();
});
