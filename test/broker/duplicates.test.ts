import test from "ava";
import { PERFORMATIVE } from "../../protocols/amqp1/codec/codes.ts";
import { Encoder } from "../../protocols/amqp1/codec/encode.ts";
import { composite, string } from "../../protocols/amqp1/codec/value.ts";
import { AmqpPeer } from "../protocols/amqp1/support/peer.ts";
import { MqttPeer } from "../support/mqtt-peer.ts";
import { StompPeer } from "../support/stomp-peer.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, settle, topic } from "../support/test-client.ts";

/** An AMQP message with this message-id. */
function amqpMessage(id: string): Buffer {
  const encoder = new Encoder().reset();
  encoder.value(composite(0x73, [string(id)]));
  return Buffer.concat([encoder.bytes(), Buffer.from("\x00Su\xa0\x01x", "latin1")]);
}

test("a message id counts as seen whatever protocol it came by, also with a delay", async (t) => {
  const test = await openTestBroker({
    policies: [{ match: "q", settings: { dedupWindowMs: 600_000 } }],
  });
  const amqp = await AmqpPeer.connect(test);
  await amqp.sender({ address: "q", capabilities: ["queue"] });
  await amqp.next(PERFORMATIVE.FLOW);
  const stomp = await StompPeer.connect(test);
  const send = (id: string, more = ""): void =>
    stomp.send(`SEND\ndestination:/queue/q\nmessage-id:${id}\n${more}\nx\0`);
  amqp.transfer(amqpMessage("one"));
  await amqp.next(PERFORMATIVE.DISPOSITION);
  send("one");
  send("two");
  send("two");
  send("three", "AMQ_SCHEDULED_DELAY:3600000\n");
  send("three");
  await stomp.settled();
  amqp.transfer(amqpMessage("two"));
  await amqp.next(PERFORMATIVE.DISPOSITION);
  const node = test.broker.registry.find("queue", "/", "q")!;
  t.is(node.backlog, 2);
  t.is(node.counters.duplicates, 4);
  t.is(test.broker.delayed.waitingCount, 1);
  await test.close();
});

test("the repetitions of one STOMP message are no duplicates of it", async (t) => {
  const test = await openTestBroker({
    policies: [{ match: "q", settings: { dedupWindowMs: 600_000 } }],
  });
  const stomp = await StompPeer.connect(test);
  stomp.send(
    "SEND\ndestination:/queue/q\nmessage-id:a\nAMQ_SCHEDULED_DELAY:3600000\nAMQ_SCHEDULED_PERIOD:1000\nAMQ_SCHEDULED_REPEAT:2\n\nx\0",
  );
  await stomp.settled();
  t.is(test.broker.delayed.waitingCount, 3);
  await test.close();
});

test("MQTT: the user property x-message-id names a message of QoS 0 and 1", async (t) => {
  const test = await openTestBroker({
    policies: [{ match: "t", kind: "topic", settings: { dedupWindowMs: 600_000 } }],
  });
  const sink = consume(connect(test.broker), topic("t"));
  const { peer } = await MqttPeer.connect(test, { protocolVersion: 5 });
  const more = { properties: { userProperties: { "x-message-id": "m-1" } } };
  t.is(await peer.publish("t", "1", 1, more), 0);
  t.is(await peer.publish("t", "2", 1, more), 0, "confirmed all the same");
  await peer.publish("t", "3", 0, more);
  await peer.publish("t", "4", 2, more);
  await peer.publish("t", "5", 1);
  await peer.settle();
  await settle();
  t.deepEqual(sink.texts, ["1", "4", "5"]);
  t.is(test.broker.registry.find("topic", "/", "t")!.counters.duplicates, 2);
  await test.close();
});
