/** SUBSCRIBE and UNSUBSCRIBE: ids, topics and queues, browsing, durable subscriptions in three dialects, groups, positions. */
import test from "ava";
import { bodiesOf, leave, leftIn, publish } from "../../support/stomp-helpers.ts";
import { StompPeer, stompAdapter } from "../../support/stomp-peer.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";

/** Sends `frames` on a fresh connection and returns the message of the ERROR. */
async function refusal(broker: TestBroker, frames: string, headers = ""): Promise<string> {
  const peer = await StompPeer.connect(broker, 12, { headers });
  peer.send(frames);
  const error = await peer.take("ERROR");
  return `${error.headers["message"]}: ${error.body.toString()}`;
}

test("SUBSCRIBE needs a destination, from 1.1 on an id, and the id must be new", async (t) => {
  const broker = await openTestBroker();
  t.regex(await refusal(broker, "SUBSCRIBE\nid:0\n\n\0"), /No destination/);
  t.regex(await refusal(broker, "SUBSCRIBE\ndestination:/queue/a\n\n\0"), /the header id/);
  t.regex(
    await refusal(
      broker,
      "SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0SUBSCRIBE\nid:0\ndestination:/queue/b\n\n\0",
    ),
    /Duplicate subscription/,
  );
  t.regex(
    await refusal(broker, "SUBSCRIBE\nid:0\ndestination:/queue/a\nack:maybe\n\n\0"),
    /Invalid ack mode/,
  );
  await broker.close();
});

test("1.0: a subscription without id goes by its destination", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, null);
  peer.send("SUBSCRIBE\ndestination:/queue/a\n\n\0SEND\ndestination:/queue/a\n\nx\0");
  const message = await peer.take("MESSAGE");
  t.is(message.headers["subscription"], undefined);
  peer.send("UNSUBSCRIBE\ndestination:/queue/a\n\n\0SEND\ndestination:/queue/a\n\ny\0");
  await peer.settled();
  t.deepEqual(peer.frames, []);
  t.deepEqual(await leftIn(broker, "/queue/a"), ["y"]);
  await broker.close();
});

test("queue consumers share, topic subscribers all get a copy", async (t) => {
  const broker = await openTestBroker();
  const one = await StompPeer.connect(broker);
  const two = await StompPeer.connect(broker);
  for (const peer of [one, two]) {
    peer.send(
      "SUBSCRIBE\nid:q\ndestination:/queue/a\n\n\0SUBSCRIBE\nid:t\ndestination:/topic/a\n\n\0",
    );
    await peer.settled();
  }
  await publish(broker, "/queue/a", ["1", "2"]);
  await publish(broker, "/topic/a", ["t"]);
  const all = [...(await one.takeMessages(1)), ...(await two.takeMessages(1))];
  await one.settled();
  await two.settled();
  all.push(...one.frames, ...two.frames);
  t.deepEqual(bodiesOf(all).sort(), ["1", "2", "t", "t"]);
  await broker.close();
});

test("a wildcard subscriber sees each message's own destination, in its own spelling", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send(
    "SUBSCRIBE\nid:1\ndestination:/topic/a.*.c\n\n\0SUBSCRIBE\nid:2\ndestination:topic://a.>\n\n\0",
  );
  await peer.settled();
  await publish(broker, "/topic/a.b.c", ["x"]);
  await publish(broker, "/topic/a.b", ["y"]);
  const messages = await peer.takeMessages(3);
  const seen = messages.map(({ headers, body }) => [
    headers["subscription"],
    headers["destination"],
    body.toString(),
  ]);
  t.deepEqual(seen.sort(), [
    ["1", "/topic/a.b.c", "x"],
    ["2", "topic://a.b", "y"],
    ["2", "topic://a.b.c", "x"],
  ]);
  await broker.close();
});

