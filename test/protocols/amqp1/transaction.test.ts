import test from "ava";
import { PERFORMATIVE, SECTION } from "../../../protocols/amqp1/codec/codes.ts";
import { encodeValue } from "../../../protocols/amqp1/codec/encode.ts";
import {
  binary,
  bool,
  composite,
  described,
  NULL,
  string,
  symbolList,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";
import { ACCEPTED, AmqpPeer, errorOf, message, type PeerFrame, textOf } from "./support/peer.ts";

const COORDINATOR = composite(0x30, []);
const valueSection = (value: Value): Buffer => encodeValue(described(SECTION.VALUE, value));
const declare = valueSection(composite(0x31, []));
const discharge = (txnId: Buffer, fail = false): Buffer =>
  valueSection(composite(0x32, [binary(txnId), bool(fail)]));
const transactional = (txnId: Buffer, outcome?: Value): Value =>
  composite(0x34, [binary(txnId), outcome ?? NULL]);

const stateOf = (frame: PeerFrame): { code: number; fields: readonly Value[] } => {
  const state = frame.fields[4]!;
  return state.type === "described" && state.value.type === "list"
    ? { code: Number(state.descriptor.value), fields: state.value.value }
    : { code: -1, fields: [] };
};

/** A peer with a coordinator on handle 9 and a sender on handle 0. */
async function transacting(test: TestBroker, settings = {}): Promise<AmqpPeer> {
  const peer = await AmqpPeer.connect(test, { settings });
  const attached = await peer.sender({ handle: 9, name: "coordinator", target: COORDINATOR });
  const target = attached.fields[6]!;
  if (target.type !== "described" || target.value.type !== "list")
    throw new Error("no coordinator");
  if (symbolList(target.value.value[0])?.[0] !== "amqp:local-transactions") throw new Error("caps");
  await peer.next(PERFORMATIVE.FLOW);
  await peer.sender({ handle: 0 });
  await peer.next(PERFORMATIVE.FLOW);
  return peer;
}

async function begin(peer: AmqpPeer): Promise<Buffer> {
  peer.transfer(declare, { handle: 9 });
  const { code, fields } = stateOf(await peer.next(PERFORMATIVE.DISPOSITION));
  if (code !== 0x33) throw new Error("not declared");
  return fields[0]!.value as Buffer;
}

async function end(
  peer: AmqpPeer,
  txnId: Buffer,
  fail = false,
): Promise<ReturnType<typeof stateOf>> {
  peer.transfer(discharge(txnId, fail), { handle: 9 });
  return stateOf(await peer.next(PERFORMATIVE.DISPOSITION));
}

async function drained(test: TestBroker, address = "q"): Promise<string[]> {
  const peer = await AmqpPeer.connect(test);
  await peer.receiver({ address });
  peer.flow({ handle: 0, credit: 100, isDrain: true });
  await until("the drain is over", () => peer.has(PERFORMATIVE.FLOW));
  const got = peer.frames.filter((frame) => frame.code === PERFORMATIVE.TRANSFER);
  peer.close();
  return got.map((frame) => textOf(frame.payload));
}

test("messages of a transaction appear all together with its commit", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  const txn = await begin(peer);
  t.true(txn.length >= 8 && txn.length <= 16);
  peer.transfer(message("a"), { state: transactional(txn) });
  const answer = stateOf(await peer.next(PERFORMATIVE.DISPOSITION));
  t.is(answer.code, 0x34);
  t.deepEqual(answer.fields[0]!.value, txn);
  const outcome = answer.fields[1]!;
  t.is(outcome.type === "described" ? outcome.descriptor.value : 0, 0x24);
  peer.transfer(message("b"), { state: transactional(txn), isSettled: true });
  await peer.settled();
  t.deepEqual(await drained(broker), []);
  t.is((await end(peer, txn)).code, 0x24);
  t.deepEqual(await drained(broker), ["a", "b"]);
  await broker.close();
});

