/**
 * A configuration that changed while the broker runs: what can take effect does so at once, as a whole or not at all; of
 * the rest it is said that it needs a restart.
 */
import { changedKeys, withKeys } from "./config/diff.ts";
import type { Config } from "./config/schema.ts";

export interface ReloadReport {
  /** Keys that hold from now on. */
  readonly changed: readonly string[];
  /** Keys that differ from what is in force, and will hold after a restart. */
  readonly restart: readonly string[];
  /** Queues and topics whose settings are others now. */
  readonly destinations: number;
}

/** Keys that the process is made of, or that stand in what it has open: everything else takes effect while it runs. */
const AT_START: readonly string[] = [
  "data",
  "nodeName",
  "store.segmentBytes",
  "store.ringBytes",
  "security.users",
  "tls.clientCertificate",
  "log.format",
  "metrics.destinationsMax",
];

export interface ReloadPlan {
  /** What will be in force: the old configuration with the new values of live keys. */
  readonly config: Config;
  readonly changed: readonly string[];
  readonly restart: readonly string[];
}

/** `hasTls`: certificates can be exchanged, but TLS cannot come or go without its listeners. */
export function planReload(before: Config, after: Config, hasTls: boolean): ReloadPlan {
  const isTlsThere = hasTls && after.tls.certificate !== "" && after.tls.key !== "";
  const isLive = (path: string): boolean =>
    !AT_START.includes(path) &&
    (!path.startsWith("tls.") || path === "tls.clientName" || isTlsThere);
  const differing = changedKeys(before, after);
  const changed = differing.filter(isLive);
  const restart = differing.filter((path) => !isLive(path));
  return { config: withKeys(before, after, changed), changed, restart };
}

/** One sentence for people. */
export function reloadMessage({ changed, restart, destinations }: ReloadReport): string {
  if (changed.length + restart.length === 0) return "nothing changed";
  const parts: string[] = [];
  if (changed.length > 0) {
    const touched = destinations > 0 ? ` (${destinations} queues and topics)` : "";
    parts.push(`in force: ${changed.join(", ")}${touched}`);
  }
  if (restart.length > 0) parts.push(`after a restart: ${restart.join(", ")}`);
  return parts.join("; ");
}
