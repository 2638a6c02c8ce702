/**
 * A connection from accept until its protocol is known: reads the first bytes, takes off what lies around the protocol
 * (PROXY header, TLS), finds who speaks, hands the socket and the bytes on. One time-out covers all of it, from accept.
 */
import type * as net from "node:net";
import type { HttpGateway } from "./http-gateway.ts";
import type { TransportLoop } from "./loop.ts";
import { parseProxyHeader } from "./proxy-protocol.ts";
import { AMQP_TLS_HEADER, type Sniffed, sniff } from "./sniff.ts";
import { SocketWire } from "./socket-wire.ts";
import type { TlsTerminator } from "./tls-terminator.ts";
import type { ProtocolAdapter, WireInfo } from "./wire.ts";

export interface GreetingOptions {
  readonly adapters: readonly ProtocolAdapter[];
  readonly handshakeTimeoutMs: number;
  readonly facts: WireInfo;
  readonly tls: TlsTerminator | null;
  readonly isTlsRequired: boolean;
  /** HTTP is served here: loads the gateway with the first use. */
  readonly http: (() => Promise<HttpGateway>) | null;
  /** The peer may introduce its client with a PROXY header. */
  readonly mayProxy: boolean;
  readonly visit: Visit;
  /** The protocol is known, or the connection ended before it was. */
  onDecided(greeting: Greeting): void;
}

/** A connection as its listener counts it. */
export interface Visit {
  /** A PROXY header named the real peer; false to let it go (too many of that address). */
  moveTo(address: string): boolean;
  /** The connection is gone. Once. */
  end(): void;
}

const REFUSED_LINGER_MS = 1000;
const NOTHING = Buffer.alloc(0);

export class Greeting {
  readonly #loop: TransportLoop;
  readonly #options: GreetingOptions;
  #socket: net.Socket;
  #facts: WireInfo;
  #bytes: Buffer = NOTHING;
  #mayProxy: boolean;
  #isOver = false;
  readonly #timer: NodeJS.Timeout;
  readonly #onData = (chunk: Buffer): void => this.#read(chunk);
  readonly #onClose = (): void => this.#over();
  /** After the sockets were read once more: when the process stood still, what was said in time lies there. */
  readonly #onTimer = (): void => void setImmediate(() => this.#timedOut());

  constructor(loop: TransportLoop, socket: net.Socket, options: GreetingOptions) {
    this.#loop = loop;
    this.#socket = socket;
    this.#options = options;
    this.#facts = options.facts;
    this.#mayProxy = options.mayProxy;
    this.#timer = setTimeout(this.#onTimer, options.handshakeTimeoutMs);
    this.#timer.unref();
  }

  start(): void {
    this.#listen();
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #listen(): void {
    this.#socket.on("data", this.#onData);
    this.#socket.on("error", ignore);
    this.#socket.on("end", this.#onClose);
    this.#socket.on("close", this.#onClose);
  }

