/** STOMP over the real broker, without sockets: what is sent comes out, is confirmed when it is safe, and is settled. */
import test from "ava";
import { StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

test("a message sent is delivered with its headers, in their order, with repeats", async (t) => {
  const broker = await openTestBroker();
  const peer = await StompPeer.connect(broker);
  peer.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
  peer.send("SEND\ndestination:/queue/a\nb:2\na:1\na:3\nx\\cy:p\\nq\\\\\n\nhello\0");
  const message = await peer.take("MESSAGE");
  t.is(message.headers["destination"], "/queue/a");
  t.is(message.headers["subscription"], "s");
  t.is(message.headers["content-length"], "5");
  t.is(message.body.toString(), "hello");
  t.deepEqual(
    message.lines.filter(([name]) => ["a", "b", "x:y"].includes(name)),
    [
      ["b", "2"],
      ["a", "1"],
      ["a", "3"],
      ["x:y", "p\nq\\"],
    ],
  );
  peer.send(`ACK\nid:${message.headers["ack"]}\nreceipt:r\n\n\0`);
  t.is((await peer.take("RECEIPT")).headers["receipt-id"], "r");
  await broker.close();
});
