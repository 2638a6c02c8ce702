/**
 * What all wires of one event loop share: the buffer sockets read into, chunks for output, the list of wires that have
 * something to send (written once per turn), the pump that goes on with kept input, and the tick of once a second.
 */
import type { Logger } from "../telemetry/log.ts";
import type { CopyMemory } from "../util/copy-memory.ts";
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";
import { BufferPool, PIECES_BYTES } from "./buffer-pool.ts";
import { InputBudget } from "./input-budget.ts";

/** One read of a socket; also what one connection may hand to its protocol before others get their turn. */
export const READ_BUFFER_BYTES = 256 * 1024;
/** Output collected in one turn beyond this is written before the turn ends. */
const COLLECTED_BYTES_MAX = 8 << 20;
const BUDGET_ROTATION_TICKS = 10;

/** What a loop takes of the memory that copies are fast in. */
export const LOOP_MEMORY_BYTES = READ_BUFFER_BYTES + PIECES_BYTES;

export interface LoopLimits {
  /** Output per connection above which `isBackedUp` holds. */
  readonly outputHighBytes: number;
  /** All partial frames together. */
  readonly inputBudgetBytes: number;
}

export const DEFAULT_LOOP_LIMITS: LoopLimits = {
  outputHighBytes: 1 << 20,
  inputBudgetBytes: 256 << 20,
};

/** What the loop asks of a wire. */
export interface LoopWire {
  readonly receivedBytes: number;
  readonly sentBytes: number;
  flush(): void;
  /** Goes on with what was kept or not read. */
  pump(): void;
  tick(uptimeMs: number): void;
  shutdown(): void;
  destroy(): void;
}

export class TransportLoop implements TurnTask {
  readonly turn: Turn;
  readonly logger: Logger;
  limits: LoopLimits;
  readonly pool: BufferPool;
  readonly budget: InputBudget;
  /** Size of the chunks that hold output of this turn. */
  collectedBytes = 0;
  readonly wires = new Set<LoopWire>();
  /** Traffic of wires that are gone. */
  #pastReceived = 0;
  #pastSent = 0;
  #readBuffer: Buffer | null;
  #dirty: LoopWire[] = [];
  #dirtySpare: LoopWire[] = [];
  #flushed = 0;
  #isFlushRequested = false;
  #pumping: LoopWire[] = [];
  #isPumpScheduled = false;
  readonly #runPump = (): void => this.#pumpAll();
  #ticker: NodeJS.Timeout | null = null;
  #ticks = 0;

  constructor(
    turn: Turn,
    logger: Logger,
    limits: LoopLimits = DEFAULT_LOOP_LIMITS,
    memory: CopyMemory | null = null,
  ) {
    this.turn = turn;
    this.logger = logger;
    this.limits = limits;
    this.budget = new InputBudget(limits.inputBudgetBytes);
    this.pool = new BufferPool(memory);
    this.#readBuffer = memory?.takeBuffer(READ_BUFFER_BYTES) ?? null;
  }

  /** Other limits, which hold at once. */
  configure(limits: LoopLimits): void {
    this.limits = limits;
    this.budget.limitBytes = limits.inputBudgetBytes;
  }

  /** Shared by all sockets: what lies in it is gone when the read's callback returns. */
  get readBuffer(): Buffer {
    this.#readBuffer ??= Buffer.allocUnsafeSlow(READ_BUFFER_BYTES);
    return this.#readBuffer;
  }

  start(): void {
    if (this.#ticker !== null) return;
    this.#ticker = setInterval(() => this.#tick(), 1000);
    this.#ticker.unref();
  }
  stop(): void {
    if (this.#ticker !== null) clearInterval(this.#ticker);
    this.#ticker = null;
  }

  /** The wire is gone; what it carried stays counted. */
  forget(wire: LoopWire): void {
    if (!this.wires.delete(wire)) return;
    this.#pastReceived += wire.receivedBytes;
    this.#pastSent += wire.sentBytes;
  }

  /** Bytes read and written since the start. */
  traffic(): { readonly received: number; readonly sent: number } {
    let received = this.#pastReceived;
    let sent = this.#pastSent;
    for (const wire of this.wires) {
      received += wire.receivedBytes;
      sent += wire.sentBytes;
    }
    return { received, sent };
  }

  /** A wire has output: it is flushed in this turn. Once per turn and wire. */
  markDirty(wire: LoopWire): void {
    this.#dirty.push(wire);
    if (!this.#isFlushRequested) {
      this.#isFlushRequested = true;
      this.turn.request(PHASE.FLUSH, this);
    }
    // A fan-out to thousands of connections must not hold a chunk for each: the oldest go out now.
    while (this.collectedBytes > COLLECTED_BYTES_MAX && this.#flushed < this.#dirty.length - 1) {
      this.#dirty[this.#flushed++]!.flush();
    }
  }

  runTurn(): void {
    this.#isFlushRequested = false;
    const dirty = this.#dirty;
    const from = this.#flushed;
    this.#dirty = this.#dirtySpare;
    this.#flushed = 0;
    for (let i = from; i < dirty.length; i++) dirty[i]!.flush();
    dirty.length = 0;
    this.#dirtySpare = dirty;
  }

  /** `wire.pump()` runs soon, after other sockets had their turn. Once per request. */
  requestPump(wire: LoopWire): void {
    this.#pumping.push(wire);
    if (this.#isPumpScheduled) return;
    this.#isPumpScheduled = true;
    setImmediate(this.#runPump);
  }

  #pumpAll(): void {
    this.#isPumpScheduled = false;
    this.turn.touch();
    const pumping = this.#pumping;
    this.#pumping = [];
    for (let i = 0; i < pumping.length; i++) pumping[i]!.pump();
  }

  #tick(): void {
    this.turn.touch();
    this.pool.tick();
    for (const wire of this.wires) wire.tick(this.turn.uptime);
    if (++this.#ticks % BUDGET_ROTATION_TICKS === 0) this.budget.rotate();
  }
}