  #read(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    this.#look();
  }

  #look(): void {
    const { adapters, tls, http } = this.#options;
    const sniffed = sniff(this.#bytes, 0, this.#bytes.length, {
      adapters,
      mayStartTls: tls !== null && !this.#facts.isTls,
      isHttp: http !== null,
      mayProxy: this.#mayProxy,
    });
    if (sniffed.kind !== "more") this.#decide(sniffed);
  }

  #decide(sniffed: Exclude<Sniffed, { kind: "more" }>): void {
    const { isTlsRequired } = this.#options;
    const isAround = ["proxy", "tls", "amqp-tls"].includes(sniffed.kind);
    if (isTlsRequired && !this.#facts.isTls && !isAround) {
      this.#turnAway("connection.tls-required");
      return;
    }
    switch (sniffed.kind) {
      case "proxy":
        this.#takeProxyHeader();
        return;
      case "tls":
        this.#startTls();
        return;
      case "amqp-tls":
        this.#bytes = this.#bytes.subarray(AMQP_TLS_HEADER.length);
        this.#socket.write(AMQP_TLS_HEADER);
        this.#startTls();
        return;
      case "protocol":
        this.#release();
        SocketWire.open(
          this.#loop,
          this.#socket,
          sniffed.adapter,
          this.#facts,
          this.#bytes,
          this.#options.visit,
        );
        return;
      case "http":
        void this.#serveHttp();
        return;
      case "refuse":
        // Whatever else it sends is dropped; it has a moment to read the answer.
        this.#socket.off("data", this.#onData);
        this.#socket.resume();
        this.#socket.end(sniffed.answer);
        setTimeout(() => this.destroy(), REFUSED_LINGER_MS).unref();
        return;
      case "unknown":
        this.#turnAway("connection.unknown-protocol");
        return;
      default: {
        const never: never = sniffed;
        throw new Error(`unknown answer ${String(never)}`);
      }
    }
  }

  #takeProxyHeader(): void {
    const header = parseProxyHeader(this.#bytes, 0, this.#bytes.length);
    if (header.kind === "more") return;
    if (header.kind === "malformed") {
      this.#turnAway("connection.malformed-proxy-header");
      return;
    }
    this.#mayProxy = false;
    this.#bytes = this.#bytes.subarray(header.length);
    if (header.source !== null) {
      const { address, port } = header.source;
      this.#facts = {
        ...this.#facts,
        remoteAddress: address,
        remotePort: port,
        isLoopback: false,
      };
      if (!this.#options.visit.moveTo(address)) {
        this.destroy();
        return;
      }
    }
    if (this.#bytes.length > 0) this.#look();
  }

  #startTls(): void {
    const raw = this.#socket;
    raw.pause();
    raw.off("data", this.#onData);
    // The peer's end and the errors belong to the TLS socket now; its own close is told by the raw one.
    raw.off("end", this.#onClose);
    if (this.#bytes.length > 0) raw.unshift(this.#bytes);
    this.#bytes = NOTHING;
    this.#options.tls!.accept(raw, {
      done: (socket, certificate) => {
        if (this.#isOver) {
          socket.destroy();
          return;
        }
        raw.off("close", this.#onClose);
        this.#socket = socket;
        this.#facts = { ...this.#facts, isTls: true, certificate };
        this.#listen();
      },
      failed: (error) => {
        this.#log("connection.tls-failed", error.message);
        raw.destroy();
      },
    });
  }

  async #serveHttp(): Promise<void> {
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#onData);
    let gateway: HttpGateway;
    try {
      gateway = await this.#options.http!();
    } catch (error) {
      this.#loop.logger.error("http.unavailable", { error: error as Error });
      this.destroy();
      return;
    }
    if (this.#isOver) return;
    this.#release();
    socket.unshift(this.#bytes);
    gateway.accept(socket, this.#options.adapters, this.#facts, this.#options.visit);
  }

  #turnAway(event: string): void {
    this.#log(event, `begins with ${this.#bytes.toString("hex", 0, 8)}`);
    this.destroy();
  }

  #timedOut(): void {
    if (this.#isOver) return;
    this.#log("connection.handshake-timeout", `after ${this.#bytes.length} bytes`);
    this.destroy();
  }

  #log(event: string, message: string): void {
    const { logger } = this.#loop;
    if (!logger.isDebug) return;
    const { listener, remoteAddress } = this.#facts;
    logger.debug(event, { listener, remote: remoteAddress, message });
  }

  /** The socket is somebody else's from here on. */
  #release(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#onData);
    socket.off("error", ignore);
    socket.off("end", this.#onClose);
    socket.off("close", this.#onClose);
    this.#options.onDecided(this);
  }

  #over(): void {
    if (this.#isOver) return;
    this.#release();
    this.#socket.on("error", ignore);
    this.#socket.destroy();
    this.#options.visit.end();
  }
}

function ignore(): void {}
