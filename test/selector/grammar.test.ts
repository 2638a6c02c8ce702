import test from "ava";
import { type Accessor, compileCondition } from "../../src/selector/compile.ts";
import { SelectorError } from "../../src/selector/errors.ts";
import {
  MAX_SELECTOR_CHARACTERS,
  MAX_SELECTOR_DEPTH,
  parseSelector,
} from "../../src/selector/parser.ts";

type Values = Record<string, null | boolean | number | bigint | string>;

const resolve = (name: string): Accessor<Values> => ({
  get: (values) => values[name] ?? null,
  isApproximate: (values) => name.startsWith("f") && typeof values[name] === "number",
});

function evaluate(text: string, values: Values, convertStrings = false): boolean | null {
  return compileCondition(parseSelector(text, { convertStrings }), { resolve, convertStrings })(
    values,
  );
}

const message: Values = {
  a: 1,
  b: 2,
  big: 2n ** 60n,
  f: 2.5,
  f4: 4,
  s: "hello",
  n: "12",
  t: true,
  u: false,
  "m.x-opt-key": "v",
  "properties.subject": "sub",
  été: 3,
  $x_1: 4,
};

const cases: Array<[string, boolean | null]> = [
  // Literals.
  ["a = 1", true],
  ["a=+1 AND a=1L AND a = 0x1 AND a = 01", true],
  ["a + 16 = 021 AND a + 16 = 0x11", true],
  ["f = 2.5 AND f = 25e-1 AND f = .25E1 AND f = 2.5f AND f = 2.5D", true],
  ["a = 1. AND a = 1.0", true],
  ["s = 'hello'", true],
  ["'it''s' = 'it''s'", true],
  ["TRUE", true],
  ["t = TRUE AND u = false AND t <> u", true],
  ["t", true],
  ["NOT u", true],
  ["big = 1152921504606846976", true],
  ["a > -9223372036854775808", true],
  ["0xFFFFFFFFFFFFFFFF = -1", true],
  // Identifiers.
  ["\"m.x-opt-key\" = 'v'", true],
  ["properties.subject = 'sub'", true],
  ["été = 3 AND $x_1 = 4", true],
  ["A = 1", null],
  // Comparison of unlike types is false, with <> too.
  ["s = 1", false],
  ["s <> 1", false],
  ["t = 'true'", false],
  ["a <> TRUE", false],
  ["s > 1", false],
  ["1 = 'a'", false],
  // Arithmetic and precedence.
  ["1 + 2 * 3 = 7", true],
  ["(1 + 2) * 3 = 9", true],
  ["10 - 2 - 3 = 5", true],
  ["-a = 0 - 1", true],
  ["- -a = 1", true],
  ["a - -1 = 2", true],
  ["7 / 2 = 3", true],
  ["-7 / 2 = -3", true],
  ["7 % 4 = 3", true],
  ["7 / 2.0 = 3.5", true],
  ["f4 / 8 = 0.5", true],
  ["b / 4 = 0", true],
  ["a / 0 = 1", null],
  ["a % 0 = 1", null],
  ["f / 0 > 1e300", true],
  ["s + 1 = 2", null],
  ["big * 8 = -9223372036854775808", true],
  ["big + 1 > big", true],
  ["big > 1.5 AND big < 1e30", true],
  // Three-valued logic.
  ["missing = 1", null],
  ["NOT missing = 1", null],
  ["missing = 1 OR a = 1", true],
  ["missing = 1 AND a = 2", false],
  ["missing = 1 OR a = 2", null],
  ["missing = 1 AND a = 1", null],
  ["missing + 1 = 1", null],
  ["missing", null],
  ["s AND t", null],
  // NULL.
  ["missing IS NULL", true],
  ["missing is not null", false],
  ["a IS NOT NULL", true],
  ["NOT a IS NULL", true],
  // BETWEEN.
  ["b BETWEEN 1 AND 3", true],
  ["b BETWEEN 2 AND 2 AND a = 1", true],
  ["b NOT BETWEEN 3 AND 4", true],
  ["b BETWEEN 3 AND 4", false],
  ["missing BETWEEN 1 AND 2", null],
  ["b BETWEEN missing AND 1", false],
  ["b BETWEEN missing AND 3", null],
  ["s BETWEEN 1 AND 2", false],
  ["s NOT BETWEEN 1 AND 2", false],
  // IN.
  ["s IN ('x', 'hello')", true],
  ["s NOT IN ('x', 'y')", true],
  ["s IN ('x')", false],
  ["a IN (1, 2)", true],
  ["a IN (-1, 1.0)", true],
  ["a IN ('1')", false],
  ["a NOT IN ('1')", false],
  ["missing IN ('x')", null],
  ["missing NOT IN ('x')", null],
  // LIKE.
  ["s LIKE 'hel%'", true],
  ["s LIKE '%llo'", true],
  ["s LIKE 'h_llo'", true],
  ["s LIKE 'h_lo'", false],
  ["s LIKE '%e%o%'", true],
  ["s LIKE '%'", true],
  ["s NOT LIKE 'x%'", true],
  ["s LIKE 'hello'", true],
  ["s LIKE 'hello_'", false],
  ["s LIKE '%lo%hel%'", false],
  ["a LIKE '1'", false],
  ["a NOT LIKE '1'", false],
  ["missing LIKE '%'", null],
  // RocketMQ's string tests.
  ["s CONTAINS 'ell' AND s startswith 'he' AND s ENDSWITH 'lo'", true],
  ["s NOT CONTAINS 'z'", true],
  // Binding of NOT, AND, OR.
  ["NOT a = 1 OR t", true],
  ["a = 2 AND a = 1 OR t", true],
  ["t OR a = 1 AND a = 2", true],
  ["NOT (a = 1 AND t)", false],
  ["a > 0 = TRUE", true],
  ["a = 1 and b = 2 Or u", true],
];
for (const [text, expected] of cases) {
  test(`${text}  is ${expected === null ? "unknown" : expected}`, (t) => {
    t.is(evaluate(text, message), expected);
  });
}

