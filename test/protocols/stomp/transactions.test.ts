/** BEGIN, COMMIT, ABORT: all or nothing, for SEND, ACK and NACK alike. */
import test from "ava";
import { bodiesOf, leftIn, publish } from "../../support/stomp-helpers.ts";
import { StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

test("messages of a transaction are seen after COMMIT, together and in order", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0BEGIN\ntransaction:t\n\n\0");
  for (const body of ["1", "2", "3"]) {
    peer.send(`SEND\ndestination:/queue/a\ntransaction:t\n\n${body}\0`);
  }
  await peer.settled();
  t.deepEqual(peer.frames, []);
  peer.send("COMMIT\ntransaction:t\n\n\0");
  t.deepEqual(bodiesOf(await peer.takeMessages(3)), ["1", "2", "3"]);
  await broker.close();
});

test("the receipt of COMMIT waits until it is durable", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/a\ntransaction:t\n\nx\0");
  peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0");
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
  t.deepEqual(peer.frames, []);
  broker.store.sync();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "c");
  await broker.close();
});

test("ABORT drops what was sent", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/a\ntransaction:t\n\nx\0");
  peer.send("ABORT\ntransaction:t\n\n\0");
  await peer.settled();
  t.deepEqual(await leftIn(broker, "/queue/a"), []);
  await broker.close();
});

test("a lost connection and DISCONNECT abort", async (t) => {
  const broker = await openTestBroker();
  for (const end of ["lost", "disconnect"]) {
    const peer = await StompPeer.connect(broker);
    peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/a\ntransaction:t\n\nx\0");
    await peer.settled();
    if (end === "lost") peer.wire.sendEnd();
    else peer.send("DISCONNECT\nreceipt:r\n\n\0");
  }
  t.deepEqual(await leftIn(broker, "/queue/a"), []);
  await broker.close();
});

test("an ACK in a transaction counts with COMMIT", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
  const [first] = await peer.takeMessages(2);
  peer.send(`BEGIN\ntransaction:t\n\n\0ACK\nid:${first!.headers["ack"]}\ntransaction:t\n\n\0`);
  await peer.settled();
  t.deepEqual(await leftIn(broker, "/queue/a"), ["1", "2"]);
  peer.send("COMMIT\ntransaction:t\nreceipt:c\n\n\0");
  await peer.take("RECEIPT");
  t.deepEqual(await leftIn(broker, "/queue/a"), ["2"]);
  await broker.close();
});

test("consume, transform, produce is one unit", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/in", ["x"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client\n\n\0");
  const message = await peer.take("MESSAGE");
  peer.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/out\ntransaction:t\n\ny\0");
  peer.send(`ACK\nid:${message.headers["ack"]}\ntransaction:t\n\n\0`);
  peer.wire.sendEnd();
  t.deepEqual(await leftIn(broker, "/queue/in"), ["x"]);
  t.deepEqual(await leftIn(broker, "/queue/out"), []);
  const again = await StompPeer.connect(broker);
  again.send("SUBSCRIBE\nid:s\ndestination:/queue/in\nack:client\n\n\0");
  const back = await again.take("MESSAGE");
  again.send("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/out\ntransaction:t\n\ny\0");
  again.send(
    `ACK\nid:${back.headers["ack"]}\ntransaction:t\n\n\0COMMIT\ntransaction:t\nreceipt:c\n\n\0`,
  );
  await again.take("RECEIPT");
  t.deepEqual(await leftIn(broker, "/queue/in"), []);
  t.deepEqual(await leftIn(broker, "/queue/out"), ["y"]);
  await broker.close();
});

test("messages acknowledged in an aborted transaction are redelivered", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2", "3"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
  const messages = await peer.takeMessages(3);
  peer.send(
    `BEGIN\ntransaction:t\n\n\0ACK\nid:${messages[1]!.headers["ack"]}\ntransaction:t\n\n\0`,
  );
  peer.send("ABORT\ntransaction:t\n\n\0");
  const back = await peer.takeMessages(2);
  t.deepEqual(bodiesOf(back), ["1", "2"]);
  t.is(back[0]!.headers["redelivered"], "true");
  peer.send(`ACK\nid:${back[1]!.headers["ack"]}\nreceipt:r\n\n\0`);
  await peer.take("RECEIPT");
  t.deepEqual(await leftIn(broker, "/queue/a"), []);
  await broker.close();
});

