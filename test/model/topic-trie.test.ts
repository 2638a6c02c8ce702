import test from "ava";
import fc from "fast-check";
import { filterMatches } from "../../src/model/topic-path.ts";
import { TopicTrie } from "../../src/model/topic-trie.ts";

const level = fc.constantFrom("a", "b", "c", "", "$x", "Aa", "BB");
const filterLevel = fc.oneof(level, fc.constantFrom("+", "#"));
const path = fc.array(level, { minLength: 1, maxLength: 6 }).map((levels) => levels.join("/"));
const filter = fc
  .array(filterLevel, { minLength: 1, maxLength: 6 })
  .map((levels) => levels.join("/"));

const matched = (trie: TopicTrie<string>, one: string): string[] => {
  const found: string[] = [];
  trie.collect(one, found);
  return found.sort();
};

test("the trie finds exactly what testing every filter finds, each once", (t) => {
  fc.assert(
    fc.property(
      fc.array(filter, { maxLength: 30 }),
      fc.array(path, { maxLength: 10 }),
      (filters, paths) => {
        const trie = new TopicTrie<string>();
        const distinct = new Map<string, string>();
        for (const one of filters) {
          // Runs of "#" are one "#": the same subscription.
          const normal = one.replace(/#(?:\/#)+/g, "#");
          t.is(trie.add(one, normal), !distinct.has(normal));
          distinct.set(normal, one);
        }
        t.is(trie.size, distinct.size);
        for (const one of paths) {
          const expected = [...distinct.keys()].filter((f) => filterMatches(f, one)).sort();
          t.deepEqual(matched(trie, one), expected);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("what is removed is not found any more, and an emptied trie holds nothing", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(filter, fc.boolean()), { maxLength: 20 }),
      path,
      (entries, one) => {
        const trie = new TopicTrie<number>();
        entries.forEach(([f], i) => {
          trie.add(f, i);
        });
        entries.forEach(([f, keep], i) => {
          if (!keep) t.true(trie.remove(f, i));
        });
        const found: number[] = [];
        trie.collect(one, found);
        t.deepEqual(
          found.sort((a, b) => a - b),
          entries.flatMap(([f, keep], i) => (keep && filterMatches(f, one) ? [i] : [])),
        );
        entries.forEach(([f, keep], i) => {
          t.is(trie.remove(f, i), keep);
        });
        t.is(trie.size, 0);
      },
    ),
  );
});

test("levels with equal hashes are told apart", (t) => {
  const trie = new TopicTrie<string>();
  for (const one of ["x/Aa", "x/BB", "x/c"]) trie.add(one, one);
  t.deepEqual(matched(trie, "x/Aa"), ["x/Aa"]);
  t.deepEqual(matched(trie, "x/BB"), ["x/BB"]);
  trie.remove("x/Aa", "x/Aa");
  t.deepEqual(matched(trie, "x/Aa"), []);
  t.deepEqual(matched(trie, "x/BB"), ["x/BB"]);
});

test("one filter holds thousands of values and lets each go", (t) => {
  const trie = new TopicTrie<number>();
  for (let i = 0; i < 5000; i++) trie.add("a/+", i);
  t.false(trie.add("a/+", 77));
  for (let i = 0; i < 5000; i += 2) t.true(trie.remove("a/+", i));
  const found: number[] = [];
  t.is(trie.collect("a/b", found), 2500);
  t.true(found.every((value) => value % 2 === 1));
  t.is(new Set(found).size, 2500);
});

test("many # in one filter do not blow up the search", (t) => {
  const trie = new TopicTrie<string>();
  const hostile = `${Array.from({ length: 12 }, () => "#/a").join("/")}/z`;
  trie.add(hostile, "x");
  const started = process.hrtime.bigint();
  t.deepEqual(matched(trie, Array.from({ length: 60 }, () => "a").join("/")), []);
  t.true(Number(process.hrtime.bigint() - started) < 5e9);
});

test("paths with hundreds of levels are matched", (t) => {
  const trie = new TopicTrie<string>();
  const deep = Array.from({ length: 300 }, (_, i) => `l${i}`).join("/");
  trie.add(deep, "deep");
  trie.add("l0/#/l299", "ends");
  t.deepEqual(matched(trie, deep), ["deep", "ends"]);
});
