import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { fillRawDraft } from "../../src/model/foreign.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { string } from "../../src/model/values.ts";
import { openTestBroker } from "../support/test-broker.ts";
import {
  type Collector,
  connect,
  consume,
  draft,
  queue,
  settle,
  topic,
} from "../support/test-client.ts";
import { until } from "../support/wait.ts";

function message(key: string, colour: string, text: string): Draft {
  const neutral = new Neutral();
  neutral.bytes = Buffer.from(text);
  neutral.group = key;
  neutral.properties = [{ name: "colour", value: string(colour) }];
  return fillRawDraft(new Draft(), neutral);
}

const done = (sink: Collector, text: string, outcome = OUTCOME.ACCEPT): void => {
  const { number } = sink.received.findLast((one) => one.text === text)!;
  sink.consumer.settle(number, number, outcome as 0);
};

test("a key is worked on by one consumer at a time, also where each selects for itself", async (t) => {
  const { broker, close } = await openTestBroker();
  const target = connect(broker).openTarget(queue("q"));
  for (const [key, colour, text] of [
    ["k", "red", "k1 red"],
    ["k", "blue", "k2 blue"],
    ["", "blue", "free blue"],
    ["l", "blue", "l1 blue"],
    ["k", "red", "k3 red"],
    ["l", "green", "l2 green"],
    ["k", "blue", "k4 blue"],
  ] as const) {
    target.publish(message(key, colour, text));
  }
  const red = consume(connect(broker), queue("q"), { selector: "colour = 'red'" });
  await settle();
  const blue = consume(connect(broker), queue("q"), { selector: "colour = 'blue'" });
  await settle();
  t.deepEqual(red.texts, ["k1 red", "k3 red"], "its own key it gets on with");
  t.deepEqual(blue.texts, ["free blue", "l1 blue"], "another's key waits");
  done(red, "k1 red");
  await settle();
  t.is(blue.texts.length, 2, "something of it is still out");
  done(red, "k3 red");
  await settle();
  t.deepEqual(blue.texts.slice(2), ["k2 blue", "k4 blue"], "free now, in order");
  // What nobody selects holds nobody up; whoever takes all gets it when its key is free.
  const all = consume(connect(broker), queue("q"));
  await settle();
  t.deepEqual(all.texts, []);
  done(blue, "l1 blue");
  await settle();
  t.deepEqual(all.texts, ["l2 green"]);
  await close();
});

test("a key whose consumer fails its message, or goes, is free for another selector afterwards", async (t) => {
  const { broker, close } = await openTestBroker({
    policies: [{ match: "slow", settings: { retry: { kind: "fixed", delayMs: 200 } } }],
  });
  for (const name of ["quick", "slow"]) {
    const target = connect(broker).openTarget(queue(name));
    target.publish(message("k", "red", "1 red"));
    target.publish(message("k", "blue", "2 blue"));
    const owner = connect(broker);
    const red = consume(owner, queue(name), { selector: "colour = 'red'" });
    await settle();
    const blue = consume(connect(broker), queue(name), { selector: "colour = 'blue'" });
    await settle();
    t.deepEqual(blue.texts, []);
    done(red, "1 red", OUTCOME.FAIL as 0);
    await settle();
    if (name === "slow")
      t.deepEqual(blue.texts, [], "while it waits for its retry the key does too");
    await until("both are on their way", () => red.texts.length + blue.texts.length >= 2);
    if (blue.texts.length === 0) {
      owner.close();
      await until("the other has it", () => blue.texts.length === 1);
    }
    t.deepEqual(blue.texts, ["2 blue"]);
  }
  await close();
});

test("a group with a selector keeps the order of each key through members that come and go", async (t) => {
  const { broker, close } = await openTestBroker();
  const target = connect(broker).openTarget(topic("t"));
  const member = () =>
    consume(connect(broker), topic("t"), {
      group: { name: "g", mode: "clustering" },
      selector: "colour = 'red'",
      credit: 5,
    });
  const first = member();
  const count = 120;
  for (let n = 0; n < count; n++) {
    target.publish(message(`k${n % 6}`, n % 3 === 2 ? "blue" : "red", `${n}`));
  }
  const seen = new Map<number, number[]>();
  let left = count - Math.floor(count / 3);
  let sinks = [first];
  for (let round = 0; left > 0 && round < 2000; round++) {
    await settle(2);
    if (round === 3) sinks.push(member());
    if (round === 6) {
      sinks[0]!.consumer.close(OUTCOME.RELEASE);
      sinks = sinks.slice(1);
      sinks.push(member());
    }
    for (const sink of sinks) {
      for (const { text, number } of sink.received.splice(0)) {
        const key = Number(text) % 6;
        seen.set(key, [...(seen.get(key) ?? []), Number(text)]);
        sink.consumer.settle(number, number, OUTCOME.ACCEPT);
        left--;
      }
      sink.consumer.setCredit(5);
    }
  }
  t.is(left, 0);
  for (const [key, numbers] of seen) {
    t.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
      `key ${key} in order`,
    );
  }
  await close();
});

test("a message that was passed over for its key comes when the key is free, also where that was of another priority", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const holder = consume(peer, queue("q"), { credit: 1, selector: "x IS NULL" });
  const other = consume(peer, queue("q"), { credit: 0, selector: "x IS NULL" });
  const target = peer.openTarget(queue("q"));
  target.publish(draft("high", { group: "k", priority: 9 }));
  await settle();
  t.deepEqual(holder.texts, ["high"]);
  target.publish(draft("low", { group: "k", priority: 1 }));
  other.consumer.setCredit(5);
  await settle();
  t.deepEqual(other.texts, []);
  holder.consumer.settle(0, 0, OUTCOME.ACCEPT);
  await settle();
  t.deepEqual(other.texts, ["low"]);
  await close();
});
