/** The real broker over the store in memory, with nothing to configure. */
import { Broker } from "../../src/broker/broker.ts";
import { DEFAULT_SETTINGS, type NodeSettings, type Policy } from "../../src/broker/policy.ts";
import type { QuotaRules } from "../../src/broker/quotas.ts";
import { ALLOW_ALL, type Authorizer } from "../../src/security/authorizer.ts";
import { compileSelector } from "../../src/selector/selector.ts";
import { SILENT } from "../../src/telemetry/log.ts";
import { type Clock, Turn } from "../../src/util/turn.ts";
import { MemoryStore } from "./memory-store.ts";

export interface TestBroker {
  readonly broker: Broker;
  readonly store: MemoryStore;
  readonly turn: Turn;
  close(): Promise<void>;
}

export interface TestBrokerOptions {
  readonly settings?: Partial<NodeSettings>;
  readonly policies?: readonly Policy[];
  readonly quotas?: QuotaRules;
  /** Opens on what an earlier broker left. */
  readonly store?: MemoryStore;
  readonly authorizer?: Authorizer;
  readonly maxMessageBytes?: number;
  readonly clock?: Clock;
}

export async function openTestBroker(options: TestBrokerOptions = {}): Promise<TestBroker> {
  const store = options.store ?? new MemoryStore();
  const turn = new Turn(options.clock);
  const settings: NodeSettings = { ...DEFAULT_SETTINGS, ...options.settings };
  const broker = new Broker(store, turn, {
    nodeName: "test",
    version: "0.0.0",
    limits: {
      maxMessageBytes: options.maxMessageBytes ?? 100 * 1024 * 1024,
      maxLinksPerSession: 1024,
      maxSessionsPerConnection: 2047,
    },
    queueDefaults: settings,
    topicDefaults: settings,
    policies: options.policies ?? [],
    ...(options.quotas === undefined ? {} : { quotas: options.quotas }),
    autoCreate: true,
    compileSelector,
    authorizer: options.authorizer ?? ALLOW_ALL,
    logger: SILENT,
  });
  await broker.open();
  return { broker, store, turn, close: () => broker.close() };
}
