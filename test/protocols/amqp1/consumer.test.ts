import test from "ava";
import { PERFORMATIVE, SECTION } from "../../../protocols/amqp1/codec/codes.ts";
import {
  composite,
  list,
  string,
  symbol,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";
import {
  ACCEPTED,
  AmqpPeer,
  errorOf,
  message,
  modified,
  open,
  type PeerFrame,
  RELEASED,
  rejectedWith,
  sections,
  source,
  textOf,
} from "./support/peer.ts";

/** Puts messages into a node and waits until they are confirmed. */
async function fill(
  test: TestBroker,
  bodies: readonly (string | Buffer)[],
  options: { address?: string; capabilities?: readonly string[]; isDurable?: boolean } = {},
): Promise<void> {
  const peer = await AmqpPeer.connect(test);
  await peer.sender({
    ...(options.address === undefined ? {} : { address: options.address }),
    ...(options.capabilities === undefined ? {} : { capabilities: options.capabilities }),
  });
  await peer.next(PERFORMATIVE.FLOW);
  for (const body of bodies) peer.transfer(message(body));
  let confirmed = 0;
  await until("the queue is filled", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code !== PERFORMATIVE.DISPOSITION) continue;
      const first = Number(frame.fields[1]!.value);
      confirmed += Number(frame.fields[2]?.value ?? first) - first + 1;
    }
    return confirmed === bodies.length;
  });
  peer.close();
  await peer.next(PERFORMATIVE.CLOSE);
}

const numbered = (count: number): string[] => Array.from({ length: count }, (_, i) => `m${i}`);
const texts = (frames: readonly PeerFrame[]): string[] => frames.map((f) => textOf(f.payload));
const headerOf = (frame: PeerFrame): readonly Value[] => {
  const header = sections(frame.payload).get(SECTION.HEADER);
  return header?.type === "list" ? header.value : [];
};
/** delivery-count of a delivery's header. */
const attempts = (frame: PeerFrame): unknown => headerOf(frame)[4]?.value;

async function consuming(
  test: TestBroker,
  link: Parameters<AmqpPeer["receiver"]>[0] = {},
  options: Parameters<typeof AmqpPeer.connect>[1] = {},
): Promise<AmqpPeer> {
  const peer = await AmqpPeer.connect(test, options);
  await peer.receiver(link);
  return peer;
}

test("nothing is sent before credit, and no more than credit", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(5));
  const peer = await consuming(broker);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  peer.flow({ handle: 0, credit: 2 });
  t.deepEqual(texts(await peer.transfers(2)), ["m0", "m1"]);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  // Credit counts from the delivery-count that the peer has seen.
  peer.flow({ handle: 0, deliveryCount: 1, credit: 2 });
  t.deepEqual(texts(await peer.transfers(1)), ["m2"]);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  await broker.close();
});

test("delivery-ids and tags are consecutive and unique, a new message is a first acquirer's", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(3));
  const peer = await consuming(broker);
  peer.flow({ handle: 0, credit: 10 });
  const got = await peer.transfers(3);
  t.deepEqual(
    got.map((frame) => frame.fields[1]!.value),
    [0, 1, 2],
  );
  t.is(new Set(got.map((frame) => (frame.fields[2]!.value as Buffer).toString("hex"))).size, 3);
  t.deepEqual(
    headerOf(got[0]!).map((field) => field.value),
    [true, null, null, true, 0],
  );
  await broker.close();
});

