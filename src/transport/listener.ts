/**
 * One listening socket: accepts, counts, and hands each connection to its greeting. Caps cost a refused peer its
 * connection and nobody else anything.
 */
import * as net from "node:net";
import type { Logger } from "../telemetry/log.ts";
import { isLoopbackAddress, plainAddress } from "../util/network.ts";
import { Greeting } from "./greeting.ts";
import type { HttpGateway } from "./http-gateway.ts";
import type { TransportLoop } from "./loop.ts";
import type { TlsTerminator } from "./tls-terminator.ts";
import type { ProtocolAdapter } from "./wire.ts";

export interface ListenerOptions {
  readonly name: string;
  /** An address, or "localhost". Ignored with `path`. */
  readonly host: string;
  readonly port: number;
  /** A Unix socket instead of a port. */
  readonly path?: string;
  readonly adapters: readonly ProtocolAdapter[];
  /** Null where no certificate is configured or TLS is off. */
  readonly tls?: TlsTerminator | null;
  readonly isTlsRequired?: boolean;
  /** Null where HTTP and WebSocket are not served. */
  readonly http?: (() => Promise<HttpGateway>) | null;
  /** Whose PROXY headers are believed. */
  readonly isTrustedProxy?: (address: string) => boolean;
  readonly handshakeTimeoutMs: number;
  readonly connectionsMax: number;
  readonly connectionsPerAddressMax: number;
}

/** Connections of all listeners together, by remote address. */
export class ConnectionCounts {
  total = 0;
  refused = 0;
  accepted = 0;
  readonly byAddress = new Map<string, number>();
}

export class Listener {
  readonly options: ListenerOptions;
  readonly #loop: TransportLoop;
  readonly #logger: Logger;
  readonly #counts: ConnectionCounts;
  readonly #server: net.Server;
  readonly #greetings = new Set<Greeting>();
  #isLoopback = false;
  connections = 0;

  constructor(loop: TransportLoop, options: ListenerOptions, counts = new ConnectionCounts()) {
    this.options = options;
    this.#loop = loop;
    this.#logger = loop.logger.child({ listener: options.name });
    this.#counts = counts;
    this.#server = net.createServer(
      { pauseOnConnect: true, noDelay: true, keepAlive: true, allowHalfOpen: true },
      (socket) => this.#onConnection(socket),
    );
  }

  /** Rejects with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
  async listen(): Promise<void> {
    const { host, port, path } = this.options;
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen(path === undefined ? { host, port, backlog: 4096 } : { path }, () => {
        this.#server.off("error", reject);
        resolve();
      });
    });
    this.#server.on("error", (error) => this.#logger.error("listener.error", { error }));
    const address = this.#server.address();
    this.#isLoopback =
      typeof address === "string" || address === null || isLoopbackAddress(address.address);
    this.#loop.start();
  }

  /** The port in use; 0 for a Unix socket. */
  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === "object" ? address.port : 0;
  }

  /** No new connections from now on; those that have not said what they speak are dropped. */
  close(): void {
    this.#server.close();
    for (const greeting of this.#greetings) greeting.destroy();
  }

  #onConnection(socket: net.Socket): void {
    let remoteAddress = socket.remoteAddress ?? "";
    if (!this.#admit(remoteAddress)) {
      socket.destroy();
      return;
    }
    const { options } = this;
    const isProxy = options.isTrustedProxy?.(remoteAddress) ?? false;
    const greeting = new Greeting(this.#loop, socket, {
      adapters: options.adapters,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      tls: options.tls ?? null,
      isTlsRequired: options.isTlsRequired ?? false,
      http: options.http ?? null,
      mayProxy: isProxy,
      facts: {
        remoteAddress: plainAddress(remoteAddress),
        remotePort: socket.remotePort ?? 0,
        localPort: socket.localPort ?? 0,
        listener: options.name,
        isLoopback: this.#isLoopback && (remoteAddress === "" || isLoopbackAddress(remoteAddress)),
        isTls: false,
        isWebSocket: false,
        subProtocol: "",
        certificate: null,
      },
      onProxied: (address) => {
        this.#dismiss(remoteAddress);
        remoteAddress = address;
        const isWelcome = this.#admit(address);
        // Refused ones are dismissed again when their socket closes.
        if (!isWelcome) this.#count(address);
        return isWelcome;
      },
      onDecided: () => this.#greetings.delete(greeting),
      onGone: () => this.#dismiss(remoteAddress),
    });
    this.#greetings.add(greeting);
    greeting.start();
  }

  /** Counts a connection in, unless that would be too many. */
  #admit(remoteAddress: string): boolean {
    const counts = this.#counts;
    const { connectionsMax, connectionsPerAddressMax } = this.options;
    const fromAddress = counts.byAddress.get(remoteAddress) ?? 0;
    if (counts.total < connectionsMax && fromAddress < connectionsPerAddressMax) {
      counts.accepted++;
      this.#count(remoteAddress);
      return true;
    }
    counts.refused++;
    this.#logger.warn("connection.refused", {
      remote: remoteAddress,
      connections: counts.total,
      fromAddress,
      message:
        fromAddress >= connectionsPerAddressMax
          ? "too many connections from this address (limits.connectionsPerAddressMax)"
          : "too many connections (limits.connectionsMax)",
    });
    return false;
  }

  #count(remoteAddress: string): void {
    const counts = this.#counts;
    counts.total++;
    this.connections++;
    counts.byAddress.set(remoteAddress, (counts.byAddress.get(remoteAddress) ?? 0) + 1);
  }

  #dismiss(remoteAddress: string): void {
    const counts = this.#counts;
    counts.total--;
    this.connections--;
    const left = (counts.byAddress.get(remoteAddress) ?? 1) - 1;
    if (left === 0) counts.byAddress.delete(remoteAddress);
    else counts.byAddress.set(remoteAddress, left);
  }
}
