/**
 * What holds for a node: limits, retries, dead letters, history. Settings come from defaults and from policies, whose
 * patterns match canonical names; a later policy wins, key by key.
 */
import { filterMatches } from "../model/topic-path.ts";
import type { DurabilityLevel } from "./facade.ts";
import { isInternalQueue } from "./internal-queues.ts";

export type RetryPolicy =
  | { readonly kind: "none" }
  | { readonly kind: "fixed"; readonly delayMs: number }
  | { readonly kind: "exponential"; readonly delayMs: number; readonly maxDelayMs: number }
  /** The n-th failure waits for the n-th entry, later ones for the last. */
  | { readonly kind: "table"; readonly delaysMs: readonly number[] };

export type Overflow =
  /** The oldest ready message is dropped. */
  | "drop-head"
  /** The oldest ready message becomes a dead letter. */
  | "dead-letter"
  /** The new message is refused. */
  | "reject"
  /** Producers get no credit until there is room. */
  | "block";

export interface NodeSettings {
  readonly level: DurabilityLevel;
  /** Failed attempts before a message is dead; -1 for no limit. */
  readonly maxDeliveries: number;
  /** Lost (never reported) attempts before a message is dead; -1 for no limit. */
  readonly maxLosses: number;
  /** Dead letters go to a queue; otherwise they are dropped and counted. */
  readonly hasDeadLetters: boolean;
  /** Name of that queue; "" for `DLQ.<name>`. */
  readonly deadLetterTo: string;
  readonly retry: RetryPolicy;
  /** Topics: history kept for late and positional readers, ms; 0 for no limit. Without any limit there is no history. */
  readonly historyMs: number;
  /** Topics: most messages of history; -1 for no limit. */
  readonly historyCount: number;
  /** Topics: most bytes of stored records, owed ones included, up to which history is kept; -1 for no limit. */
  readonly historyBytes: number;
  /** Longest time to live in ms, whatever the publisher says; 0 for none. */
  readonly ttlMs: number;
  /** Ready messages; -1 for no limit. */
  readonly maxLength: number;
  /** Bytes of stored records not yet settled; -1 for no limit. */
  readonly maxBytes: number;
  readonly overflow: Overflow;
  /** Only the first consumer (by priority, then age) gets messages; the next takes over when it leaves. */
  readonly isSingleActive: boolean;
  /** Of messages with the same key only the newest is kept. */
  readonly isLastValue: boolean;
  /** ... and one without a body is forgotten after this time, with its key. */
  readonly endedKeysMs: number;
  /** Topics: in how many shards messages are stored; messages of one ordering key, or else of one producer, are in one. */
  readonly shards: number;
  /** A message id seen within this time is not stored again; 0 for off. */
  readonly dedupWindowMs: number;
  /** Stored bytes are counted without a limit of the node's own: its namespace has one. */
  readonly countsBytes: boolean;
}

export const DEFAULT_SETTINGS: NodeSettings = {
  level: "fsync",
  maxDeliveries: 10,
  maxLosses: 50,
  hasDeadLetters: true,
  deadLetterTo: "",
  retry: { kind: "none" },
  historyMs: 0,
  historyCount: -1,
  historyBytes: -1,
  ttlMs: 0,
  maxLength: -1,
  maxBytes: -1,
  overflow: "drop-head",
  isSingleActive: false,
  isLastValue: false,
  endedKeysMs: 86_400_000,
  shards: 1,
  dedupWindowMs: 0,
  countsBytes: false,
};

/** Indexes of sessions and shares: nothing dies of being sent again, and nobody's dead letters come of it. */
export const sessionSettings = (defaults: NodeSettings): NodeSettings => ({
  ...DEFAULT_SETTINGS,
  level: defaults.level,
  maxDeliveries: -1,
  maxLosses: -1,
  hasDeadLetters: false,
});

export interface Policy {
  /** "queue", "topic", or both when absent. */
  readonly kind?: "queue" | "topic";
  /** Canonical name or filter: levels by "/", `+` one level, `#` the rest. Queue names count as one level per dot as well. */
  readonly match: string;
  readonly settings: Partial<NodeSettings>;
}

/** What dead-letter queues are called. */
export const DLQ_PREFIX = "DLQ.";

/** The end of the line: what lies there stays until somebody takes it, unless a policy for it says otherwise. */
const AT_THE_END = {
  maxDeliveries: -1,
  maxLosses: -1,
  hasDeadLetters: false,
  deadLetterTo: "",
  retry: { kind: "none" },
  ttlMs: 0,
} as const;

export function settingsFor(
  kind: "queue" | "topic",
  name: string,
  defaults: NodeSettings,
  policies: readonly Policy[],
): NodeSettings {
  // What waits inside the broker is under the settings of where it goes, not under its own.
  if (isInternalQueue(kind, name))
    return { ...DEFAULT_SETTINGS, ...AT_THE_END, level: defaults.level };
  const isLast = kind === "queue" && name.startsWith(DLQ_PREFIX);
  let settings = isLast ? { ...defaults, ...AT_THE_END } : defaults;
  for (const policy of policies) {
    if (policy.kind !== undefined && policy.kind !== kind) continue;
    const path = kind === "queue" ? name.replaceAll(".", "/") : name;
    if (policy.match !== name && !filterMatches(policy.match, path)) continue;
    settings = { ...settings, ...policy.settings };
    // A policy for many queues does not speak of their dead letters.
    if (isLast && !policy.match.startsWith("DLQ")) settings = { ...settings, ...AT_THE_END };
  }
  return settings;
}

/** How long after its n-th failure (from 1) a message waits. */
export function retryDelayMs(policy: RetryPolicy, failures: number): number {
  switch (policy.kind) {
    case "none":
      return 0;
    case "fixed":
      return policy.delayMs;
    case "exponential":
      return Math.min(policy.maxDelayMs, policy.delayMs * 2 ** Math.min(failures - 1, 40));
    case "table":
      return policy.delaysMs[Math.min(failures, policy.delaysMs.length) - 1] ?? 0;
    default: {
      const never: never = policy;
      throw new Error(`unknown retry policy ${String(never)}`);
    }
  }
}
