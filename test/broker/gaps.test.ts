/** Queues of which some messages are gone, here and there: what is left is delivered, and settled, as if nothing were missing. */
import test from "ava";
import { RUN_MAX } from "../../src/broker/delivery-run.ts";
import { type DeliveryRun, OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { fillRawDraft } from "../../src/model/foreign.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { string } from "../../src/model/values.ts";
import { Random } from "../support/random.ts";
import { openTestBroker, type TestBroker } from "../support/test-broker.ts";
import {
  type Collector,
  connect,
  consume,
  draft,
  queue,
  settle,
  topic,
} from "../support/test-client.ts";

const COUNT = 3000;
type Sink = Collector & { readonly runs: number[] };

/** A consumer that notes how many messages it got at once. */
function watch(sink: Collector, credit: number): Sink {
  const runs: number[] = [];
  const deliver = sink.deliver.bind(sink);
  sink.deliver = (run: DeliveryRun) => {
    runs.push(run.count);
    deliver(run);
  };
  sink.consumer.setCredit(credit);
  return Object.assign(sink, { runs });
}

const consumeRuns = (
  broker: TestBroker["broker"],
  options: Parameters<typeof consume>[2] = {},
  credit = COUNT,
): Sink => watch(consume(connect(broker), queue("q"), { ...options, credit: 0 }), credit);

function message(text: string, properties: Record<string, string>, key = ""): Draft {
  const neutral = new Neutral();
  neutral.bytes = Buffer.from(text);
  if (key !== "") neutral.group = key;
  neutral.properties = Object.entries(properties).map(([name, value]) => ({
    name,
    value: string(value),
  }));
  return fillRawDraft(new Draft(), neutral);
}

const number = (text: string): number => Number(text);
const ranOnce = (runs: readonly number[]): boolean =>
  runs.length <= Math.ceil(runs.reduce((a, b) => a + b, 0) / RUN_MAX) + 1;

/** A broker with a queue of COUNT numbered messages, of which a random half was accepted. */
async function halfGone(seed: number) {
  const opened = await openTestBroker();
  const peer = connect(opened.broker);
  const target = peer.openTarget(queue("q"));
  const random = new Random(seed);
  const isGone = Array.from({ length: COUNT }, () => random.below(2) === 0);
  for (const [n, gone] of isGone.entries()) {
    target.publish(message(`${n}`, { coin: gone ? "heads" : "tails" }));
  }
  target.close();
  const taker = consume(peer, queue("q"), { credit: COUNT, selector: "coin = 'heads'" });
  await settle(40);
  const left = isGone.flatMap((gone, n) => (gone ? [] : [`${n}`]));
  taker.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  taker.consumer.close(OUTCOME.RELEASE);
  return { ...opened, left, taken: taker.texts, isGone };
}

/** Opens a broker on what this one has left. */
async function again({ store, close }: TestBroker): Promise<TestBroker> {
  await close();
  return openTestBroker({ store });
}

test("what is left of a queue comes in order, each once, in whole runs across the gaps", async (t) => {
  const half = await halfGone(1);
  const { broker, left, taken, isGone } = half;
  t.is(taken.length + left.length, COUNT);
  t.true(taken.every((text) => isGone[number(text)]));
  const sink = consumeRuns(broker);
  await settle(40);
  t.deepEqual(sink.texts, left);
  t.true(ranOnce(sink.runs), `${sink.runs}`);
  t.deepEqual(
    sink.received.map(({ offset }) => `${offset}`),
    left,
  );
  t.true(sink.received.every(({ isRedelivered }) => !isRedelivered));
  sink.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await half.close();
});

test("a consumer with a selector gets what it wants in whole runs, the others stay in their places", async (t) => {
  const { broker, close } = await openTestBroker();
  const target = connect(broker).openTarget(queue("q"));
  for (let n = 0; n < COUNT; n++) target.publish(message(`${n}`, { third: `${n % 3}` }));
  const sink = consumeRuns(broker, { selector: "third = '1'" });
  await settle(40);
  t.deepEqual(
    sink.texts.map(number),
    Array.from({ length: COUNT / 3 }, (_, i) => 3 * i + 1),
  );
  t.true(sink.runs.length <= Math.ceil(COUNT / RUN_MAX) + 1, `${sink.runs}`);
  sink.consumer.close(OUTCOME.ACCEPT);
  const rest = consumeRuns(broker);
  await settle(40);
  t.deepEqual(
    rest.texts.map(number),
    Array.from({ length: COUNT }, (_, n) => n).filter((n) => n % 3 !== 1),
  );
  t.true(ranOnce(rest.runs), `${rest.runs}`);
  await close();
});

test("a range of deliveries with gaps between them is accepted as one, in any order, also for a broker that comes after", async (t) => {
  const half = await halfGone(2);
  const { left } = half;
  const sink = consumeRuns(half.broker);
  await settle(40);
  // The second third, then the first: above the low-water mark, then down to it.
  const third = Math.floor(left.length / 3);
  sink.consumer.settle(third, 2 * third - 1, OUTCOME.ACCEPT);
  await settle();
  const second = await again(half);
  const rest = consumeRuns(second.broker);
  await settle(40);
  t.deepEqual(rest.texts, [...left.slice(0, third), ...left.slice(2 * third)]);
  rest.consumer.settle(0, third - 1, OUTCOME.ACCEPT);
  const { state } = second.broker.registry.find("queue", "/", "q")!.ownGroup.shards[0]!;
  t.is(state.low, number(left[2 * third]!), "all before is settled");
  const latest = await again(second);
  const remaining = consumeRuns(latest.broker);
  await settle(40);
  t.deepEqual(remaining.texts, left.slice(2 * third));
  remaining.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  t.is(latest.broker.registry.find("queue", "/", "q")!.backlog, 0);
  await latest.close();
});

test("of a run across gaps each message takes the outcome it is given", async (t) => {
  const half = await halfGone(3);
  const { broker, left } = half;
  const sink = consumeRuns(broker, {}, 300);
  await settle(10);
  t.is(sink.received.length, 300);
  sink.consumer.settle(0, 99, OUTCOME.ACCEPT);
  sink.consumer.settle(100, 149, OUTCOME.RELEASE);
  sink.consumer.settle(150, 199, OUTCOME.FAIL);
  sink.consumer.settle(200, 249, OUTCOME.REJECT);
  await settle(10);
  sink.consumer.close(OUTCOME.RELEASE);
  const rest = consumeRuns(broker);
  await settle(40);
  t.deepEqual(rest.texts, [...left.slice(100, 200), ...left.slice(250)]);
  const counts = rest.received.map(({ deliveryCount }) => deliveryCount);
  t.deepEqual(counts.slice(0, 150), [
    ...Array<number>(50).fill(0),
    ...Array<number>(50).fill(1),
    ...Array<number>(50).fill(0),
  ]);
  const isAgain = rest.received.map(({ isRedelivered }) => isRedelivered);
  t.is(isAgain.indexOf(false), 150, "what was with somebody says so");
  t.false(isAgain.includes(true, 150));
  const dead = consume(connect(broker), queue("DLQ.q"));
  await settle(10);
  t.deepEqual(dead.texts, left.slice(200, 250));
  await half.close();
});

test("credit that ends beside a gap is all there is, and what comes next goes on behind it", async (t) => {
  const half = await halfGone(4);
  const sink = consumeRuns(half.broker, {}, 0);
  let credit = 1;
  for (let got = 0; got < half.left.length; credit = (credit % 7) + 1) {
    sink.consumer.setCredit(credit);
    await settle(2);
    got = Math.min(half.left.length, got + credit);
    if (sink.received.length !== got) break;
  }
  t.deepEqual(sink.texts, half.left);
  await half.close();
});

test("members share what is left across gaps, none gets a message of another; what one gives back comes in its place", async (t) => {
  const half = await halfGone(5);
  const { broker, left } = half;
  const first = consumeRuns(broker, {}, 100);
  await settle(10);
  const second = consumeRuns(broker, {}, COUNT);
  await settle(40);
  t.deepEqual([...first.texts, ...second.texts], left);
  // Every other one of the first hundred is done, the rest comes back.
  for (let n = 0; n < 100; n += 2) first.consumer.settle(n, n, OUTCOME.ACCEPT);
  second.consumer.settle(0, 199, OUTCOME.ACCEPT);
  first.consumer.close(OUTCOME.RELEASE);
  second.consumer.setCredit(COUNT);
  await settle(40);
  t.deepEqual(
    second.texts.slice(left.length - 100),
    left.slice(0, 100).filter((_, n) => n % 2 === 1),
  );
  second.consumer.settle(0, COUNT * 2, OUTCOME.ACCEPT);
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await half.close();
});

test("what somebody holds within a run's reach stays his", async (t) => {
  const { broker, close } = await openTestBroker();
  const target = connect(broker).openTarget(queue("q"));
  for (let n = 0; n < 1000; n++) target.publish(message(`${n}`, { odd: `${n % 2}` }));
  const odd = consumeRuns(broker, { selector: "odd = '1'" });
  await settle(20);
  t.is(odd.received.length, 500);
  const rest = consumeRuns(broker);
  await settle(20);
  t.deepEqual(
    rest.texts.map(number),
    Array.from({ length: 500 }, (_, n) => 2 * n),
  );
  rest.consumer.settle(0, 999, OUTCOME.ACCEPT);
  const { backlog } = broker.registry.find("queue", "/", "q")!;
  t.is(backlog, 500, "nothing but what was accepted");
  odd.consumer.settle(0, 999, OUTCOME.ACCEPT);
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await close();
});

test("a subscription with a selector gets whole runs, and owes nothing of what it does not want", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker, "client");
  const subscription = { clientId: "client", name: "s", isShared: false, isDurable: true };
  const request = { subscription, selector: "third = '0'", credit: 0 };
  const sink = watch(consume(peer, topic("t"), request), 0);
  const target = peer.openTarget(topic("t"));
  for (let n = 0; n < COUNT; n++) target.publish(message(`${n}`, { third: `${n % 3}` }));
  await settle();
  sink.consumer.setCredit(COUNT);
  await settle(40);
  t.deepEqual(
    sink.texts.map(number),
    Array.from({ length: COUNT / 3 }, (_, n) => 3 * n),
  );
  t.true(sink.runs.length <= Math.ceil(COUNT / RUN_MAX) + 1, `${sink.runs}`);
  sink.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  await settle();
  t.is(broker.registry.find("topic", "/", "t")!.backlog, 0);
  await close();
});

