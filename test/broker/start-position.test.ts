import test from "ava";
import { positionOf } from "../../src/broker/consumer-opener.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, draft, topic } from "../support/test-client.ts";

test("the last message is the last that is there, whatever places a crash has left behind it", async (t) => {
  const { broker, store, close } = await openTestBroker({
    policies: [{ match: "#", kind: "topic", settings: { historyCount: 100 } }],
  });
  const target = connect(broker).openTarget(topic("t"));
  for (let i = 0; i < 9; i++) target.publish(draft(`${i}`));
  const node = broker.registry.find("topic", "/", "t")!;
  t.deepEqual(positionOf(store, node, { kind: "last" }), [8]);
  const { read } = store;
  const without = (from: number, to: number): void => {
    store.read = (queue, offset, count, into) =>
      offset >= from && offset < to ? 0 : read.call(store, queue, offset, count, into);
  };
  without(6, 9);
  t.deepEqual(positionOf(store, node, { kind: "last" }), [5]);
  without(0, 9);
  t.deepEqual(positionOf(store, node, { kind: "last" }), [8], "none is there");
  store.read = read;
  await close();
});