test("a browser sees what is there, takes nothing and is told the end", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1", "2"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:b\ndestination:/queue/a\nbrowser:true\nack:client\n\n\0");
  const messages = await peer.takeMessages(3);
  t.deepEqual(bodiesOf(messages), ["1", "2", ""]);
  t.is(messages[2]!.headers["browser"], "end");
  t.is(messages[2]!.headers["subscription"], "b");
  t.deepEqual(await leftIn(broker, "/queue/a"), ["1", "2"]);
  await broker.close();
});

test("UNSUBSCRIBE stops deliveries; an unknown id is an ERROR that leaves the connection open", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0");
  await peer.take("RECEIPT");
  await publish(broker, "/queue/a", ["1"]);
  await peer.settled();
  t.deepEqual(peer.frames, []);
  peer.send("UNSUBSCRIBE\nid:0\nreceipt:v\n\n\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["receipt-id"], "v");
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  t.is((await peer.take("MESSAGE")).body.toString(), "1");
  await broker.close();
});

for (const name of [
  "durable-subscription-name",
  "durable-subscriber-name",
  "activemq.subscriptionName",
  "activemq.subcriptionName",
]) {
  test(`${name}: messages wait while the subscriber is away, until it unsubscribes by name`, async (t) => {
    const broker = await openTestBroker();
    const open = async (): Promise<StompPeer> => {
      const peer = await StompPeer.connect(broker, 12, { headers: "client-id:c\n" });
      peer.send(`SUBSCRIBE\nid:0\ndestination:/topic/news\n${name}:n\nack:client\n\n\0`);
      await peer.settled();
      return peer;
    };
    await leave(await open());
    await publish(broker, "/topic/news", ["1", "2"], "persistent:true\n");
    const back = await open();
    const messages = await back.takeMessages(2);
    t.deepEqual(bodiesOf(messages), ["1", "2"]);
    back.send(`ACK\nid:${messages[0]!.headers["ack"]}\n\n\0UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0`);
    await back.take("RECEIPT");
    await leave(back);
    const third = await open();
    t.is((await third.take("MESSAGE")).body.toString(), "2");
    third.send(`UNSUBSCRIBE\nid:0\n${name}:n\nreceipt:u\n\n\0`);
    await third.take("RECEIPT");
    await leave(third);
    const last = await open();
    t.deepEqual(last.frames, []);
    await broker.close();
  });
}

test("a durable subscription can be deleted without being opened first; a missing one is an ERROR", async (t) => {
  const broker = await openTestBroker();
  const headers = "client-id:c\n";
  const first = await StompPeer.connect(broker, 12, { headers });
  first.send("SUBSCRIBE\nid:0\ndestination:/topic/n\ndurable-subscription-name:n\n\n\0");
  await first.settled();
  await leave(first);
  const peer = await StompPeer.connect(broker, 12, { headers });
  peer.send("UNSUBSCRIBE\nid:0\ndurable-subscription-name:n\nreceipt:r\n\n\0");
  await peer.take("RECEIPT");
  peer.send("UNSUBSCRIBE\nid:0\ndurable-subscription-name:n\nreceipt:r\n\n\0");
  t.is((await peer.take("ERROR")).headers["message"], "not found");
  t.false(peer.wire.isOver);
  await broker.close();
});

test("a durable subscription wants a topic and a client-id", async (t) => {
  const broker = await openTestBroker();
  const frame = (destination: string): string =>
    `SUBSCRIBE\nid:0\ndestination:${destination}\ndurable-subscription-name:n\n\n\0`;
  t.regex(
    await refusal(broker, frame("/queue/a"), "client-id:c\n"),
    /cannot durably subscribe to a Queue destination/,
  );
  t.regex(await refusal(broker, frame("/topic/a")), /client-id/);
  await broker.close();
});

