/**
 * What every wire has in common, whatever carries the bytes: input that the protocol did not use is kept and offered
 * again, output is collected in a chunk and handed to the carrier once per turn.
 *
 * Guarantees: `onData` sees the stream in order and without gaps, and never while input is paused; parsing stays linear
 * (only the frame that spans two reads is copied); `onClose` comes exactly once, never from within a call of the
 * protocol; a protocol that throws costs its own connection only; memory stays bounded when the peer does not read.
 */

import { copyBytes } from "../util/copy-memory.ts";
import { LARGEST_CHUNK } from "./buffer-pool.ts";
import type { BudgetHolder } from "./input-budget.ts";
import { UNCOUNTED_BYTES } from "./input-budget.ts";
import { InputKeeper } from "./input-keeper.ts";
import type { LoopWire, TransportLoop } from "./loop.ts";
import type { ProtocolConnection, Wire, WireInfo } from "./wire.ts";

const NOTHING = Buffer.alloc(0);
/** Bytes taken from a new chunk to complete a frame whose length is not known yet. */
const STEP_BYTES = 4096;
/** Reading stops when so many times the high mark waits to be sent: the peer asks and does not listen. */
const DEAF_FACTOR = 4;
const DEFAULT_GRACE_MS = 2000;

export abstract class BaseWire implements Wire, LoopWire, BudgetHolder {
  readonly info: WireInfo;
  out: Buffer = NOTHING;
  outAt = 0;
  /** Both directions, for metrics and inspection. */
  receivedBytes = 0;
  sentBytes = 0;
  protected readonly loop: TransportLoop;
  /** Bytes left free at the beginning of each chunk of output, for what the carrier puts before it. */
  readonly #headRoom: number;
  protected isClosed = false;
  protected isEnding = false;
  #connection: ProtocolConnection | null = null;
  readonly #kept = new InputKeeper();
  #wanted = 0;
  #counted = 0;
  #pauses = 0;
  #isDeaf = false;
  #isOverBudget = false;
  #isPumpRequested = false;
  #isDirty = false;
  #owesDrain = false;
  /** Chunk size that held the last turn's output. */
  #sizeHint = 0;
  /** Given to the carrier and not yet taken by the kernel, oldest first. */
  #unsent: Buffer[] | null = null;
  #unsentLengths: number[] | null = null;
  #unsentBytes = 0;
  /** Completions still to come for writes that were done at once. */
  #earlyWrites = 0;
  #graceTimer: NodeJS.Timeout | null = null;
  #closeError: Error | null = null;

  constructor(loop: TransportLoop, info: WireInfo, headRoom = 0) {
    this.loop = loop;
    this.info = info;
    this.#headRoom = headRoom;
  }

  /** Binds the protocol. Before any input. */
  attach(connection: ProtocolConnection): void {
    this.#connection = connection;
    this.loop.wires.add(this);
  }

  // ── carrier side ────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Gives `chunk[0, length)`, head room included, to the carrier. Calls `onSent` once, later. True when the bytes are
   * already with the kernel.
   */
  protected abstract transmit(chunk: Buffer, length: number): boolean;
  /** Starts or stops reading from the carrier. */
  protected abstract setReading(isReading: boolean): void;
  /** Ends the carrier after what was transmitted. */
  protected abstract finish(): void;
  /** Tears the carrier down; it calls `closed` later. */
  protected abstract abort(): void;

  /** Input in `bytes[start, end)`; valid during the call only. */
  protected receive(bytes: Buffer, start: number, end: number): void {
    this.receivedBytes += end - start;
    if (this.isClosed || this.isEnding) return;
    this.loop.turn.touch();
    let at = start;
    if (this.#pauses > 0 || this.#kept.length > 0) {
      at = this.#complete(bytes, start, end);
      if (at < 0) return;
    }
    if (at < end && !this.isClosed) {
      const used = this.#feed(bytes, at, end);
      if (used < end) this.#keep(bytes, used, end);
    }
  }