test("messages that have expired between others are not delivered, the others are", async (t) => {
  const { broker, close } = await openTestBroker();
  const target = connect(broker).openTarget(queue("q"));
  for (let n = 0; n < COUNT; n++) {
    const isShort = n % 5 === 2 || n % 5 === 3;
    target.publish(draft(`${n}`, isShort ? { expiresAt: 1 } : {}));
  }
  const sink = consumeRuns(broker);
  await settle(200);
  t.deepEqual(
    sink.texts.map(number),
    Array.from({ length: COUNT }, (_, n) => n).filter((n) => n % 5 < 2 || n % 5 === 4),
  );
  sink.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  await settle();
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await close();
});

test("a browser sees what is left across gaps, in order, and takes nothing", async (t) => {
  const half = await halfGone(6);
  const { broker, left } = half;
  const holder = consumeRuns(broker, {}, 50);
  await settle(10);
  const browser = consumeRuns(broker, { mode: "browse" });
  await settle(40);
  t.deepEqual(browser.texts, left);
  t.true(ranOnce(browser.runs), `${browser.runs}`);
  holder.consumer.close(OUTCOME.RELEASE);
  const rest = consumeRuns(broker);
  await settle(40);
  t.deepEqual(rest.texts, left);
  await half.close();
});

test("deliveries that count as settled when sent leave nothing, and no gap is settled that is owed", async (t) => {
  const half = await halfGone(7);
  const { broker, left } = half;
  const holder = consumeRuns(broker, {}, 5);
  await settle(4);
  const sink = consumeRuns(broker, { preSettled: true });
  await settle(40);
  t.deepEqual(sink.texts, left.slice(5));
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 5);
  holder.consumer.settle(0, 4, OUTCOME.ACCEPT);
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 0);
  await half.close();
});

