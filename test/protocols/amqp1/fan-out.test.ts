/** One topic, many receivers: each gets every message once, whole and in order, within its own window and credit. */
import test from "ava";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import {
  ACCEPTED,
  AmqpPeer,
  amqpAdapter,
  message,
  open,
  type PeerFrame,
  textOf,
} from "./support/peer.ts";

const TOPIC = { address: "t", capabilities: ["topic"] } as const;

test("receivers of all kinds get the same messages, under their own ids, handles and channels", async (t) => {
  const broker = await openTestBroker();
  const adapter = amqpAdapter(broker);
  const kinds = [
    { name: "unsettled", handle: 0, channel: 0, sndSettleMode: 2, frame: undefined },
    { name: "another handle", handle: 3, channel: 0, sndSettleMode: 2, frame: undefined },
    { name: "another channel", handle: 0, channel: 7, sndSettleMode: 2, frame: 70_000 },
    { name: "a large handle", handle: 300, channel: 0, sndSettleMode: 2, frame: undefined },
    { name: "settled", handle: 0, channel: 0, sndSettleMode: 1, frame: undefined },
    { name: "settled too", handle: 2, channel: 0, sndSettleMode: 1, frame: undefined },
    { name: "settled three", handle: 5, channel: 0, sndSettleMode: 1, frame: undefined },
    { name: "small frames", handle: 0, channel: 0, sndSettleMode: 2, frame: 600 },
  ];
  const readers: Array<{ peer: AmqpPeer; kind: (typeof kinds)[number] }> = [];
  for (const kind of [...kinds, ...kinds]) {
    const { handle, channel, frame } = kind;
    const options = frame === undefined ? {} : { maxFrameSize: frame };
    const peer = await AmqpPeer.connect(broker, { adapter, open: open(options) });
    if (channel !== 0) {
      peer.begin(channel);
      await peer.next(PERFORMATIVE.BEGIN);
    }
    await peer.receiver({ ...TOPIC, handle, channel, sndSettleMode: kind.sndSettleMode });
    peer.flow({ handle, channel, credit: 1000 });
    await peer.settled();
    readers.push({ peer, kind });
  }
  const writer = await AmqpPeer.connect(broker, { adapter });
  await writer.sender({ ...TOPIC, handle: 0 });
  await writer.next(PERFORMATIVE.FLOW);
  const bodies = Array.from({ length: 120 }, (_, i) => `${i} ${"z".repeat((i * 31) % 900)}`);
  for (const [i, body] of bodies.entries()) {
    writer.transfer(message(body, i % 10 === 0 ? { priority: 7, ttlMs: 60_000 } : {}));
  }
  for (const { peer, kind } of readers) {
    let got: PeerFrame[] = [];
    const texts: string[] = [];
    const ids: unknown[] = [];
    let partial = Buffer.alloc(0);
    while (texts.length < bodies.length) {
      got = await peer.transfers(1);
      for (const { fields, payload, channel } of got) {
        t.is(channel, kind.channel);
        t.is(fields[0]!.value, kind.handle);
        t.is(fields[4]!.value, kind.sndSettleMode === 1);
        partial = Buffer.concat([partial, payload]);
        if (fields[1]?.type !== "null") ids.push(fields[1]!.value);
        if (fields[2]?.type !== "null") {
          t.is((fields[2]!.value as Buffer).readUInt32BE(), fields[1]!.value as number);
        }
        if (fields[5]?.value === true) continue;
        texts.push(textOf(partial));
        partial = Buffer.alloc(0);
      }
    }
    t.deepEqual(texts, bodies, kind.name);
    t.deepEqual(
      ids,
      bodies.map((_, i) => i),
    );
    await peer.settled();
    t.false(peer.has(PERFORMATIVE.TRANSFER));
  }
  await broker.close();
});

test("each receiver's window and credit bound what it gets, whatever the others take", async (t) => {
  const broker = await openTestBroker();
  const adapter = amqpAdapter(broker);
  const quick: AmqpPeer[] = [];
  for (let i = 0; i < 3; i++) {
    const peer = await AmqpPeer.connect(broker, { adapter });
    await peer.receiver(TOPIC);
    peer.flow({ handle: 0, credit: 1000 });
    quick.push(peer);
  }
  const few = await AmqpPeer.connect(broker, { adapter });
  await few.receiver(TOPIC);
  few.flow({ handle: 0, credit: 7 });
  const narrow = await AmqpPeer.connect(broker, { adapter });
  await narrow.receiver(TOPIC);
  narrow.flow({ handle: 0, credit: 1000, incomingWindow: 5 });
  await narrow.settled();
  const writer = await AmqpPeer.connect(broker, { adapter });
  await writer.sender(TOPIC);
  await writer.next(PERFORMATIVE.FLOW);
  const bodies = Array.from({ length: 60 }, (_, i) => `${i}`);
  for (const body of bodies) writer.transfer(message(body));
  const texts = (frames: readonly PeerFrame[]): string[] => frames.map((f) => textOf(f.payload));
  for (const peer of quick) t.deepEqual(texts(await peer.transfers(60)), bodies);
  t.deepEqual(texts(await few.transfers(7)), bodies.slice(0, 7));
  t.deepEqual(texts(await narrow.transfers(5)), bodies.slice(0, 5));
  await narrow.settled();
  t.false(few.has(PERFORMATIVE.TRANSFER));
  t.false(narrow.has(PERFORMATIVE.TRANSFER));
  narrow.flow({ nextIncomingId: 5, incomingWindow: 1000 });
  t.deepEqual(texts(await narrow.transfers(55)), bodies.slice(5));
  few.disposition(0, 6, ACCEPTED);
  few.flow({ handle: 0, deliveryCount: 7, credit: 1000 });
  t.deepEqual(texts(await few.transfers(53)), bodies.slice(7));
  await broker.close();
});
