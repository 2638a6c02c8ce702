import test from "ava";
import { PERFORMATIVE, SECTION } from "../../../protocols/amqp1/codec/codes.ts";
import {
  composite,
  long,
  NULL,
  string,
  symbol,
  timestamp,
  uint,
} from "../../../protocols/amqp1/codec/value.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";
import {
  AmqpPeer,
  amqpAdapter,
  errorOf,
  message,
  type PeerFrame,
  sections,
  source,
  target,
  textOf,
} from "./support/peer.ts";

/** A peer with a sender on handle 0 that has its credit. */
async function producing(
  test: TestBroker,
  options: Parameters<typeof AmqpPeer.connect>[1] & {
    link?: Parameters<AmqpPeer["sender"]>[0];
  } = {},
): Promise<AmqpPeer> {
  const peer = await AmqpPeer.connect(test, options);
  await peer.sender(options.link ?? {});
  await peer.next(PERFORMATIVE.FLOW);
  return peer;
}

/** What lies in a queue, read by another connection. */
async function contents(test: TestBroker, address: string, count: number): Promise<PeerFrame[]> {
  const peer = await AmqpPeer.connect(test);
  await peer.receiver({ address });
  peer.flow({ handle: 0, credit: count });
  const got = await peer.transfers(count);
  peer.close();
  return got;
}

/** Ids and outcome (0x24 accepted …) of a disposition to a sender. */
const outcomeOf = (frame: PeerFrame): [number, number, number] => {
  const state = frame.fields[4]!;
  const code = state.type === "described" ? Number(state.descriptor.value) : -1;
  const first = Number(frame.fields[1]!.value);
  return [first, Number(frame.fields[2]?.value ?? first), code];
};
const rejection = (frame: PeerFrame) => {
  const state = frame.fields[4]!;
  return errorOf(
    state.type === "described" && state.value.type === "list" ? state.value.value[0] : undefined,
  );
};

test("the messages of one chunk are confirmed with one range", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.wire.pauseInput();
  for (let i = 0; i < 100; i++) peer.transfer(message(`m${i}`));
  peer.wire.resumeInput();
  const confirmed = await peer.next(PERFORMATIVE.DISPOSITION);
  t.deepEqual(outcomeOf(confirmed), [0, 99, 0x24]);
  t.true(confirmed.fields[0]!.value, "role receiver");
  t.true(confirmed.fields[3]!.value, "settled");
  const got = await contents(broker, "q", 100);
  t.deepEqual(
    got.map((frame) => textOf(frame.payload)),
    Array.from({ length: 100 }, (_, i) => `m${i}`),
  );
  await broker.close();
});

test("nothing is confirmed before it is durable", async (t) => {
  const broker = await openTestBroker();
  broker.store.isManual = true;
  const peer = await producing(broker);
  peer.transfer(message("a"));
  peer.transfer(message("b"));
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.DISPOSITION));
  broker.store.sync();
  const ids: number[] = [];
  await until("both confirmed", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code !== PERFORMATIVE.DISPOSITION) continue;
      const [first, last] = outcomeOf(frame);
      for (let id = first; id <= last; id++) ids.push(id);
    }
    return ids.length === 2;
  });
  t.deepEqual(ids, [0, 1]);
  await broker.close();
});

test("settled messages are stored and not answered", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.transfer(message("a"), { isSettled: true });
  peer.transfer(message("b"));
  const confirmed = await peer.next(PERFORMATIVE.DISPOSITION);
  t.deepEqual(outcomeOf(confirmed), [1, 1, 0x24]);
  t.is((await contents(broker, "q", 2)).length, 2);
  await broker.close();
});

test("gaps in the delivery-ids give one disposition for each run", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  await peer.sender({ handle: 1, address: "other" });
  for (const [deliveryId, handle] of [
    [0xfffffffe, 0],
    [0xffffffff, 0],
    [0, 0],
    [1, 1],
    [2, 0],
  ] as const) {
    peer.transfer(message("x"), { deliveryId, handle });
  }
  const ids = new Set<number>();
  await until("all confirmed", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code !== PERFORMATIVE.DISPOSITION) continue;
      const [first, last] = outcomeOf(frame);
      for (let id = first; ; id = (id + 1) >>> 0) {
        ids.add(id);
        if (id === last) break;
      }
    }
    return ids.size === 5;
  });
  t.deepEqual([...ids].sort(), [0, 1, 2, 0xfffffffe, 0xffffffff].sort());
  await broker.close();
});

