/** The configuration's words for what holds at a queue or topic, in the broker's. */
import type { DestinationRules } from "./broker/broker-options.ts";
import { DEFAULT_SETTINGS, type NodeSettings, type RetryPolicy } from "./broker/policy.ts";
import type { Config, PolicyConfig } from "./config/schema.ts";

export function destinationSettings(config: Config): DestinationRules {
  const { autoCreate, ...queues } = config.queues;
  const durability = { durability: config.store.durability };
  const defaults = { ...DEFAULT_SETTINGS, ...translate({ ...durability, ...queues }) };
  return {
    autoCreate,
    queueDefaults: defaults,
    // A topic that keeps the last value of each key keeps messages that nobody is owed: only where it is asked for.
    topicDefaults: { ...defaults, isLastValue: false, ...translate(config.topics) },
    policies: config.policies.map(({ match, kind, ...settings }) => ({
      match,
      ...(kind === undefined ? {} : { kind }),
      settings: translate(settings),
    })),
  };
}

type Fields = Omit<PolicyConfig, "match" | "kind">;

/** 0 is "no limit" in the configuration, -1 in the broker. */
const limit = (value: number): number => (value === 0 ? -1 : value);
/** Lost deliveries (a consumer that vanished) say less about a message than failed ones. */
const LOSSES_PER_FAILURE = 5;

function translate(fields: Fields): Partial<NodeSettings> {
  const settings: { -readonly [K in keyof NodeSettings]?: NodeSettings[K] } = {};
  const { durability, maxDeliveries, deadLetters, ttl, maxLength, maxBytes, overflow } = fields;
  if (durability !== undefined) settings.level = durability;
  if (maxDeliveries !== undefined) {
    settings.maxDeliveries = limit(maxDeliveries);
    settings.maxLosses = limit(maxDeliveries * LOSSES_PER_FAILURE);
  }
  if (deadLetters !== undefined) settings.hasDeadLetters = deadLetters;
  if (fields.deadLetterTo !== undefined) settings.deadLetterTo = fields.deadLetterTo;
  if (ttl !== undefined) settings.ttlMs = ttl;
  if (maxLength !== undefined) settings.maxLength = limit(maxLength);
  if (maxBytes !== undefined) settings.maxBytes = limit(maxBytes);
  if (overflow !== undefined) settings.overflow = overflow;
  if (fields.retryDelay !== undefined || fields.retryTable !== undefined) {
    settings.retry = retryPolicy(fields);
  }
  if (fields.singleActive !== undefined) settings.isSingleActive = fields.singleActive;
  if (fields.lastValue !== undefined) settings.isLastValue = fields.lastValue;
  if (fields.endedKeys !== undefined) settings.endedKeysMs = fields.endedKeys;
  if (fields.dedupWindow !== undefined) settings.dedupWindowMs = fields.dedupWindow;
  if (fields.history !== undefined) settings.historyMs = fields.history;
  if (fields.historyCount !== undefined) settings.historyCount = limit(fields.historyCount);
  if (fields.historyBytes !== undefined) settings.historyBytes = limit(fields.historyBytes);
  if (fields.shards !== undefined) settings.shards = fields.shards;
  return settings;
}

function retryPolicy(fields: Fields): RetryPolicy {
  const { retryDelay = 0, retryDelayMax = 0, retryTable = [] } = fields;
  if (retryTable.length > 0) return { kind: "table", delaysMs: retryTable };
  if (retryDelay === 0) return { kind: "none" };
  if (retryDelayMax <= retryDelay) return { kind: "fixed", delayMs: retryDelay };
  return { kind: "exponential", delayMs: retryDelay, maxDelayMs: retryDelayMax };
}
