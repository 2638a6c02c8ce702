/** ACK and NACK in the three versions and modes, and what becomes of messages that are not acknowledged. */
import test from "ava";
import type { StompVersion } from "../../../protocols/stomp/codec/header-escape.ts";
import { bodiesOf, leftIn, publish } from "../../support/stomp-helpers.ts";
import { type Frame, StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

/** How the version writes an ACK or NACK of this message. */
function answer(command: string, message: Frame, version: StompVersion, more = ""): string {
  const { headers } = message;
  if (version === 12) return `${command}\nid:${headers["ack"]}\n${more}\n\0`;
  const subscription = version === 11 ? `subscription:${headers["subscription"]}\n` : "";
  return `${command}\n${subscription}message-id:${headers["message-id"]}\n${more}\n\0`;
}

for (const version of [10, 11, 12] as const) {
  const name = (version / 10).toFixed(1);
  const connect = (broker: TestBroker) =>
    StompPeer.connect(broker, version === 10 ? null : version);

  test(`${name}: client-individual acknowledges one message`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1", "2", "3"]);
    const peer = await connect(broker);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
    const messages = await peer.takeMessages(3);
    peer.send(answer("ACK", messages[1]!, version, "receipt:r\n"));
    await peer.take("RECEIPT");
    t.deepEqual(await leftIn(broker, "/queue/a"), ["1", "3"]);
    await broker.close();
  });

  test(`${name}: client acknowledges all messages up to this one`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1", "2", "3"]);
    const peer = await connect(broker);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
    const messages = await peer.takeMessages(3);
    peer.send(answer("ACK", messages[1]!, version, "receipt:r\n"));
    await peer.take("RECEIPT");
    t.deepEqual(await leftIn(broker, "/queue/a"), ["3"]);
    await broker.close();
  });

  test(`${name}: auto needs no ACK`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1", "2", "3"]);
    const peer = await connect(broker);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
    const messages = await peer.takeMessages(3);
    t.deepEqual(bodiesOf(messages), ["1", "2", "3"]);
    t.is(messages[0]!.headers["ack"], undefined);
    t.deepEqual(await leftIn(broker, "/queue/a"), []);
    await broker.close();
  });

  test(`${name}: an ACK of a message that is not waiting is an error`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1", "2", "3"]);
    for (const twist of ["twice", "made up", "not sent yet", "nonsense"]) {
      const peer = await connect(broker);
      peer.send(
        "SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\nprefetch-count:1\n\n\0",
      );
      const message = await peer.take("MESSAGE");
      const id = message.headers["message-id"]!;
      const wrong = {
        twice: id,
        "made up": id.replace(/^\d+/, "99999"),
        "not sent yet": id.replace(/\d+$/, "7"),
        nonsense: "hello",
      }[twist]!;
      if (twist === "twice") peer.send(answer("ACK", message, version));
      const headers = { ...message.headers, ack: wrong, "message-id": wrong };
      peer.send(answer("ACK", { ...message, headers }, version));
      await until("an ERROR", () => peer.frames.some((frame) => frame.command === "ERROR"));
      t.is(peer.frames.at(-1)!.headers["message"], "Message not found", twist);
      await peer.closed();
    }
    await broker.close();
  });
}

for (const version of [11, 12] as const) {
  const name = (version / 10).toFixed(1);

  test(`${name}: NACK gives the message back, counted; with requeue:true not counted`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1"]);
    const peer = await StompPeer.connect(broker, version);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
    const first = await peer.take("MESSAGE");
    t.is(first.headers["redelivered"], undefined);
    peer.send(answer("NACK", first, version));
    const second = await peer.take("MESSAGE");
    t.is(second.headers["redelivered"], "true");
    t.is(second.headers["x-delivery-count"], "1");
    t.not(second.headers["message-id"], first.headers["message-id"]);
    peer.send(answer("NACK", second, version, "requeue:true\n"));
    const third = await peer.take("MESSAGE");
    t.is(third.headers["redelivered"], "true");
    t.is(third.headers["x-delivery-count"], "1");
    await broker.close();
  });

  test(`${name}: NACK with requeue:false sends the message to the dead-letter queue`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1", "2"]);
    const peer = await StompPeer.connect(broker, version);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
    const messages = await peer.takeMessages(2);
    peer.send(answer("NACK", messages[0]!, version, "requeue:false\nreceipt:r\n"));
    await peer.take("RECEIPT");
    peer.send("SUBSCRIBE\nid:d\ndestination:/queue/DLQ.a\n\n\0");
    const dead = await peer.take("MESSAGE");
    t.is(dead.body.toString(), "1");
    t.is(dead.headers["destination"], "/queue/DLQ.a");
    t.is(dead.headers["x-death-count"], "1");
    t.is(dead.headers["x-first-death-queue"], "a");
    t.is(dead.headers["x-first-death-reason"], "rejected");
    await broker.close();
  });

  test(`${name}: NACK in client mode is cumulative, and the messages come back in order`, async (t) => {
    const broker = await openTestBroker();
    await publish(broker, "/queue/a", ["1", "2", "3"]);
    const peer = await StompPeer.connect(broker, version);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
    const messages = await peer.takeMessages(3);
    peer.send(answer("NACK", messages[1]!, version));
    t.deepEqual(bodiesOf(await peer.takeMessages(2)), ["1", "2"]);
    await broker.close();
  });
}

