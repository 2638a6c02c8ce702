/** The compiled selector against an evaluator that follows the text of the standard case by case. */
import test from "ava";
import fc from "fast-check";
import type { Expression } from "../../src/selector/ast.ts";
import { compileCondition } from "../../src/selector/compile.ts";
import { parseSelector } from "../../src/selector/parser.ts";

type Value = null | boolean | number | string;
type Values = Record<string, Value>;

const name = fc.constantFrom("a", "b", "c", "d");
const value: fc.Arbitrary<Value> = fc.oneof(
  fc.constant(null),
  fc.boolean(),
  fc.integer({ min: -4, max: 4 }),
  fc.constantFrom("", "x", "xy", "yx", "1", "%", "_"),
);
const identifier = name.map<Expression>((n) => ({ node: "identifier", name: n }));
const number = fc
  .integer({ min: 0, max: 5 })
  .map<Expression>((n) => ({ node: "number", value: n, isApproximate: false }));
const textLiteral = fc
  .constantFrom("", "x", "xy", "it's")
  .map<Expression>((n) => ({ node: "literal", value: n }));
const truthLiteral = fc.boolean().map<Expression>((n) => ({ node: "literal", value: n }));

const { condition } = fc.letrec<{ condition: Expression; numeric: Expression }>((tie) => ({
  numeric: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    identifier,
    number,
    tie("numeric").map<Expression>((of) =>
      of.node === "number" && of.value >= 0
        ? { node: "number", value: -of.value, isApproximate: false }
        : { node: "negate", of },
    ),
    fc
      .tuple(fc.constantFrom("+", "-", "*", "/", "%"), tie("numeric"), tie("numeric"))
      .map<Expression>(([operator, left, right]) => ({
        node: "arithmetic",
        operator,
        left,
        right,
      })),
  ),
  condition: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    identifier,
    fc
      .tuple(fc.constantFrom("=", "<>", "<", "<=", ">", ">="), tie("numeric"), tie("numeric"))
      .map<Expression>(([operator, left, right]) => ({ node: "compare", operator, left, right })),
    fc
      .tuple(fc.constantFrom("=", "<>"), identifier, fc.oneof(textLiteral, truthLiteral))
      .map<Expression>(([operator, left, right]) => ({ node: "compare", operator, left, right })),
    fc
      .tuple(fc.boolean(), tie("numeric"), tie("numeric"), tie("numeric"))
      .map<Expression>(([isNot, of, low, high]) => ({ node: "between", isNot, of, low, high })),
    fc
      .tuple(
        fc.boolean(),
        identifier,
        fc.array(fc.constantFrom("", "x", "xy", "it's"), { minLength: 1, maxLength: 3 }),
      )
      .map<Expression>(([isNot, of, items]) => ({ node: "in", isNot, of, items })),
    fc
      .tuple(
        fc.boolean(),
        identifier,
        fc.array(fc.constantFrom("x", "y", "_", "%", "!_", "!%", "!!"), { maxLength: 4 }),
      )
      .map<Expression>(([isNot, of, parts]) => ({
        node: "like",
        isNot,
        of,
        pattern: parts.join(""),
        escapeCharacter: "!",
      })),
    fc
      .tuple(fc.boolean(), identifier)
      .map<Expression>(([isNot, of]) => ({ node: "null", isNot, of })),
    tie("condition").map<Expression>((of) => ({ node: "not", of })),
    fc
      .tuple(
        fc.constantFrom("and", "or"),
        fc.array(tie("condition"), { minLength: 2, maxLength: 3 }),
      )
      .map<Expression>(([node, parts]) => ({ node, parts })),
  ),
}));

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;

function print(e: Expression): string {
  switch (e.node) {
    case "literal":
      return typeof e.value === "string" ? quote(e.value) : String(e.value).toUpperCase();
    case "number":
      return String(e.value);
    case "identifier":
      return e.name;
    case "and":
    case "or":
      return `(${e.parts.map(print).join(` ${e.node} `)})`;
    case "not":
      return `(NOT ${print(e.of)})`;
    case "compare":
    case "arithmetic":
      return `(${print(e.left)} ${e.operator} ${print(e.right)})`;
    case "negate":
      return `(- ${print(e.of)})`;
    case "between":
      return `(${print(e.of)}${e.isNot ? " NOT" : ""} BETWEEN ${print(e.low)} AND ${print(e.high)})`;
    case "in":
      return `(${print(e.of)}${e.isNot ? " NOT" : ""} IN (${e.items.map((i) => quote(String(i))).join(",")}))`;
    case "like":
      return `(${print(e.of)}${e.isNot ? " NOT" : ""} LIKE ${quote(e.pattern)} ESCAPE ${quote(e.escapeCharacter)})`;
    case "null":
      return `(${print(e.of)} IS${e.isNot ? " NOT" : ""} NULL)`;
    default:
      throw new Error(e.node);
  }
}

