/**
 * THE SEAM for permissions: what a principal may do, asked by canonical address. One rule set serves every protocol
 * (spec protocols.md §10). Ask once per attach, declare or first publish and keep the answer; never per message.
 */
import type { Address } from "../model/address.ts";
import type { PeerInfo } from "./peer.ts";
import type { Principal } from "./principal.ts";

export const ACTIONS = ["create", "delete", "send", "receive", "browse", "bind", "admin"] as const;
export type Action = (typeof ACTIONS)[number];

export interface Authorizer {
  /** The rights of one connection; keep it with the connection, it caches its answers. */
  permissionsFor(principal: Principal, clientId: string, peer: PeerInfo): Permissions;
}

export interface Permissions {
  /** A topic name with wildcard levels asks for everything it may match. */
  allows(action: Action, address: Address): boolean;
  /** Changes whenever earlier answers may no longer hold (rules were edited): ask again then. */
  readonly generation: number;
}

/** Everybody may do everything: embedded use and tests. */
export const ALLOW_ALL: Authorizer = {
  permissionsFor: () => ({ allows: () => true, generation: 0 }),
};
