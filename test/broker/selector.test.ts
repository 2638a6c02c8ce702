import test from "ava";
import { Draft } from "../../src/model/draft.ts";
import { fillRawDraft } from "../../src/model/foreign.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { i32 } from "../../src/model/values.ts";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, queue, settle, topic } from "../support/test-client.ts";
import { until } from "../support/wait.ts";

function message(text: string, n: number): Draft {
  const neutral = new Neutral();
  neutral.bytes = Buffer.from(text);
  neutral.properties = [{ name: "n", value: i32(n) }];
  neutral.tag = n % 2 === 0 ? "even" : "odd";
  return fillRawDraft(new Draft(), neutral);
}

test("a consumer of a queue with a selector gets what it selects and leaves the rest to others", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (let n = 1; n <= 6; n++) target.publish(message(`m${n}`, n));
  const some = consume(peer, queue("q"), { selector: "n > 4 OR n = 1" });
  await settle();
  t.deepEqual(some.texts, ["m1", "m5", "m6"]);
  const rest = consume(peer, queue("q"));
  await settle();
  t.deepEqual(rest.texts, ["m2", "m3", "m4"]);
  await close();
});

test("messages that lie scattered come all, once and in order, however small the credit and whoever else reads", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  const isWanted = (n: number): boolean => (n * 7919) % 13 < 6;
  const all = Array.from({ length: 700 }, (_, n) => n);
  for (const n of all) target.publish(message(`m${n}`, isWanted(n) ? 1 : 0));
  const some = consume(peer, queue("q"), { selector: "n = 1", credit: 100 });
  await until("its credit", () => some.texts.length === 100);
  const wanted = all.filter(isWanted).map((n) => `m${n}`);
  t.deepEqual(some.texts, wanted.slice(0, 100));
  some.consumer.setCredit(37);
  await until("more credit", () => some.texts.length === 137);
  t.deepEqual(some.texts, wanted.slice(0, 137));
  some.consumer.setCredit(1000);
  await until("all that it wants", () => some.texts.length === wanted.length);
  t.deepEqual(some.texts, wanted);
  const rest = consume(peer, queue("q"), { credit: 1000 });
  await until("the rest", () => rest.texts.length === all.length - wanted.length);
  t.deepEqual(
    rest.texts,
    all.filter((n) => !isWanted(n)).map((n) => `m${n}`),
  );
  await close();
});

test("a subscription with a selector gets only what it selects, by the tag alone or by more", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const byTag = consume(peer, topic("orders"), { selector: "x_tag = 'even'" });
  const byBoth = consume(peer, topic("orders"), { selector: "x_tag = 'even' AND n > 3" });
  const unknown = consume(peer, topic("orders"), { selector: "missing = 1" });
  await settle();
  const target = peer.openTarget(topic("orders"));
  for (let n = 1; n <= 6; n++) target.publish(message(`m${n}`, n));
  await settle();
  t.deepEqual(byTag.texts, ["m2", "m4", "m6"]);
  t.deepEqual(byBoth.texts, ["m4", "m6"]);
  t.deepEqual(unknown.texts, []);
  await close();
});

test("a selector that cannot be read refuses the consumer with the place", async (t) => {
  const { broker, close } = await openTestBroker();
  const peer = connect(broker);
  const error = t.throws(() => consume(peer, queue("q"), { selector: "n >" }));
  t.regex(error?.message ?? "", /it ends here \(character 4/);
  await close();
});
