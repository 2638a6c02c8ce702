/** What every protocol adapter is built with: `createAdapter(services, settings)` in `protocols/<name>/adapter.ts`. */
import type { Authenticator } from "../security/authenticator.ts";
import type { Logger } from "../telemetry/log.ts";
import type { BrokerFacade } from "./facade.ts";

export interface ProtocolServices {
  readonly broker: BrokerFacade;
  readonly authenticator: Authenticator;
  readonly logger: Logger;
}
