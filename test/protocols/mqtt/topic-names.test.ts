/** Topics on their way out: found by a record's bytes, the same for all clients. */
import test from "ava";
import { TopicNames } from "../../../protocols/mqtt/topic-names.ts";
import { TopicOutCache } from "../../../protocols/mqtt/topic-out.ts";
import { Draft } from "../../../src/model/draft.ts";
import { pathOfRecord } from "../../../src/model/record-fields.ts";
import { ENCODING, type RecordView } from "../../../src/model/record-view.ts";
import { buildRecord } from "../../support/record-builder.ts";

function recordOf(topic: string, pathTag?: string, tag = ""): RecordView {
  const draft = new Draft();
  draft.encoding = ENCODING.MQTT;
  draft.tag = tag;
  return buildRecord(draft, { topic, ...(pathTag === undefined ? {} : { pathTag }) });
}

test("of many thousand topics, asked for in any order by several clients, each is what its record says", (t) => {
  const names = new TopicNames();
  const clients = [new TopicOutCache(names, 0), new TopicOutCache(names, 10)];
  const records = Array.from({ length: 5000 }, (_, i) => recordOf(`root${i % 7}`, `a/${i}/b`));
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 20_000; i++) {
      const record = records[(i * 1237) % records.length]!;
      const topic = clients[i & 1]!.ofRecord(record);
      const path = pathOfRecord(record);
      if (topic.path !== path || topic.bytes.toString("utf8", 2) !== path) {
        t.fail(`${topic.path}, expected ${path}`);
        return;
      }
    }
  }
  t.is(clients[0]!.ofRecord(records[5]!).name, clients[1]!.ofRecord(records[5]!).name);
});

test("topics whose records differ in one thing only are told apart", (t) => {
  const cache = new TopicOutCache(new TopicNames(), 0);
  const records = [
    recordOf("a", "b"),
    recordOf("a", "c"),
    recordOf("a", "bb"),
    recordOf("a", ""),
    recordOf("a"),
    recordOf("a", undefined, "b"),
    recordOf("ab"),
    recordOf("ab", "b"),
    recordOf("x", `b${"\u00fc"}`),
  ];
  for (let round = 0; round < 2; round++) {
    for (const one of records) {
      for (const other of records) {
        t.is(cache.ofRecord(one).path, pathOfRecord(one));
        t.is(cache.ofRecord(other).path, pathOfRecord(other));
      }
    }
  }
});

test("a topic that a client gets again has an alias, whatever other topics came between", (t) => {
  const cache = new TopicOutCache(new TopicNames(), 2);
  const [one, two, three] = ["one", "two", "three"].map((name) => recordOf(name, "x"));
  const use = (record: RecordView): number => {
    const topic = cache.ofRecord(record);
    cache.useAlias(topic);
    return topic.alias;
  };
  t.is(use(one!), 0);
  t.is(use(two!), 0);
  t.is(use(one!), 1);
  t.is(use(two!), 2);
  t.is(use(three!), 0);
  // The oldest one gives its alias away.
  t.is(use(three!), 1);
  t.is(use(one!), 0);
});
