/** What security needs to know of the socket a peer came through; every `WireInfo` has it. */
export interface PeerInfo {
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Name of the listener in the configuration. */
  readonly listener: string;
  /** The listener is bound to loopback and the peer is there too. */
  readonly isLoopback: boolean;
  readonly isTls: boolean;
  /** Verified client certificate, or null. */
  readonly certificate: { readonly subject: string; readonly commonName: string } | null;
}
