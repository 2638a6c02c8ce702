/** What the headers of SEND mean, and which of them a reader gets to see. */
import test from "ava";
import type { StompVersion } from "../../../protocols/stomp/codec/header-escape.ts";
import { leftIn, publish } from "../../support/stomp-helpers.ts";
import { type Frame, StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

/** Sends one message with these header lines, and receives it in this version. */
async function roundTrip(headers: string, body = "x", version: StompVersion = 12): Promise<Frame> {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", [body], headers);
  const peer = await StompPeer.connect(broker, version === 10 ? null : version);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  const message = await peer.take("MESSAGE");
  await broker.close();
  return message;
}

test("headers that only speak to the broker are not delivered", async (t) => {
  const { headers, lines } = await roundTrip(
    "receipt:1\ntransaction-:x\ndurable:true\nauto-delete:false\nexclusive:false\nx-message-ttl:1\n" +
      "x-expires:1\nx-max-length:1\nx-max-length-bytes:1\nx-dead-letter-exchange:e\n" +
      "x-dead-letter-routing-key:k\nx-max-priority:1\nx-queue-type:quorum\nx-queue-name:n\n" +
      "ack:forged\nsubscription:forged\nredelivered:true\nx-delivery-count:9\nkept:yes\n",
  );
  t.deepEqual(
    lines.map(([name]) => name),
    [
      "subscription",
      "destination",
      "message-id",
      "timestamp",
      "persistent",
      "transaction-",
      "kept",
      "content-length",
    ],
  );
  t.is(headers["subscription"], "0");
});

test("persistent: true and missing mean so on a queue, false does not", async (t) => {
  t.is((await roundTrip("persistent:true\n")).headers["persistent"], "true");
  t.is((await roundTrip("")).headers["persistent"], "true");
  t.is((await roundTrip("persistent:false\n")).headers["persistent"], undefined);
});

test("priority, expires and timestamp come back; reply-to, correlation-id and type too", async (t) => {
  const expires = Date.now() + 100_000;
  const { headers } = await roundTrip(
    `priority:7\nexpires:${expires}\ntimestamp:1234567890123\nreply-to:/queue/r\ncorrelation-id:c\ntype:T\n`,
  );
  t.is(headers["priority"], "7");
  t.is(headers["expires"], String(expires));
  t.is(headers["timestamp"], "1234567890123");
  t.is(headers["reply-to"], "/queue/r");
  t.is(headers["correlation-id"], "c");
  t.is(headers["type"], "T");
});

test("without a timestamp of its own a message has the broker's", async (t) => {
  const before = Date.now();
  const { headers } = await roundTrip("");
  const timestamp = Number(headers["timestamp"]);
  t.true(timestamp >= before - 1000 && timestamp <= Date.now() + 1000);
});

test("expires:0 means never; an expired message is not delivered", async (t) => {
  t.is((await roundTrip("expires:0\n")).headers["expires"], undefined);
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["old"], `expires:${Date.now() - 1000}\n`);
  await publish(broker, "/queue/a", ["new"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  t.is((await peer.take("MESSAGE")).body.toString(), "new");
  await broker.close();
});

test("expiration is a time to live, shown as expires", async (t) => {
  const { headers } = await roundTrip("expiration:60000\n");
  const left = Number(headers["expires"]) - Date.now();
  t.true(left > 50_000 && left <= 60_000);
  t.is(headers["expiration"], "60000");
});

test("numbers that are none are refused, with the header's name", async (t) => {
  const broker = await openTestBroker();
  for (const header of [
    "priority:high",
    "priority:256",
    "expires:x",
    "expires:-1",
    "expiration:1.5",
    "timestamp:",
    "AMQ_SCHEDULED_DELAY:x",
    "AMQ_SCHEDULED_REPEAT:-1",
  ]) {
    const peer = await StompPeer.connect(broker);
    peer.send(`SEND\ndestination:/queue/a\n${header}\nreceipt:r\n\nx\0`);
    const error = await peer.take("ERROR");
    t.is(error.headers["message"], "Invalid argument", header);
    t.true(error.body.toString().includes(header.split(":")[0]!));
  }
  t.deepEqual(await leftIn(broker, "/queue/a"), []);
  await broker.close();
});

test("the publisher's message-id is kept beside the delivery's own", async (t) => {
  const { headers } = await roundTrip("message-id:mine\n");
  t.is(headers["amqp-message-id"], "mine");
  t.not(headers["message-id"], "mine");
});

test("content-length goes with every body, except a text one to 1.0", async (t) => {
  t.is((await roundTrip("", "héllo", 12)).headers["content-length"], "6");
  t.is((await roundTrip("", "x", 11)).headers["content-length"], "1");
  t.is((await roundTrip("", "x", 10)).headers["content-length"], undefined);
  t.is((await roundTrip("content-length:1\n", "x", 10)).headers["content-length"], "1");
});

test("a body of any bytes comes back", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  const body = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  const head = Buffer.from(`SEND\ndestination:/queue/a\ncontent-length:${body.length}\n\n`);
  peer.send(Buffer.concat([head, body, Buffer.alloc(1)]));
  t.deepEqual((await peer.take("MESSAGE")).body, body);
  await broker.close();
});

test("a body of several MiB comes back, in whatever pieces it was sent", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  const body = Buffer.alloc(3 * 1024 * 1024, "0123456789abcdef");
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0");
  const head = Buffer.from(`SEND\ndestination:/queue/a\ncontent-length:${body.length}\n\n`);
  peer.send(Buffer.concat([head, body, Buffer.alloc(1)]), 65_536);
  t.true((await peer.take("MESSAGE")).body.equals(body));
  await broker.close();
});

