/** The local transactions of one connection (AMQP 1.0 part 4; spec protocols.md §6.8). */
import { randomBytes } from "node:crypto";
import type { Consumer, Outcome, Target, Transaction } from "../../src/broker/facade.ts";
import type { Draft } from "../../src/model/draft.ts";
import { BrokerError } from "../../src/model/errors.ts";
import type { Turn } from "../../src/util/turn.ts";
import type { AmqpConnection } from "./connection.ts";
import { transactionalState } from "./outcomes.ts";

/** Unique for the life of this process, and unguessable. */
const NODE_LIFE = randomBytes(8);
let counter = 0;

export class OpenTransaction {
  readonly id: Buffer;
  readonly key: string;
  /** The state that accepts a message into it: one buffer, so that neighbouring answers become one. */
  readonly acceptedState: Buffer;
  /** The coordinator link that declared it. */
  readonly owner: object;
  /** ms of uptime. */
  touchedAt: number;
  /** Rolled back already: it can only be discharged. */
  isExpired = false;
  readonly #transaction: Transaction;
  readonly #turn: Turn;

  constructor(transaction: Transaction, owner: object, turn: Turn) {
    this.#transaction = transaction;
    this.owner = owner;
    this.#turn = turn;
    this.touchedAt = turn.uptime;
    this.id = Buffer.concat([NODE_LIFE, Buffer.alloc(4)]);
    this.id.writeUInt32BE(++counter >>> 0, 8);
    this.key = this.id.toString("latin1");
    this.acceptedState = transactionalState(this.id);
  }

  publish(target: Target, draft: Draft): void {
    this.#touch();
    this.#transaction.publish(target, draft);
  }

  settle(consumer: Consumer, first: number, last: number, outcome: Outcome): void {
    this.#touch();
    this.#transaction.settle(consumer, first, last, outcome);
  }

  /** Returns the position to confirm at. */
  commit(): number {
    return this.#transaction.commit();
  }

  rollback(): void {
    if (this.isExpired) return;
    this.isExpired = true;
    this.#transaction.rollback(true);
  }

  #touch(): void {
    this.touchedAt = this.#turn.uptime;
    if (this.isExpired) {
      throw new BrokerError(
        "transaction-rollback",
        "the transaction was idle for too long and was rolled back",
      );
    }
  }
}

export class Transactions {
  readonly #connection: AmqpConnection;
  readonly #open = new Map<string, OpenTransaction>();

  constructor(connection: AmqpConnection) {
    this.#connection = connection;
  }

  get size(): number {
    return this.#open.size;
  }

  get(key: string): OpenTransaction | undefined {
    return this.#open.get(key);
  }

  declare(owner: object): OpenTransaction {
    const limit = this.#connection.settings.maxTransactions;
    if (this.#open.size >= limit) {
      throw new BrokerError("limit-exceeded", `this connection has ${limit} open transactions`);
    }
    const transaction = this.#connection.broker.beginTransaction();
    const open = new OpenTransaction(transaction, owner, this.#connection.services.broker.turn);
    this.#open.set(open.key, open);
    return open;
  }

  forget(transaction: OpenTransaction): void {
    this.#open.delete(transaction.key);
  }

  /** Undischarged transactions end with the link that declared them. */
  rollbackOf(owner: object): void {
    for (const transaction of this.#open.values()) {
      if (transaction.owner !== owner) continue;
      this.#open.delete(transaction.key);
      transaction.rollback();
    }
  }

  rollbackAll(): void {
    for (const transaction of this.#open.values()) transaction.rollback();
    this.#open.clear();
  }

  onTick(uptimeMs: number): void {
    if (this.#open.size === 0) return;
    for (const transaction of this.#open.values()) {
      if (uptimeMs - transaction.touchedAt > this.#connection.settings.transactionTimeoutMs) {
        transaction.rollback();
      }
    }
  }
}
