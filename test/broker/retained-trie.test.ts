import test from "ava";
import fc from "fast-check";
import { RetainedTrie } from "../../src/broker/retained-trie.ts";
import { filterMatches } from "../../src/model/topic-path.ts";

const level = fc.constantFrom("", "a", "b", "ab", "ü", "$x", "1");
const path = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join("/"));
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant("+")), { maxLength: 4 }), fc.constantFrom("", "#"))
  .map(([levels, last]) => (last === "" ? levels : [...levels, last]).join("/"))
  .filter((text) => text !== "");

const step = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.constant("set" as const), path) },
  { weight: 2, arbitrary: fc.tuple(fc.constant("delete" as const), path) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("match" as const), filter) },
);

test("it holds and finds what a plain map with the plain matching rule does", (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const trie = new RetainedTrie();
      const model = new Map<string, number>();
      let number = 0;
      for (const [what, text] of steps) {
        if (what === "set") {
          const before = trie.set(text, number * 100, 50, number);
          t.is(before, model.get(text) ?? -1);
          model.set(text, number++);
        } else if (what === "delete") {
          t.is(trie.delete(text), model.get(text) ?? -1);
          model.delete(text);
        } else {
          const found = [...trie.match(text)].map((node) => trie.pathOf(node)).sort();
          const wanted = [...model.keys()].filter((one) => filterMatches(text, one)).sort();
          t.deepEqual(found, wanted, text);
        }
        t.is(trie.count, model.size);
      }
      for (const [text, offset] of model) {
        const node = trie.find(text);
        t.is(trie.offsetOf(node), offset);
        t.is(trie.physicalOffsetOf(node), offset * 100);
        t.is(trie.pathOf(node), text);
      }
    }),
    { numRuns: 50 },
  );
});

test("topics that come and go by the hundred thousand leave nothing behind", (t) => {
  const trie = new RetainedTrie();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 30_000; i++) trie.set(`device/${i % 1500}/${round}/${i}`, i, 1, i);
    t.is(trie.match("device/#").length, 30_000);
    t.is(trie.match("device/17/+/+").length, 20);
    for (let i = 0; i < 30_000; i++) trie.delete(`device/${i % 1500}/${round}/${i}`);
    t.is(trie.count, 0);
    t.is(trie.match("#").length, 0);
  }
});