test("a body above the broker's limit is refused before it is taken in", async (t) => {
  const broker = await openTestBroker({ maxMessageBytes: 1000 });
  const peer = await StompPeer.connect(broker);
  peer.send("SEND\ndestination:/queue/a\ncontent-length:1000\nreceipt:r\n\n");
  peer.send(`${"x".repeat(1000)}\0`);
  await peer.take("RECEIPT");
  peer.send("SEND\ndestination:/queue/a\ncontent-length:1001\n\n");
  t.is((await peer.take("ERROR")).headers["message"], "message too large");
  await broker.close();
});

test("headers that do not fit into a record are refused", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  const line = (name: string): string => `${name}:${"v".repeat(12_000)}\n`;
  peer.send(`SEND\ndestination:/queue/a\n${line("a")}${line("b")}receipt:r\n\nx\0`);
  await peer.take("RECEIPT");
  peer.send(`SEND\ndestination:/queue/a\n${line("a")}${line("b")}${line("c")}\n\nx\0`);
  t.is((await peer.take("ERROR")).headers["message"], "headers too large");
  await broker.close();
});

test("headers of any kind go from any version to any version", async (t) => {
  for (const from of [11, 12] as const) {
    for (const to of [11, 12] as const) {
      const broker = await openTestBroker();
      const sender = await StompPeer.connect(broker, from);
      const reader = await StompPeer.connect(broker, to);
      reader.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
      sender.send("SEND\ndestination:/queue/a\na\\cb:\\\\n é\x01\x02\\n \\c\n\nx\0");
      const { headers } = await reader.take("MESSAGE");
      t.is(headers["a:b"], "\\n é\x01\x02\n :", `${from} to ${to}`);
      await broker.close();
    }
  }
});

test("AMQ_SCHEDULED_DELAY delays, PERIOD and REPEAT repeat", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  const sent = Date.now();
  peer.send(
    "SEND\ndestination:/queue/a\nAMQ_SCHEDULED_DELAY:150\nAMQ_SCHEDULED_PERIOD:20\nAMQ_SCHEDULED_REPEAT:2\n\nlater\0",
  );
  peer.send("SEND\ndestination:/queue/a\n\nnow\0");
  t.is((await peer.take("MESSAGE")).body.toString(), "now");
  for (let i = 0; i < 3; i++) t.is((await peer.take("MESSAGE")).body.toString(), "later");
  t.true(Date.now() - sent >= 150);
  await broker.close();
});

test("AMQ_SCHEDULED_CRON is refused, not ignored", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SEND\ndestination:/queue/a\nAMQ_SCHEDULED_CRON:* * * * *\n\nx\0");
  t.is((await peer.take("ERROR")).headers["message"], "not offered");
  await broker.close();
});

test("a message to a 1.0 reader keeps colons and backslashes as they are", async (t) => {
  const { headers } = await roundTrip("a:b\\cc\\\\d\n", "x", 10);
  t.is(headers["a"], "b:c\\d");
});

test("a header that only looks like the one that is missing is named in the ERROR", async (t) => {
  const broker = await openTestBroker();
  const answer = async (frame: string): Promise<string> => {
    const peer = await StompPeer.connect(broker);
    peer.send(frame);
    return (await peer.take("ERROR")).body.toString();
  };
  t.regex(
    await answer("SEND\nDestination:/queue/a\n\nx\0"),
    /It has "Destination": upper and lower/,
  );
  t.regex(await answer("SEND\ndestination :/queue/a\n\nx\0"), /It has "destination ": .* blanks/);
  t.regex(await answer("SUBSCRIBE\nid:0\nDESTINATION:/queue/a\n\n\0"), /It has "DESTINATION"/);
  t.regex(
    await answer("SUBSCRIBE\nID:0\ndestination:/queue/a\n\n\0"),
    /needs the header id .*"ID"/,
  );
  t.regex(await answer("ACK\nId:1-1-0\n\n\0"), /needs the header id .*"Id"/);
  t.notRegex(await answer("ACK\nmessage-id:1-1-0\n\n\0"), /It has/);
  await broker.close();
});

test("wildcards in a SEND are refused in the sender's own spelling", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { settings: { strictErrors: false } });
  peer.send("SEND\ndestination:/topic/a.*\nreceipt:1\n\nx\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["receipt-id"], "1");
  t.regex(error.body.toString(), /"\/topic\/a\.\*" has wildcards/);
  peer.send("SEND\ndestination:/topic/a\nreceipt:2\n\nx\0");
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "2");
  await broker.close();
});
