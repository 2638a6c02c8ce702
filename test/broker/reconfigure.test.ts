import test from "ava";
import { PERFORMATIVE } from "../../protocols/amqp1/codec/codes.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { DEFAULT_SETTINGS, type Policy } from "../../src/broker/policy.ts";
import type { Target } from "../../src/broker/target.ts";
import { LoopbackPolicy } from "../../src/security/loopback.ts";
import { RuleAuthorizer } from "../../src/security/rule-authorizer.ts";
import type { UserRecord, UserStore } from "../../src/security/users.ts";
import { AmqpPeer } from "../protocols/amqp1/support/peer.ts";
import { MqttPeer } from "../support/mqtt-peer.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

const rules = (...policies: Policy[]) => ({
  queueDefaults: DEFAULT_SETTINGS,
  topicDefaults: DEFAULT_SETTINGS,
  policies,
  autoCreate: true,
});
const nodeOf = (target: unknown) => (target as Target).node;

test("policies that come while messages wait hold for those queues too, and go again", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  const other = peer.openTarget(queue("other"));
  for (let i = 0; i < 4; i++) target.publish(draft("x".repeat(100), { keys: `k${i % 2}` }));
  t.is(
    broker.reconfigure(rules({ match: "q", settings: { maxBytes: 900, overflow: "reject" } })),
    1,
  );
  t.true(nodeOf(target).storedBytes > 400, "what is there already counts");
  t.true(nodeOf(other).isPlain);
  t.throws(
    () => {
      for (let i = 0; i < 9; i++) target.publish(draft("x".repeat(100)));
    },
    { code: "queue-full" } as object,
  );
  broker.reconfigure(rules({ match: "q", settings: { isLastValue: true } }));
  const before = nodeOf(target).ownGroup.readyCount;
  target.publish(draft("new", { keys: "k0" }));
  t.is(nodeOf(target).ownGroup.readyCount, before, "the newest of before was replaced");
  t.is(broker.reconfigure(rules()), 1);
  t.true(nodeOf(target).isPlain);
  t.is(nodeOf(target).onSettled, null);
  target.publish(draft("new", { keys: "k0" }));
  t.is(nodeOf(target).ownGroup.readyCount, before + 1);
  t.is(broker.reconfigure(rules()), 0, "nothing differs");
  broker.reconfigure({ ...rules(), autoCreate: false });
  t.throws(() => peer.openTarget(queue("never")), { code: "not-found" } as object);
  await close();
});

test("what a confirm stands for stays at queues that are there; new ones have the new level", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q1"));
  broker.reconfigure(rules({ match: "#", settings: { level: "memory", maxLength: 3 } }));
  t.is(target.level, "fsync");
  t.is(nodeOf(target).settings.maxLength, 3);
  t.is(peer.openTarget(queue("q2")).level, "memory");
  await close();
});

test("producers that a full queue held back go on when its limit does", async (t) => {
  const policy: Policy = { match: "q", settings: { maxLength: 1, overflow: "block" } };
  const { broker, close } = await openTestBroker({ policies: [policy] });
  const target = connect(broker).openTarget(queue("q"));
  target.publish(draft("x"));
  t.is(target.creditAllowance, 0);
  let calls = 0;
  target.onAllowance = () => calls++;
  broker.reconfigure(rules());
  await until("the producer hears of it", () => calls === 1);
  t.true(target.creditAllowance > 0);
  await close();
});

test("failed messages take the retry delay of the policy that holds when they fail", async (t) => {
  const { broker, close } = await openTestBroker();
  connect(broker).openTarget(queue("q")).publish(draft("x"));
  const sink = consume(connect(broker), queue("q"));
  await settle();
  broker.reconfigure(
    rules({ match: "q", settings: { retry: { kind: "table", delaysMs: [3_600_000] } } }),
  );
  sink.consumer.settle(0, 0, OUTCOME.FAIL);
  await settle();
  t.is(sink.received.length, 1);
  t.is(broker.registry.find("queue", "/", "q")!.ownGroup.readyCount, 0);
  await close();
});

/** Users whose rules a test may change. */
function changingUsers() {
  const records = new Map<string, UserRecord>();
  let generation = 1;
  const users: UserStore = {
    find: (name) => records.get(name),
    get size() {
      return records.size;
    },
    get generation() {
      return generation;
    },
  };
  const allow = (name: string, ...rights: string[]): void => {
    records.set(name, { name, password: "", scram: {}, allow: rights, deny: [] });
    generation++;
  };
  return { allow, authorizer: new RuleAuthorizer(users, new LoopbackPolicy("closed", users)) };
}

const ANN = { principal: { name: "ann", isAnonymous: false, mechanism: "test" } };
const ALL = "create,send,receive,browse *:#";