test("LIKE takes its special characters literally behind the escape character", (t) => {
  for (const [pattern, value, expected] of [
    ["'\\_%' ESCAPE '\\'", "_x", true],
    ["'\\_%' ESCAPE '\\'", "ax", false],
    ["'100!%' ESCAPE '!'", "100%", true],
    ["'100!%' ESCAPE '!'", "1000", false],
    ["'a!!b' ESCAPE '!'", "a!b", true],
    ["'a.*'", "a.*", true],
    ["'a.*'", "abc", false],
    ["'_'", "😀", true],
    ["'%_'", "", false],
    ["''", "", true],
  ] as const) {
    t.is(evaluate(`v LIKE ${pattern}`, { v: value }), expected, `${value} LIKE ${pattern}`);
  }
});

test("a LIKE pattern full of % is matched without backtracking", (t) => {
  const pattern = `${"%a".repeat(200)}%b`;
  const started = process.hrtime.bigint();
  t.is(evaluate(`v LIKE '${pattern}'`, { v: "a".repeat(20_000) }), false);
  t.true(Number(process.hrtime.bigint() - started) < 10e9);
});

const wrong: Array<[string, RegExp, number]> = [
  ["", /expected an identifier, a literal or "\(", but it ends here/, 0],
  ["a =", /but it ends here/, 3],
  ["a = 1 b = 2", /expected AND, OR or the end/, 6],
  ["a AND 3", /a number stands where a condition is expected/, 6],
  ["3", /a number stands where a condition/, 0],
  ["'x'", /a string stands where a condition/, 0],
  ["a + 1", /a number stands where a condition/, 0],
  ["'x' + 1 = 2", /"\+" takes numbers, and this is a string/, 0],
  ["a < 'x'", /"<" compares numbers, and this is a string/, 4],
  ["a > TRUE", /compares numbers, and this is a boolean/, 4],
  ["(a = 1", /expected "\)", but it ends here/, 6],
  ["a = 1)", /expected AND, OR or the end/, 5],
  ["a LIKE 1", /expected a pattern in single quotes/, 7],
  ["a LIKE 'x' ESCAPE 'yy'", /exactly one character/, 18],
  ["a LIKE 'x!' ESCAPE '!'", /must stand before %, _ or itself/, 19],
  ["a IN 'x'", /expected a list in parentheses/, 5],
  ["a IN ()", /expected a string in single quotes/, 6],
  ["a IN ('x' 'y')", /expected "," or "\)"/, 10],
  ["1 IN (1)", /IN tests an identifier/, 0],
  ["'a' LIKE 'a'", /LIKE tests an identifier/, 0],
  ["1 IS NULL", /IS NULL tests an identifier/, 0],
  ["a IS 1", /expected NULL or NOT NULL/, 5],
  ["a NOT = 1", /expected BETWEEN, IN or LIKE after NOT/, 6],
  ["a BETWEEN 1 OR 2", /expected AND/, 12],
  ["a = 'x", /this string has no closing '/, 4],
  ['"a = 1', /this identifier has no closing "/, 0],
  ["a = 1x", /must not run into a name/, 5],
  ["a = 09", /octal/, 4],
  ["a = 9223372036854775808", /too large/, 4],
  ["a = 99999999999999999999", /too large/, 4],
  ["a = 1e999", /too large/, 4],
  ["a = #", /unexpected character "#"/, 4],
  ["a == 1", /expected an identifier, a literal/, 3],
  ["definitely not a message selector!", /unexpected character "!"/, 33],
  ["definitely not a message selector", /expected BETWEEN, IN or LIKE after NOT/, 15],
  ["NULL = a", /expected an identifier/, 0],
];
for (const [text, reason, position] of wrong) {
  test(`${text === "" ? "an empty selector" : text}  is refused with the place`, (t) => {
    const error = t.throws(() => parseSelector(text), { instanceOf: SelectorError });
    t.regex(error?.message ?? "", reason);
    t.is(error?.position, position);
    t.is(error?.code, "invalid-argument");
  });
}

test("length and nesting are bounded, at the limit and not before", (t) => {
  const padded = (length: number): string => `a = 1${" ".repeat(length - 5)}`;
  t.notThrows(() => parseSelector(padded(MAX_SELECTOR_CHARACTERS)));
  t.throws(() => parseSelector(padded(MAX_SELECTOR_CHARACTERS + 1)), { message: /characters/ });
  const nested = (depth: number): string => `${"(".repeat(depth)}a${")".repeat(depth)}`;
  t.notThrows(() => parseSelector(nested(MAX_SELECTOR_DEPTH)));
  t.throws(() => parseSelector(nested(MAX_SELECTOR_DEPTH + 1)), { message: /nested/ });
  for (const [open, close] of [
    ["NOT ", ""],
    ["- ", ""],
    ["(", ")"],
    ["1 + ", ""],
  ] as const) {
    const text = `a = ${open.repeat(3000)}1${close.repeat(3000)}`;
    t.throws(() => parseSelector(open === "NOT " ? text.slice(4) : text), {
      instanceOf: SelectorError,
    });
  }
});

test("thousands of conditions side by side are no depth", (t) => {
  const text = Array.from({ length: 1500 }, (_, i) => `a=${i}`).join(" OR ");
  t.is(evaluate(text, { a: 1499 }), true);
  t.is(evaluate(text, { a: 1500 }), false);
});

test("text converts to numbers and booleans only where asked", (t) => {
  const values: Values = { n: "12", t: "true", x: "abc", d: "1.5" };
  const both = (text: string): Array<boolean | null> => [
    evaluate(text, values, false),
    evaluate(text, values, true),
  ];
  t.deepEqual(both("n = 12"), [false, true]);
  t.deepEqual(both("n > 9"), [false, true]);
  t.deepEqual(both("n BETWEEN 10 AND 13"), [false, true]);
  t.deepEqual(both("n IN (12)"), [false, true]);
  t.deepEqual(both("n + 1 = 13"), [null, true]);
  t.deepEqual(both("d * 2 = 3"), [null, true]);
  t.deepEqual(both("t = TRUE"), [false, true]);
  t.deepEqual(both("t"), [null, true]);
  t.deepEqual(both("n = '12'"), [true, true]);
  t.deepEqual(both("x = 12"), [false, false]);
  t.deepEqual(both("x <> 12"), [false, false]);
  t.is(evaluate("n < '9'", values, true), false);
});