test("what is accepted does not come back, in ranges or one by one, in any order", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(10));
  const peer = await consuming(broker);
  peer.flow({ handle: 0, credit: 10 });
  await peer.transfers(10);
  peer.disposition(7, 9, ACCEPTED);
  peer.disposition(0, 0, ACCEPTED);
  peer.disposition(2, 3, ACCEPTED);
  peer.disposition(1, 3, ACCEPTED);
  peer.disposition(100, 2000, ACCEPTED);
  peer.close();
  await peer.next(PERFORMATIVE.CLOSE);
  const other = await consuming(broker);
  other.flow({ handle: 0, credit: 10 });
  const rest = await other.transfers(3);
  t.deepEqual(texts(rest), ["m4", "m5", "m6"]);
  t.deepEqual(rest.map(attempts), [0, 0, 0], "a close in order is no failure");
  t.is(headerOf(rest[0]!)[3]!.value, false, "no longer the first acquirer");
  await broker.close();
});

for (const [name, outcome, expected] of [
  ["released", RELEASED, [["m0", 0]]],
  ["modified without flags", modified(false, false), [["m0", 0]]],
  ["modified, failed", modified(true, false), [["m0", 1]]],
  ["rejected", rejectedWith("amqp:internal-error"), []],
  ["modified, failed and undeliverable here", modified(true, true), []],
] as const) {
  test(`a delivery ${name} comes back as its outcome says, to its old place`, async (t) => {
    const broker = await openTestBroker();
    await fill(broker, ["m0", "m1"]);
    const peer = await consuming(broker);
    peer.flow({ handle: 0, credit: 1 });
    await peer.transfers(1);
    peer.disposition(0, 0, outcome);
    peer.flow({ handle: 0, deliveryCount: 1, credit: 5, nextIncomingId: 1 });
    const got = await peer.transfers(expected.length + 1);
    t.deepEqual(
      got.map((frame) => [textOf(frame.payload), attempts(frame)]),
      [...expected, ["m1", 0]],
    );
    await broker.close();
  });
}

test("a delivery undeliverable here goes to another link, not to this one", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, ["m0"]);
  const peer = await consuming(broker);
  peer.flow({ handle: 0, credit: 5 });
  await peer.transfers(1);
  peer.disposition(0, 0, modified(false, true));
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  const other = await consuming(broker);
  other.flow({ handle: 0, credit: 1 });
  t.deepEqual(texts(await other.transfers(1)), ["m0"]);
  await broker.close();
});

test("what a rejection buried lies in the dead-letter queue, with its history", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, ["bad"]);
  const peer = await consuming(broker);
  peer.flow({ handle: 0, credit: 1 });
  await peer.transfers(1);
  peer.disposition(0, 0, rejectedWith("amqp:decode-error"));
  const dead = await consuming(broker, { address: "DLQ.q" });
  dead.flow({ handle: 0, credit: 1 });
  const [frame] = await dead.transfers(1);
  t.is(textOf(frame!.payload), "bad");
  const annotations = sections(frame!.payload).get(SECTION.MESSAGE_ANNOTATIONS);
  t.true(annotations?.type === "map");
  if (annotations?.type !== "map") return;
  const deaths = annotations.value.find(([key]) => key.value === "x-opt-deaths")?.[1];
  t.true(deaths?.type === "list" && deaths.value.length === 1);
  await broker.close();
});

test("settled without an outcome means the source's default outcome", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, ["m0"]);
  const peer = await consuming(broker, {
    source: source("q", { defaultOutcome: modified(true, false) }),
  });
  peer.flow({ handle: 0, credit: 1 });
  await peer.transfers(1);
  peer.send(
    composite(PERFORMATIVE.DISPOSITION, [
      { type: "boolean", value: true },
      { type: "uint", value: 0 },
      { type: "null", value: null },
      { type: "boolean", value: true },
    ]),
  );
  peer.flow({ handle: 0, deliveryCount: 1, credit: 1, nextIncomingId: 1 });
  t.is(attempts((await peer.transfers(1))[0]!), 1);
  await broker.close();
});

