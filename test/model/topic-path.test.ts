import test from "ava";
import fc from "fast-check";
import {
  filterFromDotted,
  filterMatches,
  filterToDotted,
  hasWildcard,
  levelsMatch,
  pathFromDotted,
  pathToDotted,
} from "../../src/model/topic-path.ts";

/** Names made of the pieces that could confuse the escapes. */
const piece = fc.constantFrom(
  ..."a b . / % + # * > %2E %2F %25 %252E %252F %25252E %2B %23 %252B %2A %252A %3E 25 2E é".split(
    " ",
  ),
);
const text = fc.array(piece, { minLength: 1, maxLength: 8 }).map((pieces) => pieces.join(""));

test("the examples of the address model come out as written there", (t) => {
  t.is(pathFromDotted("a.b/c"), "a/b%2Fc");
  t.is(pathToDotted("x/1.5"), "x.1%2E5");
  t.is(pathFromDotted("s.t"), "s/t");
  t.is(filterFromDotted("a.*.b.#"), "a/+/b/#");
  t.is(filterFromDotted("a.>"), "a/+/#");
  t.is(filterToDotted("a/+/#"), "a.*.#");
});

test("a path keeps every byte through the other separator and back, whatever it holds", (t) => {
  fc.assert(fc.property(text, (dotted) => t.is(pathToDotted(pathFromDotted(dotted)), dotted)));
  fc.assert(
    fc.property(
      text.filter((path) => !hasWildcard(path)),
      (path) => t.is(pathFromDotted(pathToDotted(path)), path),
    ),
  );
});

test("a filter keeps its wildcards and its literal levels through the other separator and back", (t) => {
  fc.assert(fc.property(text, (filter) => t.is(filterFromDotted(filterToDotted(filter)), filter)));
  fc.assert(
    fc.property(text, (dotted) => {
      const filter = filterFromDotted(dotted);
      t.is(filterFromDotted(filterToDotted(filter)), filter);
    }),
  );
});

test("two paths never share one dotted spelling", (t) => {
  fc.assert(
    fc.property(text, text, (a, b) => {
      fc.pre(a !== b && !hasWildcard(a) && !hasWildcard(b));
      t.not(pathToDotted(a), pathToDotted(b));
    }),
  );
});

test("a published key with wildcard characters is an ordinary path", (t) => {
  t.is(pathFromDotted("a.*.#"), "a/*/%23");
  t.false(hasWildcard(pathFromDotted("+.#.*")));
});

test("filters match by level", (t) => {
  for (const [filter, path, expected] of [
    ["a/b", "a/b", true],
    ["a/+", "a/b", true],
    ["a/+", "a", false],
    ["a/+", "a/b/c", false],
    ["a/#", "a", true],
    ["a/#", "a/b/c", true],
    ["#", "a/b", true],
    ["#", "$SYS/x", false],
    ["+/x", "$SYS/x", false],
    ["$SYS/#", "$SYS/x", true],
    ["#/c", "a/b/c", true],
    ["#/c", "c", true],
    ["a/#/d", "a/d", true],
    ["a/#/d", "a/b/c/d", true],
    ["a/#/d", "a/b/c", false],
    ["a/+/#", "a", false],
    ["+", "", true],
    ["/+", "/a", true],
    ["+/+", "/a", true],
  ] as const) {
    t.is(filterMatches(filter, path), expected, `${filter} on ${path}`);
  }
});

/** The rule as it reads, slow. */
function matchesByTheBook(filter: readonly string[], path: readonly string[]): boolean {
  if (filter.length === 0) return path.length === 0;
  const [level, ...rest] = filter;
  if (level === "#") {
    return (
      matchesByTheBook(rest, path) || (path.length > 0 && matchesByTheBook(filter, path.slice(1)))
    );
  }
  return (
    path.length > 0 && (level === "+" || level === path[0]) && matchesByTheBook(rest, path.slice(1))
  );
}

test("matching takes the short way and finds the same", (t) => {
  const levels = fc.array(fc.constantFrom("a", "b"), { maxLength: 7 });
  const filter = fc.array(fc.constantFrom("a", "b", "+", "#"), { maxLength: 7 });
  fc.assert(
    fc.property(filter, levels, (f, p) => t.is(levelsMatch(f, p), matchesByTheBook(f, p))),
    { numRuns: 3000 },
  );
});

test("a hostile filter costs no more than levels times levels", (t) => {
  const filter = `${"#/a/".repeat(60)}z`;
  const path = "a/".repeat(2000);
  const started = process.hrtime.bigint();
  t.false(filterMatches(filter, path));
  t.true(Number(process.hrtime.bigint() - started) < 5e9);
});
