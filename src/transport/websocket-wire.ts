/**
 * A wire over a WebSocket. Messages are only envelopes of a byte stream: a frame may span several, one may hold many, in
 * both directions. Answers are binary, or text for a STOMP client that began with text, as long as they are valid UTF-8.
 */
import { isUtf8 } from "node:buffer";
import type { WebSocket } from "ws";
import { BaseWire } from "./base-wire.ts";
import type { Visit } from "./greeting.ts";
import type { TransportLoop } from "./loop.ts";
import { sniff } from "./sniff.ts";
import type { ProtocolAdapter, ProtocolConnection, WireInfo } from "./wire.ts";

const PING_IDLE_MS = 30_000;
const CLOSE_NORMAL = 1000;
const CLOSE_UNSUPPORTED_DATA = 1003;

export class WebSocketWire extends BaseWire {
  readonly #socket: WebSocket;
  #isReading = true;
  #isText: boolean | null = null;
  #mayBeText = true;
  #error: Error | null = null;
  #lastHeardMs: number;
  #pingedMs = 0;

  /** `candidates`: the adapters that the agreed sub-protocol allows; more than one are told apart by their first bytes. */
  static open(
    loop: TransportLoop,
    socket: WebSocket,
    candidates: readonly ProtocolAdapter[],
    info: WireInfo,
    visit: Visit,
  ): WebSocketWire {
    const wire = new WebSocketWire(loop, socket, info, visit);
    const [only] = candidates;
    if (candidates.length === 1 && only !== undefined) wire.#choose(only);
    else wire.attach(new Chooser(wire, candidates, (adapter) => wire.#choose(adapter)));
    return wire;
  }

  private constructor(loop: TransportLoop, socket: WebSocket, info: WireInfo, visit: Visit) {
    super(loop, info);
    this.#socket = socket;
    this.#lastHeardMs = loop.turn.now;
    socket.on("message", (data, isBinary) => this.#onMessage(data as Buffer, isBinary));
    socket.on("pong", () => {
      this.#lastHeardMs = this.loop.turn.now;
    });
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("close", () => {
      this.closed(this.#error);
      visit.end();
    });
  }

  setTextMode(isText: boolean): void {
    this.#isText = isText;
  }

  override tick(nowMs: number): void {
    super.tick(nowMs);
    if (this.isClosed || nowMs - this.#lastHeardMs < PING_IDLE_MS) return;
    if (this.#pingedMs > this.#lastHeardMs) {
      // Not even a pong since the last ping: nobody is there.
      if (nowMs - this.#pingedMs > PING_IDLE_MS && this.#isReading) this.destroy();
      return;
    }
    this.#pingedMs = nowMs;
    this.#socket.ping();
  }

  protected transmit(chunk: Buffer, length: number): boolean {
    const bytes = length === chunk.length ? chunk : chunk.subarray(0, length);
    const binary = !(this.#isText === true && isUtf8(bytes));
    this.#socket.send(bytes, { binary }, this.onSent);
    return this.#socket.bufferedAmount === 0;
  }

  protected setReading(isReading: boolean): void {
    if (this.#isReading === isReading) return;
    this.#isReading = isReading;
    if (isReading) this.#socket.resume();
    else this.#socket.pause();
  }

  protected finish(): void {
    this.#socket.close(CLOSE_NORMAL);
  }

  protected abort(): void {
    this.#socket.terminate();
  }

  #choose(adapter: ProtocolAdapter): ProtocolConnection {
    this.#mayBeText = adapter.name === "stomp";
    const connection = adapter.open(this);
    this.attach(connection);
    return connection;
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    this.#lastHeardMs = this.loop.turn.now;
    this.#isText ??= !isBinary;
    if (!isBinary && !this.#mayBeText) {
      this.#socket.close(CLOSE_UNSUPPORTED_DATA, "binary messages only");
      return;
    }
    this.receive(data, 0, data.length);
    if (!isBinary && !this.#mayBeText) {
      this.#socket.close(CLOSE_UNSUPPORTED_DATA, "binary messages only");
    }
  }
}

/** Stands in for the protocol until its first bytes tell which one it is. */
class Chooser implements ProtocolConnection {
  readonly #wire: WebSocketWire;
  readonly #candidates: readonly ProtocolAdapter[];
  readonly #choose: (adapter: ProtocolAdapter) => ProtocolConnection;
  readonly #sinceMs: number;

  constructor(
    wire: WebSocketWire,
    candidates: readonly ProtocolAdapter[],
    choose: (adapter: ProtocolAdapter) => ProtocolConnection,
  ) {
    this.#wire = wire;
    this.#candidates = candidates;
    this.#choose = choose;
    this.#sinceMs = Date.now();
  }

  onData(bytes: Buffer, start: number, end: number): number {
    const sniffed = sniff(bytes, start, end, {
      adapters: this.#candidates,
      mayStartTls: false,
      isHttp: false,
      mayProxy: false,
    });
    if (sniffed.kind === "protocol") return this.#choose(sniffed.adapter).onData(bytes, start, end);
    if (sniffed.kind === "more") return start;
    if (sniffed.kind === "refuse") this.#wire.write(sniffed.answer);
    this.#wire.end();
    return end;
  }
  wantedBytes(): number {
    return 0;
  }
  onClose(): void {}
  onDrain(): void {}
  onTick(nowMs: number): void {
    if (nowMs - this.#sinceMs > HANDSHAKE_MS) this.#wire.destroy();
  }
  onShutdown(): void {
    this.#wire.end();
  }
}

const HANDSHAKE_MS = 10_000;
