/** RECEIPT: after the effect is durable and never before, in order, exactly once. */
import test from "ava";
import { StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const turns = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};

test("the receipt of a SEND comes after the sync, and the message may come before", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  peer.send("SEND\ndestination:/queue/a\nreceipt:r1\n\nx\0");
  await peer.take("MESSAGE");
  await turns();
  t.deepEqual(peer.frames, []);
  broker.store.sync();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "r1");
  await broker.close();
});

test("a receipt covers everything sent before it, also what asked for none", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  peer.send("SEND\ndestination:/queue/a\n\nx\0BEGIN\ntransaction:t\nreceipt:r1\n\n\0");
  await turns();
  t.deepEqual(peer.frames, []);
  broker.store.sync();
  await peer.take("RECEIPT");
  await broker.close();
});

test("many receipts come in the order of their requests", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  let text = "";
  for (let i = 0; i < 1000; i++) text += `SEND\ndestination:/queue/a\nreceipt:r-${i}\n\n${i}\0`;
  peer.send(text);
  await turns();
  t.is(peer.frames.length, 0);
  broker.store.sync();
  await until("all receipts", () => peer.frames.length === 1000);
  t.deepEqual(
    peer.frames.map((frame) => frame.headers["receipt-id"]),
    Array.from({ length: 1000 }, (_, i) => `r-${i}`),
  );
  await broker.close();
});

test("a receipt id comes back exactly, escapes included", async (t) => {
  const broker = await openTestBroker();
  for (const version of [11, 12] as const) {
    const peer = await StompPeer.connect(broker, version);
    peer.send("SEND\ndestination:/queue/a\nreceipt:a\\cb\\nc\\\\é\n\nx\0");
    t.is((await peer.take("RECEIPT")).headers["receipt-id"], "a:b\nc\\é");
  }
  const old = await StompPeer.connect(broker, null);
  old.send("SEND\ndestination:/queue/a\nreceipt: a\\b \n\nx\0");
  t.is((await old.take("RECEIPT")).headers["receipt-id"], "a\\b");
  await broker.close();
});

test("every client frame but CONNECT may ask for a receipt, and gets exactly one", async (t) => {
  const broker = await openTestBroker();
  for (const version of [11, 12] as const) {
    const peer = await StompPeer.connect(broker, version, { headers: "receipt:none\n" });
    const queue = `destination:/queue/v${version}`;
    const ask = async (frame: string): Promise<void> => {
      const id = frame.slice(0, frame.indexOf("\n"));
      const before = peer.frames.length;
      peer.send(frame.replace("\n", `\nreceipt:${id}\n`));
      await until(`receipt of ${id}`, () => peer.frames.length > before);
      t.is(peer.frames.at(-1)!.headers["receipt-id"], id);
    };
    await ask(`SEND\n${queue}\n\none\0`);
    await ask(`SEND\n${queue}\n\ntwo\0`);
    peer.frames.length = 0;
    await ask(`BEGIN\ntransaction:t\n\n\0`);
    await ask(`COMMIT\ntransaction:t\n\n\0`);
    await ask(`BEGIN\ntransaction:u\n\n\0`);
    await ask(`ABORT\ntransaction:u\n\n\0`);
    t.deepEqual(
      peer.frames.map((frame) => frame.headers["receipt-id"]),
      ["BEGIN", "COMMIT", "BEGIN", "ABORT"],
    );
    peer.frames.length = 0;
    peer.send(`SUBSCRIBE\nid:s\n${queue}\nack:client-individual\nreceipt:SUBSCRIBE\n\n\0`);
    t.is((await peer.take("RECEIPT")).headers["receipt-id"], "SUBSCRIBE");
    const [one, two] = await peer.takeMessages(2);
    const answer = (verb: string, { headers }: typeof one & object): string =>
      version === 12
        ? `${verb}\nid:${headers["ack"]}\n\n\0`
        : `${verb}\nsubscription:s\nmessage-id:${headers["message-id"]}\n\n\0`;
    await ask(answer("ACK", one!));
    await ask(`UNSUBSCRIBE\nid:s\n\n\0`);
    t.is(two!.body.toString(), "two");
    peer.frames.length = 0;
    peer.send(`SUBSCRIBE\nid:t\n${queue}\nack:client\n\n\0`);
    const again = await peer.take("MESSAGE");
    const nack = answer("NACK", again).replace("subscription:s", "subscription:t");
    peer.send(nack.replace("\n", "\nrequeue:false\nreceipt:NACK\n"));
    t.is((await peer.take("RECEIPT")).headers["receipt-id"], "NACK");
    await ask(`DISCONNECT\n\n\0`);
    await peer.closed();
  }
  await broker.close();
});