test("1.0 has no NACK", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, null);
  peer.send("NACK\nmessage-id:1-1-0\n\n\0");
  t.is((await peer.take("ERROR")).headers["message"], "Unknown command");
  await broker.close();
});

test("1.1: ACK needs subscription and message-id, and they have to belong together", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1"]);
  const attempts = [
    (id: string) => `ACK\nmessage-id:${id}\n\n\0`,
    () => "ACK\nsubscription:s\n\n\0",
    (id: string) => `ACK\nsubscription:other\nmessage-id:${id}\n\n\0`,
  ];
  for (const attempt of attempts) {
    const peer = await StompPeer.connect(broker, 11);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
    const message = await peer.take("MESSAGE");
    peer.send(attempt(message.headers["message-id"]!));
    t.truthy((await peer.take("ERROR")).headers["message"]);
    await peer.closed();
  }
  await broker.close();
});

test("1.2: ACK needs the header id", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("ACK\nmessage-id:1-1-0\nsubscription:s\n\n\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["message"], "Missing header");
  t.regex(error.body.toString(), /the header id/);
  await broker.close();
});

test("an ACK on an auto subscription is an error", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:auto\n\n\0");
  const message = await peer.take("MESSAGE");
  peer.send(`ACK\nid:${message.headers["message-id"]}\n\n\0`);
  t.is((await peer.take("ERROR")).headers["message"], "Unexpected ACK");
  await broker.close();
});

test("an ACK that crosses its UNSUBSCRIBE does no harm", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
  const message = await peer.take("MESSAGE");
  peer.send(`UNSUBSCRIBE\nid:s\n\n\0ACK\nid:${message.headers["ack"]}\nreceipt:r\n\n\0`);
  await peer.take("RECEIPT");
  t.deepEqual(await leftIn(broker, "/queue/a"), ["1"]);
  await broker.close();
});

test("unacknowledged messages come back when the connection is lost, is closed, or unsubscribes", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2"]);
  for (const way of ["lost", "disconnect", "unsubscribe"]) {
    const peer = await StompPeer.connect(broker);
    peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
    t.deepEqual(bodiesOf(await peer.takeMessages(2)), ["1", "2"], way);
    if (way === "lost") peer.wire.sendEnd(new Error("reset"));
    else if (way === "disconnect") peer.send("DISCONNECT\nreceipt:r\n\n\0");
    else peer.send("UNSUBSCRIBE\nid:s\nreceipt:r\n\n\0");
    if (way !== "lost") await peer.take("RECEIPT");
  }
  const last = await StompPeer.connect(broker);
  last.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
  const messages = await last.takeMessages(2);
  t.deepEqual(bodiesOf(messages), ["1", "2"]);
  t.is(messages[0]!.headers["redelivered"], "true");
  await broker.close();
});

test("prefetch-count is the number of unacknowledged messages, and acknowledging makes room", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2", "3", "4", "5"]);
  for (const header of ["prefetch-count:2", "activemq.prefetchSize:2"]) {
    const peer = await StompPeer.connect(broker);
    peer.send(`SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n${header}\n\n\0`);
    const [one, two] = await peer.takeMessages(2);
    await peer.settled();
    t.deepEqual(peer.frames, []);
    peer.send(`NACK\nid:${two!.headers["ack"]}\nrequeue:true\n\n\0`);
    t.is((await peer.take("MESSAGE")).body.toString(), "2");
    await peer.settled();
    t.deepEqual(peer.frames, []);
    t.is(one!.body.toString(), "1");
    peer.send("DISCONNECT\nreceipt:r\n\n\0");
    await peer.take("RECEIPT");
  }
  await broker.close();
});

test("consumer-window-size counts bytes; 0 means one message at a time", async (t) => {
  const broker = await openTestBroker();
  await publish(
    broker,
    "a",
    Array.from({ length: 20 }, (_, i) => `${i}`.padStart(1000)),
  );
  const peer = await StompPeer.connect(broker);
  peer.send(
    "SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\nconsumer-window-size:0\n\n\0",
  );
  const first = await peer.take("MESSAGE");
  await peer.settled();
  t.deepEqual(peer.frames, []);
  peer.send(`ACK\nid:${first.headers["ack"]}\n\n\0`);
  await peer.take("MESSAGE");
  await broker.close();
});