test("with rcv-settle-mode second the outcome is told unsettled, and the peer settles", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  const attached = await peer.sender({ rcvSettleMode: 1, sndSettleMode: 0 });
  t.is(attached.fields[3]!.value, 0);
  t.is(attached.fields[4]!.value, 1);
  await peer.next(PERFORMATIVE.FLOW);
  peer.transfer(message("x"));
  const told = await peer.next(PERFORMATIVE.DISPOSITION);
  t.false(told.fields[3]!.value);
  t.deepEqual(outcomeOf(told), [0, 0, 0x24]);
  await broker.close();
});

test("credit comes with the attach and again when half is used", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker, { settings: { producerCredit: 10 } });
  await peer.sender();
  let flow = await peer.next(PERFORMATIVE.FLOW);
  t.deepEqual(
    flow.fields.slice(4, 7).map((f) => f.value),
    [0, 0, 10],
  );
  for (let i = 0; i < 4; i++) peer.transfer(message("x"));
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.FLOW));
  peer.transfer(message("x"));
  flow = await peer.next(PERFORMATIVE.FLOW);
  t.deepEqual(
    flow.fields.slice(4, 7).map((f) => f.value),
    [0, 5, 10],
  );
  await broker.close();
});

test("a flow with echo is answered with what we know", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker, { settings: { producerCredit: 10 } });
  peer.flow({ handle: 0, deliveryCount: 0, credit: 10, isEcho: true });
  const flow = await peer.next(PERFORMATIVE.FLOW);
  t.deepEqual(
    flow.fields.slice(4, 7).map((f) => f.value),
    [0, 0, 10],
  );
  await broker.close();
});

test("the session's window is renewed when half of it is used", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker, { settings: { incomingWindow: 8 } });
  for (let i = 0; i < 3; i++) peer.transfer(message("x"));
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.FLOW));
  peer.transfer(message("x"));
  const flow = await peer.next(PERFORMATIVE.FLOW);
  t.is(flow.fields[0]!.value, 4, "next-incoming-id");
  t.is(flow.fields[1]!.value, 8, "incoming-window");
  await broker.close();
});

test("a message in many frames is one message, whatever its size", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  for (const size of [10, 1000, 400_000, 3_000_000]) {
    const body = Buffer.alloc(size, "0123456789abcdef");
    const whole = message(body);
    const piece = Math.max(3, Math.ceil(whole.length / 40));
    let isFirst = true;
    for (let at = 0; at < whole.length; at += piece) {
      const hasMore = at + piece < whole.length;
      peer.transfer(whole.subarray(at, at + piece), { hasMore, isContinuation: !isFirst });
      isFirst = false;
    }
  }
  const got = await collect(broker, 4);
  t.deepEqual(
    got.map((text) => text.length),
    [10, 1000, 400_000, 3_000_000],
  );
  t.true(got.every((text) => text.startsWith("0123456789")));
  await broker.close();
});

/** Whole messages, put together from their frames. */
async function collect(test: TestBroker, count: number): Promise<string[]> {
  const peer = await AmqpPeer.connect(test);
  await peer.receiver();
  peer.flow({ handle: 0, credit: count });
  const out: string[] = [];
  let parts: Buffer[] = [];
  while (out.length < count) {
    const [frame] = await peer.transfers(1);
    parts.push(frame!.payload);
    if (frame!.fields[5]?.value === true) continue;
    out.push(textOf(Buffer.concat(parts)));
    parts = [];
  }
  return out;
}

test("an aborted delivery leaves nothing behind", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.transfer(message("half").subarray(0, 5), { hasMore: true });
  peer.transfer(Buffer.alloc(0), { isContinuation: true, isAborted: true });
  peer.transfer(message("whole"));
  const confirmed = await peer.next(PERFORMATIVE.DISPOSITION);
  t.is(outcomeOf(confirmed)[0], 1 + 1);
  t.is(textOf((await contents(broker, "q", 1))[0]!.payload), "whole");
  await broker.close();
});

test("a message of another format comes out as it went in, format and bytes", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  const opaque = Buffer.from([0, 1, 2, 3, 250]);
  peer.transfer(opaque, { format: 0x80013700 });
  peer.transfer(opaque.subarray(0, 2), { format: 7, hasMore: true });
  peer.transfer(opaque.subarray(2), { isContinuation: true });
  const got = await contents(broker, "q", 2);
  t.deepEqual(
    got.map((frame) => [frame.fields[3]!.value, frame.payload.toString("hex")]),
    [
      [0x80013700, "00010203fa"],
      [7, "00010203fa"],
    ],
  );
  await broker.close();
});