test("a lost connection gives the default outcome, a link closed in order releases", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, ["m0"]);
  const lost = await consuming(broker, {
    source: source("q", { defaultOutcome: modified(true, false) }),
  });
  lost.flow({ handle: 0, credit: 1 });
  await lost.transfers(1);
  lost.wire.sendEnd();
  const orderly = await consuming(broker, {
    source: source("q", { defaultOutcome: modified(true, false) }),
  });
  orderly.flow({ handle: 0, credit: 1 });
  t.is(attempts((await orderly.transfers(1))[0]!), 1);
  orderly.detach();
  await orderly.next(PERFORMATIVE.DETACH);
  const last = await consuming(broker);
  last.flow({ handle: 0, credit: 1 });
  t.is(attempts((await last.transfers(1))[0]!), 1);
  await broker.close();
});

test("an outcome without settlement is answered settled, once it is durable", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(3));
  broker.store.isManual = true;
  const peer = await AmqpPeer.connect(broker);
  const attached = await peer.receiver({ rcvSettleMode: 1 });
  t.is(attached.fields[4]!.value, 1);
  peer.flow({ handle: 0, credit: 3 });
  await peer.transfers(3);
  peer.disposition(0, 1, ACCEPTED, false);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.DISPOSITION));
  broker.store.sync();
  const settled = await peer.next(PERFORMATIVE.DISPOSITION);
  t.deepEqual(
    settled.fields.slice(0, 4).map((field) => field.value),
    [false, 0, 1, true],
  );
  peer.disposition(2, 2, RELEASED, false);
  broker.store.sync();
  await until("the release is answered", () => {
    broker.store.sync();
    return peer.has(PERFORMATIVE.DISPOSITION);
  });
  const released = await peer.next(PERFORMATIVE.DISPOSITION);
  const state = released.fields[4]!;
  t.is(state.type === "described" ? state.descriptor.value : 0, 0x26, "the state is echoed");
  await broker.close();
});

test("on a settled link deliveries are settled when sent and stay accepted", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(2));
  const peer = await AmqpPeer.connect(broker);
  const attached = await peer.receiver({ sndSettleMode: 1 });
  t.is(attached.fields[3]!.value, 1);
  peer.flow({ handle: 0, credit: 5 });
  const got = await peer.transfers(2);
  t.deepEqual(
    got.map((frame) => frame.fields[4]!.value),
    [true, true],
  );
  peer.wire.sendEnd();
  const other = await consuming(broker);
  other.flow({ handle: 0, credit: 5, isDrain: true });
  await other.next(PERFORMATIVE.FLOW);
  t.false(other.has(PERFORMATIVE.TRANSFER));
  await broker.close();
});

test("drain sends what is ready, uses the credit up and says so at once", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(2));
  const peer = await consuming(broker);
  peer.flow({ handle: 0, credit: 10, isDrain: true });
  t.deepEqual(texts(await peer.transfers(2)), ["m0", "m1"]);
  const flow = await peer.next(PERFORMATIVE.FLOW);
  t.deepEqual(
    flow.fields.slice(4, 9).map((field) => field.value),
    [0, 10, 0, 0, true],
  );
  // On an empty queue, and with no credit at all.
  for (const credit of [3, 0]) {
    peer.flow({ handle: 0, deliveryCount: 10, credit, isDrain: true, nextIncomingId: 2 });
    const again = await peer.next(PERFORMATIVE.FLOW);
    t.is(again.fields[6]!.value, 0);
    t.is(again.fields[8]!.value, true);
  }
  await broker.close();
});

test("a flow with echo is answered with what is ready", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(4));
  const peer = await consuming(broker);
  peer.flow({ handle: 0, credit: 0, isEcho: true });
  const flow = await peer.next(PERFORMATIVE.FLOW);
  t.is(flow.fields[6]!.value, 0);
  t.is(flow.fields[7]!.value, 4, "available");
  peer.flow({ isEcho: true });
  t.is((await peer.next(PERFORMATIVE.FLOW)).fields.length, 4, "of the session only");
  await broker.close();
});

