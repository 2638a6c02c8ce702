/** What the admin side reads; the server hands it over. */
import type { DelayedMessages } from "../broker/delayed.ts";
import type { Inspection } from "../broker/inspect.ts";
import type { Operations } from "../broker/operations.ts";
import type { Quotas } from "../broker/quotas.ts";
import type { Config } from "../config/schema.ts";
import type { ReloadReport } from "../reload.ts";
import type { Authenticator } from "../security/authenticator.ts";
import type { Authorizer } from "../security/authorizer.ts";
import type { Logger } from "../telemetry/log.ts";
import type { ConnectionCounts } from "../transport/listener.ts";

export interface AdminSources {
  readonly config: Config;
  readonly logger: Logger;
  /** Reads the configuration again. Throws a StartError when it is wrong. */
  reload?(): Promise<ReloadReport>;
  readonly inspection: Inspection;
  readonly operations: Operations;
  readonly delayed: DelayedMessages;
  readonly quotas: Quotas;
  readonly authenticator: Authenticator;
  readonly authorizer: Authorizer;
  readonly logins: { readonly successes: number; readonly failures: number; readonly held: number };
  readonly transport: TransportFigures;
  /** Bearer token of this start, for the command line on the same machine. */
  readonly localToken: string;
  /** False while the broker stops. */
  isReady(): boolean;
}

export interface TransportFigures {
  readonly counts: ConnectionCounts;
  traffic(): { readonly received: number; readonly sent: number };
  keptBytes(): number;
}