test("a message larger than allowed costs its link only", async (t) => {
  const broker = await openTestBroker({ maxMessageBytes: 1000 });
  for (const pieces of [1, 4]) {
    const peer = await producing(broker);
    const whole = message(Buffer.alloc(1200));
    const size = Math.ceil(whole.length / pieces);
    for (let i = 0; i < pieces; i++) {
      peer.transfer(whole.subarray(i * size, (i + 1) * size), {
        hasMore: i < pieces - 1,
        isContinuation: i > 0,
      });
    }
    const detached = await peer.next(PERFORMATIVE.DETACH);
    t.is(errorOf(detached.fields[2]).condition, "amqp:link:message-size-exceeded");
    t.true(detached.fields[1]!.value);
    await peer.sender({ handle: 1, name: "again" });
    peer.transfer(message(Buffer.alloc(900)), { handle: 1 });
    await peer.next(PERFORMATIVE.DISPOSITION);
  }
  await broker.close();
});

test("bytes that are no message are rejected, and their link is detached when they were settled", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.transfer(Buffer.from("rubbish"));
  peer.transfer(message("fine"));
  const first = await peer.next(PERFORMATIVE.DISPOSITION);
  t.is(outcomeOf(first)[2], 0x25);
  t.is(rejection(first).condition, "amqp:decode-error");
  t.deepEqual(outcomeOf(await peer.next(PERFORMATIVE.DISPOSITION)), [1, 1, 0x24]);
  peer.transfer(Buffer.from("rubbish"), { isSettled: true });
  const detached = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(detached.fields[2]).condition, "amqp:decode-error");
  await broker.close();
});

test("confirms keep the order of the transfers, rejections among them", async (t) => {
  const broker = await openTestBroker();
  broker.store.isManual = true;
  const peer = await producing(broker);
  peer.transfer(message("a"));
  peer.transfer(Buffer.from("bad"));
  peer.transfer(message("b"));
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.DISPOSITION), "the rejection waits for what came before it");
  broker.store.sync();
  const order: number[] = [];
  await until("three outcomes", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code === PERFORMATIVE.DISPOSITION) order.push(outcomeOf(frame)[0]);
    }
    return order.length === 3;
  });
  t.deepEqual(order, [0, 1, 2]);
  await broker.close();
});

test("a link without an address sends each message where it says", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker, { link: { target: target(null) } });
  peer.transfer(message("to a", { properties: [NULL, NULL, string("qa")] }));
  peer.transfer(message("to b", { properties: [NULL, NULL, string("/queues/qb")] }));
  peer.transfer(message("to a again", { properties: [NULL, NULL, string("qa")] }));
  peer.transfer(message("to nobody"));
  const outcomes: Array<[number, number]> = [];
  await until("four outcomes", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code !== PERFORMATIVE.DISPOSITION) continue;
      const [first, last, code] = outcomeOf(frame);
      for (let id = first; id <= last; id++) outcomes.push([id, code]);
      if (code === 0x25) t.is(rejection(frame).condition, "amqp:precondition-failed");
    }
    return outcomes.length === 4;
  });
  t.deepEqual(outcomes, [
    [0, 0x24],
    [1, 0x24],
    [2, 0x24],
    [3, 0x25],
  ]);
  t.deepEqual(
    (await contents(broker, "qa", 2)).map((frame) => textOf(frame.payload)),
    ["to a", "to a again"],
  );
  t.is(textOf((await contents(broker, "qb", 1))[0]!.payload), "to b");
  await broker.close();
});

test("a link without an address uses many destinations without keeping all of them", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker, { link: { target: target(null) } });
  for (let i = 0; i < 600; i++) {
    peer.transfer(message("x", { properties: [NULL, NULL, string(`q${i % 300}`)] }));
  }
  let confirmed = 0;
  await until("all confirmed", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code !== PERFORMATIVE.DISPOSITION) continue;
      const [first, last] = outcomeOf(frame);
      confirmed += last - first + 1;
    }
    return confirmed === 600;
  });
  const [connection] = broker.broker.connections.values();
  t.true(connection!.targets.size <= 256);
  t.is((await contents(broker, "q7", 2)).length, 2);
  await broker.close();
});

