/** What a client was told right before the broker was cut off is so afterwards. */
import test from "ava";
import { CrashingBroker } from "../../support/crashing-broker.ts";
import { kept, MqttPeer, V5 } from "../../support/mqtt-peer.ts";
import { until } from "../../support/wait.ts";

/** Nothing reaches the store from now on, until the answer is called. */
function holdBack(broker: CrashingBroker): () => void {
  const { store } = broker.broker as unknown as { store: { publish(sync: boolean): void } };
  const publish = store.publish.bind(store);
  store.publish = () => undefined;
  return () => {
    store.publish = publish;
  };
}

for (const qos of [1, 2] as const) {
  test(`a retained message taken away with QoS ${qos} stays away, though the broker is cut off with the answer`, async (t) => {
    let broker = await CrashingBroker.open();
    const { peer } = await MqttPeer.connect(broker, V5);
    await peer.publish("r/1", "old", 1, { retain: true });
    await peer.publish("r/2", "stays", 1, { retain: true });
    await peer.publish("r/1", "", qos, { retain: true });
    // Once as it was cut off, and once more: what the first start settled is settled for good.
    for (const how of ["crash", "restart"] as const) {
      broker = await broker[how]();
      t.is(broker.broker.sessions.stats.retained, 1);
      const { peer: reader } = await MqttPeer.connect(broker, V5);
      await reader.subscribe("r/#", 1);
      t.is((await reader.message()).text, "stays");
      await reader.settle();
      t.is(reader.publishes.length, 0);
    }
    await broker.broker.close();
  });
}

test("an empty retained message for a topic that has none is not stored", async (t) => {
  const broker = await CrashingBroker.open();
  const { peer } = await MqttPeer.connect(broker, V5);
  await peer.publish("r", "", 1, { retain: true });
  t.is(broker.broker.sessions.stats.retained, 0);
  t.is(broker.broker.registry.findLight("retained"), undefined);
  await broker.broker.close();
});

test("a session that is kept is promised once it is stored, one that is not at once", async (t) => {
  const broker = await CrashingBroker.open();
  const letThrough = holdBack(broker);
  const waiting = new MqttPeer(broker);
  waiting.sendConnect(kept("kept", { will: { topic: "w", payload: Buffer.from("x"), qos: 1 } }));
  await MqttPeer.connect(broker, { ...V5, clean: true });
  t.false(waiting.packets.some(({ cmd }) => cmd === "connack"));
  letThrough();
  // The store hears of it with the next turn.
  await MqttPeer.connect(broker, kept("another"));
  await until("CONNACK", () => waiting.packets.some(({ cmd }) => cmd === "connack"));
  const again = await broker.crash();
  const sessions = [...again.broker.sessions.sessions()];
  t.deepEqual(sessions.map(({ clientId }) => clientId).sort(), ["another", "kept"]);
  t.is(sessions.find(({ clientId }) => clientId === "kept")?.will?.topic, "w");
  await again.broker.close();
});

test("what comes behind CONNECT waits with it, and a connection that ends meanwhile leaves its session", async (t) => {
  const broker = await CrashingBroker.open();
  const letThrough = holdBack(broker);
  const eager = new MqttPeer(broker);
  eager.sendConnect(kept("eager"));
  eager.send({ cmd: "subscribe", messageId: 1, subscriptions: [{ topic: "a", qos: 1 }] } as never);
  const gone = new MqttPeer(broker);
  gone.sendConnect(kept("gone"));
  gone.drop();
  t.deepEqual(eager.packets, []);
  letThrough();
  await MqttPeer.connect(broker, kept("another"));
  await eager.take("suback");
  t.deepEqual(
    eager.packets.map(({ cmd }) => cmd),
    ["connack"],
  );
  const { connack } = await MqttPeer.connect(broker, kept("gone"));
  t.true(connack.sessionPresent);
  await broker.broker.close();
});
