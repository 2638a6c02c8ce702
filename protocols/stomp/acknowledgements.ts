/**
 * ACK and NACK of one connection: from the id in the frame to the delivery of a subscription. An id is
 * `<connection>-<subscription>-<number>`, so no table of deliveries is kept (subscription.ts).
 *
 * Clients acknowledge one message after the other in frames that differ by the number only: a run of them is found by
 * comparing bytes and settled as a whole.
 */
import { OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { FrameTemplate, SLOT } from "./codec/frame-template.ts";
import type { StompVersion } from "./codec/header-escape.ts";
import { HEADER } from "./codec/header-names.ts";
import { StompError } from "./errors.ts";
import { missingHeader } from "./missing-header.ts";
import type { ReceiptQueue } from "./receipts.ts";
import type { Subscription } from "./subscription.ts";
import type { StagedWork, Transactions } from "./transactions.ts";

const LF = 0x0a;

export interface AcknowledgementContext {
  readonly version: StompVersion;
  readonly connectionId: number;
  readonly subscriptions: ReadonlyMap<number, Subscription>;
  readonly transactions: Transactions;
  readonly receipts: ReceiptQueue;
  /** Number of the youngest subscription there has been. */
  lastIndex(): number;
}

export class Acknowledgements {
  readonly #context: AcknowledgementContext;
  /** The subscription of the frame before. */
  #last: Subscription | null = null;
  /** The ACK before, when others may differ from it by the number only; of a delivery of `#last`. */
  readonly #template = new FrameTemplate();
  /** Subscriptions that get credit again at the end of this chunk. */
  readonly #settledIn: Subscription[] = [];
  // What `#readId` found.
  #index = 0;
  #delivery = 0;
  #deliveryStart = 0;
  #deliveryEnd = 0;

  constructor(context: AcknowledgementContext) {
    this.#context = context;
  }

  /** The frame is the one the parser stands on. */
  nack(parser: FrameParser, bytes: Buffer): void {
    if (this.#context.version === 10) {
      throw new StompError("Unknown command", "STOMP 1.0 has no NACK.");
    }
    const requeue = parser.text(bytes, HEADER.REQUEUE);
    this.#settle(
      parser,
      bytes,
      requeue === "false" ? OUTCOME.REJECT : requeue === "true" ? OUTCOME.RELEASE : OUTCOME.FAIL,
    );
  }

  /** The frame is the one the parser stands on. */
  ack(parser: FrameParser, bytes: Buffer): void {
    this.#template.forget();
    const isSettled = this.#settle(parser, bytes, OUTCOME.ACCEPT);
    if (!isSettled || parser.has(HEADER.RECEIPT) || parser.has(HEADER.TRANSACTION)) return;
    const { base } = parser;
    if (!this.#template.learn(bytes, base, base + parser.bodyEnd + 1)) return;
    this.#template.vary(SLOT.NUMBER, this.#deliveryStart - base, this.#deliveryEnd - base);
  }

  /** The ACKs from `at` on that repeat the last one for the deliveries after it. Returns where other frames begin. */
  ackAlike(bytes: Buffer, at: number, end: number): number {
    const template = this.#template;
    const subscription = this.#last;
    let next = template.read(bytes, at, end);
    // Whatever is not as it should be, the parser's way tells the peer.
    if (next === 0 || subscription === null || !subscription.isWaiting(template.number)) return at;
    const first = template.number;
    let last = first;
    let taken: number;
    do {
      taken = next;
      // Many clients write a line end after each frame.
      while (taken < end && bytes[taken] === LF) taken++;
      last = template.number;
      next = template.read(bytes, taken, end);
    } while (next > 0 && template.number === last + 1 && subscription.isWaiting(last + 1));
    this.#settled(subscription, subscription.settle(first, last, OUTCOME.ACCEPT, null));
    return taken;
  }

  /** The subscription has ended. */
  forget(subscription: Subscription): void {
    if (this.#last !== subscription) return;
    this.#last = null;
    this.#template.forget();
  }

  /** The chunk is done: consumers that were acknowledged get credit again. */
  endOfChunk(): void {
    const settled = this.#settledIn;
    for (let i = 0; i < settled.length; i++) {
      settled[i]!.needsCredit = false;
      settled[i]!.replenish();
    }
    settled.length = 0;
  }

  /** False when there is nothing left to settle. */
  #settle(parser: FrameParser, bytes: Buffer, outcome: Outcome): boolean {
    const { version, transactions } = this.#context;
    const header = version === 12 ? HEADER.ID : HEADER.MESSAGE_ID;
    const index = parser.indexOf(header);
    if (index < 0) throw missingHeader(parser, bytes, header, version);
    const start = parser.base + parser.table[index * 4 + 2]!;
    const end = parser.base + parser.table[index * 4 + 3]!;
    const isOurs = this.#readId(bytes, start, end);
    const subscription = this.#find(isOurs);
    if (version === 11) this.#checkSubscription(parser, bytes, subscription);
    const named = parser.indexOf(HEADER.TRANSACTION);
    const work = named < 0 ? null : transactions.get(parser.valueAt(bytes, named));
    if (!isOurs) throw unknownDelivery(parser, bytes, index);
    if (subscription === null) {
      // It was unsubscribed while this frame was on its way: its deliveries have gone back already.
      if (this.#index > 0 && this.#index <= this.#context.lastIndex()) return false;
      throw unknownDelivery(parser, bytes, index);
    }
    this.#settleOne(parser, bytes, index, subscription, outcome, work);
    return true;
  }

  #settleOne(
    parser: FrameParser,
    bytes: Buffer,
    index: number,
    subscription: Subscription,
    outcome: Outcome,
    work: StagedWork | null,
  ): void {
    const delivery = this.#delivery;
    if (!subscription.isWaiting(delivery)) {
      if (subscription.options.ackMode !== "auto") throw unknownDelivery(parser, bytes, index);
      throw new StompError(
        "Unexpected ACK",
        `The subscription "${subscription.options.id}" has ack:auto; its messages are not acknowledged.`,
      );
    }
    this.#settled(subscription, subscription.settle(delivery, delivery, outcome, work));
  }

  #settled(subscription: Subscription, position: number): void {
    this.#context.receipts.settled(position);
    if (subscription.needsCredit) return;
    subscription.needsCredit = true;
    this.#settledIn.push(subscription);
  }

  /** The subscription of the id that was read, or null. */
  #find(isOurs: boolean): Subscription | null {
    const last = this.#last;
    if (last !== null && isOurs && last.options.index === this.#index) return last;
    const found = isOurs ? this.#context.subscriptions.get(this.#index) : undefined;
    this.#last = found ?? null;
    this.#template.forget();
    return this.#last;
  }

  /** 1.1 "ACK": the header subscription is REQUIRED and names the subscription of the message. */
  #checkSubscription(parser: FrameParser, bytes: Buffer, subscription: Subscription | null): void {
    const id = parser.text(bytes, HEADER.SUBSCRIPTION);
    if (id === undefined) {
      throw missingHeader(parser, bytes, HEADER.SUBSCRIPTION, this.#context.version);
    }
    if (subscription !== null && subscription.options.shownId !== id) {
      throw new StompError(
        "Subscription not found",
        `The message does not belong to the subscription "${id.slice(0, 80)}".`,
      );
    }
  }

  /** Reads `<connection>-<subscription>-<delivery>`. False when it is not one of ours. */
  #readId(bytes: Buffer, start: number, end: number): boolean {
    let part = 0;
    let value = 0;
    let digits = 0;
    this.#index = 0;
    for (let i = start; i < end; i++) {
      const c = bytes[i]!;
      if (c === 0x2d) {
        if (digits === 0) return false;
        if (part === 0 && value !== this.#context.connectionId) return false;
        if (part === 1) this.#index = value;
        if (++part > 2) return false;
        value = 0;
        digits = 0;
      } else {
        if (c < 0x30 || c > 0x39 || ++digits > 15) return false;
        value = value * 10 + c - 0x30;
      }
    }
    this.#delivery = value;
    this.#deliveryStart = end - digits;
    this.#deliveryEnd = end;
    return part === 2 && digits > 0;
  }
}

const unknownDelivery = (parser: FrameParser, bytes: Buffer, index: number): StompError =>
  new StompError(
    "Message not found",
    `No message "${parser.valueAt(bytes, index).slice(0, 80)}" waits for an acknowledgement.`,
  );
