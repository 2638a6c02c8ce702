import test from "ava";
import { PERFORMATIVE } from "../../protocols/amqp1/codec/codes.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import {
  type NamespaceQuota,
  NO_QUOTAS,
  type Quota,
  type QuotaRules,
} from "../../src/broker/quotas.ts";
import type { Target } from "../../src/broker/target.ts";
import { makeAddress } from "../../src/model/address.ts";
import { type Clock, REAL_CLOCK } from "../../src/util/turn.ts";
import { AmqpPeer } from "../protocols/amqp1/support/peer.ts";
import { kept, MqttPeer, V5 } from "../support/mqtt-peer.ts";
import { StompPeer } from "../support/stomp-peer.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const user = (name: string, quota: Partial<Quota>): QuotaRules => ({
  ...NO_QUOTAS,
  users: [{ name, connections: 0, messageRate: 0, byteRate: 0, ...quota }],
});
const namespace = (name: string, quota: Partial<NamespaceQuota>): QuotaRules => ({
  ...NO_QUOTAS,
  namespaces: [
    {
      name,
      connections: 0,
      messageRate: 0,
      byteRate: 0,
      destinations: 0,
      messages: 0,
      bytes: 0,
      ...quota,
    },
  ],
});
const rates = (messageRate: number, byteRate = 0): QuotaRules => ({
  ...NO_QUOTAS,
  connection: { messageRate, byteRate },
});
const named = (name: string) => ({
  principal: { name, isAnonymous: false, mechanism: "test" },
});
const nodeOf = (target: unknown) => (target as Target).node;
const TOO_MANY = { code: "limit-exceeded" } as object;

/** Time that only the test lets pass; timers ring when it does. */
function stoppedClock() {
  let now = 1_000_000;
  const timers = new Map<number, { due: number; task: () => void }>();
  let next = 1;
  const clock: Clock = {
    ...REAL_CLOCK,
    now: () => now,
    uptime: () => now,
    after: (ms, task) => {
      timers.set(next, { due: now + ms, task });
      return next++;
    },
    cancel: (timer) => void timers.delete(timer as number),
  };
  const pass = (ms: number): void => {
    now += ms;
    for (const [number, { due, task }] of [...timers]) {
      if (due > now || !timers.delete(number)) continue;
      task();
    }
  };
  return { clock, pass };
}

test("without a quota nobody has a gate", async (t) => {
  const { broker, close } = await openTestBroker();
  connect(broker).openTarget(queue("q"));
  const [connection] = broker.connections.values();
  t.is(connection!.gate, null);
  t.is([...connection!.targets][0]!.gate, null);
  await close();
});

test("messages beyond the rate wait, none is refused, and the average holds", async (t) => {
  const { clock, pass } = stoppedClock();
  const { broker, close } = await openTestBroker({ quotas: rates(100), clock });
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  let sent = 0;
  const sendAll = (): void => {
    while (peer.hasRoom(1)) {
      target.publish(draft("x"));
      sent++;
    }
  };
  sendAll();
  t.is(sent, 100, "a second's worth at once");
  let resumed = 0;
  peer.onRoom(() => resumed++);
  t.is(broker.quotas.waiting, 1);
  pass(9);
  t.is(resumed, 0);
  pass(1);
  t.is(resumed, 1);
  sendAll();
  t.is(sent, 101);
  for (let i = 0; i < 100; i++) {
    pass(100);
    sendAll();
  }
  t.is(sent, 1101);
  await close();
});

test("bytes beyond the rate wait too; one large message is paid off afterwards", async (t) => {
  const { clock, pass } = stoppedClock();
  const { broker, close } = await openTestBroker({ quotas: rates(0, 1000), clock });
  const peer = connect(broker);
  peer.openTarget(queue("q")).publish(draft("x".repeat(6000)));
  t.false(peer.hasRoom(1));
  pass(4990);
  t.false(peer.hasRoom(1));
  pass(10);
  broker.turn.touch();
  t.true(peer.hasRoom(1));
  await close();
});

