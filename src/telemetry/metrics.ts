/**
 * Metrics for Prometheus. Nothing is counted here: whoever works keeps plain numeric fields, and a scrape reads them. The
 * number of destinations with series of their own is bounded; the rest is summed up.
 */
import { createHash } from "node:crypto";
import { Counter, Gauge, Registry } from "prom-client";

export type Labels = Readonly<Record<string, string>>;

export interface Sample {
  readonly labels?: Labels;
  readonly value: number;
}

export interface MetricDefinition {
  /** Without the prefix `sluice_`; counters end in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly labels?: readonly string[];
  /** Called at a scrape, once. */
  read(): number | Iterable<Sample>;
}

const PREFIX = "sluice_";

export function createRegistry(definitions: readonly MetricDefinition[]): Registry {
  const registry = new Registry();
  for (const definition of definitions) {
    const options = {
      name: PREFIX + definition.name,
      help: definition.help,
      labelNames: [...(definition.labels ?? [])],
      registers: [registry],
    };
    if (definition.name.endsWith("_total")) {
      new Counter({
        ...options,
        collect() {
          this.reset();
          for (const { labels, value } of samplesOf(definition)) this.inc({ ...labels }, value);
        },
      });
    } else {
      new Gauge({
        ...options,
        collect() {
          this.reset();
          for (const { labels, value } of samplesOf(definition)) this.set({ ...labels }, value);
        },
      });
    }
  }
  return registry;
}

const LABEL_MAX = 200;

/** Names come from clients, and may be 64 KiB long: a label says which one it is, not all of it. */
export function labelText(text: string): string {
  if (text.length <= LABEL_MAX) return text;
  const digest = createHash("sha256").update(text).digest("base64url").slice(0, 12);
  return `${text.slice(0, LABEL_MAX)}…${digest}`;
}

function samplesOf(definition: MetricDefinition): Iterable<Sample> {
  const read = definition.read();
  return typeof read === "number" ? [{ value: read }] : read;
}

/**
 * Keeps `max` items as they are and merges the rest of each kind into one called "other". The busiest stay, and who was
 * in before is preferred, so that series do not come and go.
 */
export class CardinalityGuard<T> {
  readonly #max: number;
  readonly #keyOf: (item: T) => string;
  readonly #weightOf: (item: T) => number;
  readonly #known = new Set<string>();

  constructor(max: number, keyOf: (item: T) => string, weightOf: (item: T) => number) {
    this.#max = max;
    this.#keyOf = keyOf;
    this.#weightOf = weightOf;
  }

  split(items: readonly T[]): { readonly own: readonly T[]; readonly rest: readonly T[] } {
    const present = new Set(items.map(this.#keyOf));
    for (const key of this.#known) if (!present.has(key)) this.#known.delete(key);
    const newcomers = items
      .filter((item) => !this.#known.has(this.#keyOf(item)))
      .sort((a, b) => this.#weightOf(b) - this.#weightOf(a));
    for (const item of newcomers) {
      if (this.#known.size >= this.#max) break;
      this.#known.add(this.#keyOf(item));
    }
    return {
      own: items.filter((item) => this.#known.has(this.#keyOf(item))),
      rest: items.filter((item) => !this.#known.has(this.#keyOf(item))),
    };
  }
}
