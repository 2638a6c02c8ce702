/**
 * RECEIPT frames that wait for durability. A receipt goes out once everything this connection sent before it is as safe as
 * its destinations ask for, in the order of the requests: clients take a receipt for all that came before it.
 *
 * The frames are made when they are asked for. Those of one chunk of input wait for the same group commit, so they wait
 * together, for what the last of them needs, and go out as one run of bytes.
 *
 * What waits is bounded: `isFull` tells the connection to stop reading until receipts went out.
 */
import type { BrokerFacade, ConfirmWaiter, DurabilityLevel } from "../../src/broker/facade.ts";
import type { Wire } from "../../src/transport/wire.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { RECEIPT_BYTES, writeReceipt } from "./codec/frame-writer.ts";
import { HEADER } from "./codec/header-names.ts";

const MAX_WAITING_BYTES = 1024 * 1024;
const INITIAL_RUNS = 4;
const INITIAL_BYTES = 256;
/** A larger buffer is given back when nothing waits. */
const KEPT_BYTES = 128 * 1024;
const NONE = new Float64Array(0);
const NOTHING = Buffer.alloc(0);

export interface ReceiptOwner {
  /** The DISCONNECT that waited behind the receipts is due. */
  onDisconnectDue(): void;
  /** Receipts were written; `isFull` may have become false. */
  onReceipts(): void;
}

export class ReceiptQueue implements ConfirmWaiter {
  readonly #broker: BrokerFacade;
  readonly #wire: Wire;
  readonly #owner: ReceiptOwner;
  // The last positions this connection has to wait for.
  #osAt = 0;
  #fsyncAt = 0;
  #settledAt = 0;
  // A ring of runs of receipts: the positions they wait for, and where in the frames they end.
  #os = NONE;
  #fsync = NONE;
  #settled = NONE;
  #ends = new Int32Array(0);
  #head = 0;
  #count = 0;
  /** The youngest run takes more: its chunk is not over. */
  #isOpen = false;
  /** The frames that wait. */
  #frames = NOTHING;
  #framesStart = 0;
  #framesEnd = 0;
  #isRegistered = false;
  #isDisconnecting = false;
  #isClosed = false;

  constructor(broker: BrokerFacade, wire: Wire, owner: ReceiptOwner) {
    this.#broker = broker;
    this.#wire = wire;
    this.#owner = owner;
  }

  get isFull(): boolean {
    return this.#framesEnd - this.#framesStart >= MAX_WAITING_BYTES;
  }

  /** Somebody waits for a receipt. */
  get isWaiting(): boolean {
    return this.#count > 0;
  }

