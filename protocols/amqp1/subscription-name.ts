/**
 * Which subscription a link means, by the rules of Qpid JMS (spec protocols.md §6.5): the link name up to its first "|",
 * the container unless `global`, durable by the source's durability.
 */
import type { SubscriptionIdentity } from "../../src/broker/facade.ts";
import type { Source } from "./terminus.ts";

export function subscriptionOf(
  linkName: string,
  containerId: string,
  source: Pick<Source, "capabilities" | "durable">,
): SubscriptionIdentity | undefined {
  const isShared = source.capabilities.includes("shared");
  const isDurable = source.durable > 0;
  if (!isShared && !isDurable) return undefined;
  const isGlobal = source.capabilities.includes("global");
  return {
    clientId: isGlobal ? "" : containerId,
    name: plainName(linkName),
    isShared,
    isDurable,
  };
}

/** What a link without a source may look up: the durable subscription of its name. */
export function lookedUp(
  linkName: string,
  containerId: string,
  desired: readonly string[],
): SubscriptionIdentity {
  const isGlobal = desired.includes("global") || linkName.includes("|global");
  return {
    clientId: isGlobal ? "" : containerId,
    name: plainName(linkName),
    isShared: desired.includes("shared") || isGlobal,
    isDurable: true,
  };
}

function plainName(linkName: string): string {
  const bar = linkName.indexOf("|");
  return bar < 0 ? linkName : linkName.slice(0, bar);
}
