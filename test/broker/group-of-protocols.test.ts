/** One group of a topic, whichever protocol its members speak and whoever made it. */
import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { CrashingBroker } from "../support/crashing-broker.ts";
import { kept, MqttPeer, V5 } from "../support/mqtt-peer.ts";
import { connect, consume, settle, topic } from "../support/test-client.ts";

const SHARE = "$share/g/t/a";
const inGroup = { group: { name: "g", mode: "clustering" } } as const;

for (const first of ["MQTT", "another protocol"] as const) {
  for (const qos of [0, 1] as const) {
    test(`${first} makes the group, the other joins it: QoS ${qos} is divided`, async (t) => {
      const test = await CrashingBroker.open();
      const { peer } = await MqttPeer.connect(test, V5);
      const open = () => consume(connect(test.broker), topic("t/a"), inGroup);
      let sink: ReturnType<typeof consume> | undefined;
      if (first !== "MQTT") sink = open();
      await peer.subscribe(SHARE, 1);
      sink ??= open();
      const { peer: writer } = await MqttPeer.connect(test, V5);
      for (let i = 0; i < 20; i++) await writer.publish("t/a", `${i}`, qos);
      await writer.settle();
      await settle();
      await peer.settle();
      const mine = peer.publishes.map((packet) => packet.payload.toString());
      t.true(mine.length > 0 && sink.texts.length > 0);
      t.deepEqual(
        [...mine, ...sink.texts].map(Number).sort((a, b) => a - b),
        Array.from({ length: 20 }, (_, at) => at),
      );
      await test.broker.close();
    });
  }
}

test("a session's part in another protocol's group survives a crash, and makes no second copy", async (t) => {
  let test = await CrashingBroker.open();
  consume(connect(test.broker), topic("t/a"), inGroup).consumer.close(OUTCOME.RELEASE);
  const { peer } = await MqttPeer.connect(test, kept("c"));
  await peer.subscribe(SHARE, 1);
  peer.drop();
  const { peer: writer } = await MqttPeer.connect(test, V5);
  await writer.publish("t/a", "meanwhile", 1);
  test = await test.crash();
  const { peer: again } = await MqttPeer.connect(test, kept("c"));
  t.is((await again.message()).text, "meanwhile");
  const sink = consume(connect(test.broker), topic("t/a"), inGroup);
  await again.settle();
  await settle();
  t.deepEqual(sink.texts, []);
  t.is(again.publishes.length, 0);
  await test.broker.close();
});

test("a share whose group others have named stays when its last session ends", async (t) => {
  const test = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(test, V5);
  await peer.subscribe(SHARE, 1);
  const { peer: writer } = await MqttPeer.connect(test, V5);
  // The adapter has set what is configured.
  test.broker.sessions.shareExpiryMs = 0;
  const sink = consume(connect(test.broker), topic("t/a"), inGroup);
  peer.disconnect();
  await peer.closed();
  test.broker.sessions.keepHouse();
  await writer.publish("t/a", "still read", 1);
  await settle();
  t.deepEqual(sink.texts, ["still read"]);
  sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
  sink.consumer.close(OUTCOME.RELEASE);
  test.broker.sessions.keepHouse();
  await writer.publish("t/a", "waits", 1);
  const again = consume(connect(test.broker), topic("t/a"), inGroup);
  await settle();
  t.deepEqual(again.texts, ["waits"]);
  await test.broker.close();
});

test("a group that filters is nobody else's: who takes everything gets a share of its own", async (t) => {
  const test = await CrashingBroker.open();
  const sink = consume(connect(test.broker), topic("t/a"), { ...inGroup, tags: "x" });
  const { peer } = await MqttPeer.connect(test, V5);
  await peer.subscribe(SHARE, 1);
  await peer.publish("t/a", "for the share", 1);
  t.is((await peer.message()).text, "for the share");
  t.deepEqual(sink.texts, []);
  await test.broker.close();
});

test("a share whose group was deleted by another client has an index of its own from the next connection on", async (t) => {
  const test = await CrashingBroker.open();
  const owner = connect(test.broker);
  consume(owner, topic("t/a"), inGroup).consumer.close(OUTCOME.RELEASE);
  const { peer } = await MqttPeer.connect(test, kept("c"));
  await peer.subscribe(SHARE, 1);
  peer.drop();
  await peer.closed();
  await settle();
  test.broker.subscriptions.forget(test.broker.subscriptions.named("/", "t/a", "g")!);
  const { peer: again } = await MqttPeer.connect(test, kept("c"));
  await again.publish("t/a", "after", 1);
  t.is((await again.message()).text, "after");
  await test.broker.close();
});