test("the peer's session window is respected, and what waits goes first when it opens", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(6));
  const peer = await AmqpPeer.connect(broker);
  peer.begin(1, 2);
  await peer.next(PERFORMATIVE.BEGIN);
  await peer.receiver({ channel: 1 });
  peer.flow({ handle: 0, channel: 1, credit: 100, incomingWindow: 2 });
  t.deepEqual(texts(await peer.transfers(2)), ["m0", "m1"]);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  peer.flow({ channel: 1, nextIncomingId: 2, incomingWindow: 3 });
  t.deepEqual(texts(await peer.transfers(3)), ["m2", "m3", "m4"]);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  peer.flow({ channel: 1, nextIncomingId: 5, incomingWindow: 0xffffffff });
  t.deepEqual(texts(await peer.transfers(1)), ["m5"]);
  await broker.close();
});

test("messages are cut to the peer's frames, deliveries of a link are not mixed", async (t) => {
  const broker = await openTestBroker();
  const bodies = [Buffer.alloc(3000, "a"), Buffer.alloc(10, "b"), Buffer.alloc(1200, "c")];
  await fill(broker, bodies);
  const peer = await consuming(broker, {}, { open: open({ maxFrameSize: 512 }) });
  peer.flow({ handle: 0, credit: 3 });
  const whole: string[] = [];
  let parts: Buffer[] = [];
  while (whole.length < 3) {
    const [frame] = await peer.transfers(1);
    t.true(frame!.payload.length < 512);
    t.is(frame!.fields[1]!.value, parts.length === 0 ? whole.length : null);
    parts.push(frame!.payload);
    if (frame!.fields[5]?.value === true) continue;
    whole.push(textOf(Buffer.concat(parts)));
    parts = [];
  }
  t.deepEqual(whole, bodies.map(String));
  await broker.close();
});

test("a message in many frames waits in the middle when the window closes, drain's answer after it", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, [Buffer.alloc(2000, "a")]);
  const peer = await AmqpPeer.connect(broker, { open: open({ maxFrameSize: 512 }) });
  await peer.receiver();
  peer.flow({ handle: 0, credit: 5, incomingWindow: 2, isDrain: true });
  const parts = (await peer.transfers(2)).map((frame) => frame.payload);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  t.false(peer.has(PERFORMATIVE.FLOW), "not before the message is out");
  peer.flow({ nextIncomingId: 2, incomingWindow: 100 });
  for (;;) {
    const [frame] = await peer.transfers(1);
    parts.push(frame!.payload);
    if (frame!.fields[5]?.value !== true) break;
  }
  t.is(textOf(Buffer.concat(parts)).length, 2000);
  const flow = await peer.next(PERFORMATIVE.FLOW);
  t.is(flow.fields[5]!.value, 5);
  await broker.close();
});

test("a message larger than the peer takes is left for others", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, [Buffer.alloc(500, "a"), "small"]);
  const peer = await consuming(broker, { maxMessageSize: 300 });
  peer.flow({ handle: 0, credit: 1 });
  t.deepEqual(texts(await peer.transfers(1)), ["small"]);
  const other = await consuming(broker);
  other.flow({ handle: 0, credit: 1 });
  t.is((await other.transfers(1))[0]!.payload.length > 500, true);
  await broker.close();
});

test("a peer that does not read gets no more than the wire holds, the rest when it reads again", async (t) => {
  const broker = await openTestBroker();
  await fill(
    broker,
    Array.from({ length: 60 }, (_, at) => Buffer.alloc(50_000, `${at} `)),
  );
  const peer = await consuming(broker);
  peer.wire.isPeerReading = false;
  peer.flow({ handle: 0, credit: 100 });
  await peer.settled();
  t.true(peer.wire.isBackedUp);
  const pending = peer.wire.pendingBytes;
  await peer.settled();
  t.is(peer.wire.pendingBytes, pending, "nothing is added while it does not read");
  peer.wire.isPeerReading = true;
  peer.wire.drainOutput();
  const came = texts(await peer.transfers(60)).map((text) => text.split(" ")[0]);
  t.deepEqual(
    came,
    Array.from({ length: 60 }, (_, at) => `${at}`),
  );
  await broker.close();
});