test("a user's rate is shared by all its connections, another user's is its own", async (t) => {
  const { clock, pass } = stoppedClock();
  const { broker, close } = await openTestBroker({ quotas: user("*", { messageRate: 10 }), clock });
  const [a, b, other] = ["ann", "ann", "bob"].map((name) => connect(broker, "", named(name)));
  for (let i = 0; i < 10; i++) a!.openTarget(queue("q")).publish(draft("x"));
  t.false(a!.hasRoom(1));
  t.false(b!.hasRoom(1));
  t.true(other!.hasRoom(1));
  pass(100);
  broker.turn.touch();
  t.true(b!.hasRoom(1));
  await close();
});

test("credit is what the rate has left, comes back with time, and ends with the quota", async (t) => {
  const { clock, pass } = stoppedClock();
  const { broker, close } = await openTestBroker({ quotas: rates(20), clock });
  const target = connect(broker).openTarget(queue("q"));
  t.is(target.creditAllowance, 20);
  for (let i = 0; i < 20; i++) target.publish(draft("x"));
  t.is(target.creditAllowance, 0);
  let calls = 0;
  target.onAllowance = () => calls++;
  pass(500);
  t.is(calls, 1);
  t.is(target.creditAllowance, 10);
  for (let i = 0; i < 10; i++) target.publish(draft("x"));
  t.is(target.creditAllowance, 0);
  broker.quotas.replace(NO_QUOTAS);
  t.is(calls, 2, "who waits goes on");
  t.is(target.creditAllowance, 1000);
  await close();
});

test("AMQP: too fast a sender gets less credit, and no error", async (t) => {
  const test = await openTestBroker({ quotas: rates(50) });
  const peer = await AmqpPeer.connect(test);
  await peer.sender();
  const flow = await peer.next(PERFORMATIVE.FLOW);
  t.deepEqual(flow.fields[6], { type: "uint", value: 50 });
  for (let i = 0; i < 50; i++) peer.transfer(Buffer.from("\x00Su\xa0\x01x", "latin1"));
  const more = await peer.next(PERFORMATIVE.FLOW);
  const { value } = more.fields[6] as { value: number };
  t.true(value > 0 && value <= 50, `credit ${value} after a while`);
  const node = test.broker.registry.find("queue", "/", "q")!;
  await until("all are in", () => node.counters.published === 50);
  await test.close();
});

test("STOMP and MQTT: too fast a sender is not read from for a while, and loses nothing", async (t) => {
  const test = await openTestBroker({ quotas: rates(40) });
  const began = Date.now();
  const stomp = await StompPeer.connect(test);
  for (let i = 0; i < 60; i++) stomp.send("SEND\ndestination:/queue/s\n\nx\0");
  const { peer } = await MqttPeer.connect(test);
  await peer.subscribe("m", 0);
  for (let i = 0; i < 60; i++) {
    peer.send({ cmd: "publish", topic: "m", payload: "x", qos: 0, dup: false, retain: false });
  }
  const node = () => test.broker.registry.find("queue", "/", "s");
  await until("all of STOMP", () => node()?.counters.published === 60, 20_000);
  await until("all of MQTT", () => peer.publishes.length === 60, 20_000);
  t.true(Date.now() - began >= 400, "20 messages at 40 a second take half of one");
  t.true(test.broker.quotas.figures.waits > 0);
  await test.close();
});

test("a user has as many connections as its quota, and a MQTT client may replace its own", async (t) => {
  const test = await openTestBroker({ quotas: user("ann", { connections: 2 }) });
  const { broker } = test;
  const first = connect(broker, "", named("ann"));
  connect(broker, "", named("ann"));
  t.throws(() => connect(broker, "", named("ann")), TOO_MANY);
  t.notThrows(() => connect(broker, "", named("bob")));
  first.close();
  const credentials = { username: "ann", password: Buffer.from("x") };
  await MqttPeer.connect(test, { clientId: "c", ...credentials });
  await MqttPeer.connect(test, { clientId: "c", ...credentials });
  const refused = new MqttPeer(test);
  refused.sendConnect({ clientId: "d", protocolVersion: 5, ...credentials });
  t.is((await refused.take("connack")).reasonCode, 0x97);
  await refused.closed();
  const old = new MqttPeer(test);
  old.sendConnect({ clientId: "d", ...credentials });
  t.is((await old.take("connack")).returnCode, 3);
  t.is(broker.quotas.figures.connections, 3);
  await test.close();
});

