import test from "ava";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { AmqpPeer, target } from "./support/peer.ts";

const NOT_FOUND = /amqp:not-found/;

test("services of other brokers are not found, and no queue of their name is made", async (t) => {
  const test = await openTestBroker();
  const peer = await AmqpPeer.connect(test);
  let handle = 0;
  for (const address of ["$management", "/management", "$cbs"]) {
    await peer.receiver({ handle: handle++, address });
    t.regex(JSON.stringify((await peer.next(PERFORMATIVE.DETACH)).fields), NOT_FOUND, address);
    await peer.sender({ handle: handle++, address });
    t.regex(JSON.stringify((await peer.next(PERFORMATIVE.DETACH)).fields), NOT_FOUND, address);
  }
  t.deepEqual([...test.broker.registry.nodes()], []);
  await peer.receiver({ handle, address: "$management", capabilities: ["queue"] });
  t.truthy(test.broker.registry.find("queue", "/", "$management"), "who says queue means one");
  await test.close();
});

test("what does not exist and may not be made is refused at attach, and rejected where each message says where to", async (t) => {
  const test = await openTestBroker();
  test.broker.directory.mayCreate = false;
  const peer = await AmqpPeer.connect(test);
  await peer.sender({ handle: 0, address: "nowhere" });
  t.regex(JSON.stringify((await peer.next(PERFORMATIVE.DETACH)).fields), NOT_FOUND);
  await peer.sender({ handle: 1, target: target(null) });
  await peer.next(PERFORMATIVE.FLOW);
  // Properties with to = "nowhere", then a body.
  const properties = Buffer.from("\x00\x53\x73\xc0\x0c\x03\x40\x40\xa1\x07nowhere", "latin1");
  peer.transfer(Buffer.concat([properties, Buffer.from("\x00Su\xa0\x01x", "latin1")]), {
    handle: 1,
  });
  const { fields } = await peer.next(PERFORMATIVE.DISPOSITION);
  t.regex(JSON.stringify(fields), NOT_FOUND);
  t.deepEqual([...test.broker.registry.nodes()], []);
  await test.close();
});