test("without redeliverOnAbort they wait for another ACK instead", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2"]);
  const peer = await StompPeer.connect(broker, 12, { settings: { redeliverOnAbort: false } });
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
  const messages = await peer.takeMessages(2);
  const ack = `ACK\nid:${messages[0]!.headers["ack"]}\n`;
  peer.send(`BEGIN\ntransaction:t\n\n\0${ack}transaction:t\n\n\0ABORT\ntransaction:t\n\n\0`);
  await peer.settled();
  t.deepEqual(peer.frames, []);
  peer.send(`${ack}receipt:r\n\n\0`);
  await peer.take("RECEIPT");
  t.deepEqual(await leftIn(broker, "/queue/a"), ["2"]);
  await broker.close();
});

test("a message held by a transaction cannot be acknowledged again, alone or in passing", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2", "3"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
  const messages = await peer.takeMessages(3);
  peer.send(
    `BEGIN\ntransaction:t\n\n\0ACK\nid:${messages[0]!.headers["ack"]}\ntransaction:t\n\n\0`,
  );
  peer.send(`ACK\nid:${messages[2]!.headers["ack"]}\nreceipt:r\n\n\0`);
  await peer.take("RECEIPT");
  peer.send("ABORT\ntransaction:t\n\n\0");
  t.is((await peer.take("MESSAGE")).body.toString(), "1");
  peer.send(`ACK\nid:${messages[0]!.headers["ack"]}\n\n\0`);
  t.is((await peer.take("ERROR")).headers["message"], "Message not found");
  await broker.close();
});

test("a NACK in a transaction counts with COMMIT", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\n\n\0");
  const message = await peer.take("MESSAGE");
  peer.send(`BEGIN\ntransaction:t\n\n\0NACK\nid:${message.headers["ack"]}\ntransaction:t\n\n\0`);
  await peer.settled();
  t.deepEqual(peer.frames, []);
  peer.send("COMMIT\ntransaction:t\n\n\0");
  t.is((await peer.take("MESSAGE")).headers["redelivered"], "true");
  await broker.close();
});

test("an id that is in use, and ids nobody began, are errors", async (t) => {
  const broker = await openTestBroker();
  const attempts: Array<[string, string]> = [
    ["BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0", "Transaction id in use"],
    ["BEGIN\n\n\0", "Missing header"],
    ["COMMIT\ntransaction:t\n\n\0", "Invalid transaction id"],
    ["ABORT\ntransaction:t\n\n\0", "Invalid transaction id"],
    ["SEND\ndestination:/queue/a\ntransaction:t\n\nx\0", "Invalid transaction id"],
    ["ACK\nid:1-1-0\ntransaction:t\n\n\0", "Invalid transaction id"],
    [
      "BEGIN\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0COMMIT\ntransaction:t\n\n\0",
      "Invalid transaction id",
    ],
  ];
  for (const [frames, message] of attempts) {
    const peer = await StompPeer.connect(broker);
    peer.send(frames);
    t.is((await peer.take("ERROR")).headers["message"], message, JSON.stringify(frames));
    await peer.closed();
  }
  await broker.close();
});

test("the number of open transactions is bounded", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { settings: { maxTransactions: 2 } });
  peer.send("BEGIN\ntransaction:1\n\n\0BEGIN\ntransaction:2\n\n\0ABORT\ntransaction:1\n\n\0");
  peer.send("BEGIN\ntransaction:3\nreceipt:r\n\n\0");
  await peer.take("RECEIPT");
  peer.send("BEGIN\ntransaction:4\n\n\0");
  t.is((await peer.take("ERROR")).headers["message"], "limit exceeded");
  await broker.close();
});
