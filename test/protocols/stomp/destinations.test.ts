/** Destinations: every spelling, temporary ones and replies, lists, what is refused. */
import test from "ava";
import { ALLOW_ALL } from "../../../src/security/authorizer.ts";
import { bodiesOf, leftIn, publish } from "../../support/stomp-helpers.ts";
import { StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

test("one queue has many spellings, and each subscriber sees its own", async (t) => {
  const broker = await openTestBroker();
  const spellings = ["/queue/a.b", "queue://a.b", "/amq/queue/a.b", "/queues/a.b", "a.b"];
  for (const spelling of spellings) {
    await publish(broker, "/queue/a.b", [spelling]);
    const peer = await StompPeer.connect(broker);
    peer.send(`SUBSCRIBE\nid:0\ndestination:${spelling}\n\n\0`);
    const message = await peer.take("MESSAGE");
    t.is(message.headers["destination"], spelling);
    t.is(message.body.toString(), spelling);
    peer.send("DISCONNECT\nreceipt:r\n\n\0");
    await peer.take("RECEIPT");
  }
  for (const spelling of spellings) await publish(broker, spelling, [spelling]);
  t.deepEqual(await leftIn(broker, "/queue/a.b"), spellings);
  await broker.close();
});

test("percent escapes in RabbitMQ's forms are decoded", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a%2Fb", ["x"]);
  t.deepEqual(await leftIn(broker, "queue://a/b"), ["x"]);
  await broker.close();
});

test("topics: dots are levels, and /exchange/amq.topic is the same tree", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:1\ndestination:/topic/a.b\n\n\0");
  peer.send("SUBSCRIBE\nid:2\ndestination:/exchange/amq.topic/a.b\n\n\0");
  await peer.settled();
  await publish(broker, "/exchange/amq.topic/a.b", ["x"]);
  const messages = await peer.takeMessages(2);
  t.deepEqual(messages.map((message) => message.headers["destination"]).sort(), [
    "/exchange/amq.topic/a.b",
    "/topic/a.b",
  ]);
  await broker.close();
});

test("destination-type and subscription-type decide what a bare name is", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:t\ndestination:thing\nsubscription-type:MULTICAST\n\n\0");
  peer.send("SUBSCRIBE\nid:q\ndestination:thing\nsubscription-type:ANYCAST\n\n\0");
  await peer.settled();
  await publish(broker, "thing", ["t"], "destination-type:MULTICAST\n");
  await publish(broker, "thing", ["q"], "destination-type:ANYCAST\n");
  const messages = await peer.takeMessages(2);
  t.deepEqual(
    messages.map((message) => [message.headers["subscription"], message.body.toString()]),
    [
      ["t", "t"],
      ["q", "q"],
    ],
  );
  peer.send("SEND\ndestination:thing\ndestination-type:BOTH\n\nx\0");
  t.is((await peer.take("ERROR")).headers["message"], "Invalid destination-type");
  await broker.close();
});

test("defaultKind topic makes a bare name a topic", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { settings: { defaultKind: "topic" } });
  for (const id of [1, 2]) peer.send(`SUBSCRIBE\nid:${id}\ndestination:thing\n\n\0`);
  peer.send("SEND\ndestination:thing\n\nx\0");
  t.deepEqual(bodiesOf(await peer.takeMessages(2)), ["x", "x"]);
  await broker.close();
});

test("a list of destinations gets the message each; a comma may also be part of a name", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a, /queue/b,queue://c", ["x"]);
  for (const queue of ["a", "b", "c"]) t.deepEqual(await leftIn(broker, `/queue/${queue}`), ["x"]);
  await publish(broker, "/queue/a,b", ["y"]);
  t.deepEqual(await leftIn(broker, "/queue/a,b"), ["y"]);
  await broker.close();
});