test("the receipt of SUBSCRIBE comes before its first message", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SEND\ndestination:/queue/a\n\nx\0");
  await peer.settled();
  broker.store.isManual = true;
  peer.send("SEND\ndestination:/queue/b\nreceipt:later\n\nx\0");
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nreceipt:sub\n\n\0");
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "sub");
  await peer.take("MESSAGE");
  broker.store.sync();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "later");
  await broker.close();
});

test("the receipt of an ACK waits until the acknowledgement is durable", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send(
    "SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0SEND\ndestination:/queue/a\n\nx\0",
  );
  const message = await peer.take("MESSAGE");
  await peer.settled();
  broker.store.isManual = true;
  peer.send(`ACK\nid:${message.headers["ack"]}\nreceipt:r\n\n\0`);
  await turns();
  t.deepEqual(peer.frames, []);
  broker.store.sync();
  await until("the receipt", () => {
    broker.store.sync();
    return peer.frames.length > 0;
  });
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "r");
  await broker.close();
});

test("DISCONNECT is answered when all before it is durable; then the connection ends", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  peer.send("SEND\ndestination:/queue/a\n\nx\0DISCONNECT\nreceipt:bye\n\n\0");
  await turns();
  t.deepEqual(peer.frames, []);
  t.false(peer.wire.isOver);
  broker.store.sync();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "bye");
  await peer.closed();
  await broker.close();
});

test("DISCONNECT without receipt ends the connection, and what comes after it is ignored", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("DISCONNECT\n\n\0SEND\ndestination:/queue/late\n\nx\0GARBAGE\n");
  await peer.closed();
  t.deepEqual(peer.frames, []);
  const reader = await StompPeer.connect(broker);
  reader.send("SUBSCRIBE\nid:0\ndestination:/queue/late\nbrowser:true\n\n\0");
  t.is((await reader.take("MESSAGE")).headers["browser"], "end");
  await broker.close();
});

test("a mistake does not take away the receipts of what came before it", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  peer.send(
    "SEND\ndestination:/queue/a\nreceipt:good\n\nx\0SEND\nreceipt:bad\n\ny\0SEND\ndestination:/queue/a\n\nz\0",
  );
  await turns();
  t.deepEqual(peer.frames, []);
  broker.store.sync();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "good");
  t.is((await peer.take("ERROR")).headers["receipt-id"], "bad");
  await peer.closed();
  t.deepEqual(peer.frames, []);
  await broker.close();
});

test("receipts that can never be given do not keep a connection for ever", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  broker.store.isManual = true;
  peer.send("SEND\ndestination:/queue/a\n\nx\0DISCONNECT\nreceipt:r\n\n\0");
  await turns();
  peer.wire.tick(broker.turn.uptime + 20_000);
  t.false(peer.wire.isOver);
  peer.wire.tick(broker.turn.uptime + 31_000);
  await peer.closed();
  t.deepEqual(peer.frames, []);
  await broker.close();
});

test("an ERROR names the receipt of the frame that caused it", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SEND\nreceipt:42\n\nx\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["receipt-id"], "42");
  t.is(error.headers["message"], "No destination");
  t.regex(error.body.toString(), /SEND/);
  await peer.closed();
  await broker.close();
});

test("the receipt for a durable subscription comes once the subscription is on the disk", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { headers: "client-id:c\n" });
  broker.store.isManual = true;
  const frame =
    "SUBSCRIBE\nid:0\ndestination:/topic/n\ndurable-subscription-name:n\nreceipt:r\n\n\0";
  peer.send(frame);
  await turns();
  t.deepEqual(peer.frames, []);
  broker.store.sync();
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "r");
  await broker.close();
});
