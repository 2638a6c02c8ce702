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
  /** An address; "localhost" is 127.0.0.1 and, where the machine has it, ::1. Ignored with `path`. */
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

const BACKLOG = 4096;
/**
 * A listener that speaks nothing but HTTP lets so many in whatever the limits say: when the broker is full of clients, health
 * checks and whoever is to find out why still get an answer. They count like all others.
 */
export const HTTP_RESERVE = 16;
const KEEP_ALIVE_MS = 60_000;
const ERROR_LOG_MS = 10_000;
const REFUSAL_LOG_MS = 1000;
const NO_IPV6 = new Set(["EADDRNOTAVAIL", "EAFNOSUPPORT"]);

/** Connections of all listeners together, by remote address. */
export class ConnectionCounts {
  total = 0;
  refused = 0;
  accepted = 0;
  readonly byAddress = new Map<string, number>();
}

export class Listener {
  options: ListenerOptions;
  readonly #loop: TransportLoop;
  readonly #logger: Logger;
  readonly #counts: ConnectionCounts;
  readonly #servers: net.Server[] = [];
  #lastErrorMs = 0;
  #refusalMs = Number.NEGATIVE_INFINITY;
  /** Refused since the log last said so. */
  #unsaid = 0;
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
  }

  /** For connections that come from now on; where it listens does not change. */
  configure(options: Partial<Omit<ListenerOptions, "name" | "host" | "port" | "path">>): void {
    const { name, host, port, path } = this.options;
    const place = { name, host, port, ...(path === undefined ? {} : { path }) };
    this.options = { ...this.options, ...options, ...place };
  }

  /** Rejects with the system's error (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
  async listen(): Promise<void> {
    const { host, port, path } = this.options;
    if (path !== undefined) {
      await this.#listenOn({ path });
    } else if (host === "localhost") {
      await this.#listenOn({ host: "127.0.0.1", port });
      await this.#listenOn({ host: "::1", port: this.port }).catch((error) => {
        if (!NO_IPV6.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
      });
    } else {
      await this.#listenOn({ host, port });
    }
    this.#isLoopback = path !== undefined || isLoopbackAddress(host);
    this.#loop.start();
  }

  async #listenOn(where: net.ListenOptions): Promise<void> {
    const server = net.createServer(
      {
        pauseOnConnect: true,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_MS,
        allowHalfOpen: true,
      },
      (socket) => this.#onConnection(socket),
    );
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ ...where, backlog: BACKLOG }, () => {
        server.off("error", reject);
        resolve();
      });
    });
    server.on("error", (error) => this.#logError(error));
    this.#servers.push(server);
  }

  /** The port in use; 0 for a Unix socket. */
  get port(): number {
    const address = this.#servers[0]?.address() ?? null;
    return address !== null && typeof address === "object" ? address.port : 0;
  }

  get isOpen(): boolean {
    return this.#servers.some((server) => server.listening);
  }

  /** The place is free for others when it resolves. Connections stay. */
  async stopListening(): Promise<void> {
    const closing = this.#servers.splice(0);
    // Closing waits for connections; the port is given back before that.
    for (const server of closing) server.close();
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Listens again where it did. */
  async reopen(): Promise<void> {
    if (!this.isOpen) await this.listen();
  }

  /** No new connections from now on; those that have not said what they speak are dropped. */
  close(): void {
    for (const server of this.#servers) server.close();
    for (const greeting of this.#greetings) greeting.destroy();
  }

  /** Out of file descriptors, mostly: it goes on as long as it lasts, but not in the log. */
  #logError(error: Error): void {
    const now = Date.now();
    if (now - this.#lastErrorMs < ERROR_LOG_MS) return;
    this.#lastErrorMs = now;
    this.#logger.error("listener.error", { error });
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

  get #isForOperators(): boolean {
    return this.options.adapters.length === 0 && this.options.http != null;
  }

  /** Counts a connection in, unless that would be too many. */
  #admit(remoteAddress: string): boolean {
    const counts = this.#counts;
    const { connectionsMax, connectionsPerAddressMax } = this.options;
    const fromAddress = counts.byAddress.get(remoteAddress) ?? 0;
    const isRoom = counts.total < connectionsMax && fromAddress < connectionsPerAddressMax;
    if (isRoom || (this.#isForOperators && this.connections < HTTP_RESERVE)) {
      counts.accepted++;
      this.#count(remoteAddress);
      return true;
    }
    counts.refused++;
    this.#unsaid++;
    const now = performance.now();
    // A flood of them must not fill the disk with its log.
    if (now - this.#refusalMs < REFUSAL_LOG_MS) return false;
    this.#refusalMs = now;
    const refused = this.#unsaid;
    this.#unsaid = 0;
    this.#logger.warn("connection.refused", {
      remote: remoteAddress,
      refused,
      connections: counts.total,
      fromAddress,
      message:
        fromAddress >= connectionsPerAddressMax
          ? "too many connections from this address (limits.connectionsPerAddressMax)"
          : `${connectionsMax} connections are open, as many as limits.connectionsMax and the system's limit on open files allow`,
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