test("a transaction takes deliveries across gaps: all of them at its commit, none when it is rolled back", async (t) => {
  const half = await halfGone(8);
  const { broker, left } = half;
  const peer = connect(broker);
  const sink = watch(consume(peer, queue("q"), { credit: 0 }), 400);
  await settle(10);
  const kept = peer.beginTransaction();
  kept.settle(sink.consumer, 0, 199, OUTCOME.ACCEPT);
  const dropped = peer.beginTransaction();
  dropped.settle(sink.consumer, 200, 399, OUTCOME.ACCEPT);
  // What a transaction has is out of reach.
  sink.consumer.settle(0, 399, OUTCOME.ACCEPT);
  kept.commit();
  await settle(10);
  dropped.rollback(true);
  await settle(10);
  t.is(broker.registry.find("queue", "/", "q")!.backlog, left.length - 200);
  sink.consumer.close(OUTCOME.RELEASE);
  const second = await again(half);
  const rest = consumeRuns(second.broker);
  await settle(40);
  t.deepEqual(rest.texts, left.slice(200));
  t.is(rest.received[0]!.deliveryCount, 1);
  await second.close();
});

test("ordering keys are kept across gaps: one consumer at a time has a key, and gets it in order", async (t) => {
  const { broker, close } = await openTestBroker();
  const target = connect(broker).openTarget(queue("q"));
  const keys = ["", "a", "", "b", "c", ""];
  for (let n = 0; n < COUNT; n++) {
    target.publish(message(`${n}`, { coin: n % 7 < 3 ? "heads" : "tails" }, keys[n % 6]));
  }
  const taker = consumeRuns(broker, { selector: "coin = 'heads'" });
  await settle(40);
  taker.consumer.close(OUTCOME.ACCEPT);
  const left = Array.from({ length: COUNT }, (_, n) => n).filter((n) => n % 7 >= 3);
  const sinks = [consumeRuns(broker, {}, 40), consumeRuns(broker, {}, 40)];
  const owners = new Map<string, Sink>();
  const seen = new Map<string, number[]>();
  let got = 0;
  for (let round = 0; got < left.length && round < 2000; round++) {
    await settle(2);
    owners.clear();
    for (const sink of sinks) {
      for (const { text } of sink.received) {
        const key = keys[number(text) % 6]!;
        if (key === "") continue;
        if (owners.has(key) && owners.get(key) !== sink) t.fail(`key ${key} is with two`);
        owners.set(key, sink);
      }
    }
    for (const sink of sinks) {
      for (const { text, number: delivery } of sink.received.splice(0)) {
        const key = keys[number(text) % 6]!;
        seen.set(key, [...(seen.get(key) ?? []), number(text)]);
        sink.consumer.settle(delivery, delivery, OUTCOME.ACCEPT);
        got++;
      }
      sink.consumer.setCredit(40);
    }
  }
  t.is(got, left.length);
  for (const key of ["a", "b", "c"]) {
    t.deepEqual(
      seen.get(key),
      left.filter((n) => keys[n % 6] === key),
      `key ${key}`,
    );
  }
  await close();
});

