/**
 * Filters of a source (spec protocols.md §6.5): selector, properties, no-local, tag, and where to begin in a topic. Known by their
 * descriptor, number or symbol; the key under which they come means nothing. Unknown ones are left out of the answer.
 */
import type { StartPosition } from "../../src/broker/facade.ts";
import {
  bothSelectors,
  type FilteredSection,
  selectorOfProperties,
} from "../../src/selector/property-filters.ts";
import { map, type Value } from "./codec/value.ts";
import { invalid } from "./terminus.ts";
import { toTyped } from "./typed.ts";

type Known = "selector" | "no-local" | "tag" | "offset" | FilteredSection;

const BY_SYMBOL: ReadonlyMap<string, Known> = new Map<string, Known>([
  ["apache.org:selector-filter:string", "selector"],
  ["apache.org:jms-selector-filter:string", "selector"],
  ["apache.org:no-local-filter:list", "no-local"],
  ["apache.org:jms-no-local-filter:list", "no-local"],
  ["sluice:tag-filter:string", "tag"],
  ["rabbitmq:stream-offset-spec", "offset"],
  ["amqp:sql-filter", "selector"],
  ["amqp:properties-filter", "properties"],
  ["amqp:application-properties-filter", "application-properties"],
]);
const BY_NUMBER: ReadonlyMap<number | bigint, Known> = new Map<number | bigint, Known>([
  [0x468c00000004, "selector"],
  [0x468c00000003, "no-local"],
  [0x120, "selector"],
  [0x173, "properties"],
  [0x174, "application-properties"],
]);

/** Capabilities that say which filters a source understands. */
const ANNOUNCED: Readonly<Partial<Record<Known, string>>> = {
  selector: "APACHE.ORG:SELECTOR",
  "no-local": "APACHE.ORG:NO_LOCAL",
};

export class Filters {
  selector = "";
  noLocal = false;
  tags = "";
  from: StartPosition | undefined;
  readonly #pairs: Array<readonly [Known, readonly [Value, Value]]> = [];

  constructor(filter: Value | undefined, nowMs: number) {
    if (filter?.type !== "map") return;
    for (const pair of filter.value) {
      const value = pair[1];
      if (value.type !== "described") continue;
      const known = nameOf(value.descriptor);
      if (known === undefined) continue;
      this.#read(known, value.value, nowMs);
      this.#pairs.push([known, pair]);
    }
  }

  /** The map of those that apply to a node of this kind; undefined for none. */
  honoured(kind: "queue" | "topic"): Value | undefined {
    const pairs = this.#pairs.filter(([known]) => applies(known, kind)).map(([, pair]) => pair);
    return pairs.length > 0 ? map(pairs) : undefined;
  }

  announced(kind: "queue" | "topic"): string[] {
    const names = this.#pairs
      .filter(([known]) => applies(known, kind))
      .map(([known]) => ANNOUNCED[known]);
    return names.filter((name) => name !== undefined);
  }

  #read(known: Known, value: Value, nowMs: number): void {
    switch (known) {
      case "selector":
        if (value.type !== "string") throw invalid("Invalid filter: a selector must be a string.");
        this.selector = bothSelectors(this.selector, value.value);
        return;
      case "properties":
      case "application-properties":
        this.selector = bothSelectors(this.selector, selectorOf(known, value));
        return;
      case "tag":
        if (value.type !== "string" && value.type !== "symbol") {
          throw invalid("Invalid filter: a tag expression must be a string.");
        }
        this.tags = value.value;
        return;
      case "no-local":
        this.noLocal = true;
        return;
      case "offset":
        this.from = offsetOf(value, nowMs);
        return;
      default: {
        const never: never = known;
        throw new Error(`unknown filter ${String(never)}`);
      }
    }
  }
}

const applies = (known: Known, kind: "queue" | "topic"): boolean =>
  kind === "topic" || (known !== "no-local" && known !== "offset");

/** A filter by properties (AMQP Filter Expressions 1.0, §4.2.4 and §4.2.5) is a selector. */
function selectorOf(section: FilteredSection, value: Value): string {
  if (value.type === "map") {
    const selector = selectorOfProperties(
      section,
      value.value.map(([key, one]) => [String(key.value), toTyped(one)] as const),
    );
    if (selector !== undefined) return selector;
  }
  throw invalid(`Invalid filter: ${section} are compared by a map of names and simple values.`);
}

function nameOf(descriptor: Value): Known | undefined {
  if (descriptor.type === "symbol") return BY_SYMBOL.get(descriptor.value);
  return descriptor.type === "ulong" ? BY_NUMBER.get(descriptor.value) : undefined;
}

/** RabbitMQ's stream offset: first, last, next, a number, a timestamp, or an interval back from now. */
function offsetOf(value: Value, nowMs: number): StartPosition {
  switch (value.type) {
    case "timestamp":
      return { kind: "time", timestampMs: Number(value.value) };
    case "ulong":
    case "long":
    case "uint":
    case "int":
      return { kind: "offset", offset: Number(value.value) };
    case "string":
    case "symbol":
      return startPosition(value.value, nowMs);
    default:
      throw invalid("Invalid filter: a stream offset is a name, a number or a timestamp.");
  }
}

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  D: 86_400_000,
  M: 2_592_000_000,
  Y: 31_536_000_000,
};

/** `first`, `last`, `next`, `offset:N`, `time:ISO`, or an interval such as `5m`. */
export function startPosition(text: string, nowMs: number): StartPosition {
  if (text === "first" || text === "last" || text === "next") return { kind: text };
  const offset = /^(?:offset:)?(\d{1,15})$/.exec(text);
  if (offset !== null) return { kind: "offset", offset: Number(offset[1]) };
  const interval = /^(\d{1,9})([smhDMY])$/.exec(text);
  if (interval !== null) {
    return { kind: "time", timestampMs: nowMs - Number(interval[1]) * UNIT_MS[interval[2]!]! };
  }
  const time = text.startsWith("time:") ? Date.parse(text.slice(5)) : Number.NaN;
  if (!Number.isNaN(time)) return { kind: "time", timestampMs: time };
  throw invalid(
    `"${text.slice(0, 60)}" is no place to begin: use first, last, next, offset:N, time:ISO or an interval such as 5m.`,
  );
}
