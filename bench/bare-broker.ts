/** A broker over the real store in this process, without protocols and sockets: for what is measured of the core alone. */
import { Broker } from "../src/broker/broker.ts";
import { DEFAULT_SETTINGS } from "../src/broker/policy.ts";
import { ALLOW_ALL } from "../src/security/authorizer.ts";
import { compileSelector } from "../src/selector/selector.ts";
import { CommitLogStore } from "../src/store/commit-log-store.ts";
import { SILENT } from "../src/telemetry/log.ts";
import { Turn } from "../src/util/turn.ts";

/** Not opened yet. */
export function bareBroker(directory: string): Broker {
  return new Broker(new CommitLogStore({ directory }), new Turn(), {
    nodeName: "bench",
    version: "0",
    limits: { maxMessageBytes: 1 << 27, maxLinksPerSession: 65535, maxSessionsPerConnection: 1 },
    queueDefaults: DEFAULT_SETTINGS,
    topicDefaults: DEFAULT_SETTINGS,
    policies: [],
    autoCreate: true,
    compileSelector,
    authorizer: ALLOW_ALL,
    logger: SILENT,
  });
}
