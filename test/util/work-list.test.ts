import test from "ava";
import { WorkList } from "../../src/util/work-list.ts";

test("a work list gives back what came since it was cleared, in order, however long it was before", (t) => {
  const list = new WorkList<number>();
  for (const length of [3, 1, 10_000, 0, 2]) {
    for (let i = 0; i < length; i++) t.is(list.push(length * 10 + i), i + 1);
    t.is(list.length, length);
    for (let i = 0; i < length; i++) t.is(list.at(i), length * 10 + i);
    list.clear();
    t.is(list.length, 0);
  }
});
