/**
 * Room for a connection's messages: when there is none its input is kept, and goes on by itself. Unfinished large
 * messages of all connections share one budget.
 */
import type { BrokerConnection } from "../../src/broker/facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { Wire } from "../../src/transport/wire.ts";

/** Bytes of unfinished messages of all peers. */
export interface PartialBudget {
  /** No new large message begins above it, none goes on above twice of it. */
  limitBytes: number;
  usedBytes: number;
  readonly waiting: Array<() => void>;
}

export class Room {
  readonly #wire: Wire;
  readonly #partials: PartialBudget;
  /** Input is kept: the frame at the front has to come again. */
  isHeld = false;
  /** Whose messages they are; set before the first comes. */
  connection: BrokerConnection | null = null;

  constructor(wire: Wire, partials: PartialBudget) {
    this.#wire = wire;
    this.#partials = partials;
  }

  /** False: the input is held until the broker has room. */
  hasRoom(bytes: number): boolean {
    const connection = this.connection!;
    if (connection.hasRoom(bytes)) return true;
    this.hold((resume) => connection.onRoom(resume));
    return false;
  }

  /** May a message of several frames begin? False: the input is held. */
  mayBeginPartial(): boolean {
    if (!this.isShort) return true;
    this.hold((resume) => this.#partials.waiting.push(resume));
    return false;
  }

  /** The budget for unfinished messages is used up. */
  get isShort(): boolean {
    return this.#partials.usedBytes >= this.#partials.limitBytes;
  }

  /** Keeps the input until `resume` is called. */
  hold(register: (resume: () => void) => void): void {
    this.isHeld = true;
    this.#wire.pauseInput();
    register(() => {
      this.isHeld = false;
      this.#wire.resumeInput();
    });
  }

  /** Takes from the budget, or gives back. Throws when even its reserve is used up. */
  growPartial(bytes: number): void {
    const partials = this.#partials;
    if (bytes > 0 && partials.usedBytes + bytes > partials.limitBytes * 2) {
      throw new BrokerError("limit-exceeded", "too many large messages are on their way at once");
    }
    partials.usedBytes += bytes;
    if (bytes < 0 && !this.isShort) {
      for (const resume of partials.waiting.splice(0)) resume();
    }
  }
}
