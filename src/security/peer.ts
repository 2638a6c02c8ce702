/** What security needs to know of a peer's socket and of the certificate that came through it. */
import type { X509Certificate } from "node:crypto";

/** A client's certificate that was verified at the handshake. */
export interface ClientCertificate {
  readonly subject: string;
  readonly commonName: string;
  /** The certificate and those that the client sent with it, to ask again whether it is good. */
  readonly chain?: readonly X509Certificate[];
}

/** The socket a peer came through; every `WireInfo` has it. */
export interface PeerInfo {
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Name of the listener in the configuration. */
  readonly listener: string;
  /** The listener is bound to loopback and the peer is there too. */
  readonly isLoopback: boolean;
  readonly isTls: boolean;
  /** Verified client certificate, or null. */
  readonly certificate: ClientCertificate | null;
}