test("a queue with a limit counts what is settled across gaps", async (t) => {
  const { broker, close } = await openTestBroker({ settings: { maxBytes: 1 << 20 } });
  const target = connect(broker).openTarget(queue("q"));
  for (let n = 0; n < 1000; n++) target.publish(message(`${n}`, { odd: `${n % 2}` }));
  const odd = consumeRuns(broker, { selector: "odd = '1'" });
  await settle(20);
  odd.consumer.close(OUTCOME.ACCEPT);
  const rest = consumeRuns(broker);
  await settle(20);
  const node = broker.registry.find("queue", "/", "q")!;
  t.true(node.storedBytes > 0);
  rest.consumer.settle(0, 499, OUTCOME.ACCEPT);
  await settle();
  t.is(node.storedBytes, 0);
  t.is(node.counters.accepted, 1000);
  await close();
});

test("an outcome for a range counts each delivery once, however often it is given", async (t) => {
  const half = await halfGone(9);
  const { broker, left } = half;
  const sink = consumeRuns(broker);
  await settle(40);
  const outcomes: Outcome[] = [OUTCOME.ACCEPT, OUTCOME.RELEASE, OUTCOME.FAIL, OUTCOME.ACCEPT];
  for (const outcome of outcomes) sink.consumer.settle(10, 500, outcome);
  sink.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  await settle(10);
  const node = broker.registry.find("queue", "/", "q")!;
  t.is(node.backlog, 0);
  t.is(node.counters.accepted, COUNT);
  t.is(sink.received.length, left.length);
  await half.close();
});
