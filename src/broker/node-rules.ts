/** Which settings hold at a node, from defaults, policies and quotas of its namespace; and whether it may rest with them. */
import type { MessageFilter } from "./filter.ts";
import { WILDCARD_PREFIX } from "./node-restorer.ts";
import { type NodeSettings, type Policy, sessionSettings, settingsFor } from "./policy.ts";

export interface RegistryOptions {
  readonly queueDefaults: NodeSettings;
  readonly topicDefaults: NodeSettings;
  readonly policies: readonly Policy[];
  /** Are stored bytes counted in this namespace? */
  readonly countsBytes?: (namespace: string) => boolean;
  /** So many nodes may stay in memory although nobody uses them. */
  readonly keepAwake?: number;
  /** Compiles a selector to a filter; throws BrokerError invalid-argument. */
  readonly compileSelector: (text: string) => MessageFilter;
}

export type NodeRuleChanges = Pick<RegistryOptions, "queueDefaults" | "topicDefaults" | "policies">;

const KEEP_AWAKE = 1000;
const TEMPORARY: Partial<NodeSettings> = {
  level: "memory",
  hasDeadLetters: false,
  historyMs: 0,
  historyCount: -1,
  historyBytes: -1,
};

export class NodeRules {
  #options: RegistryOptions;
  /** What holds at indexes of sessions. */
  index: NodeSettings;
  /** What holds at indexes of wildcard subscriptions: as at topics, as far as it is about deliveries. */
  wildcard: NodeSettings;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.index = sessionSettings(options.queueDefaults);
    this.wildcard = wildcardSettings(this.index, options.topicDefaults);
  }

  change(options: NodeRuleChanges): void {
    this.#options = { ...this.#options, ...options };
    this.index = sessionSettings(this.#options.queueDefaults);
    this.wildcard = wildcardSettings(this.index, this.#options.topicDefaults);
  }

  get keepAwake(): number {
    return this.#options.keepAwake ?? KEEP_AWAKE;
  }

  countsBytes(namespace: string): boolean {
    return this.#options.countsBytes?.(namespace) ?? false;
  }

  settingsOf(
    kind: "queue" | "topic",
    namespace: string,
    name: string,
    isTemporary: boolean,
  ): NodeSettings {
    const { queueDefaults, topicDefaults, policies } = this.#options;
    const defaults = kind === "queue" ? queueDefaults : topicDefaults;
    const settings = isTemporary
      ? { ...defaults, ...TEMPORARY }
      : settingsFor(kind, name, defaults, policies);
    const countsBytes = this.countsBytes(namespace);
    return countsBytes ? { ...settings, countsBytes } : settings;
  }

  ofLight(name: string): NodeSettings {
    return name.startsWith(WILDCARD_PREFIX) ? this.wildcard : this.index;
  }

  /** Every node of these namespaces may rest, as far as policies and quotas go. */
  mayAllRest(namespaces: Iterable<string>): boolean {
    const { queueDefaults, topicDefaults, policies } = this.#options;
    if (policies.length > 0 || !mayRestWith(queueDefaults) || !mayRestWith(topicDefaults))
      return false;
    for (const namespace of namespaces) if (this.countsBytes(namespace)) return false;
    return true;
  }

  mayRest(kind: "queue" | "topic", namespace: string, name: string): boolean {
    const settings = this.settingsOf(kind, namespace, name, false);
    return mayRestWith(settings) && !this.countsBytes(namespace);
  }
}

/** Policies that look at single messages, or at their age, need the node in memory. */
export function mayRestWith(settings: NodeSettings): boolean {
  const { maxLength, maxBytes, countsBytes, dedupWindowMs, isLastValue } = settings;
  const { historyMs, historyCount, historyBytes } = settings;
  const isPlain =
    maxLength < 0 && maxBytes < 0 && countsBytes !== true && dedupWindowMs === 0 && !isLastValue;
  return isPlain && historyMs <= 0 && historyCount < 0 && historyBytes < 0;
}

function wildcardSettings(index: NodeSettings, topics: NodeSettings): NodeSettings {
  const { maxDeliveries, maxLosses, hasDeadLetters, deadLetterTo, retry } = topics;
  return { ...index, maxDeliveries, maxLosses, hasDeadLetters, deadLetterTo, retry };
}
