/**
 * Tree → closures. A condition is true, false or null (unknown); a message is selected only when it is true.
 *
 * Values of different types are never equal and never compare: the comparison is false, `<>`, NOT IN and NOT LIKE
 * included (JMS 2.0 §3.8.1.2). A missing value makes it unknown. Whole numbers are exact 64-bit integers that wrap as
 * in Java and divide without fraction; dividing by zero is unknown.
 */
import type { Arithmetic, Comparison, Expression, StringTest } from "./ast.ts";
import { compileLike } from "./like.ts";

/** A symbol stands for a value that exists but compares with nothing (bytes, lists, maps). */
export type SelectorValue = null | boolean | number | bigint | string | symbol;

/** How one identifier is read from a message. */
export interface Accessor<S> {
  get(source: S): SelectorValue;
  /** Is the value a floating-point number? Decides only how whole values divide and overflow. */
  isApproximate?(source: S): boolean;
}

export interface CompileOptions<S> {
  resolve(name: string): Accessor<S>;
  readonly convertStrings?: boolean;
}

type Truth = boolean | null;
export type Condition<S> = (source: S) => Truth;
type Value<S> = (source: S) => SelectorValue;
type Approximate<S> = boolean | ((source: S) => boolean);

export function compileCondition<S>(
  expression: Expression,
  options: CompileOptions<S>,
): Condition<S> {
  return new Compiler(options).condition(expression);
}

class Compiler<S> {
  readonly #resolve: (name: string) => Accessor<S>;
  readonly #convert: boolean;

  constructor(options: CompileOptions<S>) {
    this.#resolve = (name) => options.resolve(name);
    this.#convert = options.convertStrings === true;
  }

