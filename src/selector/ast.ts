/** The tree of a selector, with what is known of each part's type before any message. */

export type StaticType = "boolean" | "number" | "string" | "any";
export type Comparison = "=" | "<>" | "<" | "<=" | ">" | ">=";
export type Arithmetic = "+" | "-" | "*" | "/" | "%";
/** RocketMQ's string tests. */
export type StringTest = "CONTAINS" | "STARTSWITH" | "ENDSWITH";

export type Expression =
  | { readonly node: "literal"; readonly value: boolean | string }
  | { readonly node: "number"; readonly value: number | bigint; readonly isApproximate: boolean }
  | { readonly node: "identifier"; readonly name: string }
  | { readonly node: "and" | "or"; readonly parts: readonly Expression[] }
  | { readonly node: "not"; readonly of: Expression }
  | {
      readonly node: "compare";
      readonly operator: Comparison;
      readonly left: Expression;
      readonly right: Expression;
    }
  | {
      readonly node: "arithmetic";
      readonly operator: Arithmetic;
      readonly left: Expression;
      readonly right: Expression;
    }
  | { readonly node: "negate"; readonly of: Expression }
  | {
      readonly node: "between";
      readonly isNot: boolean;
      readonly of: Expression;
      readonly low: Expression;
      readonly high: Expression;
    }
  | {
      readonly node: "in";
      readonly isNot: boolean;
      readonly of: Expression;
      readonly items: ReadonlyArray<string | number | bigint>;
    }
  | {
      readonly node: "like";
      readonly isNot: boolean;
      readonly of: Expression;
      readonly pattern: string;
      /** "" for none. */
      readonly escapeCharacter: string;
    }
  | {
      readonly node: "test";
      readonly test: StringTest;
      readonly isNot: boolean;
      readonly of: Expression;
      readonly text: string;
    }
  | { readonly node: "null"; readonly isNot: boolean; readonly of: Expression };

export function staticType(expression: Expression): StaticType {
  switch (expression.node) {
    case "literal":
      return typeof expression.value === "boolean" ? "boolean" : "string";
    case "number":
    case "arithmetic":
    case "negate":
      return "number";
    case "identifier":
      return "any";
    default:
      return "boolean";
  }
}
