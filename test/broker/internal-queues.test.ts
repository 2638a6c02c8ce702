import test from "ava";
import { PERFORMATIVE } from "../../protocols/amqp1/codec/codes.ts";
import { Operations } from "../../src/broker/operations.ts";
import { makeAddress } from "../../src/model/address.ts";
import { AmqpPeer } from "../protocols/amqp1/support/peer.ts";
import { openTestAdmin } from "../support/admin.ts";
import { MqttPeer } from "../support/mqtt-peer.ts";
import { StompPeer } from "../support/stomp-peer.ts";
import { openTestBroker, type TestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, queue, settle } from "../support/test-client.ts";

/** A broker where one message waits for its time. */
async function withDelayed(): Promise<TestBroker> {
  const test = await openTestBroker({
    policies: [
      { kind: "queue", match: "#", settings: { maxLength: 1, ttlMs: 1, isLastValue: true } },
    ],
  });
  connect(test.broker)
    .openTarget(queue("q"))
    .publish(draft("later", { deliverAt: Date.now() + 3_600_000 }));
  await settle();
  return test;
}

const delayedNode = ({ broker }: TestBroker) => broker.registry.find("queue", "/", "~delayed")!;

test("no client can open a queue of the broker's own, whatever it is called by", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  for (const kind of ["queue", "any"] as const) {
    for (const name of ["~delayed", "~mqtt-wills", "~anything"]) {
      const address = makeAddress(kind, name);
      t.throws(() => peer.openTarget(address), { code: "unauthorized" } as object);
      t.throws(() => consume(peer, address), { code: "unauthorized" } as object);
      t.throws(() => consume(peer, address, { mode: "browse" }), {
        code: "unauthorized",
      } as object);
    }
  }
  t.notThrows(() => peer.openTarget(makeAddress("topic", "~delayed")), "a topic may begin so");
  const temporary = peer.createTemporary("queue", "delete-on-close");
  t.true(temporary.name.startsWith("~"));
  t.notThrows(() => connect(broker).openTarget(temporary));
  await close();
});

test("AMQP: a link to a queue of the broker's own is refused as unauthorized", async (t) => {
  const test = await withDelayed();
  const peer = await AmqpPeer.connect(test);
  let handle = 0;
  for (const address of ["~delayed", "queue:~delayed", "/queue/~delayed", "queue://~mqtt-wills"]) {
    for (const role of ["sender", "receiver"] as const) {
      await peer[role]({ handle: handle++, address });
      const { fields } = await peer.next(PERFORMATIVE.DETACH);
      t.regex(JSON.stringify(fields[2]), /amqp:unauthorized-access/, `${role} ${address}`);
    }
  }
  t.is(delayedNode(test).backlog, 1);
  await test.close();
});

test("STOMP: sending to and subscribing to a queue of the broker's own is an ERROR", async (t) => {
  const test = await withDelayed();
  for (const frame of [
    "SEND\ndestination:/queue/~delayed\n\nx\0",
    "SUBSCRIBE\nid:1\ndestination:/queue/~delayed\n\n\0",
    "SUBSCRIBE\nid:1\ndestination:/queue/~mqtt-wills\nbrowser:true\n\n\0",
  ]) {
    const peer = await StompPeer.connect(test);
    peer.send(frame);
    t.is((await peer.take("ERROR")).headers["message"], "access refused");
  }
  t.is(delayedNode(test).backlog, 1);
  await test.close();
});

test("MQTT: names of the broker's own queues are topics like others, and reach nothing of them", async (t) => {
  const test = await withDelayed();
  const { peer } = await MqttPeer.connect(test, { protocolVersion: 5 });
  const names = ["~delayed", "queue:~delayed", "~mqtt-wills"];
  for (const name of names) await peer.subscribe(name, 1);
  t.is(await peer.publish("$queue/~delayed", "x", 1), 0x10, "a topic that nobody reads");
  for (const name of names) await peer.publish(name, name, 1);
  for (const name of names) t.is((await peer.message()).text, name);
  await peer.settle();
  t.deepEqual(peer.publishes, [], "nothing of what waits");
  const { ownGroup } = delayedNode(test);
  t.is(ownGroup.readyCount, 1);
  t.is(ownGroup.shards[0]!.queue.maxOffset, 1, "and nothing was added");
  await test.close();
});

test("operators look into a queue of the broker's own, and change nothing there", async (t) => {
  const admin = await openTestAdmin();
  connect(admin.broker)
    .openTarget(queue("q"))
    .publish(draft("later", { deliverAt: Date.now() + 3_600_000 }));
  t.is((await admin.get("/api/queues/~delayed")).json.backlog, 1);
  t.is((await admin.get("/api/queues/~delayed/messages")).json.length, 1);
  for (const [method, path] of [
    ["POST", "/api/queues/~delayed/purge"],
    ["DELETE", "/api/queues/~delayed"],
    ["POST", "/api/queues/~delayed/move?to=q"],
    ["POST", "/api/queues/q/move?to=~delayed"],
  ] as const) {
    const { status, json } = await admin.send(method, path);
    t.is(status, 403, path);
    t.is(json.code, "unauthorized", path);
  }
  t.is((await admin.get("/api/queues/~delayed")).json.backlog, 1);
  const operations = new Operations(admin.broker);
  await t.throwsAsync(operations.move("q", "~delayed"), { code: "unauthorized" } as object);
  await admin.close();
});

test("policies for many queues do not speak of those of the broker's own", async (t) => {
  const { broker, close } = await withDelayed();
  t.like(broker.registry.find("queue", "/", "~delayed")!.settings, {
    maxLength: -1,
    ttlMs: 0,
    isLastValue: false,
    hasDeadLetters: false,
  });
  t.true(broker.registry.find("queue", "/", "q")!.settings.isLastValue);
  await close();
});
