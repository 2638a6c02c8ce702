/**
 * Who may come without being a user: peers of this machine while the loopback is open, and nobody else unless a listener
 * says so. This is what makes the first start work without any set-up and a listener to the world safe.
 */
import type { PeerInfo } from "./peer.ts";
import { ANONYMOUS, type Principal } from "./principal.ts";
import type { UserStore } from "./users.ts";

export type LoopbackMode = "auto" | "open" | "closed";
export type AnonymousMode = "default" | "allow" | "deny";

export const GUEST = "guest";

export class LoopbackPolicy {
  mode: LoopbackMode;
  readonly #users: UserStore;
  readonly #anonymousOf: (listener: string) => AnonymousMode;

  constructor(
    mode: LoopbackMode,
    users: UserStore,
    anonymousOf: (listener: string) => AnonymousMode = () => "default",
  ) {
    this.mode = mode;
    this.#users = users;
    this.#anonymousOf = anonymousOf;
  }

  /** Anonymous and guest/guest are let in here. */
  isOpen(peer: PeerInfo): boolean {
    if (!peer.isLoopback || this.mode === "closed") return false;
    return this.mode === "open" || this.#users.size === 0;
  }

  /** This principal may do everything, because the loopback is open and it is nobody in particular. */
  isOpenFor(principal: Principal, peer: PeerInfo): boolean {
    if (!this.isOpen(peer)) return false;
    return principal.isAnonymous || (principal.name === GUEST && !this.#users.find(GUEST));
  }

  mayBeAnonymous(peer: PeerInfo): boolean {
    const mode = this.#anonymousOf(peer.listener);
    return mode === "allow" || (mode === "default" && this.isOpen(peer));
  }

  /** guest/guest is let in, unless somebody made a user of that name. */
  isGuestHere(peer: PeerInfo): boolean {
    return this.isOpen(peer) && this.#users.find(GUEST) === undefined;
  }

  anonymous(): Principal {
    return ANONYMOUS;
  }
}
