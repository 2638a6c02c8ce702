import test from "ava";
import { Draft } from "../../src/model/draft.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import { TurnMemo } from "../../src/model/turn-memo.ts";
import { buildRecord } from "../support/record-builder.ts";

const recordAt = (physicalOffset: number): RecordView =>
  buildRecord(new Draft(), { topic: "t", physicalOffset });

test("what was made of a record is found again in the turn, for that record alone, and not afterwards", async (t) => {
  const memo = new TurnMemo<string[]>();
  const first = recordAt(4096);
  t.is(memo.find(first), undefined);
  const made = memo.keep(first, ["first"]);
  t.is(memo.find(first), made);
  t.is(memo.find(recordAt(4096)), undefined, "the same offset in other bytes");
  t.is(memo.find(recordAt(4096 + 2 ** 32)), undefined, "another record in the same place");
  t.is(memo.keep(first, ["second"])[0], "second");
  t.deepEqual(memo.find(first), ["second"], "the last one counts");
  await new Promise((resolve) => setImmediate(resolve));
  t.is(memo.find(first), undefined, "the turn is over");
  t.is(memo.keep(first, made), made);
  await new Promise((resolve) => setImmediate(resolve));
  t.is(memo.find(first), undefined, "nor after the next one");
});

test("of records that share a place the last one is kept", (t) => {
  const memo = new TurnMemo<number[]>();
  const records = Array.from({ length: 1000 }, (_, i) => recordAt(i * 200));
  for (const [i, record] of records.entries()) memo.keep(record, [i]);
  const found = records.filter((record) => memo.find(record) !== undefined);
  t.true(found.length > 0 && found.length <= 64, `${found.length} found`);
  for (const record of found) t.deepEqual(memo.find(record), [records.indexOf(record)]);
});