test("request and reply over a temporary queue that the requester subscribes to", async (t) => {
  const broker = await openTestBroker();
  const client = await StompPeer.connect(broker);
  const server = await StompPeer.connect(broker);
  server.send("SUBSCRIBE\nid:0\ndestination:/queue/service\n\n\0");
  client.send("SUBSCRIBE\nid:r\ndestination:/temp-queue/mine\n\n\0");
  client.send(
    "SEND\ndestination:/queue/service\nreply-to:/temp-queue/mine\ncorrelation-id:7\n\n?\0",
  );
  const request = await server.take("MESSAGE");
  t.regex(request.headers["reply-to"]!, /^\/remote-temp-queue\//);
  server.send(
    `SEND\ndestination:${request.headers["reply-to"]}\ncorrelation-id:${request.headers["correlation-id"]}\n\n!\0`,
  );
  const reply = await client.take("MESSAGE");
  t.is(reply.headers["subscription"], "r");
  t.is(reply.headers["destination"], "/temp-queue/mine");
  t.is(reply.headers["correlation-id"], "7");
  t.is(reply.body.toString(), "!");
  await broker.close();
});

test("a reply comes without SUBSCRIBE too, as RabbitMQ's clients expect", async (t) => {
  const broker = await openTestBroker();
  const client = await StompPeer.connect(broker);
  const server = await StompPeer.connect(broker, 12, { settings: { compat: "rabbitmq" } });
  server.send("SUBSCRIBE\nid:0\ndestination:/queue/service\n\n\0");
  client.send("SEND\ndestination:/queue/service\nreply-to:/temp-queue/mine\n\n?\0");
  const request = await server.take("MESSAGE");
  server.send(`SEND\ndestination:${request.headers["reply-to"]}\n\n!\0`);
  const reply = await client.take("MESSAGE");
  t.is(reply.headers["subscription"], "/temp-queue/mine");
  t.is(reply.body.toString(), "!");
  await broker.close();
});

test("/reply-queue/ is understood like /remote-temp-queue/", async (t) => {
  const broker = await openTestBroker();
  const client = await StompPeer.connect(broker, 12, { settings: { compat: "rabbitmq" } });
  const server = await StompPeer.connect(broker);
  server.send("SUBSCRIBE\nid:0\ndestination:/queue/service\n\n\0");
  client.send("SEND\ndestination:/queue/service\nreply-to:/temp-queue/mine\n\n?\0");
  const request = await server.take("MESSAGE");
  t.regex(request.headers["reply-to"]!, /^\/reply-queue\//);
  server.send(`SEND\ndestination:${request.headers["reply-to"]}\n\n!\0`);
  t.is((await client.take("MESSAGE")).body.toString(), "!");
  await broker.close();
});

test("temporary names belong to their connection, and end with it", async (t) => {
  const broker = await openTestBroker();
  const one = await StompPeer.connect(broker);
  const two = await StompPeer.connect(broker);
  for (const peer of [one, two]) peer.send("SUBSCRIBE\nid:0\ndestination:/temp-queue/x\n\n\0");
  one.send("SEND\ndestination:/temp-queue/x\n\nmine\0");
  t.is((await one.take("MESSAGE")).body.toString(), "mine");
  await two.settled();
  t.deepEqual(two.frames, []);
  // Another may send there, but not read there.
  one.send("SUBSCRIBE\nid:s\ndestination:/queue/service\n\n\0");
  two.send("SEND\ndestination:/queue/service\nreply-to:/temp-queue/x\n\n?\0");
  const request = await one.take("MESSAGE");
  const name = request.headers["reply-to"]!;
  const thief = await StompPeer.connect(broker);
  thief.send(`SUBSCRIBE\nid:0\ndestination:${name}\n\n\0`);
  t.is((await thief.take("ERROR")).headers["message"], "resource locked");
  two.send("DISCONNECT\nreceipt:r\n\n\0");
  await two.take("RECEIPT");
  await two.closed();
  one.send(`SEND\ndestination:${name}\n\nlate\0`);
  t.is((await one.take("ERROR")).headers["message"], "not found");
  await broker.close();
});

test("a temporary topic works like a temporary queue", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send(
    "SUBSCRIBE\nid:1\ndestination:/temp-topic/x\n\n\0SUBSCRIBE\nid:2\ndestination:/temp-topic/x\n\n\0",
  );
  peer.send("SEND\ndestination:/temp-topic/x\n\nhi\0");
  t.deepEqual(bodiesOf(await peer.takeMessages(2)), ["hi", "hi"]);
  await broker.close();
});

test("destinations that cannot be are refused with their reason", async (t) => {
  const broker = await openTestBroker();
  const wrong: Array<[string, RegExp]> = [
    ["", /empty/],
    ["/queue/", /no name/],
    ["/temp-queue/", /no name/],
    ["/topic/a.*", /wildcard/],
    [`/queue/${"x".repeat(300)}`, /255/],
    ["//elsewhere/queue:a", /virtual host/],
  ];
  for (const [destination, reason] of wrong) {
    const peer = await StompPeer.connect(broker);
    peer.send(`SEND\ndestination:${destination}\n\nx\0`);
    const error = await peer.take("ERROR");
    t.regex(error.body.toString(), reason, destination);
    await peer.closed();
  }
  await broker.close();
});

test("a forbidden destination is an ERROR and the end; without strictErrors only the ERROR", async (t) => {
  const permissions = {
    allows: (_: string, address: { name: string }) => address.name !== "secret",
    generation: 0,
  };
  const authorizer = { ...ALLOW_ALL, permissionsFor: () => permissions };
  const broker = await openTestBroker({ authorizer });
  const strict = await StompPeer.connect(broker);
  strict.send("SEND\ndestination:/queue/secret\nreceipt:1\n\nx\0");
  const error = await strict.take("ERROR");
  t.is(error.headers["message"], "access refused");
  t.is(error.headers["receipt-id"], "1");
  await strict.closed();
  const lenient = await StompPeer.connect(broker, 12, { settings: { strictErrors: false } });
  lenient.send("SEND\ndestination:/queue/secret\nreceipt:1\n\nx\0");
  lenient.send("SEND\ndestination:/queue/open\nreceipt:2\n\nx\0");
  t.is((await lenient.take("ERROR")).headers["receipt-id"], "1");
  t.is((await lenient.take("RECEIPT")).headers["receipt-id"], "2");
  await broker.close();
});
