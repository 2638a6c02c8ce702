/** Frames that are like those before take a shorter way, in and out: nobody can tell. */
import test from "ava";
import fc from "fast-check";
import { bodiesOf, leave, leftIn, publish } from "../../support/stomp-helpers.ts";
import { type Frame, StompPeer } from "../../support/stomp-peer.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";

const ids = (frames: readonly Frame[], name: string): string[] =>
  frames.map((frame) => frame.headers[name] ?? "");

/** A few messages, each either like the one before or not. */
const kinds = [
  (n: number) => `SEND\ndestination:/queue/a\ncontent-length:${String(n).length}\nreceipt:${n}\n`,
  (n: number) => `SEND\ndestination:/queue/a\nreceipt:${n}\n`,
  (n: number) => `SEND\ndestination:/queue/a\ncolour:red\nreceipt:${n}\n`,
  (n: number) => `SEND\ndestination:/queue/a\ncolour:blue\npriority:4\nreceipt:${n}\n`,
  (n: number) => `SEND\r\ndestination:/queue/a\r\nreceipt:r-${n}\r\nnumber:${n}\r\n`,
  (n: number) => `SEND\ndestination:/queue/a\npersistent:false\nreceipt:a\\c${n}\n`,
  (n: number) =>
    `SEND\ndestination:/queue/a\nnumber:${n}\ncontent-type:text/plain\nreceipt:r-${n}\n`,
  () => "SEND\ndestination:/queue/a\nreply-to:/queue/b\nexpires:99999999999999\n",
] as const;

test("a stream of frames that repeat each other comes out as it went in, cut anywhere", async (t) => {
  const order = fc.array(fc.tuple(fc.nat(kinds.length - 1), fc.integer({ min: 1, max: 12 })), {
    minLength: 1,
    maxLength: 6,
  });
  await fc.assert(
    fc.asyncProperty(order, fc.integer({ min: 1, max: 300 }), async (runs, pieceBytes) => {
      const broker = await openTestBroker();
      const reader = await StompPeer.connect(broker);
      reader.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client-individual\n\n\0");
      const sender = await StompPeer.connect(broker);
      let text = "";
      const sent: Array<readonly [kind: number, n: number]> = [];
      for (const [kind, times] of runs) {
        for (let i = 0; i < times; i++) {
          const n = sent.length * 7;
          text += `${kinds[kind]!(n)}\n${n}\0${n % 3 === 0 ? "\n" : ""}`;
          sent.push([kind, n]);
        }
      }
      sender.send(text, pieceBytes);
      const messages = await reader.takeMessages(sent.length);
      t.deepEqual(
        bodiesOf(messages),
        sent.map(([, n]) => String(n)),
      );
      for (const [i, [kind, n]] of sent.entries()) {
        const { headers } = messages[i]!;
        t.is(headers["colour"], kind === 2 ? "red" : kind === 3 ? "blue" : undefined);
        t.is(headers["priority"], kind === 3 ? "4" : undefined);
        t.is(headers["number"], kind === 4 || kind === 6 ? String(n) : undefined);
        t.is(headers["persistent"], kind === 5 ? undefined : "true");
        t.is(headers["reply-to"], kind === 7 ? "/queue/b" : undefined);
        t.is(headers["expires"], kind === 7 ? "99999999999999" : undefined);
        t.is(headers["content-length"], String(n).length.toString());
      }
      const receipts = sent
        .filter(([kind]) => kind !== 7)
        .map(([kind, n]) =>
          kind === 4 || kind === 6 ? `r-${n}` : kind === 5 ? `a:${n}` : String(n),
        );
      await until("all receipts", () => sender.frames.length === receipts.length);
      t.deepEqual(ids(sender.frames, "receipt-id"), receipts);
      reader.send(
        messages.map(({ headers }) => `ACK\nid:${headers["ack"]}\n\n\0`).join(""),
        pieceBytes,
      );
      await reader.settled();
      await leave(reader);
      t.deepEqual(await leftIn(broker, "/queue/a"), []);
      await broker.close();
    }),
    { numRuns: 60 },
  );
});

test("numbers of deliveries count on over every power of ten, in message-id and ack", async (t) => {
  const broker = await openTestBroker();
  const reader = await StompPeer.connect(broker);
  reader.send(
    "SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client-individual\nprefetch-count:0\n\n\0",
  );
  await reader.settled();
  const count = 1234;
  await publish(broker, "/queue/a", new Array(count).fill("x"));
  const messages = await reader.takeMessages(count);
  const prefix = messages[0]!.headers["ack"]!.replace(/0$/, "");
  const expected = Array.from({ length: count }, (_, i) => prefix + i);
  t.deepEqual(ids(messages, "ack"), expected);
  t.deepEqual(ids(messages, "message-id"), expected);
  await broker.close();
});

