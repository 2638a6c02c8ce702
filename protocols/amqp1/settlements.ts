/**
 * What a session's peer says of the deliveries it got. Dispositions of consecutive deliveries with one outcome are collected
 * over a chunk and become one `Consumer.settle`; what the peer wants to have confirmed is answered when the acknowledgement is
 * durable; under a transaction nothing is settled before its end.
 */
import { OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import { ABSENT, DispositionFrame } from "./codec/frames.ts";
import { ConfirmQueue } from "./confirm-queue.ts";
import type { Settling } from "./confirms.ts";
import type { AmqpConnection } from "./connection.ts";
import { CONDITION, errorInfo, SessionError } from "./errors.ts";
import { DEFAULT_OUTCOME, type PeerState, readState, simpleOutcome } from "./outcomes.ts";
import type { SenderLink } from "./sender-link.ts";
import type { OpenTransaction } from "./transactions.ts";
import { type SettledRuns, UnsettledRing } from "./unsettled-ring.ts";

export interface SettlementHost {
  readonly connection: AmqpConnection;
  /** The links that send, by handle. */
  readonly senders: ReadonlyArray<SenderLink | undefined>;
  sendDisposition(
    isReceiver: boolean,
    first: number,
    last: number,
    isSettled: boolean,
    state: Buffer | null,
  ): void;
  onSenderSettled(first: number, last: number): void;
  /** Deliveries were settled: links that had too many may go on. */
  onSettled(): void;
}

// One for the whole process: a frame is read and used up before the next.
const DISPOSITION = new DispositionFrame();

export class Settlements implements SettledRuns, Settling {
  readonly unsettled = new UnsettledRing();
  readonly #host: SettlementHost;
  /** Dispositions collected in this chunk: `[first, last]` of one link with one outcome. */
  #link: SenderLink | null = null;
  #first = 0;
  #last = 0;
  #outcome: Outcome = DEFAULT_OUTCOME;
  #currentOutcome: Outcome = DEFAULT_OUTCOME;
  /** The peer waits for our answer to a settlement: positions on the scale of `settledTo`. */
  readonly #confirms = new ConfirmQueue();
  #position = 0;
  isAwaitingSettle = false;

  constructor(host: SettlementHost) {
    this.#host = host;
  }

  onDisposition(bytes: Buffer, at: number, end: number): void {
    DISPOSITION.read(bytes, at, end);
    if (!DISPOSITION.isReceiver) {
      // The peer settles what it sent to us: for us it is settled already, but for links that may be resumed.
      if (DISPOSITION.settled === 1)
        this.#host.onSenderSettled(DISPOSITION.first, DISPOSITION.last);
      return;
    }
    const { first, last, stateStart, stateEnd } = DISPOSITION;
    const isSettled = DISPOSITION.settled === 1;
    let outcome = DEFAULT_OUTCOME;
    if (stateStart !== ABSENT) {
      const simple = simpleOutcome(bytes, stateStart, stateEnd);
      if (simple !== ABSENT) {
        outcome = simple as Outcome;
      } else {
        const state = readState(bytes, stateStart, stateEnd);
        if (state.kind === "received") return;
        if (state.kind === "transactional") {
          this.#retire(first, last, state, isSettled);
          return;
        }
        outcome = state.outcome;
      }
    } else if (!isSettled) {
      return;
    }
    this.#currentOutcome = outcome;
    if (!isSettled) {
      this.#confirmLater(first, last, bytes, stateStart, stateEnd);
      return;
    }
    this.unsettled.settle(first, last, this);
    this.#host.onSettled();
  }

  onSettledRun(slot: number, first: number, last: number): void {
    const link = this.#host.senders[slot];
    if (link === undefined) return;
    const outcome =
      this.#currentOutcome === DEFAULT_OUTCOME ? link.defaultOutcome : this.#currentOutcome;
    if (this.#link === link && this.#outcome === outcome && first === this.#last + 1) {
      this.#last = last;
      return;
    }
    if (this.#link !== null) this.flush();
    this.#link = link;
    this.#outcome = outcome;
    this.#first = first;
    this.#last = last;
  }

  /** Of this link, or of any. */
  isCollecting(link?: SenderLink): boolean {
    return this.#link !== null && (link === undefined || this.#link === link);
  }

  clear(): void {
    this.#confirms.clear();
  }

  /** Hands the collected range to its consumer. */
  flush(): void {
    const link = this.#link;
    if (link === null) return;
    this.#link = null;
    const position = link.settle(this.#first, this.#last, this.#outcome);
    if (position > this.#position) this.#position = position;
  }

  /** An outcome without settlement: the peer wants to hear that we settled, and hears it when that is durable. */
  #confirmLater(first: number, last: number, bytes: Buffer, start: number, end: number): void {
    this.flush();
    this.#position = 0;
    this.unsettled.settle(first, last, this);
    this.flush();
    const isAccepted = simpleOutcome(bytes, start, end) === 0;
    const state = isAccepted ? null : Buffer.from(bytes.subarray(start, end));
    this.#confirms.push(first, last, this.#position, state);
    this.#host.connection.confirms.addSettling(this);
    this.#host.onSettled();
  }

  /** True while answers still wait. */
  confirmSettled(settledTo: number): boolean {
    const queue = this.#confirms;
    while (queue.size > 0 && queue.headPosition <= settledTo) {
      this.#host.sendDisposition(false, queue.headFirst, queue.headLast, true, queue.headState);
      queue.shift();
    }
    return queue.size > 0;
  }

  /** Settlements under a transaction stay acquired until it ends. */
  #retire(
    first: number,
    last: number,
    state: PeerState & { kind: "transactional" },
    isSettled: boolean,
  ): void {
    this.flush();
    const transaction = this.#host.connection.transactions.get(state.txnId);
    if (transaction === undefined) {
      throw new SessionError(
        CONDITION.UNKNOWN_TRANSACTION,
        "The disposition names a transaction that was never declared or is over.",
      );
    }
    if (transaction.isExpired) {
      // Its discharge will say so; until then nobody holds these deliveries any more.
      this.#currentOutcome = OUTCOME.FAIL;
      this.unsettled.settle(first, last, this);
    } else {
      this.#stage(transaction, first, last, state.outcome);
    }
    if (!isSettled) this.#host.sendDisposition(false, first, last, true, state.echo);
    this.#host.onSettled();
  }

  #stage(transaction: OpenTransaction, first: number, last: number, outcome?: Outcome): void {
    try {
      this.unsettled.settle(first, last, {
        onSettledRun: (slot, from, to) => {
          const link = this.#host.senders[slot];
          if (link === undefined) return;
          transaction.settle(link.consumer, from, to, outcome ?? link.defaultOutcome);
        },
      });
    } catch (error) {
      const { condition, description } = errorInfo(error, this.#host.connection);
      throw new SessionError(condition, description);
    }
  }
}
