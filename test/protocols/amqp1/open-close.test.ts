import test from "ava";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import {
  composite,
  mapGet,
  string,
  symbolList,
  uint,
} from "../../../protocols/amqp1/codec/value.ts";
import { BrokerError } from "../../../src/model/errors.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";
import {
  AMQP_HEADER,
  AmqpPeer,
  amqpAdapter,
  begin,
  errorOf,
  open,
  SASL_HEADER,
} from "./support/peer.ts";

test("open is answered with our name, limits, all capabilities and who we are", async (t) => {
  const broker = await openTestBroker();
  const peer = new AmqpPeer(broker);
  peer.wire.send(AMQP_HEADER);
  peer.send(open({ channelMax: 9, desired: ["sole-connection-for-container"] }));
  const { fields } = await peer.next(PERFORMATIVE.OPEN);
  t.deepEqual(peer.headers, [AMQP_HEADER]);
  t.is(fields[0]!.value, "test");
  t.is(fields[2]!.value, 131_072);
  t.is(fields[3]!.value, 9);
  t.is(fields[4]!.value, 30_000);
  t.is(fields[7]!.type, "array");
  t.deepEqual(symbolList(fields[7]), [
    "ANONYMOUS-RELAY",
    "DELAYED_DELIVERY",
    "SHARED-SUBS",
    "sole-connection-for-container",
  ]);
  t.is(mapGet(fields[9], "product")?.value, "Sluice");
  t.is(mapGet(fields[9], "sole-connection-detection-policy")?.value, 0);
  await broker.close();
});

test("header, open and begin may come in one piece, or byte by byte", async (t) => {
  const broker = await openTestBroker();
  for (const pieceBytes of [1, 3, 1000]) {
    const peer = new AmqpPeer(broker);
    const all = Buffer.concat([AMQP_HEADER, peer.frame(open()), peer.frame(begin())]);
    peer.wire.send(all, pieceBytes);
    await peer.next(PERFORMATIVE.OPEN);
    const answer = await peer.next(PERFORMATIVE.BEGIN);
    t.is(answer.fields[0]!.value, 0, "remote-channel");
  }
  await broker.close();
});

test("a close is answered with a close and the wire ends", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  t.is(broker.broker.connections.size, 1);
  peer.close();
  const { fields } = await peer.next(PERFORMATIVE.CLOSE);
  t.is(fields.length, 0);
  t.true(peer.wire.isOver);
  t.is(broker.broker.connections.size, 0);
  await broker.close();
});

test("an end is answered with an end, and the channel can be used again", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  for (let i = 0; i < 3; i++) {
    await peer.sender();
    peer.send(composite(PERFORMATIVE.END, []));
    t.is((await peer.next(PERFORMATIVE.END)).fields.length, 0);
    peer.begin();
    await peer.next(PERFORMATIVE.BEGIN);
  }
  await broker.close();
});

test("sessions on other channels are answered on their own channel", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  peer.begin(7);
  const answer = await peer.next(PERFORMATIVE.BEGIN);
  t.is(answer.channel, 7);
  t.is(answer.fields[0]!.value, 7);
  await broker.close();
});

test("a second holder of a container-id is refused when it must be the only one", async (t) => {
  const broker = await openTestBroker();
  const adapter = amqpAdapter(broker);
  const sole = { containerId: "jms", desired: ["sole-connection-for-container"] };
  const first = await AmqpPeer.connect(broker, { adapter, open: open(sole) });
  const second = new AmqpPeer(broker, {}, adapter);
  second.wire.send(AMQP_HEADER);
  second.send(open(sole));
  const opened = await second.next(PERFORMATIVE.OPEN);
  t.is(mapGet(opened.fields[9], "amqp:connection-establishment-failed")?.value, true);
  const closed = await second.next(PERFORMATIVE.CLOSE);
  t.is(errorOf(closed.fields[0]).condition, "amqp:invalid-field");
  const error = closed.fields[0]!;
  const info =
    error.type === "described" && error.value.type === "list" ? error.value.value[2] : undefined;
  t.deepEqual(mapGet(info, "invalid-field"), { type: "symbol", value: "container-id" });
  // Without the wish, the same id may come again; and the first one still lives.
  const third = await AmqpPeer.connect(broker, { adapter, open: open({ containerId: "jms" }) });
  t.false(third.wire.isOver);
  t.false(first.wire.isOver);
  await broker.close();
});

test("a newer holder of a container-id closes the older one when it asks so", async (t) => {
  const broker = await openTestBroker();
  const adapter = amqpAdapter(broker);
  const sole = {
    containerId: "jms",
    desired: ["sole-connection-for-container"],
    properties: [["sole-connection-enforcement-policy", uint(1)]] as const,
  };
  const first = await AmqpPeer.connect(broker, { adapter, open: open(sole) });
  await AmqpPeer.connect(broker, { adapter, open: open(sole) });
  const closed = await first.next(PERFORMATIVE.CLOSE);
  t.is(errorOf(closed.fields[0]).condition, "amqp:resource-locked");
  await broker.close();
});