  condition(expression: Expression): Condition<S> {
    switch (expression.node) {
      case "and":
        return allOf(expression.parts.map((part) => this.condition(part)));
      case "or":
        return anyOf(expression.parts.map((part) => this.condition(part)));
      case "not": {
        const of = this.condition(expression.of);
        return (source) => not(of(source));
      }
      case "compare":
        return this.#compare(expression.operator, expression.left, expression.right);
      case "between":
        return this.#between(expression);
      case "in":
        return this.#in(expression);
      case "like": {
        const matches = compileLike(expression.pattern, expression.escapeCharacter);
        return this.#textTest(expression.of, matches, expression.isNot);
      }
      case "test":
        return this.#textTest(
          expression.of,
          stringTest(expression.test, expression.text),
          expression.isNot,
        );
      case "null": {
        const of = this.#value(expression.of);
        const { isNot } = expression;
        return (source) => (of(source) === null) !== isNot;
      }
      default: {
        const of = this.#value(expression);
        const converts = this.#convert;
        return (source) => truthOf(of(source), converts);
      }
    }
  }

  #value(expression: Expression): Value<S> {
    switch (expression.node) {
      case "literal":
      case "number": {
        const { value } = expression;
        return () => value;
      }
      case "identifier": {
        const accessor = this.#resolve(expression.name);
        return (source) => accessor.get(source);
      }
      case "negate": {
        const of = this.#number(expression.of);
        return (source) => {
          const value = of(source);
          return value === null ? null : typeof value === "bigint" ? wrap(-value) : -value;
        };
      }
      case "arithmetic":
        return this.#arithmetic(expression.operator, expression.left, expression.right);
      default:
        return this.condition(expression);
    }
  }

  /** The value as a number, null when it is none. */
  #number(expression: Expression): (source: S) => number | bigint | null {
    const of = this.#value(expression);
    const converts = this.#convert;
    return (source) => {
      const value = of(source);
      if (typeof value === "number" || typeof value === "bigint") return value;
      return converts && typeof value === "string" ? numberFromText(value) : null;
    };
  }

  #approximate(expression: Expression): Approximate<S> {
    switch (expression.node) {
      case "number":
        return expression.isApproximate;
      case "identifier": {
        const accessor = this.#resolve(expression.name);
        return (source) => accessor.isApproximate?.(source) ?? false;
      }
      case "negate":
        return this.#approximate(expression.of);
      case "arithmetic":
        return either(this.#approximate(expression.left), this.#approximate(expression.right));
      default:
        return false;
    }
  }

  #arithmetic(operator: Arithmetic, left: Expression, right: Expression): Value<S> {
    const a = this.#number(left);
    const b = this.#number(right);
    const approximate = either(this.#approximate(left), this.#approximate(right));
    const isApproximate =
      typeof approximate === "function" ? approximate : (): boolean => approximate;
    return (source) => {
      const x = a(source);
      if (x === null) return null;
      const y = b(source);
      if (y === null) return null;
      if (typeof x === "number" && typeof y === "number" && operator !== "/") {
        const result = floating(operator, x, y);
        if (Number.isSafeInteger(result)) return result;
        const isWhole = Number.isSafeInteger(x) && Number.isSafeInteger(y);
        if (!isWhole || isApproximate(source)) return result;
      } else if (!isExact(x) || !isExact(y) || isApproximate(source)) {
        return floating(operator, Number(x), Number(y));
      } else if (typeof x === "number" && typeof y === "number") {
        // Exact where a rounded quotient would not be.
        return y === 0 ? null : (x - (x % y)) / y;
      }
      return whole(operator, BigInt(x), BigInt(y));
    };
  }

  #compare(operator: Comparison, left: Expression, right: Expression): Condition<S> {
    const a = this.#value(left);
    const b = this.#value(right);
    const test = COMPARISONS[operator];
    if (this.#convert) {
      return (source) => {
        const x = a(source);
        const y = b(source);
        return x === null || y === null ? null : compareConverted(operator, x, y);
      };
    }
    // The usual case, an identifier against a literal string, without a call more than needed.
    if (operator === "=" && right.node === "literal" && typeof right.value === "string") {
      const { value } = right;
      return (source) => {
        const x = a(source);
        return x === null ? null : x === value;
      };
    }
    return (source) => {
      const x = a(source);
      if (x === null) return null;
      const y = b(source);
      return y === null ? null : test(x, y);
    };
  }

  #between(expression: Extract<Expression, { node: "between" }>): Condition<S> {
    const { isNot, of, low, high } = expression;
    const atLeast = this.#compare(isNot ? "<" : ">=", of, low);
    const atMost = this.#compare(isNot ? ">" : "<=", of, high);
    return isNot ? anyOf([atLeast, atMost]) : allOf([atLeast, atMost]);
  }

  #in({ isNot, of, items }: Extract<Expression, { node: "in" }>): Condition<S> {
    const value = this.#value(of);
    const strings = new Set(items.filter((item) => typeof item === "string"));
    const numbers = items.filter((item) => typeof item !== "string");
    const converts = this.#convert;
    return (source) => {
      const x = value(source);
      if (x === null) return null;
      if (typeof x === "string") {
        if (strings.has(x)) return !isNot;
        if (!converts) return strings.size > 0 ? isNot : false;
        return numbers.some((item) => compareConverted("=", x, item)) !== isNot;
      }
      if (typeof x !== "number" && typeof x !== "bigint") return false;
      if (numbers.some((item) => sameNumber(x, item))) return !isNot;
      if (!converts) return numbers.length > 0 ? isNot : false;
      return [...strings].some((item) => compareConverted("=", x, item)) !== isNot;
    };
  }

  #textTest(of: Expression, test: (text: string) => boolean, isNot: boolean): Condition<S> {
    const value = this.#value(of);
    const converts = this.#convert;
    return (source) => {
      const x = value(source);
      if (x === null) return null;
      if (typeof x === "string") return test(x) !== isNot;
      return converts && typeof x !== "symbol" ? test(String(x)) !== isNot : false;
    };
  }
}

// ---- three-valued logic

const not = (truth: Truth): Truth => (truth === null ? null : !truth);

function allOf<S>(parts: ReadonlyArray<Condition<S>>): Condition<S> {
  return (source) => {
    let result: Truth = true;
    for (let i = 0; i < parts.length; i++) {
      const truth = parts[i]!(source);
      if (truth === false) return false;
      if (truth === null) result = null;
    }
    return result;
  };
}

function anyOf<S>(parts: ReadonlyArray<Condition<S>>): Condition<S> {
  return (source) => {
    let result: Truth = false;
    for (let i = 0; i < parts.length; i++) {
      const truth = parts[i]!(source);
      if (truth === true) return true;
      if (truth === null) result = null;
    }
    return result;
  };
}

