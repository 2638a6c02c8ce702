import test from "ava";
import { OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import { mayHaveKeysFrom } from "../../src/broker/run-prefix.ts";
import { Draft } from "../../src/model/draft.ts";
import { fillRawDraft } from "../../src/model/foreign.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { string } from "../../src/model/values.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { copyFiles, crash, openLogBroker } from "../support/log-broker.ts";
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

const done = (sink: Collector, text: string, outcome: Outcome = OUTCOME.ACCEPT): void => {
  const { number } = sink.received.findLast((one) => one.text === text)!;
  sink.consumer.settle(number, number, outcome);
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

test("a message that stays with its consumer does not keep those without keys on the way of those with one", async (t) => {
  const { broker, close } = await openTestBroker();
  const shard = () => broker.registry.find("queue", "/", "q")!.ownGroup.shards[0]!;
  const isKeyed = (): boolean => mayHaveKeysFrom(shard(), shard().next);
  const target = connect(broker).openTarget(queue("q"));
  for (const text of ["k1", "k2"]) target.publish(draft(text, { group: "k" }));
  const slow = consume(connect(broker), queue("q"), { credit: 1 });
  await settle();
  t.deepEqual(slow.texts, ["k1"]);
  const quick = consume(connect(broker), queue("q"));
  target.publish(draft("free"));
  await settle();
  t.deepEqual(quick.texts, ["free"]);
  t.true(isKeyed(), "k2 waits for its key");
  slow.consumer.setCredit(1);
  await settle();
  t.deepEqual(slow.texts, ["k1", "k2"]);
  t.false(isKeyed());
  target.publish(draft("k3", { group: "k" }));
  t.true(isKeyed());
  await settle();
  t.deepEqual(quick.texts, ["free"], "its key is at work elsewhere");
  done(slow, "k2", OUTCOME.RELEASE);
  done(slow, "k1");
  await settle();
  t.deepEqual(quick.texts, ["free", "k2", "k3"], "what was given back comes first");
  t.false(isKeyed());
  await close();
});

test("after a crash what lay there is looked at for keys once, however long it stays unsettled", async (t) => {
  const disk = new MemoryStorage();
  const first = await openLogBroker(disk);
  const before = connect(first.broker).openTarget(queue("q"));
  for (const text of ["a", "b"]) before.publish(draft(text, { group: "k" }));
  for (const text of ["c", "d"]) before.publish(draft(text));
  await until("it is safe", () => {
    first.store.tick();
    return first.broker.confirmedTo("fsync") >= first.store.watermarks.appended;
  });
  const copy = new MemoryStorage();
  copyFiles(disk, copy, "/data");
  await crash(first.broker);
  const { broker } = await openLogBroker(copy);
  const shard = broker.registry.find("queue", "/", "q")!.ownGroup.shards[0]!;
  t.true(mayHaveKeysFrom(shard, shard.next), "it may be anything");
  const one = consume(connect(broker), queue("q"), { credit: 1 });
  await settle();
  const two = consume(connect(broker), queue("q"), { credit: 100 });
  await settle();
  t.deepEqual([one.texts, two.texts], [["a"], ["c", "d"]], "b waits for its key");
  one.consumer.setCredit(10);
  await settle();
  t.deepEqual(one.texts, ["a", "b"]);
  const target = connect(broker).openTarget(queue("q"));
  for (let i = 0; i < 10; i++) target.publish(draft("new"));
  await settle();
  t.is(two.texts.length + one.texts.length, 14);
  t.is(shard.state.low, 0, "the oldest is still out");
  t.false(mayHaveKeysFrom(shard, shard.next));
  await crash(broker);
});
