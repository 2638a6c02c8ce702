/**
 * Selectors on stored messages: compiled once per distinct text, then tested first on the ConsumeQueue entry's tag hash
 * where the selector allows it, then on the record.
 *
 * A text that begins with `convert_string_expressions:` compares text with numbers and booleans by what it says; clients of
 * text protocols, whose values are all text, get that always.
 */

import type { RecordView } from "../model/record-view.ts";
import { javaHash, TagFilter } from "../model/tag.ts";
import type { Expression } from "./ast.ts";
import { type Condition, compileCondition } from "./compile.ts";
import { MessageSource, messageAccessor } from "./message-source.ts";
import { parseSelector } from "./parser.ts";

export const CONVERT_PREFIX = "convert_string_expressions:";
/** Identifiers that are the tag and nothing else: `tag` alone may be a property of the application's own. */
const TAG_IDENTIFIERS: ReadonlySet<string> = new Set(["x_tag", "TAGS"]);
const MAX_CACHED = 1024;
const cache = new Map<string, MessageSelector>();
const source = new MessageSource();

export class MessageSelector {
  readonly text: string;
  /** What the tag must be for the selector to hold, or null when it does not say. */
  readonly tags: TagFilter | null;
  /** The selector says nothing but that. */
  readonly isTagOnly: boolean;
  readonly #condition: Condition<MessageSource>;

  constructor(text: string) {
    this.text = text;
    const convertStrings = text.startsWith(CONVERT_PREFIX);
    const plain = convertStrings ? text.slice(CONVERT_PREFIX.length) : text;
    const expression = parseSelector(plain, { convertStrings });
    this.#condition = compileCondition(expression, { resolve: messageAccessor, convertStrings });
    const tags = tagsOf(expression);
    this.tags = tags === null ? null : new TagFilter(tags.tags);
    this.isTagOnly = tags?.isAll ?? false;
  }

  /** 0: certainly not, 1: ask `byRecord`. The hash is that of the record's tag. */
  byHash(tagHash: number): 0 | 1 {
    return this.tags === null || this.tags.matchesHash(tagHash) ? 1 : 0;
  }

  /**
   * Is the message selected? `deliveryCount`: failed deliveries so far. A message that cannot be decoded is not selected.
   */
  byRecord(record: RecordView, deliveryCount = 0): boolean {
    try {
      return this.#condition(source.open(record, deliveryCount)) === true;
    } catch {
      return false;
    } finally {
      source.close();
    }
  }
}

/** Throws SelectorError (BrokerError invalid-argument). Equal texts share one compiled selector. */
export function compileSelector(text: string): MessageSelector {
  let selector = cache.get(text);
  if (selector === undefined) {
    selector = new MessageSelector(text);
    if (cache.size >= MAX_CACHED) cache.delete(cache.keys().next().value as string);
    cache.set(text, selector);
  }
  return selector;
}

interface TagCondition {
  readonly tags: readonly string[];
  /** The expression is this condition and nothing else. */
  readonly isAll: boolean;
}

/** `x_tag = 'a'`, `x_tag IN ('a', 'b')`, such joined by OR, or one of these among conditions joined by AND. */
function tagsOf(expression: Expression): TagCondition | null {
  switch (expression.node) {
    case "compare": {
      const { operator, left, right } = expression;
      if (operator !== "=" || right.node !== "literal" || typeof right.value !== "string") {
        return null;
      }
      return isTag(left) ? condition([right.value]) : null;
    }
    case "in":
      if (expression.isNot || !isTag(expression.of)) return null;
      return expression.items.every((item) => typeof item === "string")
        ? condition(expression.items)
        : null;
    case "or": {
      const tags: string[] = [];
      for (const part of expression.parts) {
        const one = tagsOf(part);
        if (one === null || !one.isAll) return null;
        tags.push(...one.tags);
      }
      return condition(tags);
    }
    case "and":
      for (const part of expression.parts) {
        const one = tagsOf(part);
        if (one !== null) return { tags: one.tags, isAll: false };
      }
      return null;
    default:
      return null;
  }
}

const isTag = (expression: Expression): boolean =>
  expression.node === "identifier" && TAG_IDENTIFIERS.has(expression.name);

/** The hash of "" is that of no tag, which is no value at all: such a selector is left to the record. */
const condition = (tags: readonly string[]): TagCondition | null =>
  tags.some((tag) => javaHash(tag) === 0) ? null : { tags: [...new Set(tags)], isAll: true };