test("values that no connection can have are refused after an open", async (t) => {
  const broker = await openTestBroker();
  for (const [wrong, condition] of [
    [open({ maxFrameSize: 511 }), "amqp:frame-size-too-small"],
    [open({ idleMs: 999 }), "amqp:invalid-field"],
  ] as const) {
    const peer = new AmqpPeer(broker);
    peer.wire.send(AMQP_HEADER);
    peer.send(wrong);
    const opened = await peer.next(PERFORMATIVE.OPEN);
    t.is(mapGet(opened.fields[9], "amqp:connection-establishment-failed")?.value, true);
    t.is(errorOf((await peer.next(PERFORMATIVE.CLOSE)).fields[0]).condition, condition);
  }
  const peer = new AmqpPeer(broker);
  peer.wire.send(AMQP_HEADER);
  peer.send(open({ maxFrameSize: 512 }));
  const opened = await peer.next(PERFORMATIVE.OPEN);
  t.is(mapGet(opened.fields[9], "amqp:connection-establishment-failed"), undefined);
  t.false(peer.has(PERFORMATIVE.CLOSE));
  await broker.close();
});

test("the tenant comes from the hostname vhost:NAME", async (t) => {
  const broker = await openTestBroker();
  await AmqpPeer.connect(broker, { open: open({ hostname: "vhost:red" }) });
  await AmqpPeer.connect(broker, { open: open({ hostname: "example.org" }) });
  const namespaces = [...broker.broker.connections.values()].map((c) => c.namespace);
  t.deepEqual(namespaces.sort(), ["/", "red"]);
  await broker.close();
});

test("an idle peer gets heart-beats in time", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker, { open: open({ idleMs: 8_000 }) });
  const now = broker.turn.uptime;
  for (let ms = 1000; ms <= 3000; ms += 1000) peer.wire.tick(now + ms);
  peer.wire.flush();
  const beat = await peer.next(-1, "a heart-beat");
  t.deepEqual([beat.channel, beat.fields.length], [0, 0]);
  await broker.close();
});

test("a peer with a short idle-time-out gets heart-beats between the ticks", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker, { open: open({ idleMs: 1_000 }) });
  const beat = await peer.next(-1, "a heart-beat without a tick");
  t.deepEqual([beat.channel, beat.fields.length], [0, 0]);
  peer.close();
  await broker.close();
});

test("a peer that says nothing for the whole time-out is dropped, one with heart-beats is not", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  const now = broker.turn.uptime;
  peer.wire.tick(now + 59_000);
  t.false(peer.wire.isOver);
  peer.wire.tick(now + 62_000);
  const closed = await peer.next(PERFORMATIVE.CLOSE);
  t.is(errorOf(closed.fields[0]).condition, "amqp:resource-limit-exceeded");
  t.regex(errorOf(closed.fields[0]).description, /local-idle-timeout expired/);
  await broker.close();
});

test("a peer that does not open in time is dropped", async (t) => {
  const broker = await openTestBroker();
  const begun = broker.turn.uptime;
  const peer = new AmqpPeer(broker, { settings: { handshakeTimeoutMs: 60_000 } });
  peer.wire.send(SASL_HEADER);
  peer.wire.tick(begun + 59_000);
  t.false(peer.wire.isOver);
  peer.wire.tick(broker.turn.uptime + 61_000);
  await until("the wire is over", () => peer.wire.isOver);
  t.false(peer.has(PERFORMATIVE.OPEN) || peer.has(PERFORMATIVE.CLOSE), "not a word more");
  await broker.close();
});

test("a stop of the broker is told to every peer", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  peer.wire.shutdown();
  const closed = await peer.next(PERFORMATIVE.CLOSE);
  t.is(errorOf(closed.fields[0]).condition, "amqp:connection:forced");
  await broker.close();
});

test("an operator's close reaches the peer with its reason", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  for (const connection of broker.broker.connections.values()) {
    connection.request.close(new BrokerError("connection-forced", "maintenance at noon"));
  }
  const closed = await peer.next(PERFORMATIVE.CLOSE);
  t.deepEqual(errorOf(closed.fields[0]), {
    condition: "amqp:connection:forced",
    description: "maintenance at noon",
  });
  await broker.close();
});

test("an unexpected error in our code is reported with a number, not with its text", async (t) => {
  const broker = await openTestBroker();
  const logged: unknown[] = [];
  const logger = {
    isDebug: false,
    debug() {},
    info() {},
    warn() {},
    error: (_event: string, fields: unknown) => logged.push(fields),
    child: () => logger,
  };
  const adapter = amqpAdapter(broker, { logger });
  const peer = await AmqpPeer.connect(broker, { adapter });
  const [connection] = broker.broker.connections.values();
  connection!.openTarget = () => {
    throw new TypeError("secret internals");
  };
  peer.send(
    composite(PERFORMATIVE.ATTACH, [
      string("x"),
      uint(0),
      { type: "boolean", value: false },
      { type: "null", value: null },
      { type: "null", value: null },
      composite(0x28, []),
      composite(0x29, [string("q")]),
      { type: "null", value: null },
      { type: "null", value: null },
      uint(0),
    ]),
  );
  const detached = await peer.next(PERFORMATIVE.DETACH);
  const error = errorOf(detached.fields[2]);
  t.is(error.condition, "amqp:internal-error");
  t.notRegex(error.description, /secret/);
  const number = /number (\d+)/.exec(error.description)![1];
  t.is(String((logged[0] as { number: number }).number), number!);
  await broker.close();
});
