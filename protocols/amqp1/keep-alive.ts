/**
 * Who is silent too long: a peer beyond our idle time-out, and we towards a peer, which gets an empty frame in time. The wire's
 * tick of a second is too coarse for peers that want to hear something more often: those have a timer of their own.
 */
import type { Wire } from "../../src/transport/wire.ts";
import type { Clock } from "../../src/util/turn.ts";

const HEARTBEAT = Buffer.from([0, 0, 0, 8, 2, 0, 0, 0]);
/** Peers below this have a timer. */
const TICKED_IDLE_MS = 4_000;
const TICK_MS = 1_000;

export class KeepAlive {
  readonly #wire: Wire;
  readonly #clock: Clock;
  /** When something came, and when something was written; ms of uptime. */
  readAt: number;
  wroteAt: number;
  #peerIdleMs = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(wire: Wire, clock: Clock) {
    this.#wire = wire;
    this.#clock = clock;
    this.readAt = this.wroteAt = clock.uptime();
  }

  /** The peer is gone when it hears nothing for so long; 0 for never. */
  begin(peerIdleMs: number): void {
    this.#peerIdleMs = peerIdleMs;
    if (peerIdleMs === 0 || peerIdleMs >= TICKED_IDLE_MS) return;
    this.#timer = setInterval(() => this.#beat(), peerIdleMs / 4);
    this.#timer.unref();
  }

  /** Nothing came for so long. */
  isSilent(uptimeMs: number, limitMs: number): boolean {
    return limitMs > 0 && uptimeMs - this.readAt > limitMs;
  }

  onTick(uptimeMs: number): void {
    if (this.#peerIdleMs > 0 && uptimeMs - this.wroteAt + TICK_MS >= this.#peerIdleMs / 2) {
      this.#wire.write(HEARTBEAT);
      this.wroteAt = uptimeMs;
    }
  }

  #beat(): void {
    const now = this.#clock.uptime();
    if (now - this.wroteAt < this.#peerIdleMs / 4) return;
    this.#wire.write(HEARTBEAT);
    this.wroteAt = now;
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
