/**
 * HTTP on the sniffed port: requests go to the handler (admin API, metrics), WebSocket upgrades become wires. Loaded with
 * the first HTTP connection; no listening socket of its own.
 */
import * as http from "node:http";
import type * as net from "node:net";
import { isLoopbackAddress } from "../util/network.ts";
import type { Visit } from "./greeting.ts";
import type { TransportLoop } from "./loop.ts";
import { answerTo, refusalOf } from "./websocket-handshake.ts";
import { WebSocketWire } from "./websocket-wire.ts";
import type { ProtocolAdapter, WireInfo } from "./wire.ts";

export type RequestHandler = (
  request: http.IncomingMessage,
  response: http.ServerResponse,
  peer: WireInfo,
) => void;

export interface HttpGatewayOptions {
  readonly handler: RequestHandler;
  /** Largest WebSocket message. */
  readonly messageBytesMax: number;
  /** Origins of pages that may connect; empty: pages of this machine and of this server; `*`: all. */
  readonly allowedOrigins: readonly string[];
  /** How long a peer may take over the head of a request. */
  readonly headerTimeoutMs?: number;
}

interface Visitor {
  readonly facts: WireInfo;
  readonly adapters: readonly ProtocolAdapter[];
  readonly visit: Visit;
  isUpgraded: boolean;
}

const IDLE_MS = 60_000;
const HEADER_TIMEOUT_MS = 10_000;
const HEADER_BYTES_MAX = 16_384;

export class HttpGateway {
  readonly #loop: TransportLoop;
  readonly #options: HttpGatewayOptions;
  readonly #server: http.Server;
  readonly #visitors = new WeakMap<object, Visitor>();
  readonly #sockets = new Set<net.Socket>();

  constructor(loop: TransportLoop, options: HttpGatewayOptions) {
    this.#loop = loop;
    this.#options = options;
    const headersTimeout = options.headerTimeoutMs ?? HEADER_TIMEOUT_MS;
    this.#server = http.createServer(
      {
        maxHeaderSize: HEADER_BYTES_MAX,
        headersTimeout,
        requestTimeout: headersTimeout * 3,
        connectionsCheckingInterval: headersTimeout / 2,
      },
      (request, response) => {
        const visitor = this.#visitors.get(request.socket);
        if (visitor === undefined) request.socket.destroy();
        else options.handler(request, response, visitor.facts);
      },
    );
    this.#server.timeout = IDLE_MS;
    // Sockets come from our listeners. This is what begins the watch over slow requests.
    this.#server.emit("listening");
    this.#server.on("upgrade", (request, socket, head) => {
      this.#upgrade(request, socket as net.Socket, head);
    });
  }

  /** Takes a socket that nobody reads and whose first bytes were put back with `unshift`. */
  accept(
    socket: net.Socket,
    adapters: readonly ProtocolAdapter[],
    facts: WireInfo,
    visit: Visit,
  ): void {
    const visitor: Visitor = { facts, adapters, visit, isUpgraded: false };
    this.#visitors.set(socket, visitor);
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      if (!visitor.isUpgraded) visit.end();
    });
    this.#server.emit("connection", socket);
    socket.resume();
  }

  /** Requests that run are finished; idle connections go. */
  close(): void {
    this.#server.close(() => {});
    for (const socket of this.#sockets) socket.destroySoon();
  }

  #upgrade(request: http.IncomingMessage, socket: net.Socket, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    const visitor = this.#visitors.get(socket);
    if (visitor === undefined) {
      socket.destroy();
      return;
    }
    const { host, origin } = request.headers;
    if (!this.#mayConnect(origin, host, visitor.facts.isLoopback)) {
      this.#loop.logger.warn("websocket.origin-refused", {
        origin,
        listener: visitor.facts.listener,
        message: "add it to security.allowedOrigins if its pages may connect",
      });
      refuse(socket, "403 Forbidden");
      return;
    }
    const refusal = refusalOf(request);
    const agreed = this.#agree(request);
    if (refusal !== null || agreed === null) {
      refuse(socket, refusal ?? "400 Bad Request");
      return;
    }
    visitor.isUpgraded = true;
    this.#sockets.delete(socket);
    socket.setTimeout(0);
    socket.pause();
    const { subProtocol, candidates } = agreed;
    WebSocketWire.upgrade(this.#loop, {
      socket,
      first: head,
      answer: answerTo(request, subProtocol),
      info: { ...visitor.facts, isWebSocket: true, subProtocol },
      visit: visitor.visit,
      candidates,
      messageBytesMax: this.#options.messageBytesMax,
      handshakeTimeoutMs: this.#options.headerTimeoutMs ?? HEADER_TIMEOUT_MS,
    });
  }

  /** The sub-protocol to echo and who may speak it; null when the client offers only strangers. */
  #agree(
    request: http.IncomingMessage,
  ): { subProtocol: string; candidates: readonly ProtocolAdapter[] } | null {
    const adapters = this.#visitors.get(request.socket)?.adapters ?? [];
    const offered = (request.headers["sec-websocket-protocol"] ?? "")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
    if (offered.length === 0) {
      return adapters.length === 0 ? null : { subProtocol: "", candidates: adapters };
    }
    for (const adapter of adapters) {
      const subProtocol = adapter.subProtocols.find((name) => offered.includes(name));
      if (subProtocol === undefined) continue;
      const candidates = adapters.filter(({ subProtocols }) => subProtocols.includes(subProtocol));
      return { subProtocol, candidates };
    }
    return null;
  }

  /** Programs send no origin; a page must not reach a broker that only its visitor's machine can see. */
  #mayConnect(origin: string | undefined, host: string | undefined, isLoopback: boolean): boolean {
    if (origin === undefined) return true;
    const { allowedOrigins } = this.#options;
    if (allowedOrigins.includes("*") || allowedOrigins.includes(origin)) return true;
    let page: URL;
    try {
      page = new URL(origin);
    } catch {
      return false;
    }
    if (isLoopbackAddress(page.hostname.replace(/^\[|\]$/g, ""))) return true;
    // Not for peers of this machine: a page may have its own name point here.
    return page.host === host && !isLoopback;
  }
}

function refuse(socket: net.Socket, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
}