test("browsing shows what is there and takes nothing", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, numbered(3));
  const browser = await AmqpPeer.connect(broker);
  const attached = await browser.receiver({ source: source("q", { distribution: "copy" }) });
  const answered = attached.fields[5]!;
  t.is(
    answered.type === "described" && answered.value.type === "list"
      ? answered.value.value[6]!.value
      : "",
    "copy",
  );
  browser.flow({ handle: 0, credit: 10, isDrain: true });
  const seen = await browser.transfers(3);
  t.deepEqual(texts(seen), ["m0", "m1", "m2"]);
  t.true(seen[0]!.fields[4]!.value, "settled");
  await browser.next(PERFORMATIVE.FLOW);
  const consumer = await consuming(broker);
  consumer.flow({ handle: 0, credit: 10 });
  t.deepEqual(texts(await consumer.transfers(3)), ["m0", "m1", "m2"]);
  await broker.close();
});

test("topic subscribers each get what is sent while they are there", async (t) => {
  const broker = await openTestBroker();
  await fill(broker, ["before"], { address: "news.sport", capabilities: ["topic"] });
  const one = await consuming(broker, { address: "news.sport", capabilities: ["topic"] });
  const all = await consuming(broker, { address: "news.*", capabilities: ["topic"] });
  const other = await consuming(broker, { address: "news.arts", capabilities: ["topic"] });
  for (const peer of [one, all, other]) peer.flow({ handle: 0, credit: 10 });
  await fill(broker, ["goal"], { address: "news.sport", capabilities: ["topic"] });
  t.deepEqual(texts(await one.transfers(1)), ["goal"]);
  t.deepEqual(texts(await all.transfers(1)), ["goal"]);
  await other.settled();
  t.false(other.has(PERFORMATIVE.TRANSFER));
  await broker.close();
});

test("a durable subscription keeps messages while detached, and closing deletes it", async (t) => {
  const broker = await openTestBroker();
  const durable = {
    name: "sub",
    source: source("t.x", { durable: 2, expiry: "never", capabilities: ["topic"] }),
  };
  const options = () => ({ open: open({ containerId: "client" }) });
  const first = await consuming(broker, durable, options());
  first.detach(0, false);
  await first.next(PERFORMATIVE.DETACH);
  await fill(broker, ["kept"], { address: "t.x", capabilities: ["topic"] });
  const second = await consuming(broker, durable, options());
  second.flow({ handle: 0, credit: 1 });
  t.deepEqual(texts(await second.transfers(1)), ["kept"]);
  second.disposition(0, 0, ACCEPTED);
  second.detach(0, true);
  const detached = await second.next(PERFORMATIVE.DETACH);
  t.is(detached.fields[2], undefined);
  await fill(broker, ["gone"], { address: "t.x", capabilities: ["topic"] });
  const third = await consuming(broker, durable, options());
  third.flow({ handle: 0, credit: 1, isDrain: true });
  await third.next(PERFORMATIVE.FLOW);
  t.false(third.has(PERFORMATIVE.TRANSFER));
  await broker.close();
});

