/**
 * A wire without a socket, for tests: what the protocol sends is collected for the test to look at, what the test sends
 * arrives in exactly the pieces it asks for. It uses the same input and output machinery as the real wires.
 */
import { SILENT } from "../telemetry/log.ts";
import { Turn } from "../util/turn.ts";
import { BaseWire } from "./base-wire.ts";
import { DEFAULT_LOOP_LIMITS, type LoopLimits, TransportLoop } from "./loop.ts";
import type { ProtocolAdapter, WireInfo } from "./wire.ts";

export const MEMORY_WIRE_INFO: WireInfo = {
  remoteAddress: "127.0.0.1",
  remotePort: 40000,
  localPort: 5672,
  listener: "memory",
  isLoopback: true,
  isTls: false,
  isWebSocket: false,
  subProtocol: "",
  certificate: null,
};

export interface MemoryWireOptions {
  readonly loop?: TransportLoop;
  readonly turn?: Turn;
  readonly limits?: Partial<LoopLimits>;
  readonly info?: Partial<WireInfo>;
  /** Called with every flush, as a peer would read it. The bytes are the caller's. */
  readonly onOutput?: (bytes: Buffer) => void;
}

export class MemoryWire extends BaseWire {
  /** False: the peer reads nothing, output stays unsent until `drainOutput`. */
  isPeerReading = true;
  /** The protocol asked for input (it is not paused). */
  isReading = true;
  /** The protocol ended or destroyed the wire, or the peer did. */
  get isOver(): boolean {
    return this.isClosed || this.isEnding;
  }
  readonly #onOutput: ((bytes: Buffer) => void) | null;
  #output: Buffer[] = [];
  #held: Buffer[] = [];
  #unread: Buffer[] = [];

  constructor(options: MemoryWireOptions = {}) {
    super(
      options.loop ??
        new TransportLoop(options.turn ?? new Turn(), SILENT, {
          ...DEFAULT_LOOP_LIMITS,
          ...options.limits,
        }),
      { ...MEMORY_WIRE_INFO, ...options.info },
    );
    this.#onOutput = options.onOutput ?? null;
  }

  /** Opens `adapter` on a new wire. */
  static open(adapter: ProtocolAdapter, options: MemoryWireOptions = {}): MemoryWire {
    const wire = new MemoryWire(options);
    wire.attach(adapter.open(wire));
    return wire;
  }

  /** The peer sends `bytes`, as one read; `pieceBytes` cuts them into many. Held while the protocol does not read. */
  send(bytes: Uint8Array | string, pieceBytes = Number.POSITIVE_INFINITY): void {
    const all = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    for (let at = 0; at < all.length; at += pieceBytes) {
      // A copy in a larger buffer that is wiped afterwards: a protocol that keeps a view is found out.
      const piece = all.subarray(at, at + pieceBytes);
      if (!this.isReading) {
        this.#held.push(Buffer.from(piece));
        continue;
      }
      const shared = Buffer.alloc(piece.length + 16, 0xee);
      shared.set(piece, 7);
      this.receive(shared, 7, 7 + piece.length);
      shared.fill(0xdd);
    }
  }

  /** The peer ends the connection. */
  sendEnd(error: Error | null = null): void {
    this.closed(error);
  }

  /** Everything sent since the last call; flushes first. */
  takeOutput(): Buffer {
    this.flush();
    const output = Buffer.concat(this.#output);
    this.#output = [];
    return output;
  }

  /** The peer reads what was held back while `isPeerReading` was false. */
  drainOutput(): void {
    for (const bytes of this.#unread) this.#deliver(bytes);
    const count = this.#unread.length;
    this.#unread = [];
    for (let i = 0; i < count; i++) this.onSent();
  }

  protected transmit(chunk: Buffer, length: number): boolean {
    const bytes = Buffer.from(chunk.subarray(0, length));
    if (this.isPeerReading) {
      this.#deliver(bytes);
      queueMicrotask(this.onSent);
      return true;
    }
    this.#unread.push(bytes);
    return false;
  }

  protected setReading(isReading: boolean): void {
    this.isReading = isReading;
    if (!isReading || this.#held.length === 0) return;
    const held = this.#held;
    this.#held = [];
    for (const bytes of held) this.send(bytes);
  }

  protected finish(): void {
    queueMicrotask(() => this.closed(null));
  }

  protected abort(): void {
    queueMicrotask(() => this.closed(null));
  }

  #deliver(bytes: Buffer): void {
    if (this.#onOutput !== null) this.#onOutput(bytes);
    else this.#output.push(bytes);
  }
}
