/** The configuration's quotas in the broker's words. */
import type { QuotaRules } from "./broker/quotas.ts";
import type { Config } from "./config/schema.ts";

export function quotaRules({ limits, quotas }: Config): QuotaRules {
  return {
    connection: { messageRate: limits.messageRate, byteRate: limits.byteRate },
    users: quotas.flatMap(({ user, ...quota }) =>
      user === undefined ? [] : [{ ...quota, name: user }],
    ),
    namespaces: quotas.flatMap(({ namespace, ...quota }) =>
      namespace === undefined ? [] : [{ ...quota, name: namespace }],
    ),
  };
}