test("messages of a transaction that is rolled back never were", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  const txn = await begin(peer);
  peer.transfer(message("a"), { state: transactional(txn) });
  await peer.next(PERFORMATIVE.DISPOSITION);
  t.is((await end(peer, txn, true)).code, 0x24);
  t.deepEqual(await drained(broker), []);
  await broker.close();
});

test("a commit is accepted when it is durable, not before", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  const txn = await begin(peer);
  peer.transfer(message("a"), { state: transactional(txn), isSettled: true });
  broker.store.isManual = true;
  peer.transfer(discharge(txn), { handle: 9 });
  await peer.settled();
  t.false(peer.has(PERFORMATIVE.DISPOSITION));
  broker.store.sync();
  await peer.next(PERFORMATIVE.DISPOSITION);
  await broker.close();
});

test("acknowledgements of a transaction count with its commit, come back failed with its rollback", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  for (const body of ["a", "b"]) peer.transfer(message(body), { isSettled: true });
  await peer.receiver({ handle: 1 });
  peer.flow({ handle: 1, credit: 1 });
  await peer.transfers(1);
  let txn = await begin(peer);
  peer.disposition(0, 0, transactional(txn, ACCEPTED));
  t.is((await end(peer, txn, true)).code, 0x24);
  peer.flow({ handle: 1, credit: 1, deliveryCount: 1, nextIncomingId: 1 });
  const [again] = await peer.transfers(1);
  t.is(textOf(again!.payload), "a");
  txn = await begin(peer);
  peer.disposition(1, 1, transactional(txn, ACCEPTED));
  // The consumer may go before the commit.
  peer.detach(1);
  await peer.next(PERFORMATIVE.DETACH);
  t.is((await end(peer, txn)).code, 0x24);
  t.deepEqual(await drained(broker), ["b"]);
  await broker.close();
});

test("an acknowledgement in a transaction that is not settled is answered", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  peer.transfer(message("a"), { isSettled: true });
  await peer.receiver({ handle: 1 });
  peer.flow({ handle: 1, credit: 1 });
  await peer.transfers(1);
  const txn = await begin(peer);
  peer.disposition(0, 0, transactional(txn, ACCEPTED), false);
  const answer = await peer.next(PERFORMATIVE.DISPOSITION);
  t.false(answer.fields[0]!.value, "role sender");
  t.true(answer.fields[3]!.value, "settled");
  t.is(stateOf(answer).code, 0x34);
  await end(peer, txn);
  t.deepEqual(await drained(broker), []);
  await broker.close();
});

test("a sender may go before its messages are committed", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  const txn = await begin(peer);
  peer.transfer(message("a"), { state: transactional(txn), isSettled: true });
  peer.detach(0);
  await peer.next(PERFORMATIVE.DETACH);
  t.is((await end(peer, txn)).code, 0x24);
  t.deepEqual(await drained(broker), ["a"]);
  await broker.close();
});

test("several transactions live side by side", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  const one = await begin(peer);
  const two = await begin(peer);
  t.notDeepEqual(one, two);
  peer.transfer(message("one"), { state: transactional(one), isSettled: true });
  peer.transfer(message("two"), { state: transactional(two), isSettled: true });
  await end(peer, one, true);
  await end(peer, two);
  t.deepEqual(await drained(broker), ["two"]);
  await broker.close();
});

test("a discharge and the next declare may be sent together", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  let txn = await begin(peer);
  for (let round = 0; round < 120; round++) {
    peer.transfer(discharge(txn), { handle: 9 });
    peer.transfer(declare, { handle: 9 });
    const seen: Array<ReturnType<typeof stateOf>> = [];
    while (seen.length < 2) {
      const frame = await peer.next(PERFORMATIVE.DISPOSITION);
      const first = Number(frame.fields[1]!.value);
      const last = Number(frame.fields[2]?.value ?? first);
      for (let id = first; id <= last; id++) seen.push(stateOf(frame));
    }
    t.deepEqual(
      seen.map(({ code }) => code),
      [0x24, 0x33],
    );
    txn = seen[1]!.fields[0]!.value as Buffer;
  }
  await broker.close();
});