test("a namespace has as many connections as its quota; AMQP and STOMP say so", async (t) => {
  const test = await openTestBroker({ quotas: namespace("/", { connections: 1 }) });
  const first = await AmqpPeer.connect(test);
  const second = new AmqpPeer(test);
  second.wire.send(Buffer.from("AMQP\x00\x01\x00\x00", "latin1"));
  const { open } = await import("../protocols/amqp1/support/peer.ts");
  second.send(open());
  const { fields } = await second.next(PERFORMATIVE.CLOSE);
  t.regex(JSON.stringify(fields[0]), /amqp:resource-limit-exceeded/);
  await t.throwsAsync(StompPeer.connect(test), { message: /limit exceeded/ });
  t.notThrows(() => connect(test.broker, "", { namespace: "other" }));
  first.close();
  await first.next(PERFORMATIVE.CLOSE);
  await StompPeer.connect(test);
  await test.close();
});

test("a namespace has as many queues and topics as its quota, temporary ones included", async (t) => {
  const { broker, close } = await openTestBroker({ quotas: namespace("/", { destinations: 3 }) });
  const peer = connect(broker);
  peer.openTarget(queue("a"));
  peer.openTarget(topic("b/c"));
  const temporary = peer.createTemporary("queue", "delete-on-close");
  t.throws(() => peer.openTarget(queue("d")), TOO_MANY);
  t.throws(() => consume(peer, topic("d")), TOO_MANY);
  t.throws(() => peer.createTemporary("topic", "delete-on-close"), TOO_MANY);
  t.notThrows(() => peer.openTarget(topic("b/d")), "a topic's paths are one topic");
  const other = makeAddress("queue", "q", { namespace: "other" });
  t.notThrows(() => peer.openTarget(other));
  peer.deleteTemporary(temporary);
  t.notThrows(() => peer.openTarget(queue("d")));
  await close();
});

test("a namespace takes as many messages as its quota, waiting ones included, and again when some are done", async (t) => {
  const { broker, store, close } = await openTestBroker({
    quotas: namespace("/", { messages: 4 }),
  });
  const peer = connect(broker);
  const [a, b] = [peer.openTarget(queue("a")), peer.openTarget(queue("b"))];
  a.publish(draft("1"));
  b.publish(draft("2"));
  b.publish(draft("later", { deliverAt: Date.now() + 3_600_000 }));
  a.publish(draft("3"));
  t.throws(() => a.publish(draft("4")), TOO_MANY);
  t.throws(() => b.publish(draft("4")), TOO_MANY);
  t.is(nodeOf(a).counters.rejected, 1);
  const sink = consume(peer, queue("a"));
  await settle();
  sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
  await until("one is done", () => {
    try {
      b.publish(draft("5"));
      return true;
    } catch {
      return false;
    }
  });
  t.throws(() => a.publish(draft("6")), TOO_MANY);
  await close();
  const again = await openTestBroker({ store, quotas: namespace("/", { messages: 4 }) });
  const target = connect(again.broker).openTarget(queue("a"));
  t.throws(() => target.publish(draft("7")), TOO_MANY);
  await again.close();
});

test("a namespace takes as many bytes as its quota, a topic's history goes first", async (t) => {
  const { broker, store, close } = await openTestBroker({
    quotas: namespace("/", { bytes: 20_000 }),
    policies: [{ match: "t", kind: "topic", settings: { historyCount: 100 } }],
  });
  const peer = connect(broker);
  const history = peer.openTarget(topic("t"));
  const target = peer.openTarget(queue("q"));
  const body = "x".repeat(5000);
  for (let i = 0; i < 3; i++) history.publish(draft(body));
  for (let i = 0; i < 3; i++) target.publish(draft(body));
  t.throws(() => target.publish(draft(body)), TOO_MANY);
  t.is(nodeOf(history).storedBytes, 0);
  const [view] = [...broker.quotas.views()];
  t.true(view!.bytes! > 15_000 && view!.bytes! < 17_000);
  await settle();
  await close();
  const again = await openTestBroker({ store, quotas: namespace("/", { bytes: 20_000 }) });
  const before = connect(again.broker).openTarget(queue("q"));
  t.throws(() => before.publish(draft(body)), TOO_MANY);
  const sink = consume(connect(again.broker), queue("q"));
  await settle();
  sink.consumer.settle(0, 2, OUTCOME.ACCEPT);
  await settle();
  t.is(nodeOf(before).storedBytes, 0);
  t.notThrows(() => before.publish(draft(body)));
  await again.close();
});

