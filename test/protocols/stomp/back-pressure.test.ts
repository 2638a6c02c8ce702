/** Slow readers, full stores, peers that are gone: each costs a bounded amount of memory and nobody else's time. */
import test from "ava";
import { publish } from "../../support/stomp-helpers.ts";
import { StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

test("a subscriber that does not read gets no more than its wire takes; the rest waits in the queue", async (t) => {
  const broker = await openTestBroker();
  const body = "x".repeat(10_000);
  await publish(broker, "/queue/a", new Array(400).fill(body));
  const peer = await StompPeer.connect(broker);
  peer.wire.isPeerReading = false;
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  await until("something is on its way to the subscriber", () => peer.wire.pendingBytes > 0);
  t.true(peer.wire.pendingBytes < 2_000_000, `${peer.wire.pendingBytes} bytes wait`);
  t.is(peer.frames.length, 0);
  const other = await StompPeer.connect(broker);
  other.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\nprefetch-count:1\n\n\0");
  t.is((await other.take("MESSAGE")).body.length, 10_000);
  peer.wire.isPeerReading = true;
  peer.wire.drainOutput();
  await until("the rest", () => peer.frames.length === 399);
  await broker.close();
});

test("a slow topic subscriber does not slow the others", async (t) => {
  const broker = await openTestBroker();
  const slow = await StompPeer.connect(broker);
  const fast = await StompPeer.connect(broker);
  for (const peer of [slow, fast]) {
    peer.send("SUBSCRIBE\nid:0\ndestination:/topic/a\n\n\0");
    await peer.settled();
  }
  slow.wire.isPeerReading = false;
  await publish(broker, "/topic/a", new Array(300).fill("x".repeat(10_000)));
  await until("the fast one has all", () => fast.frames.length === 300);
  t.true(slow.wire.pendingBytes < 2_000_000);
  await broker.close();
});

test("without room in the store the frame waits, input stops, and all goes on by itself", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isFull = true;
  peer.send(
    "SEND\ndestination:/queue/a\nreceipt:1\n\none\0SEND\ndestination:/queue/a\nreceipt:2\n\ntwo\0",
  );
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.deepEqual(peer.frames, []);
  t.false(peer.wire.isReading);
  broker.store.makeRoom();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "1");
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "2");
  await until("reading again", () => peer.wire.isReading);
  await broker.close();
});

test("a full queue whose policy is to wait holds its producers back, and only them", async (t) => {
  const settings = { maxLength: 2, overflow: "block" } as const;
  const broker = await openTestBroker({ policies: [{ match: "small", kind: "queue", settings }] });
  const producer = await StompPeer.connect(broker);
  const other = await StompPeer.connect(broker);
  for (let n = 0; n < 5; n++) {
    producer.send(`SEND\ndestination:/queue/small\nreceipt:${n}\n\n${n}\0`);
  }
  await until("two receipts", () => producer.frames.length === 2);
  await new Promise((resolve) => setTimeout(resolve, 10));
  t.is(producer.frames.length, 2);
  other.send("SEND\ndestination:/queue/large\nreceipt:x\n\nx\0");
  await other.take("RECEIPT");
  other.send("SUBSCRIBE\nid:0\ndestination:/queue/small\n\n\0");
  const bodies = (await other.takeMessages(5)).map((frame) => frame.body.toString());
  t.deepEqual(bodies, ["0", "1", "2", "3", "4"]);
  await until("all receipts", () => producer.frames.length === 5);
  await broker.close();
});

test("a peer that waits for room is not taken for dead, and may go away", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { headers: "heart-beat:1000,1000\n" });
  broker.store.isFull = true;
  peer.send("SEND\ndestination:/queue/a\n\none\0");
  await new Promise((resolve) => setTimeout(resolve, 5));
  peer.wire.tick(broker.turn.uptime + 60_000);
  t.false(peer.wire.isOver);
  peer.wire.sendEnd();
  broker.store.makeRoom();
  await new Promise((resolve) => setTimeout(resolve, 5));
  t.is(broker.broker.connections.size, 0);
  await broker.close();
});

test("a peer that asks for receipts and none can be given is stopped at a bound", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  const id = "r".repeat(10_000);
  for (let i = 0; i < 300 && peer.wire.isReading; i++) {
    peer.send(`SEND\ndestination:/queue/a\nreceipt:${id}${i}\n\nx\0`);
  }
  t.false(peer.wire.isReading);
  broker.store.sync();
  await until("reading again", () => peer.wire.isReading);
  peer.send("SEND\ndestination:/queue/a\nreceipt:last\n\nx\0");
  broker.store.sync();
  await until("the last receipt", () => {
    broker.store.sync();
    return peer.frames.at(-1)?.headers["receipt-id"] === "last";
  });
  await broker.close();
});

test("a half-open peer that reads nothing is dropped for its silence, and its messages go to others", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2"]);
  const peer = await StompPeer.connect(broker, 12, { headers: "heart-beat:5000,5000\n" });
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0");
  await peer.takeMessages(2);
  peer.wire.isPeerReading = false;
  peer.wire.tick(broker.turn.uptime + 25_000);
  await until("it is forgotten", () => broker.broker.connections.size === 0);
  const other = await StompPeer.connect(broker);
  other.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0");
  t.is((await other.take("MESSAGE")).headers["redelivered"], "true");
  await broker.close();
});

test("the broker's stop is told to every peer", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.wire.shutdown();
  t.is((await peer.take("ERROR")).headers["message"], "the broker is shutting down");
  await peer.closed();
  await broker.close();
});

test("many frames in one chunk, and one frame in many chunks, are the same", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  let text = "";
  for (let i = 0; i < 500; i++) text += `SEND\ndestination:/queue/a\nn:${i}\n\nbody ${i}\0\n`;
  peer.send(text);
  const whole = await peer.takeMessages(500);
  peer.send(text, 3);
  const pieces = await peer.takeMessages(500);
  t.deepEqual(
    pieces.map((frame) => [frame.headers["n"], frame.body.toString()]),
    whole.map((frame) => [frame.headers["n"], frame.body.toString()]),
  );
  await broker.close();
});