for (const how of ["durable:true\nauto-delete:false", "persistent:true"]) {
  test(`${how.replace("\n", ", ")}: RabbitMQ's durable subscription, by user, destination and id`, async (t) => {
    const broker = await openTestBroker();
    const open = async (): Promise<StompPeer> => {
      const peer = await StompPeer.connect(broker, 12, { headers: "login:joe\npasscode:x\n" });
      peer.send(`SUBSCRIBE\nid:mine\ndestination:/topic/news\n${how}\n\n\0`);
      await peer.settled();
      return peer;
    };
    await leave(await open());
    await publish(broker, "/topic/news", ["1"]);
    const back = await open();
    t.is((await back.take("MESSAGE")).body.toString(), "1");
    back.send(`UNSUBSCRIBE\nid:mine\n${how}\nreceipt:u\n\n\0`);
    await back.take("RECEIPT");
    await leave(back);
    await publish(broker, "/topic/news", ["2"]);
    t.deepEqual((await open()).frames, []);
    await broker.close();
  });
}

test("durable:true on a queue is only how RabbitMQ declares it", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["1"]);
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\ndurable:true\nauto-delete:false\n\n\0");
  t.is((await peer.take("MESSAGE")).body.toString(), "1");
  await broker.close();
});

test("no-local keeps a connection's own topic messages away from it", async (t) => {
  const broker = await openTestBroker();
  for (const header of ["no-local:true", "activemq.noLocal:true"]) {
    const peer = await StompPeer.connect(broker, 12, { headers: "client-id:c\n" });
    peer.send(`SUBSCRIBE\nid:0\ndestination:/topic/a\n${header}\n\n\0`);
    peer.send("SEND\ndestination:/topic/a\n\nmine\0");
    await peer.settled();
    await publish(broker, "/topic/a", ["theirs"]);
    t.is((await peer.take("MESSAGE")).body.toString(), "theirs", header);
    await leave(peer);
  }
  await broker.close();
});

test("members of a group share a topic", async (t) => {
  const broker = await openTestBroker();
  const peers = [await StompPeer.connect(broker), await StompPeer.connect(broker)];
  for (const peer of peers) {
    peer.send("SUBSCRIBE\nid:0\ndestination:/topic/a\ngroup:g\n\n\0");
    await peer.settled();
  }
  await publish(broker, "/topic/a", ["1", "2", "3", "4"]);
  for (const peer of peers) await peer.settled();
  const all = peers.flatMap((peer) => bodiesOf(peer.frames));
  t.deepEqual(all.sort(), ["1", "2", "3", "4"]);
  await broker.close();
});

test("a selector chooses by headers, and numbers in it compare with what the text says", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:q\ndestination:/queue/a\nselector:color = 'red' AND size > 9\n\n\0");
  peer.send("SUBSCRIBE\nid:t\ndestination:/topic/a\nselector:size <= 10 OR priority = 1\n\n\0");
  await peer.settled();
  for (const [color, size] of [
    ["red", 10],
    ["red", 9],
    ["blue", 11],
  ]) {
    for (const destination of ["/queue/a", "/topic/a"]) {
      await publish(broker, destination, [`${color}${size}`], `color:${color}\nsize:${size}\n`);
    }
  }
  await peer.settled();
  const seen = peer.frames.map((f) => `${f.headers["subscription"]} ${f.body.toString()}`);
  t.deepEqual(seen.sort(), ["q red10", "t red10", "t red9"]);
  t.deepEqual(await leftIn(broker, "/queue/a"), ["red9", "blue11"]);
  t.regex(
    await refusal(broker, "SUBSCRIBE\nid:0\ndestination:/queue/a\nselector:size >\n\n\0"),
    /Invalid argument/,
  );
  await broker.close();
});

test("tag expressions choose among the tags of a topic", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:1\ndestination:/topic/o\ntag:paid || sent\n\n\0");
  peer.send("SUBSCRIBE\nid:2\ndestination:/topic/o?tag=paid\n\n\0");
  await peer.settled();
  for (const tag of ["new", "paid", "sent"]) {
    await publish(broker, "/topic/o", [tag], `tag:${tag}\n`);
  }
  const messages = await peer.takeMessages(3);
  t.deepEqual(messages.map((m) => `${m.headers["subscription"]} ${m.headers["tag"]}`).sort(), [
    "1 paid",
    "1 sent",
    "2 paid",
  ]);
  await broker.close();
});

