/**
 * Selector text → tree, by operator precedence (JMS 2.0 §3.8.1.1; loosest first):
 *
 *   OR · AND · NOT · comparison, BETWEEN, IN, LIKE, IS NULL · + - · * / % · unary + -
 *
 * What can never be true of any message for reasons of type is refused here: `a AND 3`, `'x' + 1`, `a < 'x'`. Bounded in
 * length and nesting, so that no text overflows the stack here or when it is evaluated.
 */
import { type Comparison, type Expression, type StringTest, staticType } from "./ast.ts";
import { SelectorError } from "./errors.ts";
import { type Keyword, type Operator, type Token, tokenize } from "./lexer.ts";

export const MAX_SELECTOR_CHARACTERS = 16_384;
export const MAX_SELECTOR_DEPTH = 128;

export interface ParseOptions {
  /** Text compares with numbers and booleans by what it says: for peers whose values are all text. */
  readonly convertStrings?: boolean;
}

/** Throws SelectorError. */
export function parseSelector(text: string, options: ParseOptions = {}): Expression {
  if (text.length > MAX_SELECTOR_CHARACTERS) {
    throw new SelectorError(
      `it has ${text.length} characters, at most ${MAX_SELECTOR_CHARACTERS} are allowed`,
      text,
      0,
    );
  }
  return new Parser(text, options.convertStrings === true).parse();
}

const COMPARISONS: ReadonlySet<string> = new Set(["=", "<>", "<", "<=", ">", ">="]);
const STRING_TESTS: ReadonlySet<string> = new Set(["CONTAINS", "STARTSWITH", "ENDSWITH"]);

interface Parsed {
  readonly expression: Expression;
  /** Levels of nesting below. */
  readonly depth: number;
}

class Parser {
  readonly #text: string;
  readonly #convert: boolean;
  readonly #tokens: Token[];
  #next = 0;
  #nesting = 0;

  constructor(text: string, convert: boolean) {
    this.#text = text;
    this.#convert = convert;
    this.#tokens = tokenize(text);
  }

  parse(): Expression {
    const first = this.#peek();
    const { expression } = this.#or();
    const token = this.#peek();
    if (token.kind !== "end") throw this.#unexpected("AND, OR or the end", token);
    this.#boolean(expression, first);
    return expression;
  }

  // ---- precedence levels

