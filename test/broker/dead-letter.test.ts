import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { Inspection } from "../../src/broker/inspect.ts";
import { Operations } from "../../src/broker/operations.ts";
import type { Policy } from "../../src/broker/policy.ts";
import { type Death, deathsFromText } from "../../src/model/deaths.ts";
import { propertyText, unescapeText } from "../../src/model/properties.ts";
import { openTestBroker, type TestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const REJECT_FIRST = 1;

function deathsIn({ broker }: TestBroker, name: string): Array<readonly Death[]> {
  return new Inspection(broker).browse({ kind: "queue", namespace: "/", name }).map((message) => {
    const text = message.properties.find(([key]) => key === "x-deaths")?.[1] ?? "[]";
    return deathsFromText(unescapeText(text));
  });
}

const backlogOf = ({ broker }: TestBroker, name: string): number =>
  broker.registry.find("queue", "/", name)?.backlog ?? 0;

test("a dead letter tells queue, reason, times, how often, and what it was published to", async (t) => {
  const host = await openTestBroker({ settings: { maxDeliveries: REJECT_FIRST } });
  const { broker, close } = host;
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  const before = Date.now();
  target.publish(
    draft("m", {
      properties: propertyText("x-exchange", "events") + propertyText("x-routing-key", "a.b"),
    }),
  );
  const sink = consume(peer, queue("q"));
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.FAIL);
  await settle();
  const [first] = deathsIn(host, "DLQ.q");
  t.is(first!.length, 1);
  const [death] = first!;
  t.is(death!.queue, "q");
  t.is(death!.reason, "delivery_limit");
  t.is(death!.count, 1);
  t.is(death!.exchange, "events");
  t.deepEqual(death!.routingKeys, ["a.b"]);
  t.true(death!.firstAt >= before && death!.firstAt === death!.lastAt);

  // Back and dead again, by another reason, then by the first one again.
  const operations = new Operations(broker);
  t.is(await operations.move("DLQ.q", undefined), 1);
  await settle();
  sink.consumer.settle(1, 1, OUTCOME.REJECT);
  await settle();
  t.is(await operations.move("DLQ.q", undefined), 1);
  await settle();
  sink.consumer.settle(2, 2, OUTCOME.FAIL);
  await settle();
  const [history] = deathsIn(host, "DLQ.q");
  t.deepEqual(
    history!.map(({ reason, count }) => [reason, count]),
    [
      ["delivery_limit", 2],
      ["rejected", 1],
    ],
  );
  t.is(history![0]!.firstAt, death!.firstAt);
  t.true(history![0]!.lastAt >= history![1]!.lastAt);
  await close();
});

test("an expired message tells its time to live, and its copy does not expire again", async (t) => {
  const host = await openTestBroker();
  const target = connect(host.broker).openTarget(queue("q"));
  target.publish(draft("short", { ttlMs: 5, properties: propertyText("x-ttl", "5") }));
  await until("the expiry", () => backlogOf(host, "DLQ.q") === 1, 5000);
  const [history] = deathsIn(host, "DLQ.q");
  t.is(history![0]!.reason, "expired");
  t.is(history![0]!.originalTtlMs, 5);
  const view = new Inspection(host.broker).browse({
    kind: "queue",
    namespace: "/",
    name: "DLQ.q",
  })[0]!;
  t.is(view.expiresAt, 0);
  t.false(view.properties.some(([name]) => name === "x-ttl"));
  await host.close();
});

test("dead letters go where the policy says; a circle without a rejection is cut and counted", async (t) => {
  const policies: Policy[] = [
    { match: "a", settings: { deadLetterTo: "b", ttlMs: 5 } },
    { match: "b", settings: { deadLetterTo: "a", ttlMs: 5 } },
  ];
  const host = await openTestBroker({ policies });
  const { broker, close } = host;
  connect(broker).openTarget(queue("a")).publish(draft("round"));
  const b = (): number => broker.registry.find("queue", "/", "b")?.counters.dropped ?? 0;
  await until("the end of the circle", () => b() === 1, 8000);
  t.is(backlogOf(host, "a"), 0);
  t.is(backlogOf(host, "b"), 0);
  t.is(broker.registry.find("queue", "/", "a")!.counters.deadLettered, 1);
  await close();
});

test("a message that somebody rejected may go round again: no automatic circle", async (t) => {
  const policies: Policy[] = [
    { match: "work", settings: { deadLetterTo: "wait" } },
    { match: "wait", settings: { deadLetterTo: "work", ttlMs: 5 } },
  ];
  const { broker, close } = await openTestBroker({ policies });
  const peer = connect(broker);
  peer.openTarget(queue("work")).publish(draft("retry me"));
  const sink = consume(peer, queue("work"));
  for (let round = 0; round < 2; round++) {
    await until("a delivery", () => sink.texts.length === round + 1, 8000);
    sink.consumer.settle(round, round, OUTCOME.REJECT);
  }
  await until("the third delivery", () => sink.texts.length === 3, 8000);
  t.deepEqual(sink.texts, ["retry me", "retry me", "retry me"]);
  await close();
});