test("a body of many pieces leaves the frames around it as they are", async (t) => {
  const broker = await openTestBroker();
  const large = "large".repeat(1_000_000);
  const bodies = ["a", "b", large, "c", "d", large, large, "e", "f"];
  await publish(broker, "/queue/a", bodies);
  const reader = await StompPeer.connect(broker);
  reader.send("SUBSCRIBE\nid:0\ndestination:/queue/a\nack:client\n\n\0");
  const messages = await reader.takeMessages(bodies.length);
  for (const [i, { headers, body }] of messages.entries()) {
    t.true(body.equals(Buffer.from(bodies[i]!)), `body ${i}`);
    t.regex(headers["message-id"]!, new RegExp(`-${i}$`));
    t.deepEqual(Object.keys(headers), Object.keys(messages[0]!.headers));
  }
  await broker.close();
});

for (const mode of ["client", "client-individual"]) {
  test(`${mode}: ACKs one after the other settle what each of them names, in any order`, async (t) => {
    const broker = await openTestBroker();
    const all = Array.from({ length: 20 }, (_, i) => String(i));
    const orders: ReadonlyArray<readonly number[]> = [
      [0, 1, 2, 3, 4],
      [4, 3, 2, 1, 0],
      [0, 2, 4, 6, 8, 9, 10],
      [5, 6, 7, 0, 1, 2, 19, 18],
      [9, 10, 11],
    ];
    for (const order of orders) {
      await publish(broker, "/queue/a", all);
      const reader = await StompPeer.connect(broker);
      reader.send(`SUBSCRIBE\nid:s\ndestination:/queue/a\nack:${mode}\n\n\0`);
      const messages = await reader.takeMessages(all.length);
      const settled = new Set<string>();
      let text = "";
      for (const number of order) {
        // In client mode it would have been settled by one before it.
        if (mode === "client" && settled.has(all[number]!)) continue;
        text += `ACK\nsubscription:s\nid:${messages[number]!.headers["ack"]}\n\n\0\n`;
        for (const one of mode === "client" ? all.slice(0, number + 1) : [all[number]!]) {
          settled.add(one);
        }
      }
      reader.send(text);
      await reader.settled();
      await leave(reader);
      const left = all.filter((one) => !settled.has(one));
      t.deepEqual(await leftIn(broker, "/queue/a"), left, order.join());
      const rest = await StompPeer.connect(broker);
      rest.send("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
      await rest.takeMessages(left.length);
      await leave(rest);
    }
    await broker.close();
  });
}

test("in a row of ACKs the one that is wrong is the one that is refused", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["0", "1", "2", "3", "4"]);
  const reader = await StompPeer.connect(broker);
  reader.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
  const [a, b, c] = ids(await reader.takeMessages(5), "ack");
  reader.send([a, b, b, c].map((id) => `ACK\nid:${id}\n\n\0`).join(""));
  const error = await reader.take("ERROR");
  t.is(error.headers["message"], "Message not found");
  t.true(error.body.toString().includes(`"${b}"`));
  await reader.closed();
  t.deepEqual(await leftIn(broker, "/queue/a"), ["2", "3", "4"]);
  await broker.close();
});

test("ACKs of a subscription that has ended are not taken for those of another", async (t) => {
  const broker = await openTestBroker();
  await publish(broker, "/queue/a", ["0", "1", "2"]);
  const reader = await StompPeer.connect(broker);
  reader.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0");
  const [first, second] = ids(await reader.takeMessages(3), "ack");
  reader.send(
    `ACK\nid:${first}\n\n\0UNSUBSCRIBE\nid:s\n\n\0SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client-individual\n\n\0`,
  );
  t.deepEqual(bodiesOf(await reader.takeMessages(2)), ["1", "2"]);
  reader.send(`ACK\nid:${second}\n\n\0`);
  await reader.settled();
  await leave(reader);
  t.deepEqual(await leftIn(broker, "/queue/a"), ["1", "2"]);
  await broker.close();
});