  /** The carrier took what `transmit` gave it. */
  protected readonly onSent = (): void => {
    if (this.#earlyWrites > 0) {
      this.#earlyWrites--;
    } else if (this.#unsent !== null && this.#unsent.length > 0) {
      const length = this.#unsentLengths!.shift()!;
      this.#unsentBytes -= length;
      this.loop.pool.release(this.#unsent.shift()!);
    }
    this.#afterSent();
  };

  /** The carrier is gone. */
  protected closed(error: Error | null): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.loop.forget(this);
    if (this.#graceTimer !== null) clearTimeout(this.#graceTimer);
    this.#forgetKept();
    this.#discardOutput();
    // Chunks still with the carrier are left to the garbage collector: it may be reading them.
    if (this.#unsent !== null) for (const chunk of this.#unsent) this.loop.pool.forget(chunk);
    this.#unsent = null;
    this.#unsentBytes = 0;
    const connection = this.#connection;
    this.#connection = null;
    if (connection === null) return;
    try {
      connection.onClose(this.#closeError ?? error);
    } catch (bug) {
      this.#logBug("onClose", bug);
    }
  }

  // ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────

  get pendingBytes(): number {
    return this.outAt + this.#unsentBytes;
  }

  get isBackedUp(): boolean {
    if (this.outAt + this.#unsentBytes < this.loop.limits.outputHighBytes) return false;
    this.#owesDrain = true;
    return true;
  }

  reserve(bytes: number): void {
    if (this.out.length - this.outAt < bytes) this.#grow(bytes);
    if (!this.#isDirty) {
      this.#isDirty = true;
      this.loop.markDirty(this);
    }
  }

  write(bytes: Uint8Array, start = 0, end = bytes.length): void {
    let at = start;
    while (at < end) {
      const count = Math.min(end - at, LARGEST_CHUNK - this.#headRoom);
      this.reserve(count);
      if (Buffer.isBuffer(bytes)) copyBytes(bytes, at, at + count, this.out, this.outAt);
      else this.out.set(bytes.subarray(at, at + count), this.outAt);
      this.outAt += count;
      at += count;
    }
  }

  flush(): void {
    this.#isDirty = false;
    const length = this.outAt;
    if (length === 0 || length === this.#headRoom) return;
    const chunk = this.out;
    this.#sizeHint = length;
    this.out = NOTHING;
    this.outAt = 0;
    this.#transmit(chunk, length);
  }

  #transmit(chunk: Buffer, length: number): void {
    this.loop.collectedBytes -= chunk.length;
    if (this.isClosed || this.isEnding) {
      this.loop.pool.release(chunk);
      return;
    }
    this.sentBytes += length - this.#headRoom;
    if (this.transmit(chunk, length)) {
      this.#earlyWrites++;
      this.loop.pool.release(chunk);
      return;
    }
    this.#unsent ??= [];
    this.#unsentLengths ??= [];
    this.#unsent.push(chunk);
    this.#unsentLengths.push(length);
    this.#unsentBytes += length;
    if (!this.#isDeaf && this.#unsentBytes > this.loop.limits.outputHighBytes * DEAF_FACTOR) {
      this.#isDeaf = true;
      this.#owesDrain = true;
      this.setReading(false);
    }
  }

  #grow(bytes: number): void {
    const { pool } = this.loop;
    const { out, outAt } = this;
    const headRoom = this.#headRoom;
    if (out.length === 0) {
      this.out = pool.take(Math.max(headRoom + bytes, Math.min(this.#sizeHint, LARGEST_CHUNK)));
      this.outAt = headRoom;
      this.loop.collectedBytes += this.out.length;
      return;
    }
    const wanted = Math.max(outAt + bytes, out.length * 4);
    if (wanted <= LARGEST_CHUNK) {
      this.out = pool.take(wanted);
      this.loop.collectedBytes += this.out.length - out.length;
      copyBytes(out, 0, outAt, this.out, 0);
      pool.release(out);
      return;
    }
    // A full large chunk is worth a system call of its own.
    this.out = pool.take(Math.max(headRoom + bytes, LARGEST_CHUNK));
    this.outAt = headRoom;
    this.#sizeHint = LARGEST_CHUNK;
    this.loop.collectedBytes += this.out.length;
    this.#transmit(out, outAt);
  }

  #afterSent(): void {
    const low = this.loop.limits.outputHighBytes >> 1;
    if (!this.#owesDrain || this.isClosed || this.isEnding) return;
    if (this.outAt + this.#unsentBytes > low) return;
    this.#owesDrain = false;
    this.loop.turn.touch();
    try {
      this.#connection?.onDrain();
    } catch (bug) {
      this.#fail("onDrain", bug);
    }
    if (this.#isDeaf) {
      this.#isDeaf = false;
      this.#readAgain();
    }
  }

  #discardOutput(): void {
    if (this.out.length > 0) {
      this.loop.collectedBytes -= this.out.length;
      this.loop.pool.release(this.out);
    }
    this.out = NOTHING;
    this.outAt = 0;
  }

  // ── input ───────────────────────────────────────────────────────────────────────────────────────────────────────

  pauseInput(): void {
    if (this.#pauses++ === 0) this.setReading(false);
  }

  resumeInput(): void {
    if (this.#pauses === 0 || --this.#pauses > 0) return;
    this.#readAgain();
  }

  /** Goes on with kept bytes, then with the carrier: not now, the caller may be in the middle of something. */
  #readAgain(): void {
    if (this.isClosed || this.#isPumpRequested) return;
    this.#isPumpRequested = true;
    this.loop.requestPump(this);
  }

  pump(): void {
    this.#isPumpRequested = false;
    if (this.isClosed || this.#pauses > 0 || this.#isDeaf) return;
    if (this.#kept.length > 0 && this.#kept.length >= this.#wanted) this.#offerKept();
    if (this.isClosed || this.#pauses > 0) return;
    if (this.#isDeaf || this.#isOverBudget) return;
    this.setReading(true);
  }

  onBudget(): void {
    this.#isOverBudget = false;
    this.#readAgain();
  }

  /**
   * Adds bytes to what is kept until the frame there is complete and used. Returns where the rest of `bytes` begins, or
   * -1 when all of it was kept.
   */
  #complete(bytes: Buffer, start: number, end: number): number {
    const kept = this.#kept;
    let at = start;
    while (at < end) {
      if (this.#pauses > 0 || this.isClosed || this.isEnding) {
        if (!this.isClosed && !this.isEnding) this.#keep(bytes, at, end);
        return -1;
      }
      const before = kept.length;
      if (before === 0) return at;
      const step = this.#wanted > before ? this.#wanted - before : Math.max(STEP_BYTES, before);
      const until = Math.min(end, at + step);
      this.#append(bytes, at, until);
      if (kept.length < this.#wanted) return -1;
      const used = this.#feed(kept.bytes!, kept.start, kept.end) - kept.start;
      if (this.isClosed) return -1;
      if (used >= before) {
        // The rest of what was appended is still in `bytes`: go on there, without the copy.
        at += used - before;
        this.#forgetKept();
        if (this.#pauses === 0) return at;
        if (at < end) this.#keep(bytes, at, end);
        return -1;
      }
      if (used > 0) this.#consume(used);
      this.#wanted = this.#askWanted();
      at = until;
    }
    return -1;
  }

  /** Offers kept bytes again, after a pause. */
  #offerKept(): void {
    const kept = this.#kept;
    const used = this.#feed(kept.bytes!, kept.start, kept.end) - kept.start;
    if (this.isClosed) return;
    if (used > 0) this.#consume(used);
    this.#wanted = kept.length > 0 ? this.#askWanted() : 0;
  }

  #feed(bytes: Buffer, start: number, end: number): number {
    const connection = this.#connection;
    if (connection === null || this.isEnding) return end;
    try {
      return connection.onData(bytes, start, end);
    } catch (bug) {
      this.#fail("onData", bug);
      return end;
    }
  }

  #askWanted(): number {
    try {
      return this.#connection?.wantedBytes() ?? 0;
    } catch (bug) {
      this.#fail("wantedBytes", bug);
      return 0;
    }
  }

  #keep(bytes: Buffer, start: number, end: number): void {
    if (this.isClosed || this.isEnding || start >= end) return;
    const isFirst = this.#kept.length === 0;
    this.#append(bytes, start, end);
    if (isFirst) this.#wanted = this.#askWanted();
  }

  #append(bytes: Buffer, start: number, end: number): void {
    this.#kept.append(this.loop.pool, bytes, start, end);
    this.#count();
    if (this.#counted === 0) return;
    const { budget } = this.loop;
    if (budget.isFarExceededFor(this)) {
      this.loop.logger.warn("connection.input-budget-exceeded", {
        remote: this.info.remoteAddress,
        listener: this.info.listener,
        bytes: this.#kept.length,
        message: "too many large frames at once (limits.inputBudgetBytes); connection closed",
      });
      this.#closeError = new Error("the budget for partial frames is used up");
      this.destroy();
    } else if (!this.#isOverBudget && !budget.mayContinue(this)) {
      this.#isOverBudget = true;
      this.setReading(false);
    }
  }

  #consume(count: number): void {
    this.#kept.consume(this.loop.pool, count);
    this.#count();
  }

  #forgetKept(): void {
    this.#kept.clear(this.loop.pool);
    this.#wanted = 0;
    this.#count();
  }

  /** Tells the budget what is kept. */
  #count(): void {
    const capacity = this.#kept.capacity;
    const counted = capacity > UNCOUNTED_BYTES ? capacity : 0;
    const delta = counted - this.#counted;
    if (delta === 0) return;
    this.#counted = counted;
    this.loop.budget.add(delta);
    if (counted === 0) {
      this.loop.budget.leave(this);
      if (this.#isOverBudget) this.onBudget();
    }
  }

  // ── life ────────────────────────────────────────────────────────────────────────────────────────────────────────

  tick(uptimeMs: number): void {
    try {
      this.#connection?.onTick(uptimeMs);
    } catch (bug) {
      this.#fail("onTick", bug);
    }
  }

  shutdown(): void {
    try {
      this.#connection?.onShutdown();
    } catch (bug) {
      this.#fail("onShutdown", bug);
    }
  }

  end(graceMs = DEFAULT_GRACE_MS): void {
    if (this.isClosed || this.isEnding) return;
    this.flush();
    this.isEnding = true;
    this.#forgetKept();
    // The peer's bytes are read and dropped: unread input at close would reset the connection under our last words.
    this.setReading(true);
    this.finish();
    this.#graceTimer = setTimeout(() => this.destroy(), graceMs);
    this.#graceTimer.unref();
  }

  destroy(): void {
    if (this.isClosed) return;
    this.isEnding = true;
    this.#forgetKept();
    this.abort();
  }

  #fail(where: string, bug: unknown): void {
    this.#logBug(where, bug);
    this.#closeError = bug instanceof Error ? bug : new Error(String(bug));
    this.destroy();
  }

  #logBug(where: string, bug: unknown): void {
    this.loop.logger.error("connection.bug", {
      where,
      listener: this.info.listener,
      remote: this.info.remoteAddress,
      error: bug instanceof Error ? bug : new Error(String(bug)),
    });
  }
}
