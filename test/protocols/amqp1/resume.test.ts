/** Links that come back with deliveries they are in doubt about (AMQP 1.0 part 2, 2.6.13): nothing is lost, nothing stored twice. */
import test, { type ExecutionContext } from "ava";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import {
  binary,
  bool,
  composite,
  map,
  NULL,
  uint,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { LinkReceipts, Receipts } from "../../../protocols/amqp1/receipts.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import {
  AmqpPeer,
  amqpAdapter,
  message,
  open,
  type PeerFrame,
  target,
  textOf,
} from "./support/peer.ts";

const SECOND = 1;
const tag = (text: string): Buffer => Buffer.from(text);
const inDoubt = (...tags: string[]): Value => map(tags.map((each) => [binary(tag(each)), NULL]));

async function scene(t: ExecutionContext) {
  const broker = await openTestBroker();
  t.teardown(() => broker.close());
  const adapter = amqpAdapter(broker);
  const back = async (
    unsettled: Value | undefined,
    options: { rcvSettleMode?: number; containerId?: string; isIncompleteUnsettled?: boolean } = {},
  ) => {
    const { containerId = "app", ...link } = options;
    const peer = await AmqpPeer.connect(broker, { adapter, open: open({ containerId }) });
    const attached = await peer.sender({
      name: "orders",
      target: target("q", { durable: 2 }),
      rcvSettleMode: SECOND,
      ...(unsettled === undefined ? {} : { unsettled }),
      ...link,
    });
    await peer.next(PERFORMATIVE.FLOW);
    return { peer, states: statesOf(attached) };
  };
  return { broker, adapter, back };
}

/** Tag and state of our map: 0x24 accepted, 0x23 received. */
function statesOf(attached: PeerFrame): Record<string, number> {
  const unsettled = attached.fields[7];
  if (unsettled?.type !== "map") return {};
  return Object.fromEntries(
    unsettled.value.map(([key, state]) => [
      (key.value as Buffer).toString(),
      state.type === "described" ? Number(state.descriptor.value) : -1,
    ]),
  );
}

/** The producer settles what it sent, as it does in mode second. */
const settles = (peer: AmqpPeer, first: number, last: number): void =>
  peer.send(
    composite(PERFORMATIVE.DISPOSITION, [bool(false), uint(first), uint(last), bool(true)]),
  );

async function stored(t: ExecutionContext, test: TestBroker, texts: string[]): Promise<void> {
  const peer = await AmqpPeer.connect(test);
  await peer.receiver({ address: "q" });
  peer.flow({ handle: 0, credit: 100 });
  const got = texts.length === 0 ? [] : await peer.transfers(texts.length);
  await peer.settled();
  t.deepEqual(
    got.map(({ payload }) => textOf(payload)),
    texts,
  );
  t.false(peer.has(PERFORMATIVE.TRANSFER), "and nothing more");
  peer.close();
  await peer.next(PERFORMATIVE.CLOSE);
}

async function lose(peer: AmqpPeer): Promise<void> {
  peer.wire.sendEnd();
  await peer.settled();
}

test("of what a producer is in doubt about it is told what is stored; the rest it sends again: all of it once", async (t) => {
  const { broker, back } = await scene(t);
  const { peer } = await back(undefined);
  for (const text of ["a", "b", "c"]) peer.transfer(message(text), { tag: tag(text) });
  await peer.next(PERFORMATIVE.DISPOSITION, "the outcome");
  await peer.settled();
  settles(peer, 0, 0);
  await peer.settled();
  await lose(peer);
  // "d" was written and never arrived.
  const again = await back(inDoubt("b", "c", "d"));
  t.deepEqual(again.states, { b: 0x24, c: 0x24 });
  // It says good-bye to one, sends another all the same, and what did not arrive as a new one.
  again.peer.transfer(Buffer.alloc(0), { tag: tag("b"), isResumed: true, isSettled: true });
  again.peer.transfer(message("c"), { tag: tag("c"), isResumed: true });
  again.peer.transfer(message("d"), { tag: tag("d") });
  const told = await again.peer.next(PERFORMATIVE.DISPOSITION, "the outcome");
  t.is((told.fields[4] as { descriptor: Value }).descriptor.value, 0x24);
  await again.peer.settled();
  await stored(t, broker, ["a", "b", "c", "d"]);
});

test("a large delivery that is resumed is collected and not stored again", async (t) => {
  const { broker, back } = await scene(t);
  const { peer } = await back(undefined);
  const text = "x".repeat(5000);
  peer.transfer(message(text), { tag: tag("big") });
  await peer.next(PERFORMATIVE.DISPOSITION);
  await lose(peer);
  const { peer: again, states } = await back(inDoubt("big"));
  t.deepEqual(states, { big: 0x24 });
  const bytes = message(text);
  const id = again.transfer(bytes.subarray(0, 100), {
    tag: tag("big"),
    isResumed: true,
    hasMore: true,
  });
  again.transfer(bytes.subarray(100), { deliveryId: id, isContinuation: true });
  await again.next(PERFORMATIVE.DISPOSITION);
  await stored(t, broker, [text]);
});

