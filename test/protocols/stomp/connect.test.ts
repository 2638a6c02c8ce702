/** CONNECT: versions, virtual hosts, who may come in, heart-beats (STOMP 1.2 "Connecting", "Protocol Negotiation", "Heart-beating"). */
import test from "ava";
import {
  chooseHeartbeats,
  chooseNamespace,
  chooseVersion,
} from "../../../protocols/stomp/connect.ts";
import { DEFAULT_OPTIONS } from "../../../protocols/stomp/options.ts";
import { StompPeer, stompAdapter, TEST_AUTHENTICATOR } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

async function open(settings = {}) {
  const broker = await openTestBroker();
  return { broker, peer: new StompPeer(broker, stompAdapter(broker, settings)) };
}

test("a client that names no version speaks 1.0", (t) => {
  t.is(chooseVersion(undefined), 10);
});

test("the highest common version is chosen, whatever the order and spacing", (t) => {
  t.is(chooseVersion("1.0,1.1,1.2"), 12);
  t.is(chooseVersion("1.1, 1.0"), 11);
  t.is(chooseVersion("1.0,2.0"), 10);
  t.is(chooseVersion("1.2,99"), 12);
});

test("without a common version the answer is an ERROR with the supported ones, and the end", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONNECT\naccept-version:2.0,3.0\nhost:/\n\n\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["version"], "1.0,1.1,1.2");
  t.is(error.headers["content-type"], "text/plain;charset=utf-8");
  t.is(Number(error.headers["content-length"]), error.body.length);
  await peer.closed();
  await broker.close();
});

test("CONNECTED names the version, a session, the server and our heart-beats", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONNECT\naccept-version:1.1,1.2\nhost:/\nheart-beat:0,0\n\n\0");
  const { headers, body } = await peer.take("CONNECTED");
  t.is(headers["version"], "1.2");
  t.truthy(headers["session"]);
  t.regex(headers["server"]!, /^Sluice\/\d/);
  t.is(headers["heart-beat"], "10000,10000");
  t.is(body.length, 0);
  t.is(headers["user-name"], undefined);
  await broker.close();
});

test("STOMP is answered like CONNECT", async (t) => {
  const { broker, peer } = await open();
  peer.send("STOMP\naccept-version:1.1\nhost:/\n\n\0");
  t.is((await peer.take("CONNECTED")).headers["version"], "1.1");
  await broker.close();
});

test("a 1.0 client may pad its header values", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONNECT\nlogin: joe\npasscode: secret\n\n\0");
  t.is((await peer.take("CONNECTED")).headers["user-name"], "joe");
  await broker.close();
});

test("request-id comes back as response-id", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONNECT\naccept-version:1.2\nhost:/\nrequest-id:abc\n\n\0");
  t.is((await peer.take("CONNECTED")).headers["response-id"], "abc");
  await broker.close();
});

test("the first frame has to be CONNECT", async (t) => {
  const { broker, peer } = await open();
  peer.send("SEND\ndestination:/queue/a\nreceipt:1\n\nx\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["receipt-id"], "1");
  await peer.closed();
  await broker.close();
});

test("a second CONNECT is refused", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("CONNECT\naccept-version:1.2\nhost:/\n\n\0");
  t.is((await peer.take("ERROR")).headers["message"], "Unexpected command");
  await peer.closed();
  await broker.close();
});

test("a wrong password is refused with Bad CONNECT", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONNECT\naccept-version:1.2\nhost:/\nlogin:joe\npasscode:wrong\n\n\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["message"], "Bad CONNECT");
  t.regex(error.body.toString(), /^Access refused for user 'joe'/);
  await peer.closed();
  await broker.close();
});

test("without credentials somebody who must have some is refused", async (t) => {
  const broker = await openTestBroker();
  const authenticator = { ...TEST_AUTHENTICATOR, withoutCredentials: () => undefined };
  const peer = new StompPeer(broker, stompAdapter(broker, {}, authenticator));
  peer.send("CONNECT\naccept-version:1.2\nhost:/\n\n\0");
  t.is((await peer.take("ERROR")).headers["message"], "Bad CONNECT");
  await peer.closed();
  await broker.close();
});

test("frames sent behind CONNECT wait for the password check and then run in order", async (t) => {
  const { broker, peer } = await open();
  peer.send(
    "CONNECT\naccept-version:1.2\nhost:/\nlogin:joe\npasscode:x\n\n\0" +
      "SUBSCRIBE\nid:0\ndestination:/queue/a\nreceipt:1\n\n\0SEND\ndestination:/queue/a\n\nhi\0",
  );
  await peer.take("CONNECTED");
  await peer.take("RECEIPT");
  t.is((await peer.take("MESSAGE")).body.toString(), "hi");
  await broker.close();
});

test("a client-id that is in use is refused, and free again once its owner is gone", async (t) => {
  const broker = await openTestBroker();
  const first = await StompPeer.connect(broker, 12, { headers: "client-id:c1\n" });
  const second = new StompPeer(broker, stompAdapter(broker));
  second.send("CONNECT\naccept-version:1.2\nhost:/\nclient-id:c1\n\n\0");
  t.is((await second.take("ERROR")).headers["message"], "client-id in use");
  first.wire.sendEnd();
  const third = await StompPeer.connect(broker, 12, { headers: "client-id:c1\n" });
  t.false(third.wire.isOver);
  await broker.close();
});

