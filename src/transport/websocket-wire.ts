/**
 * A wire over a WebSocket. Messages are only envelopes of a byte stream: a frame of the protocol may span several, one
 * may hold many, in both directions. Answers are binary, or text for a STOMP client that began with text, as long as they
 * are valid UTF-8.
 *
 * Input is unmasked and put together in the buffer it was read into, and the protocol gets one run of bytes per read; what
 * a turn has to say goes out as one message, whose header is written into room left before it. So a message costs little
 * more than over TCP.
 */
import { isUtf8 } from "node:buffer";
import type * as net from "node:net";
import type { Visit } from "./greeting.ts";
import { READ_BUFFER_BYTES, type TransportLoop } from "./loop.ts";
import { sniff } from "./sniff.ts";
import { SocketWire } from "./socket-wire.ts";
import {
  CLOSE_CODE,
  closeFrame,
  FrameDecoder,
  OPCODE,
  putHeader,
  SERVER_HEADER_MAX,
} from "./websocket-frames.ts";
import type { ProtocolAdapter, ProtocolConnection, WireInfo } from "./wire.ts";

const PING_IDLE_MS = 30_000;
const PING_FRAME = Buffer.from([0x80 | OPCODE.PING, 0]);

/** A client that asked for a WebSocket and shall have it. */
export interface Upgrade {
  /** Nobody reads it. */
  readonly socket: net.Socket;
  /** What was read of it already, behind the request. */
  readonly first: Buffer;
  /** The answer that turns it into a WebSocket. */
  readonly answer: string;
  readonly info: WireInfo;
  readonly visit: Visit;
  /** The adapters that the agreed sub-protocol allows; more than one are told apart by their first bytes. */
  readonly candidates: readonly ProtocolAdapter[];
  readonly messageBytesMax: number;
  /** Who has not said by then what it speaks goes. */
  readonly handshakeTimeoutMs: number;
}

export class WebSocketWire extends SocketWire {
  readonly #decoder: FrameDecoder;
  #isText: boolean | null = null;
  #mayBeText = true;
  /** What is given to the carrier is a control frame as it stands. */
  #isFramed = false;
  #closeCode: number = CLOSE_CODE.NORMAL;
  #closeReason = "";
  /** The peer's close frame came, or will not: nothing is waited for. */
  #isPeerDone = false;
  #lastHeardMs: number;
  #pingedMs = 0;

  /** The visit ends after the protocol was told. */
  static upgrade(loop: TransportLoop, upgrade: Upgrade): WebSocketWire {
    loop.turn.touch();
    const wire = new WebSocketWire(loop, upgrade);
    wire.socket.write(upgrade.answer);
    const { candidates, first } = upgrade;
    const [only] = candidates;
    if (candidates.length === 1 && only !== undefined) wire.#choose(only);
    else {
      const choose = (adapter: ProtocolAdapter) => wire.#choose(adapter);
      wire.attach(
        new Chooser(wire, candidates, loop.turn.uptime + upgrade.handshakeTimeoutMs, choose),
      );
    }
    if (first.length > 0) wire.receive(first, 0, first.length);
    wire.startReading();
    return wire;
  }

  private constructor(
    loop: TransportLoop,
    {
      socket,
      info,
      visit,
      messageBytesMax,
    }: Pick<Upgrade, "socket" | "info" | "visit" | "messageBytesMax">,
  ) {
    super(loop, socket, info, visit, SERVER_HEADER_MAX);
    this.#decoder = new FrameDecoder(messageBytesMax);
    this.#lastHeardMs = loop.turn.uptime;
  }

  setTextMode(isText: boolean): void {
    this.#isText = isText;
  }

  override tick(uptimeMs: number): void {
    super.tick(uptimeMs);
    if (this.isClosed || this.isEnding || uptimeMs - this.#lastHeardMs < PING_IDLE_MS) return;
    if (this.#pingedMs > this.#lastHeardMs) {
      // Not even a pong since the last ping: nobody is there.
      if (uptimeMs - this.#pingedMs > PING_IDLE_MS && this.isReading) this.destroy();
      return;
    }
    this.#pingedMs = uptimeMs;
    this.#control(PING_FRAME, 0, PING_FRAME.length);
  }

  #choose(adapter: ProtocolAdapter): ProtocolConnection {
    this.#mayBeText = adapter.name === "stomp";
    this.#decoder.isBinaryOnly = !this.#mayBeText;
    const connection = adapter.open(this);
    this.attach(connection);
    return connection;
  }

  // ── input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  protected override receive(bytes: Buffer, start: number, end: number): void {
    this.#lastHeardMs = this.loop.turn.uptime;
    const { readBuffer } = this.loop;
    if (bytes === readBuffer) {
      this.#decode(bytes, start, end);
      return;
    }
    // Unmasking is much faster there.
    for (let at = start; at < end && !this.isClosed; at += READ_BUFFER_BYTES) {
      const count = Math.min(end - at, READ_BUFFER_BYTES);
      bytes.copy(readBuffer, 0, at, at + count);
      this.#decode(readBuffer, 0, count);
    }
  }

