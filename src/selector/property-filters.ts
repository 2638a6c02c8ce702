/**
 * Filters by properties (AMQP Filter Expressions 1.0, §4.2: properties and application-properties filters) as selectors.
 * All conditions must hold. A string `&p:x` is any text that begins with x, `&s:x` one that ends with it, `&&…` the text from
 * the second & on; null asks only that the property is there.
 */
import { identifierToText } from "../model/identifiers.ts";
import type { Typed } from "../model/values.ts";
import { isUuid } from "../model/values.ts";

export type FilteredSection = "properties" | "application-properties";

/** The selector's text, or undefined when a value is of a type that no selector compares (lists, maps, bytes but for ids). */
export function selectorOfProperties(
  section: FilteredSection,
  entries: ReadonlyArray<readonly [name: string, value: Typed]>,
): string | undefined {
  const conditions: string[] = [];
  for (const [name, value] of entries) {
    const condition = conditionOf(`"${section}.${name.replaceAll('"', '""')}"`, value);
    if (condition === undefined) return undefined;
    conditions.push(condition);
  }
  return conditions.length === 0 ? "TRUE" : conditions.join(" AND ");
}

function conditionOf(identifier: string, value: Typed): string | undefined {
  switch (value.type) {
    case "null":
      return `${identifier} IS NOT NULL`;
    case "bool":
      return `${identifier} = ${value.value ? "TRUE" : "FALSE"}`;
    case "string":
    case "symbol":
    case "char":
      return textCondition(identifier, value.value);
    case "uuid":
      return isUuid(value.value) ? `${identifier} = ${quote(value.value)}` : undefined;
    case "bytes":
      return `${identifier} = ${quote(identifierToText(value))}`;
    case "list":
    case "map":
    case "decimal":
      return undefined;
    default:
      return numberCondition(identifier, value.value);
  }
}

function textCondition(identifier: string, text: string): string {
  if (text.startsWith("&p:")) return `${identifier} STARTSWITH ${quote(text.slice(3))}`;
  if (text.startsWith("&s:")) return `${identifier} ENDSWITH ${quote(text.slice(3))}`;
  return `${identifier} = ${quote(text.startsWith("&&") ? text.slice(1) : text)}`;
}

function numberCondition(identifier: string, value: number | bigint): string | undefined {
  if (typeof value === "number" && !Number.isFinite(value)) return undefined;
  const text = String(value);
  // Beyond 64 bits, and beyond 2^53 without an exponent, only an approximate literal can be written.
  const isLong = typeof value === "bigint" && value < 2n ** 63n;
  return `${identifier} = ${Number.isSafeInteger(value) || isLong || /[.e]/.test(text) ? text : `${text}.0`}`;
}

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** Several selectors of one link: all of them must hold. */
export const bothSelectors = (a: string, b: string): string =>
  a === "" ? b : b === "" ? a : `(${a}) AND (${b})`;
