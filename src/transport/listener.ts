/**
 * One listening socket: accepts, counts, and hands each connection to its greeting. Caps cost a refused peer its
 * connection and nobody else anything.
 */
import * as net from "node:net";
import type { Logger } from "../telemetry/log.ts";
import { isLoopbackAddress, plainAddress } from "../util/network.ts";
import { Greeting, type Visit } from "./greeting.ts";
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
  readonly #onDecided = (greeting: Greeting): void => void this.#greetings.delete(greeting);
  readonly #gate: Gate = {
    admit: (address) => this.#admit(address),
    count: (address) => this.#count(address),
    dismiss: (address) => this.#dismiss(address),
  };

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
    const remoteAddress = socket.remoteAddress ?? "";
    if (!this.#admit(remoteAddress)) {
      socket.destroy();
      return;
    }
    const { options } = this;
    const greeting = new Greeting(this.#loop, socket, {
      adapters: options.adapters,
      handshakeTimeoutMs: options.handshakeTimeoutMs,
      tls: options.tls ?? null,
      isTlsRequired: options.isTlsRequired ?? false,
      http: options.http ?? null,
      mayProxy: options.isTrustedProxy?.(remoteAddress) ?? false,
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
      visit: new CountedVisit(this.#gate, remoteAddress),
      onDecided: this.#onDecided,
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

interface Gate {
  admit(address: string): boolean;
  count(address: string): void;
  dismiss(address: string): void;
}

/** Lives as long as its connection: holds nothing but what it takes to count it out. */
class CountedVisit implements Visit {
  readonly #gate: Gate;
  #address: string;

  constructor(gate: Gate, address: string) {
    this.#gate = gate;
    this.#address = address;
  }

  moveTo(address: string): boolean {
    this.#gate.dismiss(this.#address);
    this.#address = address;
    const isWelcome = this.#gate.admit(address);
    // Refused ones are counted out again when their socket closes.
    if (!isWelcome) this.#gate.count(address);
    return isWelcome;
  }

  end(): void {
    this.#gate.dismiss(this.#address);
  }
}
