/**
 * The transactions of one connection by their STOMP names, and what each has staged: SENDs lie with the broker, ACKs and
 * NACKs also here, so that ABORT can put the deliveries back.
 */
import type { BrokerConnection, Outcome, Target, Transaction } from "../../src/broker/facade.ts";
import type { Draft } from "../../src/model/draft.ts";
import { StompError } from "./errors.ts";
import type { StompOptions } from "./options.ts";
import type { Subscription } from "./subscription.ts";

interface StagedSettlement {
  readonly subscription: Subscription;
  readonly first: number;
  readonly last: number;
}

export class StagedWork {
  readonly transaction: Transaction;
  readonly #settlements: StagedSettlement[] = [];

  constructor(transaction: Transaction) {
    this.transaction = transaction;
  }

  publish(target: Target, draft: Draft): void {
    this.transaction.publish(target, draft);
  }

  settle(subscription: Subscription, first: number, last: number, outcome: Outcome): void {
    this.transaction.settle(subscription.consumer, first, last, outcome);
    this.#settlements.push({ subscription, first, last });
  }

  /** Position of the commit. Throws transaction-rollback: everything was undone then. */
  commit(): number {
    const position = this.transaction.commit();
    this.#replenish();
    return position;
  }

  abort(redeliver: boolean): void {
    this.transaction.rollback(redeliver);
    if (!redeliver) {
      for (const { subscription, first, last } of this.#settlements) {
        subscription.restore(first, last);
      }
    }
    this.#replenish();
  }

  #replenish(): void {
    for (const subscription of new Set(this.#settlements.map((one) => one.subscription))) {
      subscription.replenish();
    }
  }
}

export class Transactions {
  readonly #connection: BrokerConnection;
  readonly #options: StompOptions;
  readonly #open = new Map<string, StagedWork>();

  constructor(connection: BrokerConnection, options: StompOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  begin(name: string): void {
    if (this.#open.has(name)) {
      throw new StompError(
        "Transaction id in use",
        `The transaction "${name}" was begun and not ended.`,
      );
    }
    if (this.#open.size >= this.#options.maxTransactions) {
      throw new StompError(
        "limit exceeded",
        `A connection may have ${this.#options.maxTransactions} open transactions.`,
      );
    }
    this.#open.set(name, new StagedWork(this.#connection.beginTransaction()));
  }

  get(name: string): StagedWork {
    const work = this.#open.get(name);
    if (work === undefined) {
      throw new StompError("Invalid transaction id", `No transaction "${name}" is open.`);
    }
    return work;
  }

  commit(name: string): number {
    const work = this.get(name);
    this.#open.delete(name);
    return work.commit();
  }

  abort(name: string): void {
    const work = this.get(name);
    this.#open.delete(name);
    work.abort(this.#options.redeliverOnAbort);
  }

  /** DISCONNECT and a lost connection abort what is open. */
  abortAll(): void {
    for (const work of this.#open.values()) work.transaction.rollback(true);
    this.#open.clear();
  }
}