test("a reader of a topic's history says where it begins and learns the offsets", async (t) => {
  const broker = await openTestBroker({ settings: { historyMs: 3_600_000 } });
  await publish(broker, "/topic/log", ["0", "1", "2", "3"]);
  const read = async (header: string): Promise<string> => {
    const peer = await StompPeer.connect(broker);
    peer.send(`SUBSCRIBE\nid:0\ndestination:/topic/log\n${header}\n\n\0`);
    await peer.settled();
    await leave(peer);
    return peer.frames.map((f) => `${f.headers["x-stream-offset"]}=${f.body.toString()}`).join(" ");
  };
  t.is(await read("from:first"), "0=0 1=1 2=2 3=3");
  t.is(await read("x-stream-offset:offset=2"), "2=2 3=3");
  t.is(await read("from:offset:3"), "3=3");
  t.is(await read("from:next"), "");
  t.is(await read("x-stream-offset:timestamp=1000"), "0=0 1=1 2=2 3=3");
  t.is(await read("activemq.retroactive:true"), "undefined=0 undefined=1 undefined=2 undefined=3");
  t.regex(
    await refusal(broker, "SUBSCRIBE\nid:0\ndestination:/topic/log\nfrom:yesterday\n\n\0"),
    /none of first/,
  );
  await broker.close();
});

test("an exclusive consumer keeps others out", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nactivemq.exclusive:true\n\n\0");
  await peer.settled();
  t.regex(await refusal(broker, "SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0"), /resource locked/);
  await broker.close();
});

test("the number of subscriptions is bounded, at the limit and one more", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { settings: { maxSubscriptions: 2 } });
  peer.send("SUBSCRIBE\nid:1\ndestination:/queue/a\n\n\0");
  peer.send("SUBSCRIBE\nid:2\ndestination:/queue/a\nreceipt:r\n\n\0");
  await peer.take("RECEIPT");
  peer.send("SUBSCRIBE\nid:3\ndestination:/queue/a\n\n\0");
  t.is((await peer.take("ERROR")).headers["message"], "limit exceeded");
  await broker.close();
});

test("numbers that make no sense are refused with the header's name", async (t) => {
  const broker = await openTestBroker();
  for (const header of [
    "prefetch-count:x",
    "prefetch-count:-1",
    "consumer-window-size:1.5",
    "x-priority:high",
  ]) {
    const error = await refusal(
      broker,
      `SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n${header}\n\n\0`,
    );
    t.true(error.includes(header.split(":")[0]!), error);
  }
  await broker.close();
});

test("a consumer of higher priority is served first", async (t) => {
  const broker = await openTestBroker();
  const low = await StompPeer.connect(broker);
  const high = await StompPeer.connect(broker);
  low.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0");
  high.send(
    "SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\nx-priority:5\nprefetch-count:2\n\n\0",
  );
  await low.settled();
  await high.settled();
  await publish(broker, "/queue/a", ["1", "2", "3"]);
  await low.settled();
  await high.settled();
  t.deepEqual(bodiesOf(high.frames), ["1", "2"]);
  t.deepEqual(bodiesOf(low.frames), ["3"]);
  await broker.close();
});

test("a connection may have its namespace, and another's queues are not there", async (t) => {
  const broker = await openTestBroker();
  const adapter = stompAdapter(broker, { virtualHosts: ["sales"] });
  const peer = new StompPeer(broker, adapter);
  peer.speak(12);
  peer.send(
    "CONNECT\naccept-version:1.2\nhost:sales\n\n\0SEND\ndestination:/queue/a\nreceipt:r\n\nx\0",
  );
  await peer.take("CONNECTED");
  await peer.take("RECEIPT");
  t.deepEqual(await leftIn(broker, "/queue/a"), []);
  peer.send("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0");
  await peer.take("MESSAGE");
  await broker.close();
});