test("what waits for MQTT sessions, shares and wildcard subscriptions counts for their namespace, a message once", async (t) => {
  const test = await openTestBroker({ quotas: namespace("/", { messages: 3 }) });
  const sessions: MqttPeer[] = [];
  for (const name of ["one", "two"]) {
    const { peer } = await MqttPeer.connect(test, kept(name));
    await peer.subscribe("a/#", 1);
    await peer.subscribe("$share/g/a/#", 1);
    sessions.push(peer);
  }
  const peer = connect(test.broker);
  const wild = topic("#");
  consume(peer, wild, { credit: 0 });
  for (const session of sessions) {
    session.disconnect();
    await session.closed();
  }
  const { peer: publisher } = await MqttPeer.connect(test, { ...V5, clientId: "publisher" });
  for (let i = 0; i < 3; i++) t.true((await publisher.publish("a/b", "x", 1)) < 0x80, `${i}`);
  t.is(await publisher.publish("a/b", "x", 1), 0x97, "three wait, each for several");
  t.throws(() => peer.openTarget(queue("q")).publish(draft("x")), TOO_MANY);
  const elsewhere = connect(test.broker, "", { namespace: "other" });
  t.notThrows(() =>
    elsewhere.openTarget(makeAddress("queue", "q", { namespace: "other" })).publish(draft("x")),
  );
  const [view] = [...test.broker.quotas.views()];
  t.is(view!.messages, 3);
  t.true(view!.bytes! > 0);
  await test.close();
  const again = await openTestBroker({
    store: test.store,
    quotas: namespace("/", { messages: 3 }),
  });
  const target = connect(again.broker).openTarget(queue("q"));
  t.throws(() => target.publish(draft("x")), TOO_MANY, "sessions at rest count as well");
  const { peer: one } = await MqttPeer.connect(again, kept("one"));
  const { peer: two } = await MqttPeer.connect(again, kept("two"));
  await until("all is acknowledged", () => {
    try {
      target.publish(draft("x"));
      return true;
    } catch {
      return false;
    }
  });
  t.true(one.publishes.length + two.publishes.length >= 6);
  await again.close();
});

test("bytes of what waits for MQTT sessions count, those of a message once", async (t) => {
  const test = await openTestBroker({ quotas: namespace("/", { bytes: 20_000 }) });
  for (const name of ["one", "two", "three"]) {
    const { peer } = await MqttPeer.connect(test, kept(name));
    await peer.subscribe("a", 1);
    peer.disconnect();
    await peer.closed();
  }
  const { peer } = await MqttPeer.connect(test, { ...V5, clientId: "publisher" });
  const body = "x".repeat(5100);
  const answers: number[] = [];
  for (let i = 0; i < 6; i++) answers.push(await peer.publish("a", body, 1));
  t.deepEqual(
    answers.map((answer) => answer >= 0x80),
    [false, false, false, true, true, true],
  );
  await test.close();
});

test("a transaction that would go beyond the quota is rolled back as a whole", async (t) => {
  const { broker, close } = await openTestBroker({ quotas: namespace("/", { messages: 2 }) });
  const peer = connect(broker);
  const targets = ["a", "b", "c"].map((name) => peer.openTarget(queue(name)));
  const first = peer.beginTransaction();
  for (const target of targets) first.publish(target, draft("x"));
  t.throws(() => first.commit(), { code: "transaction-rollback" } as object);
  const second = peer.beginTransaction();
  for (const target of targets.slice(1)) second.publish(target, draft("x"));
  second.commit();
  await settle();
  t.deepEqual(
    targets.map((target) => nodeOf(target).backlog),
    [0, 1, 1],
  );
  await close();
});