function compare(operator: string, x: Value, y: Value): boolean | null {
  if (x === null || y === null) return null;
  if (typeof x !== typeof y) return false;
  if (operator === "=") return x === y;
  if (operator === "<>") return x !== y;
  if (typeof x !== "number" || typeof y !== "number") return false;
  return { "<": x < y, "<=": x <= y, ">": x > y, ">=": x >= y }[operator]!;
}

const both = (x: boolean | null, y: boolean | null): boolean | null =>
  x === false || y === false ? false : x === null || y === null ? null : true;
const invert = (x: boolean | null): boolean | null => (x === null ? null : !x);

function naive(e: Expression, values: Values): Value {
  switch (e.node) {
    case "literal":
      return e.value;
    case "number":
      return Number(e.value);
    case "identifier":
      return values[e.name] ?? null;
    case "negate": {
      const x = naive(e.of, values);
      return typeof x === "number" ? -x : null;
    }
    case "arithmetic": {
      const x = naive(e.left, values);
      const y = naive(e.right, values);
      if (typeof x !== "number" || typeof y !== "number") return null;
      if ((e.operator === "/" || e.operator === "%") && y === 0) return null;
      return { "+": x + y, "-": x - y, "*": x * y, "/": Math.trunc(x / y), "%": x % y }[e.operator];
    }
    default:
      return truth(e, values);
  }
}

function truth(e: Expression, values: Values): boolean | null {
  switch (e.node) {
    case "and":
      return e.parts.map((p) => truth(p, values)).reduce(both);
    case "or":
      return invert(e.parts.map((p) => invert(truth(p, values))).reduce(both));
    case "not":
      return invert(truth(e.of, values));
    case "compare":
      return compare(e.operator, naive(e.left, values), naive(e.right, values));
    case "between": {
      const x = naive(e.of, values);
      const low = naive(e.low, values);
      const high = naive(e.high, values);
      return e.isNot
        ? invert(both(invert(compare("<", x, low)), invert(compare(">", x, high))))
        : both(compare(">=", x, low), compare("<=", x, high));
    }
    case "in": {
      const x = naive(e.of, values);
      if (x === null) return null;
      return typeof x === "string" ? e.items.includes(x) !== e.isNot : false;
    }
    case "like": {
      const x = naive(e.of, values);
      if (x === null) return null;
      if (typeof x !== "string") return false;
      const source = e.pattern.replace(/!(.)|(%)|(_)|([^!%_])/g, (_, escaped, many, one, plain) =>
        many ? ".*" : one ? "." : (escaped ?? plain).replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"),
      );
      return new RegExp(`^${source}$`, "s").test(x) !== e.isNot;
    }
    case "null":
      return (naive(e.of, values) === null) !== e.isNot;
    default: {
      const x = naive(e, values);
      return typeof x === "boolean" ? x : null;
    }
  }
}

test("a compiled selector and the standard's text agree on every message", (t) => {
  const values = fc.record({ a: value, b: value, c: value, d: value });
  fc.assert(
    fc.property(condition, fc.array(values, { minLength: 1, maxLength: 5 }), (tree, messages) => {
      const text = print(tree);
      const compiled = compileCondition<Values>(parseSelector(text), {
        resolve: (n) => ({ get: (m) => m[n] ?? null }),
      });
      for (const message of messages) {
        t.is(compiled(message), truth(tree, message), `${text} on ${JSON.stringify(message)}`);
      }
    }),
    { numRuns: 2000 },
  );
});

test("no text makes the parser do anything but answer or refuse", (t) => {
  const piece = fc.constantFrom(
    ..."a b 1 2.5 'x' ( ) = <> < + - * / AND OR NOT IN LIKE ESCAPE BETWEEN IS NULL TRUE , % 0x \" ' é \u0000".split(
      " ",
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 20 }), fc.boolean(), (pieces, convertStrings) => {
      try {
        const compiled = compileCondition<Values>(
          parseSelector(pieces.join(" "), { convertStrings }),
          {
            resolve: () => ({ get: () => "1" }),
            convertStrings,
          },
        );
        const result = compiled({});
        t.true(result === null || typeof result === "boolean");
      } catch (error) {
        t.is((error as Error).name, "SelectorError", String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