test("a receiver without a source looks its durable subscription up; closing it unsubscribes", async (t) => {
  const broker = await openTestBroker();
  const options = () => ({ open: open({ containerId: "client" }) });
  const peer = await AmqpPeer.connect(broker, options());
  const none = { name: "sub", source: { type: "null", value: null } as Value };
  const missing = await peer.receiver(none);
  t.is(missing.fields[5]!.type, "null", "refused with a null source");
  const refused = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(refused.fields[2]).condition, "amqp:not-found");
  peer.detach(0);
  await peer.receiver({
    name: "sub",
    source: source("t.x", { durable: 2, expiry: "never", capabilities: ["topic"] }),
  });
  // While it is in use it cannot be deleted.
  const inUse = await peer.receiver({ ...none, name: "sub|2", handle: 1 });
  const found = inUse.fields[5]!;
  t.is(
    found.type === "described" && found.value.type === "list" ? found.value.value[0]!.value : "",
    "t.x",
  );
  peer.detach(1);
  const locked = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(locked.fields[2]).condition, "amqp:resource-locked");
  peer.detach(0, false);
  await peer.next(PERFORMATIVE.DETACH);
  await peer.receiver({ ...none, handle: 2 });
  peer.detach(2);
  const done = await peer.next(PERFORMATIVE.DETACH);
  t.is(done.fields[2], undefined);
  await peer.receiver({ ...none, handle: 3 });
  t.is(errorOf((await peer.next(PERFORMATIVE.DETACH)).fields[2]).condition, "amqp:not-found");
  await broker.close();
});

test("shared subscriptions divide their messages among all links of the name", async (t) => {
  const broker = await openTestBroker();
  const shared = (name: string) => ({
    name,
    source: source("t", {
      durable: 2,
      expiry: "never",
      capabilities: ["topic", "shared", "global"],
    }),
  });
  const one = await consuming(broker, shared("sub|global"));
  const two = await consuming(broker, shared("sub|global2"));
  for (const peer of [one, two]) peer.flow({ handle: 0, credit: 100 });
  await fill(broker, numbered(20), { address: "t", capabilities: ["topic"] });
  const got = (peer: AmqpPeer) =>
    texts(peer.frames.filter((frame) => frame.code === PERFORMATIVE.TRANSFER));
  await until("all are delivered", () => got(one).length + got(two).length === 20);
  t.deepEqual([...got(one), ...got(two)].sort(), numbered(20).sort());
  await broker.close();
});

test("a link of the same durable subscription elsewhere takes it over", async (t) => {
  const broker = await openTestBroker();
  const durable = {
    name: "sub",
    source: source("t", { durable: 2, expiry: "never", capabilities: ["topic"] }),
  };
  const options = () => ({ open: open({ containerId: "client" }) });
  const first = await consuming(broker, durable, options());
  const second = await consuming(broker, durable, options());
  const stolen = await first.next(PERFORMATIVE.DETACH);
  t.is(errorOf(stolen.fields[2]).condition, "amqp:link:stolen");
  second.flow({ handle: 0, credit: 1 });
  await fill(broker, ["x"], { address: "t", capabilities: ["topic"] });
  await second.transfers(1);
  await broker.close();
});

test("a link attached again by name on one session replaces the older one", async (t) => {
  const broker = await openTestBroker();
  const peer = await consuming(broker, { name: "same", handle: 0 });
  peer.send(
    (await import("./support/peer.ts")).attach({ name: "same", handle: 1, isReceiver: true }),
  );
  const stolen = await peer.next(PERFORMATIVE.DETACH);
  t.is(stolen.fields[0]!.value, 0);
  t.is(errorOf(stolen.fields[2]).condition, "amqp:link:stolen");
  await peer.next(PERFORMATIVE.ATTACH);
  await broker.close();
});

test("dynamic nodes are made, belong to their connection, and go with their link", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  const attached = await peer.receiver({ source: source(null, { isDynamic: true }) });
  const made = attached.fields[5]!;
  const address =
    made.type === "described" && made.value.type === "list"
      ? String(made.value.value[0]!.value)
      : "";
  t.regex(address, /.{8,60}/);
  peer.flow({ handle: 0, credit: 5 });
  await fill(broker, ["reply"], { address });
  t.deepEqual(texts(await peer.transfers(1)), ["reply"]);
  // Others may send to it, not receive from it.
  const other = await AmqpPeer.connect(broker);
  await other.receiver({ address });
  const refused = await other.next(PERFORMATIVE.DETACH);
  t.is(errorOf(refused.fields[2]).condition, "amqp:resource-locked");
  const sender = await AmqpPeer.connect(broker);
  await sender.sender({ address });
  t.true([...broker.broker.connections.values()].some((c) => c.temporaries.size > 0));
  peer.detach(0);
  const left = await peer.next(PERFORMATIVE.DETACH);
  t.is(left.fields[2]?.type ?? "null", "null", "without an error");
  await until(
    "the node is gone",
    () => ![...broker.broker.connections.values()].some((c) => c.temporaries.size > 0),
  );
  await broker.close();
});