test("in a row of SENDs the one that is refused gets the ERROR, those before it their receipts", async (t) => {
  const settings = { maxLength: 3, overflow: "reject" } as const;
  for (const strictErrors of [true, false]) {
    const broker = await openTestBroker({
      policies: [{ match: "small", kind: "queue", settings }],
    });
    const sender = await StompPeer.connect(broker, 12, { settings: { strictErrors } });
    sender.send(
      Array.from(
        { length: 5 },
        (_, i) => `SEND\ndestination:/queue/small\nreceipt:${i}\n\n${i}\0`,
      ).join(""),
    );
    const count = strictErrors ? 4 : 5;
    await until("all answers", () => sender.frames.length === count);
    const answers = sender.frames
      .map(({ command, headers }) => `${command} ${headers["receipt-id"]}`)
      .sort();
    t.deepEqual(
      answers,
      [
        "ERROR 3",
        ...(strictErrors ? [] : ["ERROR 4"]),
        "RECEIPT 0",
        "RECEIPT 1",
        "RECEIPT 2",
      ].sort(),
    );
    if (strictErrors) await sender.closed();
    t.deepEqual(await leftIn(broker, "/queue/small"), ["0", "1", "2"]);
    t.is(broker.broker.registry.find("queue", "/", "small")?.counters.rejected, count - 3);
    await broker.close();
  }
});

test("a SEND like the one before is held back where that one was not, and goes on by itself", async (t) => {
  const settings = { maxLength: 2, overflow: "block" } as const;
  const broker = await openTestBroker({ policies: [{ match: "small", kind: "queue", settings }] });
  const sender = await StompPeer.connect(broker);
  const frames = Array.from(
    { length: 6 },
    (_, i) => `SEND\ndestination:/queue/small\nreceipt:${i}\n\n${i}\0`,
  );
  sender.send(frames.join(""));
  await until("two receipts", () => sender.frames.length === 2);
  t.false(sender.wire.isReading);
  const reader = await StompPeer.connect(broker);
  reader.send("SUBSCRIBE\nid:0\ndestination:/queue/small\n\n\0");
  t.deepEqual(bodiesOf(await reader.takeMessages(6)), ["0", "1", "2", "3", "4", "5"]);
  await until("all receipts", () => sender.frames.length === 6);
  t.deepEqual(ids(sender.frames, "receipt-id"), ["0", "1", "2", "3", "4", "5"]);
  await broker.close();
});

test("a producer goes on with a queue that was deleted and made anew", async (t) => {
  const broker = await openTestBroker();
  const sender = await StompPeer.connect(broker, 12, { settings: { strictErrors: false } });
  const frame = (n: number): string => `SEND\ndestination:/queue/a\nreceipt:${n}\n\n${n}\0`;
  sender.send(frame(0) + frame(1));
  await until("two receipts", () => sender.frames.length === 2);
  broker.broker.deleteNode(broker.broker.registry.find("queue", "/", "a")!);
  sender.send(frame(2) + frame(3));
  await until("two answers", () => sender.frames.length === 4);
  const answers = sender.frames.map((one) => `${one.command} ${one.headers["receipt-id"]}`);
  t.deepEqual(answers.slice(0, 2), ["RECEIPT 0", "RECEIPT 1"]);
  t.deepEqual(answers.slice(2).sort(), ["ERROR 2", "RECEIPT 3"]);
  t.deepEqual(await leftIn(broker, "/queue/a"), ["3"]);
  await broker.close();
});

test("messages of a run that were delivered before say so, those beside them do not", async (t) => {
  const broker = await openTestBroker();
  const bodies = ["0", "1", "2", "3", "4", "5"];
  await publish(broker, "/queue/a", bodies);
  const first = await StompPeer.connect(broker);
  first.send("SUBSCRIBE\nid:s\ndestination:/queue/a\nack:client\nprefetch-count:3\n\n\0");
  await first.takeMessages(3);
  await leave(first);
  const second = await StompPeer.connect(broker);
  second.send("SUBSCRIBE\nid:s\ndestination:/queue/a\n\n\0");
  const messages = await second.takeMessages(6);
  t.deepEqual(bodiesOf(messages), bodies);
  t.deepEqual(ids(messages, "redelivered"), ["true", "true", "true", "", "", ""]);
  await broker.close();
});

test("a dead letter after one that is not: its story is not left out", async (t) => {
  const broker = await openTestBroker({
    policies: [{ match: "a", settings: { deadLetterTo: "dead" } }],
  });
  await publish(broker, "/queue/dead", ["x", "y"]);
  await publish(broker, "/queue/a", ["z"]);
  const reader = await StompPeer.connect(broker);
  reader.send("SUBSCRIBE\nid:a\ndestination:/queue/a\nack:client\n\n\0");
  const [message] = await reader.takeMessages(1);
  reader.send(`NACK\nid:${message!.headers["ack"]}\nrequeue:false\n\n\0`);
  await reader.settled();
  await publish(broker, "/queue/dead", ["w"]);
  reader.send("SUBSCRIBE\nid:d\ndestination:/queue/dead\n\n\0");
  const dead = await reader.takeMessages(4);
  t.deepEqual(bodiesOf(dead), ["x", "y", "z", "w"]);
  t.deepEqual(ids(dead, "x-death-count"), ["", "", "1", ""]);
  await broker.close();
});
