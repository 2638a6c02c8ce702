/** What a broker is made with. */
import type { Authorizer } from "../security/authorizer.ts";
import type { Logger } from "../telemetry/log.ts";
import type { BrokerLimits } from "./facade.ts";
import type { MessageFilter } from "./filter.ts";
import type { NodeSettings, Policy } from "./policy.ts";
import type { QuotaRules } from "./quotas.ts";

/** What holds for destinations. */
export interface DestinationRules {
  readonly queueDefaults: NodeSettings;
  readonly topicDefaults: NodeSettings;
  readonly policies: readonly Policy[];
  /** May nodes be made on first use? */
  readonly autoCreate: boolean;
}

export interface BrokerOptions extends DestinationRules {
  readonly nodeName: string;
  readonly version: string;
  readonly limits: BrokerLimits;
  /** Absent: none. */
  readonly quotas?: QuotaRules;
  readonly compileSelector: (text: string) => MessageFilter;
  readonly authorizer: Authorizer;
  readonly logger: Logger;
  /** May the event loop linger where that saves work (pacer.ts)? */
  readonly isPaced?: boolean;
  /** So many nodes may stay in memory although nobody uses them. */
  readonly keepAwake?: number;
}