test("filters that apply are answered, unknown ones are left out", async (t) => {
  const broker = await openTestBroker();
  const filter: ReadonlyArray<readonly [string, Value]> = [
    [
      "a",
      { type: "described", descriptor: symbol("apache.org:no-local-filter:list"), value: list([]) },
    ],
    ["b", { type: "described", descriptor: symbol("example.org:unknown"), value: string("x") }],
    [
      "c",
      {
        type: "described",
        descriptor: symbol("sluice:tag-filter:string"),
        value: string("red || blue"),
      },
    ],
  ];
  const peer = await AmqpPeer.connect(broker);
  const keys = (frame: PeerFrame): unknown[] => {
    const answered = frame.fields[5]!;
    const map =
      answered.type === "described" && answered.value.type === "list"
        ? answered.value.value[7]
        : undefined;
    return map?.type === "map" ? map.value.map(([key]) => key.value) : [];
  };
  const topic = await peer.receiver({ source: source("t", { filter, capabilities: ["topic"] }) });
  t.deepEqual(keys(topic), ["a", "c"]);
  const queue = await peer.receiver({ handle: 1, source: source("q", { filter }) });
  t.deepEqual(keys(queue), ["c"]);
  const none = await peer.receiver({ handle: 2, source: source("q") });
  t.deepEqual(keys(none), []);
  await broker.close();
});

test("no-local leaves out what the same container sent", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  await peer.receiver({
    handle: 0,
    source: source("t", {
      capabilities: ["topic"],
      filter: [
        [
          "no-local",
          {
            type: "described",
            descriptor: { type: "ulong", value: 0x468c00000003 },
            value: list([]),
          },
        ],
      ],
    }),
  });
  peer.flow({ handle: 0, credit: 5 });
  await peer.sender({ handle: 1, address: "t", capabilities: ["topic"] });
  await peer.next(PERFORMATIVE.FLOW);
  peer.transfer(message("own"), { handle: 1 });
  await peer.next(PERFORMATIVE.DISPOSITION);
  await fill(broker, ["foreign"], { address: "t", capabilities: ["topic"] });
  t.deepEqual(texts(await peer.transfers(1)), ["foreign"]);
  await broker.close();
});

test("a group shares a topic and keeps its place", async (t) => {
  const broker = await openTestBroker();
  const link = {
    address: "t",
    capabilities: ["topic"],
    properties: [["group", string("billing")]] as const,
  };
  const first = await consuming(broker, link);
  first.flow({ handle: 0, credit: 1 });
  await fill(broker, numbered(3), { address: "t", capabilities: ["topic"] });
  t.deepEqual(texts(await first.transfers(1)), ["m0"]);
  first.disposition(0, 0, ACCEPTED);
  first.close();
  await first.next(PERFORMATIVE.CLOSE);
  const second = await consuming(broker, { source: source("topic:t#billing") });
  second.flow({ handle: 0, credit: 5 });
  t.deepEqual(texts(await second.transfers(2)), ["m1", "m2"]);
  await broker.close();
});

test("an exclusive consumer is the only one", async (t) => {
  const broker = await openTestBroker();
  await consuming(broker, { desired: ["exclusive-consumer"] });
  const second = await AmqpPeer.connect(broker);
  await second.receiver();
  const refused = await second.next(PERFORMATIVE.DETACH);
  t.is(errorOf(refused.fields[2]).condition, "amqp:resource-locked");
  await broker.close();
});