test("rights that are taken end what they allowed, and nothing else; given again, producers go on", async (t) => {
  const { allow, authorizer } = changingUsers();
  allow("ann", ALL);
  const { broker, close } = await openTestBroker({ authorizer });
  const peer = connect(broker, "", ANN);
  const target = peer.openTarget(queue("q"));
  const consumers = [queue("q"), queue("r"), topic("a/b"), topic("c/#")].map((address) =>
    consume(peer, address),
  );
  const browser = consume(peer, queue("r"), { mode: "browse" });
  allow("ann", "receive queue:r", "receive topic:a/#");
  t.is(broker.recheckRights(), 4);
  t.deepEqual(
    consumers.map(({ cancelled }) => cancelled?.code ?? "stays"),
    ["unauthorized", "stays", "stays", "unauthorized"],
  );
  t.is(browser.cancelled?.code, "unauthorized");
  t.throws(() => target.publish(draft("x")), { code: "unauthorized" } as object);
  const transaction = peer.beginTransaction();
  transaction.publish(target, draft("x"));
  t.throws(() => transaction.commit(), { code: "transaction-rollback" } as object);
  allow("ann", ALL);
  t.is(broker.recheckRights(), 0);
  t.notThrows(() => target.publish(draft("x")));
  await close();
});

test("AMQP: a consumer whose right is taken is detached as unauthorized, a producer is rejected", async (t) => {
  const { allow, authorizer } = changingUsers();
  allow("anonymous", ALL);
  const test = await openTestBroker({ authorizer });
  const peer = await AmqpPeer.connect(test);
  await peer.receiver({ handle: 0, address: "q" });
  await peer.sender({ handle: 1, address: "q" });
  await peer.next(PERFORMATIVE.FLOW);
  allow("anonymous");
  test.broker.recheckRights();
  const detach = await peer.next(PERFORMATIVE.DETACH);
  t.regex(JSON.stringify(detach.fields[2]), /amqp:unauthorized-access/);
  peer.transfer(Buffer.from("\x00Su\xa0\x01x", "latin1"), { handle: 1 });
  const { fields } = await peer.next(PERFORMATIVE.DISPOSITION);
  t.regex(JSON.stringify(fields), /amqp:unauthorized-access/);
  await test.close();
});

test("MQTT: a session loses subscriptions that its user may have no more, connected or not", async (t) => {
  const { allow, authorizer } = changingUsers();
  allow("ann", ALL);
  const test = await openTestBroker({ authorizer });
  const login = {
    clientId: "c",
    clean: false,
    protocolVersion: 5 as const,
    username: "ann",
    password: Buffer.from("x"),
    properties: { sessionExpiryInterval: 600 },
  };
  const { peer } = await MqttPeer.connect(test, login);
  await peer.subscribe("secret/#", 1);
  await peer.subscribe("open/#", 1);
  allow("ann", "create,send,receive topic:open/#");
  test.broker.recheckRights();
  t.is((await peer.take("disconnect")).reasonCode, 0x87);
  await peer.closed();
  allow("bob", ALL);
  const sender = connect(test.broker, "", {
    principal: { name: "bob", isAnonymous: false, mechanism: "test" },
  });
  sender.openTarget(topic("secret/a")).publish(draft("1"));
  sender.openTarget(topic("open/a")).publish(draft("2"));
  const { peer: again } = await MqttPeer.connect(test, login);
  t.is((await again.message()).text, "2");
  again.drop();
  await again.closed();
  allow("ann", "receive topic:nothing");
  sender.openTarget(topic("open/a")).publish(draft("3"));
  const { peer: third } = await MqttPeer.connect(test, login);
  await third.settle();
  t.deepEqual(third.publishes, [], "what waited for it is not delivered either");
  await test.close();
});

test("a queue at rest has the new policies when somebody comes, and wakes for those that count", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  for (const name of ["a", "b"]) {
    const target = peer.openTarget(queue(name));
    target.publish(draft("x".repeat(100)));
    target.close();
    await settle();
    broker.keepHouse();
    t.true(broker.registry.rest(broker.registry.find("queue", "/", name)!), `${name} rests`);
  }
  const awake = broker.registry.awakeCount;
  broker.reconfigure(
    rules(
      { match: "a", settings: { maxBytes: 200, overflow: "reject" } },
      { match: "b", settings: { maxDeliveries: 3 } },
    ),
  );
  t.is(broker.registry.awakeCount, awake + 1);
  const a = peer.openTarget(queue("a"));
  t.true(nodeOf(a).storedBytes > 100);
  t.throws(
    () => {
      for (let i = 0; i < 3; i++) a.publish(draft("x".repeat(100)));
    },
    { code: "queue-full" } as object,
  );
  t.is(nodeOf(peer.openTarget(queue("b"))).settings.maxDeliveries, 3);
  await close();
});
