/**
 * Heart-beats of one connection, both ways. The peer counts as gone after twice its interval (at least a second of grace)
 * without a byte. Ours are sent on the connection's tick of about a second; a shorter promise gets a timer of its own.
 */
import type { Wire } from "../../src/transport/wire.ts";
import { writeHeartbeat } from "./codec/frame-writer.ts";
import type { Heartbeats } from "./connect.ts";

/** Intervals below this are kept by a timer: a tick may come late. */
const TICK_INTERVAL_MS = 4000;
/** How much before its time a beat is sent, for ticks that come late. */
const EARLY_MS = 2000;
const MIN_GRACE_MS = 1000;

/** Says whether other frames went out, which count as beats. */
export interface WriteFlag {
  hasWritten: boolean;
}

export class Heartbeat {
  readonly #wire: Wire;
  #receivedAt: number;
  #sentAt: number;
  #sendMs = 0;
  /** Silence that means gone; 0 for never. */
  #silenceMs = 0;
  #writes: WriteFlag | null = null;
  #timer: NodeJS.Timeout | null = null;

  constructor(wire: Wire, now: number) {
    this.#wire = wire;
    this.#receivedAt = now;
    this.#sentAt = now;
  }

  agree(heartbeats: Heartbeats, writes: WriteFlag, idleTimeoutMs: number, now: number): void {
    const { sendMs, receiveMs } = heartbeats;
    this.#writes = writes;
    this.#sendMs = sendMs;
    this.#silenceMs = receiveMs > 0 ? receiveMs + Math.max(receiveMs, MIN_GRACE_MS) : idleTimeoutMs;
    this.#receivedAt = now;
    this.#sentAt = now;
    if (sendMs > 0 && sendMs < TICK_INTERVAL_MS) {
      this.#timer = setInterval(() => this.#beat(), Math.floor(sendMs / 2));
      this.#timer.unref();
    }
  }

  received(now: number): void {
    this.#receivedAt = now;
  }

  tick(now: number): "alive" | "dead" {
    if (this.#silenceMs > 0 && now - this.#receivedAt > this.#silenceMs) return "dead";
    const writes = this.#writes;
    if (writes === null || this.#sendMs === 0 || this.#timer !== null) return "alive";
    if (writes.hasWritten) {
      writes.hasWritten = false;
      this.#sentAt = now;
    } else if (now - this.#sentAt >= this.#sendMs - EARLY_MS) {
      this.#beat();
      this.#sentAt = now;
    }
    return "alive";
  }

  /** A peer that does not read has enough waiting for it. */
  #beat(): void {
    if (this.#wire.isBackedUp) return;
    writeHeartbeat(this.#wire);
    this.#wire.flush();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }
}