  /** A message was published at this position. */
  published(level: DurabilityLevel, position: number): void {
    if (level === "fsync") {
      if (position > this.#fsyncAt) this.#fsyncAt = position;
    } else if (level === "os" && position > this.#osAt) this.#osAt = position;
  }

  /** Deliveries were settled at this position. */
  settled(position: number): void {
    if (position > this.#settledAt) this.#settledAt = position;
  }

  /** Answers a `receipt` header, now or when it is due. */
  request(id: Buffer, start: number, end: number, withSettled: boolean): void {
    const settled = withSettled ? this.#settledAt : 0;
    if (this.#count === 0 && this.#isDue(this.#osAt, this.#fsyncAt, settled)) {
      this.#write(id, start, end);
      return;
    }
    if (!this.#isOpen || this.#settled[this.#youngest]! !== settled) this.#openRun(settled);
    const at = this.#youngest;
    this.#os[at] = this.#osAt;
    this.#fsync[at] = this.#fsyncAt;
    const size = RECEIPT_BYTES + end - start;
    if (this.#framesEnd + size > this.#frames.length) this.#makeRoom(size);
    this.#framesEnd = writeReceipt(this.#frames, this.#framesEnd, id, start, end);
    this.#ends[at] = this.#framesEnd;
  }

  /** For a frame whose receipt must not wait behind others. */
  requestNow(parser: FrameParser, bytes: Buffer): void {
    const index = parser.indexOf(HEADER.RECEIPT);
    if (index < 0) return;
    const at = index * 4;
    const { base, table } = parser;
    this.#write(bytes, base + table[at + 2]!, base + table[at + 3]!);
  }

  /** What is asked for from now on comes with another chunk. */
  endOfChunk(): void {
    this.#isOpen = false;
  }

  /** The owner hears of it when all receipts have gone and everything is safe. */
  disconnect(): void {
    this.#isDisconnecting = true;
    if (!this.#finishIfDue()) this.#wait();
  }

  close(): void {
    this.#isClosed = true;
    this.#count = 0;
    this.#frames = NOTHING;
    this.#framesStart = this.#framesEnd = 0;
  }

  onConfirm(): boolean {
    this.#isRegistered = !this.#isClosed && this.#release();
    return this.#isRegistered;
  }

  #write(id: Buffer, start: number, end: number): void {
    const wire = this.#wire;
    wire.reserve(RECEIPT_BYTES + end - start);
    wire.outAt = writeReceipt(wire.out, wire.outAt, id, start, end);
  }

  /** Writes what is due; true while something still waits. */
  #release(): boolean {
    const confirmedOs = this.#broker.confirmedTo("os");
    const confirmedFsync = this.#broker.confirmedTo("fsync");
    const before = this.#count;
    const mask = this.#os.length - 1;
    let due = this.#framesStart;
    while (this.#count > 0) {
      const at = this.#head;
      if (
        this.#os[at]! > confirmedOs ||
        this.#fsync[at]! > confirmedFsync ||
        // Asking makes the broker hurry, so it is asked only for receipts of settlements.
        (this.#settled[at]! > 0 && this.#settled[at]! > this.#broker.settledTo())
      ) {
        break;
      }
      due = this.#ends[at]!;
      this.#head = (at + 1) & mask;
      this.#count--;
    }
    if (this.#count < before) {
      this.#wire.write(this.#frames, this.#framesStart, due);
      this.#framesStart = due;
      if (this.#count === 0) {
        this.#framesStart = this.#framesEnd = 0;
        this.#isOpen = false;
        if (this.#frames.length > KEPT_BYTES) this.#frames = NOTHING;
      }
      this.#owner.onReceipts();
    }
    if (this.#count > 0) return true;
    return this.#isDisconnecting && !this.#finishIfDue();
  }

  #finishIfDue(): boolean {
    if (this.#count > 0 || !this.#isDue(this.#osAt, this.#fsyncAt, this.#settledAt)) return false;
    this.#isDisconnecting = false;
    this.#owner.onDisconnectDue();
    return true;
  }

  #isDue(os: number, fsync: number, settled: number): boolean {
    const broker = this.#broker;
    return (
      (fsync === 0 || broker.confirmedTo("fsync") >= fsync) &&
      (os === 0 || broker.confirmedTo("os") >= os) &&
      (settled === 0 || broker.settledTo() >= settled)
    );
  }

  #wait(): void {
    if (this.#isRegistered) return;
    this.#isRegistered = true;
    this.#broker.awaitConfirm(this);
  }

  get #youngest(): number {
    return (this.#head + this.#count - 1) & (this.#os.length - 1);
  }

  #openRun(settled: number): void {
    if (this.#count === this.#os.length) this.#growRing();
    this.#count++;
    this.#settled[this.#youngest] = settled;
    this.#isOpen = true;
    this.#wait();
  }

  /** Room for another frame of `size` bytes. */
  #makeRoom(size: number): void {
    const waiting = this.#framesEnd - this.#framesStart;
    const isRoomy = waiting + size <= this.#frames.length / 2;
    const target = isRoomy
      ? this.#frames
      : Buffer.allocUnsafe(Math.max(INITIAL_BYTES, (waiting + size) * 2));
    this.#frames.copy(target, 0, this.#framesStart, this.#framesEnd);
    const mask = this.#os.length - 1;
    for (let i = 0; i < this.#count; i++) this.#ends[(this.#head + i) & mask]! -= this.#framesStart;
    this.#frames = target;
    this.#framesStart = 0;
    this.#framesEnd = waiting;
  }

  #growRing(): void {
    const mask = this.#os.length - 1;
    const size = Math.max(INITIAL_RUNS, this.#os.length * 2);
    const moved = <T extends Float64Array | Int32Array>(from: T, to: T): T => {
      for (let i = 0; i < this.#count; i++) to[i] = from[(this.#head + i) & mask]!;
      return to;
    };
    this.#os = moved(this.#os, new Float64Array(size));
    this.#fsync = moved(this.#fsync, new Float64Array(size));
    this.#settled = moved(this.#settled, new Float64Array(size));
    this.#ends = moved(this.#ends, new Int32Array(size));
    this.#head = 0;
  }
}