test("a sender that lists no rejected outcome is detached instead", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker, {
    link: {
      target: target(null),
      source: source(null, { outcomes: ["amqp:accepted:list"] }),
    },
  });
  peer.transfer(message("nowhere"));
  const detached = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(detached.fields[2]).condition, "amqp:precondition-failed");
  await broker.close();
});

test("when there is no room the input waits, and goes on by itself", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  broker.store.isFull = true;
  peer.transfer(message("a"));
  peer.transfer(message("b"));
  await peer.settled();
  t.false(peer.wire.isReading);
  t.false(peer.has(PERFORMATIVE.DISPOSITION));
  broker.store.makeRoom();
  await until("both confirmed", () => peer.has(PERFORMATIVE.DISPOSITION));
  t.true(peer.wire.isReading);
  t.is((await contents(broker, "q", 2)).length, 2);
  await broker.close();
});

test("large messages wait for each other when memory for them is short", async (t) => {
  const broker = await openTestBroker();
  const adapter = amqpAdapter(broker, { settings: { partialBudgetBytes: 262_144 } });
  const one = await AmqpPeer.connect(broker, { adapter });
  const two = await AmqpPeer.connect(broker, { adapter });
  for (const peer of [one, two]) {
    await peer.sender();
    await peer.next(PERFORMATIVE.FLOW);
  }
  const big = message(Buffer.alloc(1000));
  one.transfer(big.subarray(0, 500), { hasMore: true });
  two.transfer(big.subarray(0, 500), { hasMore: true });
  await two.settled();
  t.false(two.wire.isReading, "the second has to wait");
  one.transfer(big.subarray(500), { isContinuation: true });
  await one.next(PERFORMATIVE.DISPOSITION);
  two.transfer(big.subarray(500), { isContinuation: true });
  await two.next(PERFORMATIVE.DISPOSITION);
  // One that never ends its message loses it once others wait.
  one.transfer(big.subarray(0, 500), { hasMore: true });
  await one.settled();
  one.wire.tick(broker.turn.uptime + 11_000);
  const detached = await one.next(PERFORMATIVE.DETACH);
  t.is(errorOf(detached.fields[2]).condition, "amqp:resource-limit-exceeded");
  await broker.close();
});

test("header, properties and annotations reach the record", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  const expires = Date.now() + 60_000;
  const properties = Array.from({ length: 11 }, () => NULL as ReturnType<typeof string>);
  properties[8] = timestamp(expires);
  properties[10] = string("group");
  peer.transfer(
    message("x", {
      priority: 9,
      ttlMs: 100_000,
      annotations: [
        ["x-tag", string("created")],
        ["x-keys", string("k1 k2")],
        ["x-opt-mine", symbol("kept")],
      ],
      properties,
    }),
  );
  await peer.next(PERFORMATIVE.DISPOSITION);
  const [frame] = await contents(broker, "q", 1);
  const got = sections(frame!.payload);
  const header = got.get(SECTION.HEADER)!;
  t.true(header.type === "list");
  if (header.type !== "list") return;
  t.is(header.value[0]!.value, true);
  t.is(header.value[1]!.value, 9);
  const ttl = Number(header.value[2]!.value);
  t.true(ttl > 50_000 && ttl <= 60_000, "the earlier expiry counts");
  t.is(header.value[3]!.value, true, "first-acquirer");
  t.is(header.value[4]!.value, 0, "delivery-count");
  const annotations = got.get(SECTION.MESSAGE_ANNOTATIONS)!;
  t.true(annotations.type === "map" && annotations.value.length === 3);
  await broker.close();
});

test("a delayed message stays unseen until its time", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.transfer(
    message("later", { annotations: [["x-opt-delivery-time", long(Date.now() + 80)]] }),
  );
  peer.transfer(
    message("past", { annotations: [["x-opt-delivery-time", long(Date.now() - 1000)]] }),
  );
  const reader = await AmqpPeer.connect(broker);
  await reader.receiver();
  reader.flow({ handle: 0, credit: 10 });
  const [first] = await reader.transfers(1);
  t.is(textOf(first!.payload), "past");
  const [second] = await reader.transfers(1);
  t.is(textOf(second!.payload), "later");
  await broker.close();
});

test("annotations of the wrong type are rejected, naming the field", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.transfer(message("x", { annotations: [["x-opt-delivery-time", string("soon")]] }));
  const rejected = await peer.next(PERFORMATIVE.DISPOSITION);
  t.is(rejection(rejected).condition, "amqp:invalid-field");
  t.regex(rejection(rejected).description, /x-opt-delivery-time/);
  await broker.close();
});

