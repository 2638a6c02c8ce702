/**
 * Why a message is in a dead-letter queue: one entry per (queue, reason), the latest first, as AMQP 0-9-1 clients know it
 * from `x-death`. Kept as JSON in record property `x-deaths`; shown to each protocol in its own form.
 */
import { list, long, type Property, record, string, type Typed, timestamp } from "./values.ts";

export type DeathReason = "rejected" | "expired" | "maxlen" | "delivery_limit";

export interface Death {
  /** Name of the queue or subscription it died in. */
  readonly queue: string;
  readonly reason: DeathReason;
  readonly count: number;
  /** ms since the epoch. */
  readonly firstAt: number;
  readonly lastAt: number;
  readonly exchange: string;
  readonly routingKeys: readonly string[];
  /** TTL it was published with when it expired, ms; 0 for none. The copy has none. */
  readonly originalTtlMs: number;
}

/** At most this many (queue, reason) pairs are remembered. */
const MAX_DEATHS = 32;

/** The history with one more death in front; the same queue and reason count up. */
export function addDeath(
  history: readonly Death[],
  death: Omit<Death, "count" | "firstAt" | "lastAt">,
  nowMs: number,
): readonly Death[] {
  const same = history.find((d) => d.queue === death.queue && d.reason === death.reason);
  const entry: Death = {
    ...death,
    count: (same?.count ?? 0) + 1,
    firstAt: same?.firstAt ?? nowMs,
    lastAt: nowMs,
    originalTtlMs: death.originalTtlMs || (same?.originalTtlMs ?? 0),
  };
  return [entry, ...history.filter((d) => d !== same)].slice(0, MAX_DEATHS);
}

/** A message that would come back to a queue it died in, never having been rejected, goes in circles by itself. */
export const isCycle = (history: readonly Death[], queue: string): boolean =>
  history.some((death) => death.queue === queue) &&
  history.every((death) => death.reason !== "rejected");

export const deathsToText = (deaths: readonly Death[]): string =>
  JSON.stringify(
    deaths.map((d) => [
      d.queue,
      d.reason,
      d.count,
      d.firstAt,
      d.lastAt,
      d.exchange,
      d.routingKeys,
      d.originalTtlMs,
    ]),
  );

/** An unreadable text is no history. */
export function deathsFromText(text: string): readonly Death[] {
  let rows: unknown;
  try {
    rows = JSON.parse(text);
  } catch {
    return [];
  }
  if (!Array.isArray(rows)) return [];
  return rows
    .filter((row): row is unknown[] => Array.isArray(row) && typeof row[0] === "string")
    .map((row) => ({
      queue: row[0] as string,
      reason: row[1] as DeathReason,
      count: Number(row[2]),
      firstAt: Number(row[3]),
      lastAt: Number(row[4]),
      exchange: String(row[5] ?? ""),
      routingKeys: Array.isArray(row[6]) ? row[6].map(String) : [],
      originalTtlMs: Number(row[7] ?? 0),
    }));
}

/** The array for header `x-death` (AMQP 0-9-1) and annotation `x-opt-deaths` (AMQP 1.0). */
export const deathList = (deaths: readonly Death[]): Typed =>
  list(
    deaths.map((death) => {
      const entries: Array<[string, Typed]> = [
        ["count", long("i64", death.count)],
        ["reason", string(death.reason)],
        ["queue", string(death.queue)],
        ["time", timestamp(death.firstAt)],
        ["exchange", string(death.exchange)],
        ["routing-keys", list(death.routingKeys.map(string))],
      ];
      if (death.originalTtlMs > 0) {
        entries.push(["original-expiration", string(String(death.originalTtlMs))]);
      }
      return record(entries);
    }),
  );

/** `x-first-death-…` and `x-last-death-…`, for AMQP 0-9-1, STOMP and MQTT. */
export function deathSummary(deaths: readonly Death[]): Property[] {
  if (deaths.length === 0) return [];
  const last = deaths[0]!;
  let first = last;
  for (const death of deaths) if (death.firstAt <= first.firstAt) first = death;
  const out: Property[] = [];
  for (const [which, death] of [
    ["first", first],
    ["last", last],
  ] as const) {
    out.push({ name: `x-${which}-death-exchange`, value: string(death.exchange) });
    out.push({ name: `x-${which}-death-queue`, value: string(death.queue) });
    out.push({ name: `x-${which}-death-reason`, value: string(death.reason) });
  }
  return out;
}

/** How often it died in all: header `x-death-count` of the text protocols. */
export const deathCount = (deaths: readonly Death[]): number =>
  deaths.reduce((sum, death) => sum + death.count, 0);
