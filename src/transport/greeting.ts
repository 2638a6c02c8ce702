/**
 * A connection from accept until its protocol is known: reads the first bytes, finds who speaks them, hands the socket
 * and those bytes on. Has its own time-out, counted from accept.
 */
import type * as net from "node:net";
import type { TransportLoop } from "./loop.ts";
import { type Sniffed, sniff } from "./sniff.ts";
import { SocketWire } from "./socket-wire.ts";
import type { ProtocolAdapter, WireInfo } from "./wire.ts";

const REFUSED_LINGER_MS = 1000;

export interface GreetingOptions {
  readonly adapters: readonly ProtocolAdapter[];
  readonly handshakeTimeoutMs: number;
  readonly facts: WireInfo;
  /** The protocol is known, or the connection ended before it was. */
  onDecided(): void;
  /** The connection is gone. Once. */
  onGone(): void;
}

export class Greeting {
  readonly #loop: TransportLoop;
  readonly #options: GreetingOptions;
  readonly #socket: net.Socket;
  #bytes: Buffer = Buffer.alloc(0);
  readonly #timer: NodeJS.Timeout;
  readonly #onData = (chunk: Buffer): void => this.#read(chunk);
  readonly #onClose = (): void => this.#over();

  constructor(loop: TransportLoop, socket: net.Socket, options: GreetingOptions) {
    this.#loop = loop;
    this.#socket = socket;
    this.#options = options;
    this.#timer = setTimeout(() => this.destroy(), options.handshakeTimeoutMs);
    this.#timer.unref();
  }

  start(): void {
    this.#socket.on("data", this.#onData);
    this.#socket.on("error", ignore);
    this.#socket.on("end", this.#onClose);
    this.#socket.on("close", this.#onClose);
    this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    const sniffed = sniff(this.#bytes, 0, this.#bytes.length, {
      adapters: this.#options.adapters,
      mayStartTls: false,
      isHttp: false,
      mayProxy: false,
    });
    if (sniffed.kind !== "more") this.#decide(sniffed);
  }

  #decide(sniffed: Sniffed): void {
    const { facts } = this.#options;
    switch (sniffed.kind) {
      case "protocol": {
        this.#release();
        SocketWire.open(
          this.#loop,
          this.#socket,
          sniffed.adapter,
          facts,
          this.#bytes,
          this.#options.onGone,
        );
        return;
      }
      case "refuse":
        // Whatever else it sends is dropped; it has a moment to read the answer.
        this.#socket.off("data", this.#onData);
        this.#socket.resume();
        this.#socket.end(sniffed.answer);
        setTimeout(() => this.destroy(), REFUSED_LINGER_MS).unref();
        return;
      default:
        this.#loop.logger.debug("connection.unknown-protocol", {
          listener: facts.listener,
          remote: facts.remoteAddress,
          bytes: this.#bytes.toString("hex", 0, 8),
        });
        this.destroy();
    }
  }

  /** The socket is somebody else's from here on. */
  #release(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#onData);
    socket.off("error", ignore);
    socket.off("end", this.#onClose);
    socket.off("close", this.#onClose);
    this.#options.onDecided();
  }

  #over(): void {
    this.#release();
    this.#socket.on("error", ignore);
    this.#socket.destroy();
    this.#options.onGone();
  }
}

function ignore(): void {}
