/** Many sessions, many filters: what holds for one holds for each. */
import test from "ava";
import { CrashingBroker } from "../../support/crashing-broker.ts";
import { MqttPeer } from "../../support/mqtt-peer.ts";

const SESSIONS = 1100;
const kept = (clientId: string): object => ({
  protocolVersion: 5,
  clientId,
  clean: false,
  properties: { sessionExpiryInterval: 600 },
});

/** Does this for each session, a hundred at a time. */
async function forEach(act: (name: string) => Promise<void>): Promise<void> {
  for (let from = 0; from < SESSIONS; from += 100) {
    await Promise.all(Array.from({ length: 100 }, (_, i) => act(`c${from + i}`)));
  }
}

test.serial(
  `a message to ${SESSIONS} kept sessions that are at rest reaches each of them once, also after a crash`,
  async (t) => {
    t.timeout(300_000);
    let broker = await CrashingBroker.open();
    await forEach(async (name) => {
      const { peer } = await MqttPeer.connect(broker, kept(name));
      await peer.subscribe("news/#", 1);
      peer.drop();
    });
    for (let i = 0; i < 4; i++) broker.broker.keepHouse();
    t.true(broker.broker.registry.awakeCount <= 1001, `${broker.broker.registry.awakeCount} awake`);
    const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 });
    const before = broker.broker.store.watermarks.appended;
    await writer.publish("news/a", "x".repeat(10_000), 1);
    const grown = broker.broker.store.watermarks.appended - before;
    // The body is there for each list of sessions that a record can name, not for each session.
    t.true(grown < 5 * 10_000 + SESSIONS * 40, `${grown} bytes`);
    await writer.publish("news/b", "second", 1);
    await writer.settle();
    broker = await broker.crash();
    let right = 0;
    await forEach(async (name) => {
      const { peer } = await MqttPeer.connect(broker, kept(name));
      const first = await peer.message();
      const second = await peer.message();
      await peer.settle();
      if (first.text.length === 10_000 && second.text === "second" && peer.publishes.length === 0) {
        right++;
      }
      peer.drop();
    });
    t.is(right, SESSIONS);
    await broker.broker.close();
  },
);

test.serial(
  "a session with hundreds of filters gets each message once, as its filters that match say",
  async (t) => {
    const broker = await CrashingBroker.open();
    const { peer } = await MqttPeer.connect(broker, kept("c"));
    const { peer: writer } = await MqttPeer.connect(broker, { protocolVersion: 5 });
    const subscriptions = Array.from({ length: 300 }, (_, i) => ({
      topic: `site/${i}/+`,
      qos: 1 as const,
    }));
    peer.send({ cmd: "subscribe", messageId: 7, subscriptions });
    await peer.take("suback");
    await peer.subscribe("site/+/temp", 0);
    await writer.publish("site/7/temp", "both", 1);
    const both = await peer.message();
    t.deepEqual([both.text, both.qos], ["both", 1]);
    await writer.publish("site/999/temp", "the last only", 1);
    t.is((await peer.message()).qos, 0);
    peer.send({ cmd: "unsubscribe", messageId: 9, unsubscriptions: ["site/7/+"] });
    await peer.take("unsuback");
    await writer.publish("site/7/temp", "one left", 1);
    t.is((await peer.message()).qos, 0);
    await writer.publish("site/7/wind", "nobody's", 1);
    await writer.publish("site/8/wind", "still there", 1);
    const still = await peer.message();
    t.deepEqual([still.text, still.qos], ["still there", 1]);
    await peer.settle();
    t.is(peer.publishes.length, 0);
    await broker.broker.close();
  },
);