/** A value in the place of a condition: only booleans have a truth. */
function truthOf(value: SelectorValue, converts: boolean): Truth {
  if (typeof value === "boolean") return value;
  if (converts && value === "true") return true;
  return converts && value === "false" ? false : null;
}

// ---- comparison

const isNumeric = (value: SelectorValue): value is number | bigint =>
  typeof value === "number" || typeof value === "bigint";

function sameNumber(a: number | bigint, b: number | bigint): boolean {
  if (typeof a === typeof b) return a === b;
  const [small, large] = typeof a === "number" ? [a, b as bigint] : [b as number, a as bigint];
  return Number.isInteger(small) && BigInt(small) === large;
}

/** Only like types compare: undefined otherwise. */
function equal(a: SelectorValue, b: SelectorValue): boolean | undefined {
  if (isNumeric(a) && isNumeric(b)) return sameNumber(a, b);
  return typeof a === typeof b && typeof a !== "symbol" ? a === b : undefined;
}

const COMPARISONS: Record<Comparison, (a: SelectorValue, b: SelectorValue) => boolean> = {
  "=": (a, b) => equal(a, b) === true,
  "<>": (a, b) => equal(a, b) === false,
  "<": (a, b) => isNumeric(a) && isNumeric(b) && a < b,
  "<=": (a, b) => isNumeric(a) && isNumeric(b) && a <= b,
  ">": (a, b) => isNumeric(a) && isNumeric(b) && a > b,
  ">=": (a, b) => isNumeric(a) && isNumeric(b) && a >= b,
};

/** Text against a number is a number if it reads as one, against a boolean a boolean; against text it orders as numbers. */
function compareConverted(operator: Comparison, a: SelectorValue, b: SelectorValue): boolean {
  const isOrder = operator !== "=" && operator !== "<>";
  let x = a;
  let y = b;
  if (typeof x === "string" && (isNumeric(y) || isOrder)) x = numberFromText(x) ?? x;
  if (typeof y === "string" && (isNumeric(x) || isOrder)) y = numberFromText(y) ?? y;
  if (typeof x === "string" && typeof y === "boolean") x = booleanFromText(x);
  if (typeof y === "string" && typeof x === "boolean") y = booleanFromText(y);
  return COMPARISONS[operator](x, y);
}

const booleanFromText = (text: string): boolean | string =>
  text === "true" ? true : text === "false" ? false : text;

function numberFromText(text: string): number | bigint | null {
  if (/^[+-]?\d{1,19}$/.test(text)) {
    const value = Number(text);
    return Number.isSafeInteger(value) ? value : BigInt(text);
  }
  return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?$/.test(text) ? Number(text) : null;
}

function stringTest(test: StringTest, text: string): (value: string) => boolean {
  switch (test) {
    case "CONTAINS":
      return (value) => value.includes(text);
    case "STARTSWITH":
      return (value) => value.startsWith(text);
    default:
      return (value) => value.endsWith(text);
  }
}

// ---- arithmetic

const isExact = (value: number | bigint): boolean =>
  typeof value === "bigint" || Number.isSafeInteger(value);

function either<S>(a: Approximate<S>, b: Approximate<S>): Approximate<S> {
  if (a === true || b === true) return true;
  if (typeof a !== "function") return b;
  if (typeof b !== "function") return a;
  return (source) => a(source) || b(source);
}

function floating(operator: Arithmetic, x: number, y: number): number {
  switch (operator) {
    case "+":
      return x + y;
    case "-":
      return x - y;
    case "*":
      return x * y;
    case "/":
      return x / y;
    default:
      return x % y;
  }
}

function whole(operator: Arithmetic, x: bigint, y: bigint): number | bigint | null {
  switch (operator) {
    case "+":
      return wrap(x + y);
    case "-":
      return wrap(x - y);
    case "*":
      return wrap(x * y);
    case "/":
      return y === 0n ? null : wrap(x / y);
    default:
      return y === 0n ? null : wrap(x % y);
  }
}

function wrap(value: bigint): number | bigint {
  const wrapped = BigInt.asIntN(64, value);
  const number = Number(wrapped);
  return Number.isSafeInteger(number) ? number : wrapped;
}
