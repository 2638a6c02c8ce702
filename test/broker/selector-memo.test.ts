import test from "ava";
import type { MessageFilter } from "../../src/broker/filter.ts";
import { VERDICT } from "../../src/broker/filter.ts";
import { rememberingSelectors } from "../../src/broker/selector-memo.ts";
import type { RecordView } from "../../src/model/record-view.ts";

const at = (physicalOffset: number) => ({ physicalOffset }) as RecordView;

/** Selects records at multiples of a number, and counts how often it was asked. */
function counting() {
  const asked: number[] = [];
  const compile = (text: string): MessageFilter => ({
    byHash: () => VERDICT.MAYBE,
    byRecord: ({ physicalOffset }) => {
      asked.push(physicalOffset);
      return physicalOffset % Number(text) === 0;
    },
  });
  return { asked, compile };
}

test("a second consumer with the same selector gets the same answers without asking again", (t) => {
  const { asked, compile } = counting();
  const selectors = rememberingSelectors(compile);
  selectors("3");
  const filter = selectors("3");
  const offsets = Array.from({ length: 200 }, (_, n) => 1_000_000 + n * 137);
  const first = offsets.map((offset) => filter.byRecord(at(offset)));
  t.deepEqual(
    first,
    offsets.map((offset) => offset % 3 === 0),
  );
  const before = asked.length;
  t.deepEqual(
    offsets.map((offset) => filter.byRecord(at(offset))),
    first,
  );
  t.true(asked.length - before < 100, `asked ${asked.length - before} of 200 again`);
});

test("whatever was asked before, an answer is that of its own message", (t) => {
  const { compile } = counting();
  const selectors = rememberingSelectors(compile);
  const wrong: number[] = [];
  for (const text of ["2", "7"]) {
    selectors(text);
    const filter = selectors(text);
    for (let round = 0; round < 3; round++) {
      for (let offset = 0; offset < 60_000; offset += 59) {
        if (filter.byRecord(at(offset)) !== (offset % Number(text) === 0)) wrong.push(offset);
      }
    }
  }
  t.deepEqual(wrong, []);
});

test("one consumer alone remembers nothing", (t) => {
  const { asked, compile } = counting();
  const filter = rememberingSelectors(compile)("2");
  filter.byRecord(at(10));
  filter.byRecord(at(10));
  t.is(asked.length, 2);
});
