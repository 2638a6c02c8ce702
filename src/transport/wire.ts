/**
 * The seam between sockets and protocols: one peer's byte stream, whatever carries it (TCP, TLS, WebSocket, a pair in
 * memory). Input is handed over in chunks of a shared buffer; output is collected per connection and written once per turn.
 */
import type { Buffer } from "node:buffer";
import type { X509Certificate } from "node:crypto";

export interface WireInfo {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localPort: number;
  /** Name of the listener in the configuration. */
  readonly listener: string;
  readonly isLoopback: boolean;
  readonly isTls: boolean;
  readonly isWebSocket: boolean;
  /** WebSocket sub-protocol that was agreed, or "". */
  readonly subProtocol: string;
  /** Verified client certificate: subject distinguished name and common name, and the chain that came; or null. */
  readonly certificate: {
    readonly subject: string;
    readonly commonName: string;
    readonly chain?: readonly X509Certificate[];
  } | null;
}

export interface Wire {
  readonly info: WireInfo;
  /** More is queued in the kernel and the socket than the high-water mark: encode no more deliveries until `onDrain`. */
  readonly isBackedUp: boolean;
  /** Bytes collected or not yet taken by the kernel. */
  readonly pendingBytes: number;

  /**
   * Room for `bytes` in one piece at `out[outAt]`; write there and add to `outAt`. The buffer may change with every call.
   * `bytes` is at most 1 MiB; larger output goes through `write`. The flush at the end of the turn is arranged by it.
   * Between `reserve` and adding to `outAt` call nothing that could make another wire write.
   */
  reserve(bytes: number): void;
  out: Buffer;
  outAt: number;
  /** Copies bytes of any length, in order with what `reserve` collected: a view of the store need not outlive the call. */
  write(bytes: Uint8Array, start?: number, end?: number): void;
  /** Writes now instead of at the end of the turn. */
  flush(): void;

  /** Stops reading from the peer; what came already is kept. Counted: each call wants its `resumeInput`. */
  pauseInput(): void;
  resumeInput(): void;

  /** Sends what is queued, then ends the connection; after `graceMs` it is destroyed. Input and output are dropped from here on. */
  end(graceMs?: number): void;
  destroy(): void;

  /** STOMP over WebSocket answers in text messages when the client does. */
  setTextMode?(isText: boolean): void;
}

/** One peer's protocol state machine. All calls come on the event loop; none may throw: a bug closes that peer only. */
export interface ProtocolConnection {
  /**
   * Bytes from the peer in `bytes[start, end)`, beginning with what the last call left. Returns the index up to which they
   * were used; the rest is kept and comes again with more. `bytes` is shared: copy what must live on.
   */
  onData(bytes: Buffer, start: number, end: number): number;
  /** How many bytes `onData` needs before it can go on (a whole frame); 0 when any byte helps. Asked after `onData` left some. */
  wantedBytes(): number;
  /** The connection is gone: the peer ended it, the socket failed, or after our `end` or `destroy`. Exactly once, last call, never from within a call to the wire. */
  onClose(error: Error | null): void;
  /** `isBackedUp` became false. */
  onDrain(): void;
  /** About once a second while open: heart-beats, handshake and idle limits. `uptimeMs`: what the turn says. */
  onTick(uptimeMs: number): void;
  /** The broker stops: say goodbye in the protocol's way and end; the wire is destroyed `graceMs` later. */
  onShutdown(): void;
}

/** What a listener knows of a protocol: how to recognise it and how to open it. */
export interface ProtocolAdapter {
  readonly name: string;
  /** Looks at the first bytes (1..8+, never consumed): yes, no, or more bytes needed. */
  sniff(bytes: Buffer, start: number, end: number): "yes" | "no" | "more";
  /** WebSocket sub-protocols, in order of preference. */
  readonly subProtocols: readonly string[];
  open(wire: Wire): ProtocolConnection;
}
