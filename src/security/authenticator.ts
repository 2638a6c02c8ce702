/**
 * THE SEAM between a protocol's login and whoever knows the users. Three doors, one for each way protocols log in:
 * a SASL exchange (AMQP), a user name and password in one go (STOMP, MQTT), nothing at all (AMQP 1.0 without SASL,
 * MQTT and STOMP without credentials).
 *
 * No method throws for a peer's mistake. A refusal comes after the failure delay, and takes as long for an unknown
 * user as for a wrong password.
 */
import type { PeerInfo } from "./peer.ts";
import type { Principal } from "./principal.ts";

export interface Authenticator {
  /** SASL mechanisms this peer may use, best first; EXTERNAL only with a verified certificate, PLAIN only where it is safe. */
  mechanismsFor(peer: PeerInfo): readonly string[];
  /** Begins an exchange; undefined when the mechanism is not among `mechanismsFor`. `hostname` is sasl-init's, "" for none. */
  startSasl(mechanism: string, peer: PeerInfo, hostname?: string): SaslExchange | undefined;
  /** undefined: refused (already delayed). Rejects with BrokerError only when the user store itself cannot answer. */
  checkPassword(user: string, password: string, peer: PeerInfo): Promise<Principal | undefined>;
  /** Who a peer is that shows no credentials: its certificate's subject, anonymous where that is allowed, or undefined. */
  withoutCredentials(peer: PeerInfo): Principal | undefined;
}

/** One login. Not to be used after it gave success or failure. */
export interface SaslExchange {
  /**
   * The peer's next response. The first call gets the initial response; when the peer sent none, call with an empty
   * buffer: a mechanism that needs one answers with an empty challenge. `response` is copied where it must live on.
   */
  step(response: Buffer): SaslStep | Promise<SaslStep>;
}

export type SaslStep =
  /** `isLast`: the client is who it says, and this is only told to it; where success can carry data, step on with nothing. */
  | { readonly kind: "challenge"; readonly data: Buffer; readonly isLast?: true }
  /** `data`: the server's last word, for protocols that can carry it with the outcome. */
  | { readonly kind: "success"; readonly principal: Principal; readonly data?: Buffer }
  /** `isTemporary`: the user store cannot answer now (AMQP 1.0 outcome 4), not the peer's fault. */
  | { readonly kind: "failure"; readonly isTemporary: boolean };