test("transactions end with their coordinator link, and with their connection", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  peer.transfer(message("a"), { isSettled: true });
  await peer.receiver({ handle: 1 });
  peer.flow({ handle: 1, credit: 1 });
  await peer.transfers(1);
  const txn = await begin(peer);
  peer.disposition(0, 0, transactional(txn, ACCEPTED));
  peer.transfer(message("b"), { state: transactional(txn), isSettled: true });
  peer.detach(9);
  await peer.next(PERFORMATIVE.DETACH);
  peer.flow({ handle: 1, credit: 1, deliveryCount: 1, nextIncomingId: 1 });
  t.is(textOf((await peer.transfers(1))[0]!.payload), "a");
  await peer.sender({ handle: 9, name: "coordinator", target: COORDINATOR });
  await peer.next(PERFORMATIVE.FLOW);
  const other = await begin(peer);
  peer.disposition(1, 1, transactional(other, ACCEPTED));
  peer.wire.sendEnd();
  t.deepEqual(await drained(broker), ["a"]);
  await broker.close();
});

test("unknown transactions are refused where they are named", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  const unknown = Buffer.from("12345678");
  const rejected = await end(peer, unknown);
  t.is(rejected.code, 0x25);
  t.is(errorOf(rejected.fields[0]).condition, "amqp:transaction:unknown-id");
  const txn = await begin(peer);
  await end(peer, txn);
  t.is((await end(peer, txn)).code, 0x25, "it is over");
  peer.transfer(message("x"), { state: transactional(unknown) });
  const detached = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(detached.fields[2]).condition, "amqp:transaction:unknown-id");
  await broker.close();
});

test("what is no declare and no discharge is rejected; a global id is not offered", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker);
  for (const [payload, condition] of [
    [message("text"), "amqp:not-allowed"],
    [valueSection(string("x")), "amqp:not-allowed"],
    [valueSection(composite(0x31, [string("global")])), "amqp:not-implemented"],
    [valueSection(composite(0x32, [])), "amqp:decode-error"],
    [Buffer.from("rubbish"), "amqp:decode-error"],
  ] as const) {
    peer.transfer(payload, { handle: 9 });
    const { code, fields } = stateOf(await peer.next(PERFORMATIVE.DISPOSITION));
    t.is(code, 0x25);
    t.is(errorOf(fields[0]).condition, condition);
  }
  await broker.close();
});

test("an idle transaction is rolled back, and says so when it is discharged", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker, { transactionTimeoutMs: 1_000 });
  peer.transfer(message("kept"), { isSettled: true });
  await peer.receiver({ handle: 1 });
  peer.flow({ handle: 1, credit: 1 });
  await peer.transfers(1);
  const txn = await begin(peer);
  peer.transfer(message("a"), { state: transactional(txn), isSettled: true });
  await peer.settled();
  peer.wire.tick(broker.turn.uptime + 2_000);
  peer.transfer(message("late"), { state: transactional(txn) });
  const late = stateOf(await peer.next(PERFORMATIVE.DISPOSITION));
  t.is(late.code, 0x25);
  peer.disposition(0, 0, transactional(txn, ACCEPTED));
  const answer = await end(peer, txn);
  t.is(errorOf(answer.fields[0]).condition, "amqp:transaction:timeout");
  t.deepEqual(await drained(broker), ["kept"]);
  await broker.close();
});

test("a connection has a bounded number of open transactions", async (t) => {
  const broker = await openTestBroker();
  const peer = await transacting(broker, { maxTransactions: 2 });
  const first = await begin(peer);
  await begin(peer);
  peer.transfer(declare, { handle: 9 });
  const refused = stateOf(await peer.next(PERFORMATIVE.DISPOSITION));
  t.is(errorOf(refused.fields[0]).condition, "amqp:resource-limit-exceeded");
  await end(peer, first, true);
  await begin(peer);
  await broker.close();
});