test("tags that may stand for another message are forgotten: settled, named no more, begun anew, or of another link", async (t) => {
  const { broker, back } = await scene(t);
  const { peer } = await back(undefined);
  for (const text of ["a", "b"]) peer.transfer(message(text), { tag: tag(text) });
  await peer.next(PERFORMATIVE.DISPOSITION);
  await peer.settled();
  settles(peer, 0, 1);
  await peer.settled();
  await lose(peer);
  const second = await back(inDoubt("a"));
  t.deepEqual(second.states, {}, "settled by the producer");
  second.peer.transfer(message("a2"), { tag: tag("a") });
  await second.peer.next(PERFORMATIVE.DISPOSITION);
  await lose(second.peer);
  const other = await back(inDoubt("a"), { containerId: "other" });
  t.deepEqual(other.states, {}, "of another container");
  const third = await back(inDoubt("z"));
  t.deepEqual(third.states, {}, "no longer named");
  await lose(third.peer);
  const fourth = await back(inDoubt("a"));
  t.deepEqual(fourth.states, {});
  fourth.peer.transfer(message("a3"), { tag: tag("a") });
  await fourth.peer.next(PERFORMATIVE.DISPOSITION);
  // Attached while it is attached: another client, for all we know.
  const fifth = await back(inDoubt("a"));
  t.deepEqual(fifth.states, {});
  await lose(fourth.peer);
  fifth.peer.transfer(message("a4"), { tag: tag("a") });
  await fifth.peer.next(PERFORMATIVE.DISPOSITION);
  await lose(fifth.peer);
  const sixth = await back(undefined);
  t.deepEqual(sixth.states, {}, "begun anew");
  await lose(sixth.peer);
  t.deepEqual((await back(inDoubt("a"))).states, {});
  await stored(t, broker, ["a", "b", "a2", "a3", "a4"]);
});

test("a list that had no room for all says nothing of what is not in it", async (t) => {
  const { back } = await scene(t);
  const { peer } = await back(undefined);
  for (const text of ["a", "b"]) peer.transfer(message(text), { tag: tag(text) });
  await peer.next(PERFORMATIVE.DISPOSITION);
  await lose(peer);
  const { states } = await back(inDoubt("a"), { isIncompleteUnsettled: true });
  t.deepEqual(states, { a: 0x24, b: 0x24 });
});

test("in mode first what was confirmed is settled: nothing is kept, and a reused tag is a new message", async (t) => {
  const { broker, back } = await scene(t);
  const { peer } = await back(undefined, { rcvSettleMode: 0 });
  peer.transfer(message("a"), { tag: tag("t") });
  await peer.next(PERFORMATIVE.DISPOSITION);
  await lose(peer);
  const again = await back(inDoubt("t"), { rcvSettleMode: 0 });
  t.deepEqual(again.states, {});
  again.peer.transfer(message("b"), { tag: tag("t") });
  await again.peer.next(PERFORMATIVE.DISPOSITION);
  await stored(t, broker, ["a", "b"]);
});

test("a delivery that is resumed without its message, and unknown, ends the link", async (t) => {
  const { broker, back } = await scene(t);
  const { peer } = await back(inDoubt("ghost"));
  peer.transfer(Buffer.alloc(0), { tag: tag("ghost"), isResumed: true, isSettled: true });
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.DETACH), "settled: there is nothing to do");
  peer.transfer(Buffer.alloc(0), { tag: tag("ghost"), isResumed: true });
  const told = await peer.next(PERFORMATIVE.DISPOSITION);
  t.is((told.fields[4] as { descriptor: Value }).descriptor.value, 0x25, "rejected");
  await stored(t, broker, []);
});

test("what the disk has not got yet is told as received; what has no room makes the list incomplete", (t) => {
  const receipts = new Receipts();
  receipts.note("a", 10);
  receipts.note("b", 20);
  const states = (durableTo: number, frame = 100_000) => {
    const { unsettled, isIncomplete } = receipts.answer(durableTo, frame);
    const entries = unsettled.type === "map" ? unsettled.value : [];
    return [
      ...entries.map(([, state]) => (state.type === "described" ? state.descriptor.value : 0)),
      isIncomplete,
    ];
  };
  t.deepEqual(states(10), [0x24, 0x23, false]);
  t.deepEqual(states(20), [0x24, 0x24, false]);
  t.deepEqual(states(20, 4_096 + 48), [0x24, true]);
  t.deepEqual(states(20, 512), [true]);
  for (let i = 0; i < 9_000; i++) receipts.note(`${i}`, i);
  t.is(receipts.size, 8_192);
  t.is(receipts.positionOf("a"), undefined, "the oldest go");
});

test("links that do not come back are forgotten", (t) => {
  const links = new LinkReceipts();
  links.of("a", 0).note("t", 1);
  t.is(links.of("a", 3_600_000).positionOf("t"), 1);
  t.is(links.of("a", 7_200_001).positionOf("t"), undefined);
  for (let i = 0; i < 10_001; i++) links.of(`${i}`, 7_200_001).note("t", 1);
  t.is(links.of("0", 7_200_001).size, 0, "the one used longest ago");
  t.is(links.of("10000", 7_200_001).size, 1);
});
