import test from "ava";
import { MqttPeer } from "../../support/mqtt-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

for (const version of [3, 4, 5] as const) {
  for (const qos of [0, 1, 2] as const) {
    test(`a message of QoS ${qos} goes from one client to another (level ${version})`, async (t) => {
      const broker = await openTestBroker();
      const { peer: reader } = await MqttPeer.connect(broker, { protocolVersion: version });
      const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: version });
      t.deepEqual(await reader.subscribe("a/+", 2), [2]);
      await writer.publish("a/b", "hello", qos);
      t.deepEqual(await reader.message(), {
        topic: "a/b",
        text: "hello",
        qos,
        retain: false,
        dup: false,
      });
      await reader.settle();
      t.is(reader.publishes.length, 0);
      await broker.close();
    });
  }
}

test("a durable session gets what was published while it was away, in order", async (t) => {
  const broker = await openTestBroker();
  const session = { clientId: "keeper", clean: false } as const;
  const { peer: first } = await MqttPeer.connect(broker, session);
  await first.subscribe("news/#", 1);
  first.disconnect();
  await first.closed();
  const { peer: writer } = await MqttPeer.connect(broker);
  for (let i = 0; i < 20; i++) await writer.publish(`news/${i}`, String(i), 1);
  const { peer: second, connack } = await MqttPeer.connect(broker, session);
  t.true(connack.sessionPresent);
  for (let i = 0; i < 20; i++) t.is((await second.message()).text, String(i));
  await broker.close();
});