test("messages confirmed after their link is gone are confirmed all the same", async (t) => {
  const broker = await openTestBroker();
  broker.store.isManual = true;
  const peer = await producing(broker);
  peer.transfer(message("x"));
  peer.detach();
  await peer.next(PERFORMATIVE.DETACH);
  broker.store.sync();
  t.deepEqual(outcomeOf(await peer.next(PERFORMATIVE.DISPOSITION)), [0, 0, 0x24]);
  await broker.close();
});

test("the bare message of an AMQP peer reaches another one byte for byte", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  const bare = Buffer.concat([
    message("one", { properties: [uint(1)], annotations: [["x-opt-a", uint(1)]] }).subarray(7),
    // A second data section in its long form, and a footer with a descriptor in its long form.
    Buffer.from("005375b000000002cafe", "hex"),
    Buffer.from("00800000000000000078c10502a3017841", "hex"),
  ]);
  const header = message("", {}).subarray(0, 7);
  t.is(header[2], SECTION.HEADER);
  peer.transfer(Buffer.concat([header, bare]));
  await peer.next(PERFORMATIVE.DISPOSITION);
  const [frame] = await contents(broker, "q", 1);
  const at = frame!.payload.indexOf(bare);
  t.true(at > 0);
  t.is(frame!.payload.length - at, bare.length);
  await broker.close();
});

test("a stop in the middle of a message leaves no trace", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker);
  peer.transfer(message("half").subarray(0, 5), { hasMore: true });
  peer.wire.sendEnd();
  const other = await producing(broker);
  other.transfer(message("whole"));
  await other.next(PERFORMATIVE.DISPOSITION);
  t.is(textOf((await contents(broker, "q", 1))[0]!.payload), "whole");
  other.send(composite(PERFORMATIVE.CLOSE, []));
  await broker.close();
});

test("where duplicates are looked for, a message sent again is confirmed and kept once", async (t) => {
  const broker = await openTestBroker({ settings: { dedupWindowMs: 60_000 } });
  const peer = await producing(broker);
  for (const id of [string("ID:1"), string("ID:1"), uint(5), string("ID:2")]) {
    peer.transfer(message(String(id.value), { properties: [id] }));
  }
  let confirmed = 0;
  await until("all are confirmed", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code !== PERFORMATIVE.DISPOSITION) continue;
      const [first, last] = outcomeOf(frame);
      confirmed += last - first + 1;
    }
    return confirmed === 4;
  });
  const got = await contents(broker, "q", 3);
  t.deepEqual(
    got.map((frame) => textOf(frame.payload)),
    ["ID:1", "5", "ID:2"],
  );
  await broker.close();
});

test("while publishing is blocked no credit is given, to links with and without an address; then it is", async (t) => {
  const broker = await openTestBroker();
  const peer = await producing(broker, { settings: { producerCredit: 4 } });
  await peer.sender({ handle: 1, target: target(null) });
  await peer.next(PERFORMATIVE.FLOW);
  broker.store.setHealth({ state: "full", reason: "the disk is full" });
  // The input stops at the first message, what was sent before is in the socket.
  await peer.sender({ handle: 2, address: "other" });
  await peer.sender({ handle: 3, target: target(null) });
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.FLOW), "new links get none either");
  broker.store.setHealth({ state: "ok" });
  broker.store.makeRoom();
  const granted = new Set<unknown>();
  await until("both have credit", () => {
    for (const frame of peer.frames.splice(0)) {
      if (frame.code === PERFORMATIVE.FLOW) granted.add(frame.fields[4]?.value);
    }
    return granted.has(2) && granted.has(3);
  });
  await broker.close();
});

test("a full queue rejects, and says which it is", async (t) => {
  const broker = await openTestBroker({ settings: { maxLength: 1, overflow: "reject" } });
  const peer = await producing(broker);
  peer.transfer(message("a"));
  peer.transfer(message("b"));
  peer.transfer(message("c"), { isSettled: true });
  let refused: PeerFrame | undefined;
  await until("the second is rejected", () => {
    refused = peer.frames.find(
      (frame) => frame.code === PERFORMATIVE.DISPOSITION && outcomeOf(frame)[2] === 0x25,
    );
    return refused !== undefined;
  });
  t.is(outcomeOf(refused!)[0], 1);
  t.is(rejection(refused!).condition, "amqp:resource-limit-exceeded");
  t.false(peer.has(PERFORMATIVE.DETACH), "a settled one is simply not kept");
  await broker.close();
});
