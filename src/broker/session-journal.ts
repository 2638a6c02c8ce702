/**
 * Sessions as entries of the owner's journal (catalog.ts STATE): one for the session, one for each of its subscriptions,
 * one for its half-done exchanges. Values are JSON: they change rarely, and people look at them.
 *
 *   key            value
 *   mq.ID          session: namespace, client id, user, expiry, when it was disconnected, what was sent
 *   mq.ID.s.N      subscription N: filter, share, options
 *   mq.ID.o        packet ids that await PUBCOMP, two bytes each
 */
import type { SubscriptionOptions } from "./session-facade.ts";

export interface SessionEntry {
  readonly namespace: string;
  readonly clientId: string;
  readonly userName: string;
  readonly expirySeconds: number;
  readonly disconnectedAt: number;
  /** Offsets in its index below which messages were sent; -1 when that is not known, absent for 0. */
  readonly sentBelow?: number;
}

export interface SubscriptionEntry extends SubscriptionOptions {
  readonly filter: string;
  readonly share: string;
}

export interface RestoredSession {
  readonly id: number;
  readonly entry: SessionEntry;
  readonly subscriptions: Array<readonly [number: number, SubscriptionEntry]>;
  readonly openIds: number[];
}

const PREFIX = "mq.";

export const sessionKey = (id: number): string => `${PREFIX}${id}`;
export const subscriptionKey = (id: number, number: number): string => `${PREFIX}${id}.s.${number}`;
export const openIdsKey = (id: number): string => `${PREFIX}${id}.o`;

export const encodeJson = (value: SessionEntry | SubscriptionEntry): Buffer =>
  Buffer.from(JSON.stringify(value), "utf8");

export function encodeIds(ids: Iterable<number>, count: number): Buffer {
  const bytes = Buffer.allocUnsafe(count * 2);
  let at = 0;
  for (const id of ids) at = bytes.writeUInt16BE(id, at);
  return bytes;
}

/** Sorts the journal's state into sessions. Keys of other owners are left alone. */
export function readSessions(state: ReadonlyMap<string, Buffer>): RestoredSession[] {
  const sessions = new Map<number, RestoredSession>();
  for (const [key, value] of state) {
    if (!/^mq\.\d+$/.test(key)) continue;
    const id = Number(key.slice(PREFIX.length));
    const entry = JSON.parse(value.toString("utf8")) as SessionEntry;
    sessions.set(id, { id, entry, subscriptions: [], openIds: [] });
  }
  for (const [key, value] of state) {
    const found = /^mq\.(\d+)\.(s\.(\d+)|o)$/.exec(key);
    const session = found === null ? undefined : sessions.get(Number(found[1]));
    if (found === null || session === undefined) continue;
    if (found[3] !== undefined) {
      const entry = JSON.parse(value.toString("utf8")) as SubscriptionEntry;
      session.subscriptions.push([Number(found[3]), entry]);
    } else {
      for (let at = 0; at + 2 <= value.length; at += 2)
        session.openIds.push(value.readUInt16BE(at));
    }
  }
  return [...sessions.values()];
}