test("a message moved back by an operator may take the way it took before", async (t) => {
  const policies: Policy[] = [{ match: "a", settings: { deadLetterTo: "b" } }];
  const host = await openTestBroker({ policies, settings: { maxDeliveries: 1 } });
  const peer = connect(host.broker);
  peer.openTarget(queue("a")).publish(draft("m"));
  const operations = new Operations(host.broker);
  const fail = async (name: string): Promise<void> => {
    const sink = consume(peer, queue(name));
    await until(`a message in ${name}`, () => sink.texts.length > 0);
    sink.consumer.settle(0, 0, OUTCOME.FAIL);
    sink.consumer.close(OUTCOME.RELEASE);
    await settle();
  };
  for (let round = 0; round < 2; round++) {
    await fail("a");
    await fail("b");
    t.is(backlogOf(host, "DLQ.b"), 1, `round ${round}`);
    t.is(await operations.move("DLQ.b", "a"), 1);
  }
  t.is(backlogOf(host, "a"), 1);
  await host.close();
});

test("nothing dies in a dead-letter queue of failing there; what is rejected there is gone", async (t) => {
  const host = await openTestBroker({ settings: { maxDeliveries: 1, maxLosses: 1, ttlMs: 0 } });
  const peer = connect(host.broker);
  peer.openTarget(queue("q")).publish(draft("m"));
  const sink = consume(peer, queue("q"));
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.REJECT);
  const dead = consume(peer, queue("DLQ.q"));
  await settle();
  for (let i = 0; i < 3; i++) {
    dead.consumer.settle(i, i, OUTCOME.FAIL);
    await settle();
  }
  t.is(dead.texts.length, 4);
  dead.consumer.settle(3, 3, OUTCOME.REJECT);
  await settle();
  t.is(backlogOf(host, "DLQ.q"), 0);
  t.is(host.broker.registry.find("queue", "/", "DLQ.DLQ.q"), undefined);
  await host.close();
});

test("the original is settled only when its copy is durable", async (t) => {
  const { broker, store, close } = await openTestBroker();
  const peer = connect(broker);
  peer.openTarget(queue("q")).publish(draft("m"));
  const sink = consume(peer, queue("q"));
  await settle();
  store.isManual = true;
  sink.consumer.settle(0, 0, OUTCOME.REJECT);
  await settle();
  const node = broker.registry.find("queue", "/", "q")!;
  t.is(node.backlog, 1);
  store.sync();
  t.is(node.backlog, 0);
  store.isManual = false;
  await close();
});

test("a dead letter counts in a dead-letter queue with limits, which drops its oldest", async (t) => {
  const host = await openTestBroker({
    policies: [{ match: "DLQ/#", settings: { maxLength: 2, maxBytes: 100_000 } }],
  });
  const peer = connect(host.broker);
  const target = peer.openTarget(queue("q"));
  for (const text of ["1", "2", "3"]) target.publish(draft(text));
  const sink = consume(peer, queue("q"));
  await settle();
  sink.consumer.settle(0, 2, OUTCOME.REJECT);
  await settle();
  const dead = consume(peer, queue("DLQ.q"));
  await settle();
  t.deepEqual(dead.texts, ["2", "3"]);
  dead.consumer.settle(0, 1, OUTCOME.ACCEPT);
  t.is(host.broker.registry.find("queue", "/", "DLQ.q")!.storedBytes, 0);
  await host.close();
});

test("a subscription's dead letters name it, and are not moved back to a queue of its name", async (t) => {
  const host = await openTestBroker();
  const peer = connect(host.broker, "c");
  const subscription = { clientId: "c", name: "s", isShared: false, isDurable: true };
  const sink = consume(peer, topic("orders/eu"), { subscription });
  peer.openTarget(topic("orders/eu")).publish(draft("m"));
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.REJECT);
  await settle();
  const [history] = deathsIn(host, "DLQ.orders");
  t.is(history![0]!.queue, "sub:c/s");
  t.deepEqual(history![0]!.routingKeys, ["orders/eu"]);
  const operations = new Operations(host.broker);
  await t.throwsAsync(() => operations.move("DLQ.orders", undefined), {
    message: /died in sub:c\/s/,
  });
  t.is(await operations.move("DLQ.orders", "fixed"), 1);
  t.is(backlogOf(host, "fixed"), 1);
  await host.close();
});
