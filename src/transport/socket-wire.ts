/**
 * A wire over a stream socket: TCP, a Unix socket, or TLS on top of either. WebSocket builds upon it.
 *
 * Plain sockets read through `onread` into the loop's one shared buffer, which is documented for client sockets only; for
 * an accepted one its handle is adopted by a fresh socket (`adopt`). Where that is not possible, and for TLS, ordinary
 * "data" events do the same at a somewhat higher price.
 */
import * as net from "node:net";
import { BaseWire } from "./base-wire.ts";
import type { Visit } from "./greeting.ts";
import { READ_BUFFER_BYTES, type TransportLoop } from "./loop.ts";
import type { ProtocolAdapter, WireInfo } from "./wire.ts";

/** After so many bytes without a pause the other sockets of the loop get their turn. */
const FAIR_SHARE_BYTES = 2 * READ_BUFFER_BYTES;

/** The wire of a socket: one set of handlers serves all of them. */
const WIRE = Symbol("wire");
type WiredSocket = net.Socket & { [WIRE]: SocketWire };

export class SocketWire extends BaseWire {
  protected readonly socket: net.Socket;
  readonly #visit: Visit;
  protected isReading = true;
  #sinceYield = 0;
  #error: Error | null = null;

  /**
   * Opens `adapter` on an accepted socket that nobody reads (paused, no listeners). `first` is what was read already.
   * The visit ends after the protocol was told.
   */
  static open(
    loop: TransportLoop,
    accepted: net.Socket,
    adapter: ProtocolAdapter,
    info: WireInfo,
    first: Buffer,
    visit: Visit,
  ): SocketWire {
    loop.turn.touch();
    const wire = new SocketWire(loop, accepted, info, visit);
    wire.attach(adapter.open(wire));
    if (first.length > 0) wire.receive(first, 0, first.length);
    wire.startReading();
    return wire;
  }

  protected constructor(
    loop: TransportLoop,
    accepted: net.Socket,
    info: WireInfo,
    visit: Visit,
    headRoom = 0,
  ) {
    super(loop, info, headRoom);
    this.#visit = visit;
    const adopted = info.isTls
      ? null
      : adopt(accepted, loop.readBuffer, (count, bytes) => this.takeRead(count, bytes));
    const socket = (adopted ?? accepted) as WiredSocket;
    socket[WIRE] = this;
    this.socket = socket;
    if (adopted === null) {
      socket.on("data", onData);
      socket.pause();
    }
    socket.on("error", onError);
    socket.on("end", onEnd);
    socket.on("close", onClose);
  }

  /** From the socket's events. */
  takeError(error: Error): void {
    this.#error = error;
  }
  takeEnd(): void {
    // The peer has said its last word; what it is still owed goes out before we close too.
    if (!this.isEnding) this.end();
  }
  takeClose(): void {
    this.closed(this.#error);
    this.#visit.end();
  }

  protected transmit(chunk: Buffer, length: number): boolean {
    const { socket } = this;
    socket.write(length === chunk.length ? chunk : chunk.subarray(0, length), this.onSent);
    return socket.writableLength === 0;
  }

  protected setReading(isReading: boolean): void {
    if (this.isReading === isReading) return;
    this.isReading = isReading;
    if (this.socket.destroyed) return;
    if (isReading) this.socket.resume();
    else this.socket.pause();
  }

  protected finish(): void {
    this.socket.end();
  }

  protected abort(): void {
    this.socket.destroy();
  }

  /** After the protocol is attached: it may have paused while it looked at the first bytes. */
  protected startReading(): void {
    if (this.isReading && !this.socket.destroyed) this.socket.resume();
  }

  /** False stops the reading. */
  takeRead(count: number, bytes: Uint8Array): boolean {
    this.receive(bytes as Buffer, 0, count);
    this.#sinceYield += count;
    if (this.#sinceYield > FAIR_SHARE_BYTES && this.isReading) {
      this.#sinceYield = 0;
      this.isReading = false;
      this.loop.requestPump(this);
    }
    return this.isReading;
  }
}

function onData(this: WiredSocket, bytes: Buffer): void {
  if (!this[WIRE].takeRead(bytes.length, bytes)) this.pause();
}
function onError(this: WiredSocket, error: Error): void {
  this[WIRE].takeError(error);
}
function onEnd(this: WiredSocket): void {
  this[WIRE].takeEnd();
}
function onClose(this: WiredSocket): void {
  this[WIRE].takeClose();
}

type Handle = { readStop?(): number; reading?: boolean; fd?: number };

/** A socket that owns the handle of `accepted` and reads into `buffer`; null when this Node does not let us. */
function adopt(
  accepted: net.Socket,
  buffer: Buffer,
  callback: (count: number, bytes: Uint8Array) => boolean,
): net.Socket | null {
  const inner = accepted as unknown as { _handle: Handle | null; _server?: unknown };
  const handle = inner._handle;
  if (!handle || typeof handle.readStop !== "function") return null;
  handle.readStop();
  handle.reading = false;
  const socket = new net.Socket({
    handle,
    readable: true,
    writable: true,
    allowHalfOpen: true,
    pauseOnCreate: true,
    onread: { buffer, callback },
  } as net.SocketConstructorOpts);
  // The listening server counts its connections by this field.
  (socket as unknown as { _server: unknown })._server = inner._server ?? null;
  inner._server = undefined;
  inner._handle = null;
  return socket;
}
