/**
 * A link to the transaction coordinator: declares and discharges. Answers in the order of the requests; a commit is
 * accepted when it is durable.
 */

import { SECTION, TRANSACTION } from "./codec/codes.ts";
import { decodeValue, descriptorNumber } from "./codec/decode.ts";
import { ABSENT, type FlowFrame, type TransferFrame } from "./codec/frames.ts";
import type { Attach } from "./codec/performatives.ts";
import { Fields } from "./codec/performatives.ts";
import { MessageScan } from "./codec/sections.ts";
import { ConfirmQueue } from "./confirm-queue.ts";
import { CONDITION, type ErrorInfo, errorInfo, LinkError } from "./errors.ts";
import { declaredState, rejectedState } from "./outcomes.ts";
import type { Session } from "./session.ts";

const CREDIT = 100;
const REFILL_AT = 50;
const SCAN = new MessageScan();

export class CoordinatorLink {
  readonly session: Session;
  readonly name: string;
  readonly handle: number;
  #deliveryCount: number;
  #credit = 0;
  #isClosed = false;
  readonly #answers = new ConfirmQueue();
  isConfirming = false;

  constructor(session: Session, attach: Attach) {
    this.session = session;
    this.name = attach.name;
    this.handle = attach.handle;
    this.#deliveryCount = attach.initialDeliveryCount ?? 0;
  }

  grantCredit(): void {
    if (this.#credit > REFILL_AT || this.#isClosed) return;
    this.#credit = CREDIT;
    this.session.sendFlow(this.handle, this.#deliveryCount, CREDIT, ABSENT, false);
  }

  onFlow(frame: FlowFrame): void {
    if (frame.echo === 1) {
      this.session.sendFlow(this.handle, this.#deliveryCount, this.#credit, ABSENT, false);
    }
  }

  onTransfer(frame: TransferFrame, bytes: Buffer, end: number): boolean {
    if (frame.deliveryId === ABSENT || frame.more === 1) {
      throw new LinkError(
        CONDITION.NOT_ALLOWED,
        "A declare or discharge must be one whole transfer.",
      );
    }
    if (this.#credit === 0) {
      throw new LinkError(
        CONDITION.TRANSFER_LIMIT,
        "A transfer came without link-credit: wait for a flow.",
      );
    }
    this.#credit--;
    this.#deliveryCount = (this.#deliveryCount + 1) >>> 0;
    if (frame.aborted !== 1)
      this.#request(frame.deliveryId, frame.settled === 1, bytes, frame.payloadStart, end);
    this.grantCredit();
    return true;
  }

  #request(
    deliveryId: number,
    isSettled: boolean,
    bytes: Buffer,
    start: number,
    end: number,
  ): void {
    let position = 0;
    let state: Buffer | null = null;
    try {
      SCAN.scan(bytes, start, end);
      const section = decodeValue(bytes, SCAN.bodyAt, end);
      const body =
        section.type === "described" && descriptorNumber(section.descriptor) === SECTION.VALUE
          ? section.value
          : undefined;
      const code = body?.type === "described" ? descriptorNumber(body.descriptor) : -1;
      if (body?.type === "described" && code === TRANSACTION.DECLARE) {
        state = this.#declare(new Fields("declare", body.value));
      } else if (body?.type === "described" && code === TRANSACTION.DISCHARGE) {
        const answer = this.#discharge(new Fields("discharge", body.value));
        if (typeof answer === "number") position = answer;
        else state = rejectedState(answer);
      } else {
        throw new LinkError(
          CONDITION.NOT_ALLOWED,
          "A message to the coordinator must hold a declare or a discharge.",
        );
      }
    } catch (error) {
      state = rejectedState(errorInfo(error, this.session.connection));
    }
    if (isSettled) return;
    this.#answers.push(deliveryId, deliveryId, position, state);
    this.session.connection.confirms.add(this);
  }

  #declare(fields: Fields): Buffer {
    if (fields.get(0) !== undefined) {
      throw new LinkError(
        CONDITION.NOT_IMPLEMENTED,
        "Distributed transactions are not offered: leave declare.global-id empty.",
      );
    }
    return declaredState(this.session.connection.transactions.declare(this).id);
  }

  /** The position of a commit, or why there is none. */
  #discharge(fields: Fields): number | ErrorInfo {
    const { transactions } = this.session.connection;
    const txnId = fields.required(fields.binary(0, "txn-id"), "txn-id");
    const isFailed = fields.boolean(1, "fail") ?? false;
    const transaction = transactions.get(txnId.toString("latin1"));
    if (transaction === undefined) {
      return {
        condition: CONDITION.UNKNOWN_TRANSACTION,
        description: "The transaction was never declared or is over.",
      };
    }
    transactions.forget(transaction);
    if (transaction.isExpired) {
      if (isFailed) return 0;
      return {
        condition: CONDITION.TRANSACTION_TIMEOUT,
        description: "The transaction was idle for too long and was rolled back.",
      };
    }
    if (isFailed) {
      transaction.rollback();
      return 0;
    }
    try {
      return transaction.commit();
    } catch (error) {
      const { description } = errorInfo(error, this.session.connection);
      return { condition: CONDITION.TRANSACTION_ROLLBACK, description };
    }
  }

  sendConfirms(): boolean {
    const queue = this.#answers;
    if (this.session.isEnding) {
      queue.clear();
      return false;
    }
    const confirmed = this.session.connection.services.broker.confirmedTo("fsync");
    while (queue.size > 0 && queue.headPosition <= confirmed) {
      this.session.sendDisposition(true, queue.headFirst, queue.headLast, true, queue.headState);
      queue.shift();
    }
    return queue.size > 0;
  }

  /** A coordinator keeps nothing for a link that comes back: its transactions are over. */
  forgetReceipts(): void {}

  close(_isClosed: boolean): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.session.connection.transactions.rollbackOf(this);
  }
}