test("a virtual host: none, a host name or an address is the default one, others have to be configured", (t) => {
  const options = { ...DEFAULT_OPTIONS, virtualHosts: ["sales"] };
  for (const host of [undefined, "", "/", "localhost", "127.0.0.1", "::1", "mq.example.org"]) {
    t.is(chooseNamespace(host, options), "/");
  }
  t.is(chooseNamespace("sales", options), "sales");
  t.throws(() => chooseNamespace("other", options), { message: "Bad CONNECT" });
  t.is(chooseNamespace("other", { ...options, acceptAnyHost: true }), "/");
});

test("an unknown virtual host is refused by name", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONNECT\naccept-version:1.2\nhost:nowhere\n\n\0");
  const error = await peer.take("ERROR");
  t.is(error.headers["message"], "Bad CONNECT");
  t.regex(error.body.toString(), /^Virtual host 'nowhere' access denied/);
  await broker.close();
});

test("heart-beats: each direction takes the slower wish, and 0 on either side turns it off", (t) => {
  const agree = (asked: string) => {
    const { sendMs, receiveMs } = chooseHeartbeats(asked, 12, DEFAULT_OPTIONS);
    return [sendMs, receiveMs];
  };
  t.deepEqual(agree("0,0"), [0, 0]);
  t.deepEqual(agree("5000,20000"), [20_000, 10_000]);
  t.deepEqual(agree("30000,0"), [0, 30_000]);
  t.deepEqual(agree("0,1"), [10_000, 0]);
  t.deepEqual(chooseHeartbeats(undefined, 12, DEFAULT_OPTIONS).sendMs, 0);
  t.deepEqual(chooseHeartbeats("1000,1000", 10, DEFAULT_OPTIONS).sendMs, 0);
  const eager = { ...DEFAULT_OPTIONS, heartbeatSendMs: 1, heartbeatReceiveMs: 1 };
  t.is(chooseHeartbeats("1,1", 12, eager).sendMs, 500);
});

test("a heart-beat header that is no pair of numbers is refused", async (t) => {
  for (const value of ["x", "1", "-1,0", "1,2,3"]) {
    const { broker, peer } = await open();
    peer.send(`CONNECT\naccept-version:1.2\nhost:/\nheart-beat:${value}\n\n\0`);
    t.is((await peer.take("ERROR")).headers["message"], "Invalid heart-beat", value);
    await broker.close();
  }
});

test("a silent client is dropped after twice its interval; any byte keeps it", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker, 12, { headers: "heart-beat:10000,0\n" });
  const start = broker.turn.uptime;
  peer.wire.tick(start + 19_000);
  t.false(peer.wire.isOver);
  peer.send("\n");
  const heard = broker.turn.uptime;
  peer.wire.tick(heard + 19_999);
  t.false(peer.wire.isOver);
  peer.wire.tick(heard + 20_500);
  await peer.closed();
  await peer.take("ERROR");
  t.is(broker.broker.connections.size, 0);
  await broker.close();
});

test("a client that asked for heart-beats gets a line end before the interval is over, unless frames went out", async (t) => {
  const broker = await openTestBroker();
  let output = "";
  const peer = await StompPeer.connect(broker, 12, { headers: "heart-beat:0,10000\n" });
  const start = broker.turn.uptime;
  const wire = peer.wire as unknown as { sentBytes: number };
  let sent = wire.sentBytes;
  peer.wire.tick(start + 5000);
  t.is(wire.sentBytes, sent);
  peer.wire.tick(start + 8500);
  t.is(wire.sentBytes, sent + 1);
  sent = wire.sentBytes;
  peer.send("BEGIN\ntransaction:1\nreceipt:r\n\n\0");
  output += (await peer.take("RECEIPT")).command;
  t.is(output, "RECEIPT");
  sent = wire.sentBytes;
  peer.wire.tick(start + 17_000);
  t.is(wire.sentBytes, sent);
  await broker.close();
});

test("without heart-beats a connection may stay silent, unless an idle limit is set", async (t) => {
  const broker = await openTestBroker();
  const patient = await StompPeer.connect(broker, null);
  const limited = await StompPeer.connect(broker, null, { settings: { idleTimeoutMs: 60_000 } });
  const start = broker.turn.uptime;
  for (const peer of [patient, limited]) peer.wire.tick(start + 59_000);
  t.false(limited.wire.isOver);
  for (const peer of [patient, limited]) peer.wire.tick(start + 61_000);
  t.true(limited.wire.isOver);
  t.false(patient.wire.isOver);
  await broker.close();
});

test("CONNECT has to come in time", async (t) => {
  const { broker, peer } = await open();
  peer.send("CONN");
  peer.wire.tick(broker.turn.uptime + 9000);
  t.false(peer.wire.isOver);
  peer.wire.tick(broker.turn.uptime + 10_500);
  await peer.take("ERROR");
  await peer.closed();
  await broker.close();
});

test("sniffing knows CONNECT and STOMP after line ends, and nothing else", (t) => {
  const { sniff } = stompAdapter({ broker: { turn: { now: 0 } } } as never);
  const look = (text: string) => sniff(Buffer.from(text), 0, text.length);
  t.is(look("CONN"), "yes");
  t.is(look("STOMP\n"), "yes");
  t.is(look("\r\n\nCONNECT"), "yes");
  for (const part of ["", "\n", "C", "CON", "ST"]) t.is(look(part), "more", part);
  for (const other of ["AMQP", "GET ", "STAR", "\x10\x00", "SEND"]) t.is(look(other), "no", other);
});
