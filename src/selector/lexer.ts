/**
 * Tokens of a selector (JMS 2.0 §3.8.1.1). Keywords are not case-sensitive, identifiers are. Beyond JMS: identifiers may
 * hold dots (`properties.subject`) and stand in double quotes (`"m.x-opt-key"`, "" for a quote); `!=` is `<>`.
 */
import { SelectorError } from "./errors.ts";

const KEYWORDS = [
  "AND",
  "OR",
  "NOT",
  "BETWEEN",
  "IN",
  "LIKE",
  "ESCAPE",
  "IS",
  "NULL",
  "TRUE",
  "FALSE",
] as const;
export type Keyword = (typeof KEYWORDS)[number];
export type Operator =
  | "="
  | "<>"
  | "<"
  | "<="
  | ">"
  | ">="
  | "+"
  | "-"
  | "*"
  | "/"
  | "%"
  | "("
  | ")"
  | ",";

export type Token =
  | { readonly kind: "keyword"; readonly word: Keyword; readonly at: number }
  | { readonly kind: "identifier"; readonly name: string; readonly at: number }
  | { readonly kind: "string"; readonly value: string; readonly at: number }
  /** Exact numbers are number while safe, else bigint; a value of 2^63 stands only behind a minus. */
  | { readonly kind: "exact"; readonly value: number | bigint; readonly at: number }
  | { readonly kind: "approximate"; readonly value: number; readonly at: number }
  | { readonly kind: "operator"; readonly operator: Operator; readonly at: number }
  | { readonly kind: "end"; readonly at: number };

const SPACE = /[ \t\f\r\n]*/y;
const IDENTIFIER =
  /[\p{L}\p{Nl}_$][\p{L}\p{Nl}\p{Nd}\p{Mn}\p{Mc}\p{Pc}$]*(?:\.[\p{L}\p{Nl}_$][\p{L}\p{Nl}\p{Nd}\p{Mn}\p{Mc}\p{Pc}$]*)*/uy;
const HEX = /0[xX]([0-9a-fA-F]+)[lL]?/y;
const APPROXIMATE = /(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?[fFdD]?|\d+(?:[eE][+-]?\d+[fFdD]?|[fFdD])/y;
const EXACT = /\d+[lL]?/y;
const OPERATOR = /<>|!=|<=|>=|[=<>+\-*/%(),]/y;
const WORDS: ReadonlySet<string> = new Set(KEYWORDS);
const TWO_POW_63 = 2n ** 63n;

/** All tokens, the last one "end". Throws SelectorError. */
export function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  for (;;) {
    at += take(SPACE)![0].length;
    if (at === text.length) {
      tokens.push({ kind: "end", at });
      return tokens;
    }
    const start = at;
    const character = text[at]!;
    if (character === "'" || character === '"') {
      const end = closingQuote(text, at, character);
      const value = text.slice(at + 1, end).replaceAll(character + character, character);
      at = end + 1;
      if (character === "'") tokens.push({ kind: "string", value, at: start });
      else if (value !== "") tokens.push({ kind: "identifier", name: value, at: start });
      else throw new SelectorError("an identifier in double quotes must not be empty", text, start);
      continue;
    }
    const number = takeNumber(text, at);
    if (number !== undefined) {
      at = number.end;
      IDENTIFIER.lastIndex = at;
      if (IDENTIFIER.test(text)) {
        throw new SelectorError("a number must not run into a name", text, at);
      }
      tokens.push(number.token);
      continue;
    }
    const identifier = take(IDENTIFIER);
    if (identifier !== null) {
      const name = identifier[0];
      at += name.length;
      const word = name.toUpperCase();
      tokens.push(
        WORDS.has(word)
          ? { kind: "keyword", word: word as Keyword, at: start }
          : { kind: "identifier", name, at: start },
      );
      continue;
    }
    const operator = take(OPERATOR);
    if (operator === null) {
      throw new SelectorError(`unexpected character ${JSON.stringify(character)}`, text, at);
    }
    at += operator[0].length;
    const symbol = operator[0] === "!=" ? "<>" : (operator[0] as Operator);
    tokens.push({ kind: "operator", operator: symbol, at: start });
  }
}

function closingQuote(text: string, from: number, quote: string): number {
  for (let at = from + 1; ; at += 2) {
    at = text.indexOf(quote, at);
    if (at < 0) {
      const what = quote === "'" ? "this string" : "this identifier";
      throw new SelectorError(`${what} has no closing ${quote}`, text, from);
    }
    if (text[at + 1] !== quote) return at;
  }
}

function takeNumber(text: string, at: number): { token: Token; end: number } | undefined {
  const code = text.charCodeAt(at);
  if (!((code >= 0x30 && code <= 0x39) || code === 0x2e)) return undefined;
  for (const pattern of [HEX, APPROXIMATE, EXACT]) {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found === null) continue;
    const end = at + found[0].length;
    if (pattern === HEX) {
      const value = BigInt(`0x${found[1]}`);
      if (value >= 2n ** 64n) throw tooLarge(text, at);
      // As in Java, all 64 bits of a hexadecimal literal may be used, the first is the sign.
      return { token: exact(BigInt.asIntN(64, value), at), end };
    }
    if (pattern === APPROXIMATE) {
      const value = Number(found[0].replace(/[fFdD]$/, ""));
      if (!Number.isFinite(value)) throw tooLarge(text, at);
      return { token: { kind: "approximate", value, at }, end };
    }
    const digits = found[0].replace(/[lL]$/, "");
    const isOctal = digits.length > 1 && digits.startsWith("0");
    if (isOctal && /[89]/.test(digits)) {
      throw new SelectorError("a number that begins with 0 is octal and has no 8 or 9", text, at);
    }
    const value = isOctal ? BigInt(`0o${digits.slice(1)}`) : BigInt(digits);
    if (value > TWO_POW_63) throw tooLarge(text, at);
    return { token: exact(value, at), end };
  }
  return undefined;
}

const exact = (value: bigint, at: number): Token => ({
  kind: "exact",
  value:
    value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
      ? Number(value)
      : value,
  at,
});

const tooLarge = (text: string, at: number): SelectorError =>
  new SelectorError("the number is too large", text, at);
