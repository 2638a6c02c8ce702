/** Broken streams, by the thousand: none harms the broker, each gets a readable answer, nobody else notices. */
import test from "ava";
import { createAdapter } from "../../../protocols/stomp/adapter.ts";
import { type Logger, SILENT } from "../../../src/telemetry/log.ts";
import { Random } from "../../support/random.ts";
import { StompPeer, TEST_AUTHENTICATOR } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";

const STREAMS = 2500;

const GOOD = [
  "SEND\ndestination:/queue/m\nreceipt:1\n\nhello\0",
  "SEND\ndestination:/queue/m\ncontent-length:5\nx:\\c\\n\\\\\n\nhe\0lo\0",
  "SEND\ndestination:/topic/m.n\npriority:9\nexpires:0\nexpiration:1000\n\n\0",
  "SEND\ndestination:/queue/a,/queue/b\nreply-to:/temp-queue/r\ncorrelation-id:1\n\nx\0",
  "SUBSCRIBE\nid:1\ndestination:/queue/m\nack:client\nprefetch-count:5\n\n\0",
  "SUBSCRIBE\nid:2\ndestination:/topic/m.*\nfrom:first\nno-local:true\n\n\0",
  "SUBSCRIBE\nid:3\ndestination:/queue/m\nbrowser:true\n\n\0",
  "ACK\nid:1-1-0\n\n\0",
  "NACK\nid:1-1-0\nrequeue:false\n\n\0",
  "UNSUBSCRIBE\nid:1\n\n\0",
  "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/m\ntransaction:t\n\nx\0COMMIT\ntransaction:t\n\n\0",
  "ABORT\ntransaction:t\n\n\0",
  "\n\r\n\n",
  "DISCONNECT\nreceipt:bye\n\n\0",
];
const CONNECTS = [
  "CONNECT\naccept-version:1.0,1.1,1.2\nhost:/\nheart-beat:1000,1000\n\n\0",
  "STOMP\naccept-version:1.1\nhost:localhost\nlogin:joe\npasscode:x\n\n\0",
  "CONNECT\n\n\0",
];
/** Bytes that mean something. */
const TOKENS = [
  "\0",
  "\n",
  "\r",
  ":",
  "\\",
  "\\t",
  ",",
  "-",
  "\xff",
  "content-length:",
  "99999999999",
  "destination:",
];

/** One stream: good frames with up to four mutations. */
function brokenStream(random: Random): Buffer {
  let text = random.pick(CONNECTS);
  for (let i = random.below(6); i >= 0; i--) text += random.pick(GOOD);
  let bytes = Buffer.from(text, "latin1");
  for (let i = random.between(1, 4); i > 0; i--) {
    const at = random.below(bytes.length);
    const before = bytes.subarray(0, at);
    switch (random.below(5)) {
      case 0:
        bytes = Buffer.from(bytes);
        bytes[at] = random.below(256);
        break;
      case 1:
        bytes = Buffer.concat([
          before,
          Buffer.from(random.pick(TOKENS), "latin1"),
          bytes.subarray(at),
        ]);
        break;
      case 2:
        bytes = Buffer.concat([before, bytes.subarray(at + random.between(1, 8))]);
        break;
      case 3:
        bytes = Buffer.from(before);
        break;
      default: {
        const from = random.below(bytes.length);
        bytes = Buffer.concat([before, bytes.subarray(from)]);
      }
    }
    if (bytes.length === 0) bytes = Buffer.from("\0");
  }
  return bytes;
}

test(`${STREAMS} broken streams cost nobody but their sender`, async (t) => {
  const broker = await openTestBroker();
  const bugs: string[] = [];
  const logger: Logger = {
    ...SILENT,
    error: (event, fields) => bugs.push(`${event} ${fields?.["error"]}`),
    child: () => logger,
  };
  const adapter = createAdapter({
    broker: broker.broker,
    authenticator: TEST_AUTHENTICATOR,
    logger,
  });
  const witness = await StompPeer.connect(broker);
  witness.send("SUBSCRIBE\nid:0\ndestination:/queue/witness\n\n\0");
  for (let seed = 1; seed <= STREAMS; seed++) {
    const random = new Random(seed);
    const stream = brokenStream(random);
    const peer = new StompPeer(broker, adapter);
    const pieces = random.chance(30) ? random.between(1, 20) : stream.length;
    try {
      peer.send(stream, pieces);
      peer.wire.flush();
      if (seed % 5 === 0) await new Promise((resolve) => setImmediate(resolve));
      peer.wire.sendEnd();
    } catch (error) {
      t.fail(`seed ${seed}: ${error} on ${JSON.stringify(stream.toString("latin1"))}`);
    }
    t.deepEqual(bugs, [], `seed ${seed}: ${JSON.stringify(stream.toString("latin1"))}`);
    for (const frame of peer.frames) {
      t.regex(frame.command, /^(CONNECTED|MESSAGE|RECEIPT|ERROR)$/, `seed ${seed}`);
    }
  }
  await new Promise((resolve) => setTimeout(resolve, 10));
  witness.send("SEND\ndestination:/queue/witness\nreceipt:w\n\nstill here\0");
  t.is((await witness.take("MESSAGE")).body.toString(), "still here");
  await witness.take("RECEIPT");
  t.is(broker.broker.connections.size, 1);
  await broker.close();
});