test("a consumer of higher priority is served first", async (t) => {
  const broker = await openTestBroker();
  const low = await consuming(broker);
  const high = await consuming(broker, {
    properties: [["rabbitmq:consumer-priority", { type: "int", value: 5 }]],
  });
  low.flow({ handle: 0, credit: 5 });
  high.flow({ handle: 0, credit: 2 });
  await high.settled();
  await fill(broker, numbered(3));
  t.deepEqual(texts(await high.transfers(2)), ["m0", "m1"]);
  t.deepEqual(texts(await low.transfers(1)), ["m2"]);
  await broker.close();
});

test("a reader begins in a topic's history where it says", async (t) => {
  const broker = await openTestBroker({ settings: { historyMs: 3_600_000 } });
  await fill(broker, numbered(4), { address: "log", capabilities: ["topic"] });
  const offset = (value: Value) =>
    source("log", {
      capabilities: ["topic"],
      filter: [
        ["o", { type: "described", descriptor: symbol("rabbitmq:stream-offset-spec"), value }],
      ],
    });
  for (const [link, expected] of [
    [source("topic:log?from=first"), ["m0", "m1", "m2", "m3"]],
    [source("topic:log?from=offset:2"), ["m2", "m3"]],
    [offset(string("first")), ["m0", "m1", "m2", "m3"]],
    [offset({ type: "ulong", value: 3 }), ["m3"]],
    [offset(string("next")), []],
    [source("topic:log"), []],
  ] as const) {
    const peer = await consuming(broker, { source: link });
    peer.flow({ handle: 0, credit: 10, isDrain: true });
    await until("the drain is over", () => peer.has(PERFORMATIVE.FLOW));
    t.deepEqual(texts(peer.frames.filter((frame) => frame.code === PERFORMATIVE.TRANSFER)), [
      ...expected,
    ]);
  }
  await broker.close();
});

test("a selector picks messages by their properties; one that does not parse is refused", async (t) => {
  const broker = await openTestBroker();
  const producer = await AmqpPeer.connect(broker);
  await producer.sender();
  await producer.next(PERFORMATIVE.FLOW);
  for (const subject of ["a", "b"]) {
    producer.transfer(
      message(subject, {
        properties: [
          { type: "null", value: null },
          { type: "null", value: null },
          { type: "null", value: null },
          string(subject),
        ],
      }),
    );
  }
  const selecting = (text: string) => ({
    source: source("q", {
      filter: [
        [
          "s",
          {
            type: "described",
            descriptor: { type: "ulong", value: 0x468c00000004 },
            value: string(text),
          },
        ],
      ],
    }),
  });
  const peer = await consuming(broker, selecting("JMSType = 'b'"));
  peer.flow({ handle: 0, credit: 10 });
  t.deepEqual(texts(await peer.transfers(1)), ["b"]);
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  await peer.receiver({ ...selecting("JMSType = = 'b'"), handle: 1, name: "wrong" });
  const refused = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(refused.fields[2]).condition, "amqp:invalid-field");
  await broker.close();
});

test("one of several sharers may close its link; the last one deletes the subscription", async (t) => {
  const broker = await openTestBroker();
  const shared = (handle: number) => ({
    handle,
    name: `sub|global${handle}`,
    source: source("t", {
      durable: 2,
      expiry: "never",
      capabilities: ["topic", "shared", "global"],
    }),
  });
  const peer = await consuming(broker, shared(0));
  await peer.receiver(shared(1));
  for (const handle of [0, 1]) {
    peer.detach(handle);
    t.is((await peer.next(PERFORMATIVE.DETACH)).fields[2], undefined);
  }
  const [connection] = broker.broker.connections.values();
  t.is(
    connection!.findSubscription({ clientId: "", name: "sub", isShared: true, isDurable: true }),
    undefined,
  );
  await broker.close();
});