  #decode(bytes: Buffer, start: number, end: number): void {
    const decoder = this.#decoder;
    if (this.isClosed || decoder.isOver) return;
    const until = decoder.decode(bytes, start, end);
    if (this.isEnding) {
      // Our close frame is out: the peer's own is all that is waited for.
      if (decoder.isOver) this.#leave();
      return;
    }
    if (decoder.firstOpcode !== 0) this.#isText ??= decoder.firstOpcode === OPCODE.TEXT;
    if (until > start) super.receive(bytes, start, until);
    if (this.isClosed || this.isEnding) {
      if (decoder.isOver && !this.isClosed) this.#leave();
      return;
    }
    const { error, closeCode, ping } = decoder;
    if (error !== null) this.#fail(error.code, error.reason);
    else if (decoder.hadText && !this.#mayBeText)
      this.#fail(CLOSE_CODE.UNSUPPORTED_DATA, "binary messages only");
    else if (closeCode !== 0) {
      this.#isPeerDone = true;
      this.#closeCode = closeCode;
      this.end();
    } else if (ping !== null) {
      const pong = Buffer.allocUnsafe(2 + ping.length);
      putHeader(pong, 2, OPCODE.PONG, ping.length);
      ping.copy(pong, 2);
      this.#control(pong, 0, pong.length);
    }
  }

  /** §7.1.7: says why, and listens no more. */
  #fail(code: number, reason: string): void {
    this.#isPeerDone = true;
    this.#closeCode = code;
    this.#closeReason = reason;
    this.takeError(new Error(`WebSocket: ${reason}`));
    this.end();
  }

  override takeEnd(): void {
    // No close frame came before it, and none will.
    if (this.isEnding) this.#leave();
    this.#isPeerDone = true;
    super.takeEnd();
  }

  // ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────

  protected override transmit(chunk: Buffer, length: number): boolean {
    const { socket } = this;
    let start = SERVER_HEADER_MAX;
    if (!this.#isFramed) {
      const isText = this.#isText === true && isUtf8(chunk.subarray(start, length));
      start = putHeader(chunk, start, isText ? OPCODE.TEXT : OPCODE.BINARY, length - start);
    }
    socket.write(chunk.subarray(start, length), this.onSent);
    return socket.writableLength === 0;
  }

  /** Sends a control frame, behind what was collected so far. */
  #control(frame: Buffer, start: number, end: number): void {
    this.flush();
    this.write(frame, start, end);
    this.#isFramed = true;
    this.flush();
    this.#isFramed = false;
  }

  /** Says goodbye; the connection goes when the peer did the same, so that it reads what it was sent. */
  protected override finish(): void {
    this.socket.write(closeFrame(this.#closeCode, this.#closeReason));
    if (this.#isPeerDone) super.finish();
  }

  #leave(): void {
    if (this.#isPeerDone) return;
    this.#isPeerDone = true;
    super.finish();
  }
}

/** Stands in for the protocol until its first bytes tell which one it is. */
class Chooser implements ProtocolConnection {
  readonly #wire: WebSocketWire;
  readonly #candidates: readonly ProtocolAdapter[];
  readonly #choose: (adapter: ProtocolAdapter) => ProtocolConnection;
  readonly #deadlineMs: number;

  constructor(
    wire: WebSocketWire,
    candidates: readonly ProtocolAdapter[],
    deadlineMs: number,
    choose: (adapter: ProtocolAdapter) => ProtocolConnection,
  ) {
    this.#deadlineMs = deadlineMs;
    this.#wire = wire;
    this.#candidates = candidates;
    this.#choose = choose;
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
  onTick(uptimeMs: number): void {
    if (uptimeMs > this.#deadlineMs) this.#wire.destroy();
  }
  onShutdown(): void {
    this.#wire.end();
  }
}
