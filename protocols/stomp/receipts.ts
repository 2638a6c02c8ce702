/**
 * RECEIPT frames that wait for durability. A receipt goes out once everything this connection sent before it is as safe as
 * its destinations ask for, in the order of the requests: clients take a receipt for all that came before it. All that
 * became due is written in one go, once per group commit.
 *
 * What waits is bounded: `isFull` tells the connection to stop reading until receipts went out.
 */
import type { BrokerFacade, ConfirmWaiter, DurabilityLevel } from "../../src/broker/facade.ts";
import type { Wire } from "../../src/transport/wire.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { writeReceipt } from "./codec/frame-writer.ts";
import { HEADER } from "./codec/header-names.ts";

const MAX_WAITING = 16 * 1024;
const MAX_WAITING_BYTES = 1024 * 1024;
const INITIAL = 16;
const NONE = new Float64Array(0);

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
  // A ring of receipts: positions wanted, and the index after the id in the byte queue.
  #os = NONE;
  #fsync = NONE;
  #settled = NONE;
  #idEnds = new Int32Array(0);
  #head = 0;
  #count = 0;
  #ids = Buffer.alloc(0);
  #idsStart = 0;
  #idsEnd = 0;
  #isRegistered = false;
  #isDisconnecting = false;
  #isClosed = false;

  constructor(broker: BrokerFacade, wire: Wire, owner: ReceiptOwner) {
    this.#broker = broker;
    this.#wire = wire;
    this.#owner = owner;
  }

  get isFull(): boolean {
    return this.#count >= MAX_WAITING || this.#idsEnd - this.#idsStart >= MAX_WAITING_BYTES;
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
      writeReceipt(this.#wire, id, start, end);
      return;
    }
    if (this.#count === this.#os.length) this.#grow();
    const at = (this.#head + this.#count) & (this.#os.length - 1);
    this.#os[at] = this.#osAt;
    this.#fsync[at] = this.#fsyncAt;
    this.#settled[at] = settled;
    this.#keepId(id, start, end);
    this.#idEnds[at] = this.#idsEnd;
    this.#count++;
    this.#wait();
  }

  /** For a frame whose receipt must not wait behind others. */
  requestNow(parser: FrameParser, bytes: Buffer): void {
    const index = parser.indexOf(HEADER.RECEIPT);
    if (index < 0) return;
    const at = index * 4;
    const { base, table } = parser;
    writeReceipt(this.#wire, bytes, base + table[at + 2]!, base + table[at + 3]!);
  }

  /** The owner hears of it when all receipts have gone and everything is safe. */
  disconnect(): void {
    this.#isDisconnecting = true;
    if (!this.#finishIfDue()) this.#wait();
  }

  close(): void {
    this.#isClosed = true;
    this.#count = 0;
    this.#ids = Buffer.alloc(0);
  }

  onConfirm(): boolean {
    this.#isRegistered = !this.#isClosed && this.#release();
    return this.#isRegistered;
  }

  /** Writes what is due; true while something still waits. */
  #release(): boolean {
    const confirmedOs = this.#broker.confirmedTo("os");
    const confirmedFsync = this.#broker.confirmedTo("fsync");
    const before = this.#count;
    const mask = this.#os.length - 1;
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
      const idEnd = this.#idEnds[at]!;
      writeReceipt(this.#wire, this.#ids, this.#idsStart, idEnd);
      this.#idsStart = idEnd;
      this.#head = (at + 1) & mask;
      this.#count--;
    }
    if (this.#count === 0) this.#idsStart = this.#idsEnd = 0;
    if (this.#count < before) this.#owner.onReceipts();
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

  #keepId(id: Buffer, start: number, end: number): void {
    const size = end - start;
    if (this.#idsEnd + size > this.#ids.length) {
      const live = this.#idsEnd - this.#idsStart;
      const isRoomy = live + size <= this.#ids.length / 2;
      const target = isRoomy ? this.#ids : Buffer.allocUnsafe(Math.max(256, (live + size) * 2));
      this.#ids.copy(target, 0, this.#idsStart, this.#idsEnd);
      const shift = this.#idsStart;
      const mask = this.#os.length - 1;
      for (let i = 0; i < this.#count; i++) {
        const at = (this.#head + i) & mask;
        this.#idEnds[at] = this.#idEnds[at]! - shift;
      }
      this.#ids = target;
      this.#idsStart = 0;
      this.#idsEnd = live;
    }
    id.copy(this.#ids, this.#idsEnd, start, end);
    this.#idsEnd += size;
  }

  #grow(): void {
    const mask = this.#os.length - 1;
    const size = Math.max(INITIAL, this.#os.length * 2);
    const moved = <T extends Float64Array | Int32Array>(from: T, to: T): T => {
      for (let i = 0; i < this.#count; i++) to[i] = from[(this.#head + i) & mask]!;
      return to;
    };
    this.#os = moved(this.#os, new Float64Array(size));
    this.#fsync = moved(this.#fsync, new Float64Array(size));
    this.#settled = moved(this.#settled, new Float64Array(size));
    this.#idEnds = moved(this.#idEnds, new Int32Array(size));
    this.#head = 0;
  }
}
