/** The attach of a durable subscription is answered when the subscription is safe. */
import test from "ava";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { AmqpPeer, attach, message, open, source, textOf } from "./support/peer.ts";

const DURABLE = {
  name: "sub",
  isReceiver: true,
  source: source("t.x", { durable: 2, expiry: "never", capabilities: ["topic"] }),
};

async function attaching() {
  const broker = await openTestBroker();
  const options = { open: open({ containerId: "client" }) };
  const peer = await AmqpPeer.connect(broker, options);
  broker.store.isManual = true;
  peer.send(attach(DURABLE));
  return { broker, peer };
}

test("a durable subscription is announced once it is on the disk; nothing is delivered before", async (t) => {
  const { broker, peer } = await attaching();
  peer.flow({ handle: 0, credit: 10 });
  await peer.sender({ address: "t.x", handle: 1, capabilities: ["topic"] });
  peer.transfer(message("early"), { handle: 1, isSettled: true });
  await peer.settled();
  const before = peer.frames.filter(({ code }) => code === PERFORMATIVE.ATTACH);
  t.is(before.length, 0, "only the sender's attach was answered");
  t.false(peer.has(PERFORMATIVE.TRANSFER));
  broker.store.sync();
  await peer.next(PERFORMATIVE.ATTACH);
  t.is(textOf((await peer.transfers(1))[0]!.payload), "early");
  await broker.close();
});

test("attached again, it is announced at once", async (t) => {
  const { broker, peer } = await attaching();
  await peer.settled();
  broker.store.sync();
  await peer.next(PERFORMATIVE.ATTACH);
  peer.detach(0, false);
  await peer.next(PERFORMATIVE.DETACH);
  peer.send(attach(DURABLE));
  t.truthy(await peer.next(PERFORMATIVE.ATTACH));
  await broker.close();
});

test("who leaves before that hears of the attach first", async (t) => {
  const { broker, peer } = await attaching();
  peer.detach(0, true);
  await peer.next(PERFORMATIVE.ATTACH);
  t.truthy(await peer.next(PERFORMATIVE.DETACH));
  await broker.close();
});