  #or(): Parsed {
    return this.#chain("or", "OR", () => this.#and());
  }

  #and(): Parsed {
    return this.#chain("and", "AND", () => this.#not());
  }

  /** Long chains of AND and OR stay flat: they cost no depth. */
  #chain(node: "and" | "or", keyword: Keyword, operand: () => Parsed): Parsed {
    const firstToken = this.#peek();
    const first = operand();
    if (!this.#isKeyword(keyword)) return first;
    this.#boolean(first.expression, firstToken);
    const parts = [first.expression];
    let { depth } = first;
    while (this.#acceptKeyword(keyword)) {
      const token = this.#peek();
      const part = operand();
      this.#boolean(part.expression, token);
      parts.push(part.expression);
      depth = Math.max(depth, part.depth);
    }
    return this.#node({ node, parts }, depth, firstToken);
  }

  #not(): Parsed {
    const token = this.#peek();
    if (!this.#acceptKeyword("NOT")) return this.#comparison();
    return this.#nested(token, () => {
      const operandToken = this.#peek();
      const { expression, depth } = this.#not();
      this.#boolean(expression, operandToken);
      return this.#node({ node: "not", of: expression }, depth, token);
    });
  }

  #comparison(): Parsed {
    const start = this.#peek();
    let left = this.#sum();
    for (;;) {
      const token = this.#peek();
      if (token.kind === "operator" && COMPARISONS.has(token.operator)) {
        this.#next += 1;
        const rightToken = this.#peek();
        const right = this.#sum();
        left = this.#compare(token.operator as Comparison, left, right, start, rightToken);
      } else if (this.#acceptKeyword("IS")) {
        left = this.#isNull(left, start);
      } else {
        const isNot = this.#isKeyword("NOT");
        if (isNot) this.#next += 1;
        const tested = this.#predicate(left, isNot, start);
        if (tested === undefined) {
          if (isNot) throw this.#unexpected("BETWEEN, IN or LIKE after NOT", this.#peek());
          return left;
        }
        left = tested;
      }
    }
  }

  #compare(
    operator: Comparison,
    left: Parsed,
    right: Parsed,
    leftToken: Token,
    rightToken: Token,
  ): Parsed {
    if (operator !== "=" && operator !== "<>") {
      this.#number(left.expression, leftToken, `"${operator}" compares numbers`);
      this.#number(right.expression, rightToken, `"${operator}" compares numbers`);
    }
    return this.#node(
      { node: "compare", operator, left: left.expression, right: right.expression },
      Math.max(left.depth, right.depth),
      leftToken,
    );
  }

  #isNull(left: Parsed, start: Token): Parsed {
    const isNot = this.#acceptKeyword("NOT");
    if (!this.#acceptKeyword("NULL")) {
      throw this.#unexpected(isNot ? "NULL" : "NULL or NOT NULL", this.#peek());
    }
    this.#identifier(left.expression, start, "IS NULL tests an identifier");
    return this.#node({ node: "null", isNot, of: left.expression }, left.depth, start);
  }

  #predicate(left: Parsed, isNot: boolean, start: Token): Parsed | undefined {
    const of = left.expression;
    if (this.#acceptKeyword("BETWEEN")) {
      this.#number(of, start, "BETWEEN compares numbers");
      const lowToken = this.#peek();
      const low = this.#sum();
      this.#number(low.expression, lowToken, "BETWEEN compares numbers");
      this.#expectKeyword("AND");
      const highToken = this.#peek();
      const high = this.#sum();
      this.#number(high.expression, highToken, "BETWEEN compares numbers");
      const depth = Math.max(left.depth, low.depth, high.depth);
      return this.#node(
        { node: "between", isNot, of, low: low.expression, high: high.expression },
        depth,
        start,
      );
    }
    if (this.#acceptKeyword("IN")) {
      this.#identifier(of, start, "IN tests an identifier");
      return this.#node({ node: "in", isNot, of, items: this.#items() }, left.depth, start);
    }
    if (this.#acceptKeyword("LIKE")) {
      this.#identifier(of, start, "LIKE tests an identifier");
      const pattern = this.#string("a pattern in single quotes after LIKE");
      const escapeCharacter = this.#acceptKeyword("ESCAPE") ? this.#escape(pattern) : "";
      return this.#node({ node: "like", isNot, of, pattern, escapeCharacter }, left.depth, start);
    }
    const token = this.#peek();
    if (token.kind === "identifier" && STRING_TESTS.has(token.name.toUpperCase())) {
      this.#next += 1;
      const test = token.name.toUpperCase() as StringTest;
      this.#identifier(of, start, `${test} tests an identifier`);
      const text = this.#string(`a string after ${test}`);
      return this.#node({ node: "test", test, isNot, of, text }, left.depth, start);
    }
    return undefined;
  }

  #items(): Array<string | number | bigint> {
    this.#expectOperator("(", "a list in parentheses after IN");
    const items: Array<string | number | bigint> = [];
    do {
      const isNegative = this.#acceptOperator("-");
      const token = this.#peek();
      if (token.kind === "string" && !isNegative) items.push(token.value);
      else if (token.kind === "exact" || token.kind === "approximate") {
        items.push(isNegative ? -token.value : token.value);
      } else throw this.#unexpected("a string in single quotes", token);
      this.#next += 1;
    } while (this.#acceptOperator(","));
    this.#expectOperator(")", '"," or ")"');
    return items;
  }

  #escape(pattern: string): string {
    const token = this.#peek();
    const character = this.#string("one character in single quotes after ESCAPE");
    if ([...character].length !== 1) {
      throw new SelectorError("ESCAPE takes exactly one character", this.#text, token.at);
    }
    const characters = [...pattern];
    for (let i = 0; i < characters.length; i++) {
      if (characters[i] !== character) continue;
      i += 1;
      const escaped = characters[i];
      if (escaped !== "%" && escaped !== "_" && escaped !== character) {
        throw new SelectorError(
          `in the pattern, "${character}" must stand before %, _ or itself`,
          this.#text,
          token.at,
        );
      }
    }
    return character;
  }

  #sum(): Parsed {
    return this.#arithmetic(["+", "-"], () => this.#product());
  }

  #product(): Parsed {
    return this.#arithmetic(["*", "/", "%"], () => this.#unary());
  }

  #arithmetic(
    operators: ReadonlyArray<"+" | "-" | "*" | "/" | "%">,
    operand: () => Parsed,
  ): Parsed {
    const start = this.#peek();
    let left = operand();
    for (;;) {
      const token = this.#peek();
      if (token.kind !== "operator") return left;
      const operator = operators.find((one) => one === token.operator);
      if (operator === undefined) return left;
      this.#next += 1;
      this.#number(left.expression, start, `"${operator}" takes numbers`);
      const rightToken = this.#peek();
      const right = operand();
      this.#number(right.expression, rightToken, `"${operator}" takes numbers`);
      left = this.#node(
        { node: "arithmetic", operator, left: left.expression, right: right.expression },
        Math.max(left.depth, right.depth),
        start,
      );
    }
  }

  #unary(): Parsed {
    const token = this.#peek();
    if (token.kind !== "operator" || (token.operator !== "-" && token.operator !== "+")) {
      return this.#primary();
    }
    this.#next += 1;
    return this.#nested(token, () => {
      const operandToken = this.#peek();
      if (token.operator === "-" && isMinimum(operandToken)) {
        this.#next += 1;
        return leaf({ node: "number", value: -(2n ** 63n), isApproximate: false });
      }
      const { expression, depth } = this.#unary();
      this.#number(expression, operandToken, `"${token.operator}" takes a number`);
      if (token.operator === "+") return { expression, depth };
      if (expression.node === "number") {
        return leaf({ ...expression, value: -expression.value });
      }
      return this.#node({ node: "negate", of: expression }, depth, token);
    });
  }

  #primary(): Parsed {
    const token = this.#peek();
    switch (token.kind) {
      case "identifier":
        this.#next += 1;
        return leaf({ node: "identifier", name: token.name });
      case "string":
        this.#next += 1;
        return leaf({ node: "literal", value: token.value });
      case "exact":
        if (isMinimum(token))
          throw new SelectorError("the number is too large", this.#text, token.at);
        this.#next += 1;
        return leaf({ node: "number", value: token.value, isApproximate: false });
      case "approximate":
        this.#next += 1;
        return leaf({ node: "number", value: token.value, isApproximate: true });
      case "keyword":
        if (token.word !== "TRUE" && token.word !== "FALSE") break;
        this.#next += 1;
        return leaf({ node: "literal", value: token.word === "TRUE" });
      case "operator":
        if (token.operator !== "(") break;
        this.#next += 1;
        return this.#nested(token, () => {
          const inner = this.#or();
          this.#expectOperator(")", '")"');
          return inner;
        });
      default:
    }
    throw this.#unexpected('an identifier, a literal or "("', token);
  }

  // ---- types

  #boolean(expression: Expression, token: Token): void {
    const type = staticType(expression);
    if (type !== "boolean" && type !== "any") {
      throw new SelectorError(
        `a ${type} stands where a condition is expected`,
        this.#text,
        token.at,
      );
    }
  }

  #number(expression: Expression, token: Token, rule: string): void {
    const type = staticType(expression);
    if (type === "number" || type === "any" || (type === "string" && this.#convert)) return;
    throw new SelectorError(`${rule}, and this is a ${type}`, this.#text, token.at);
  }

  #identifier(expression: Expression, token: Token, rule: string): void {
    if (expression.node !== "identifier") throw new SelectorError(rule, this.#text, token.at);
  }

  // ---- tokens and bounds

  #peek(): Token {
    return this.#tokens[this.#next]!;
  }

  #isKeyword(word: Keyword): boolean {
    const token = this.#peek();
    return token.kind === "keyword" && token.word === word;
  }

  #acceptKeyword(word: Keyword): boolean {
    if (!this.#isKeyword(word)) return false;
    this.#next += 1;
    return true;
  }

  #expectKeyword(word: Keyword): void {
    if (!this.#acceptKeyword(word)) throw this.#unexpected(word, this.#peek());
  }

  #acceptOperator(operator: Operator): boolean {
    const token = this.#peek();
    if (token.kind !== "operator" || token.operator !== operator) return false;
    this.#next += 1;
    return true;
  }

  #expectOperator(operator: Operator, expected: string): void {
    if (!this.#acceptOperator(operator)) throw this.#unexpected(expected, this.#peek());
  }

  #string(expected: string): string {
    const token = this.#peek();
    if (token.kind !== "string") throw this.#unexpected(expected, token);
    this.#next += 1;
    return token.value;
  }

  #unexpected(expected: string, token: Token): SelectorError {
    const what = token.kind === "end" ? "it ends" : "something else stands";
    return new SelectorError(`expected ${expected}, but ${what} here`, this.#text, token.at);
  }

  #node(expression: Expression, depthBelow: number, token: Token): Parsed {
    const depth = depthBelow + 1;
    if (depth > MAX_SELECTOR_DEPTH) throw this.#tooDeep(token);
    return { expression, depth };
  }

  #nested(token: Token, parse: () => Parsed): Parsed {
    this.#nesting += 1;
    if (this.#nesting > MAX_SELECTOR_DEPTH) throw this.#tooDeep(token);
    const parsed = parse();
    this.#nesting -= 1;
    return parsed;
  }

  #tooDeep(token: Token): SelectorError {
    return new SelectorError(
      `it is nested more than ${MAX_SELECTOR_DEPTH} levels deep`,
      this.#text,
      token.at,
    );
  }
}

const leaf = (expression: Expression): Parsed => ({ expression, depth: 1 });

/** 2^63, which fits only when negated. */
const isMinimum = (token: Token): boolean =>
  token.kind === "exact" && typeof token.value === "bigint" && token.value === 2n ** 63n;
