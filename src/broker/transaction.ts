/**
 * A local transaction: publishes and settlements staged, then made real together. The publishes are one atomic batch of
 * the log; what was settled goes into the same batch as a control record, so that a crash leaves both or neither. Only
 * when the batch is durable are its messages seen and its settlements carried out: the journal never runs ahead of it.
 */
import { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import type { Consumer } from "./consumer.ts";
import type {
  Consumer as ConsumerFacade,
  Transaction as Facade,
  Outcome,
  Target as TargetFacade,
} from "./facade.ts";
import { OUTCOME } from "./facade.ts";
import type { Node } from "./node.ts";
import type { Target } from "./target.ts";
import { controlRun } from "./transaction-log.ts";

const TRANSACTION_MAX_OPERATIONS = 100_000;
const TRANSACTION_MAX_BYTES = 64 * 1024 * 1024;

export interface TransactionHost {
  /**
   * One atomic batch: every publish, then `control` (journal entries of what is settled; empty for none). Calls back
   * once it is durable.
   */
  commitBatch(
    publishes: ReadonlyArray<{ target: Target; draft: Draft }>,
    control: Buffer,
    onDurable: () => void,
  ): number;
}

interface StagedSettle {
  readonly consumer: Consumer;
  readonly first: number;
  readonly last: number;
  readonly outcome: Outcome;
}

export class Transaction implements Facade {
  readonly #host: TransactionHost;
  readonly #onEnd: (transaction: Transaction) => void;
  readonly #publishes: Array<{ target: Target; draft: Draft }> = [];
  readonly #settles: StagedSettle[] = [];
  #bytes = 0;
  #isDone = false;

  constructor(host: TransactionHost, onEnd: (transaction: Transaction) => void) {
    this.#host = host;
    this.#onEnd = onEnd;
  }

  publish(target: TargetFacade, draft: Draft): void {
    (target as Target).check(draft);
    const length = draft.end - draft.start;
    this.#count(length + draft.properties.length);
    const copy = Object.assign(new Draft(), draft);
    copy.bytes = Buffer.from(draft.bytes.subarray(draft.start, draft.end));
    copy.start = 0;
    copy.end = length;
    this.#publishes.push({ target: target as Target, draft: copy });
  }

  settle(consumer: ConsumerFacade, first: number, last: number, outcome: Outcome): void {
    this.#count(32);
    const own = consumer as Consumer;
    own.stage(first, last, (from, to) => {
      this.#settles.push({ consumer: own, first: from, last: to, outcome });
    });
  }

  commit(): number {
    this.#end();
    this.#checkAll();
    const control = this.#controlEntries();
    const settle = (): void => {
      for (const { consumer, first, last, outcome } of this.#settles) {
        consumer.settleStaged(first, last, outcome);
      }
    };
    if (this.#publishes.length > 0 || control.length > 0) {
      return this.#host.commitBatch(this.#publishes, control, settle);
    }
    settle();
    return 0;
  }

  /** Whatever could fail must do so before the batch begins. */
  #checkAll(): void {
    const staged = new Map<Node, { count: number; bytes: number }>();
    let count = 0;
    let bytes = 0;
    for (const { target, draft } of this.#publishes) {
      const before = staged.get(target.node) ?? { count: 0, bytes: 0 };
      try {
        target.checkCommit(draft, before.count, before.bytes, count, bytes);
      } catch (cause) {
        this.#undo(true);
        throw new BrokerError(
          "transaction-rollback",
          `the transaction cannot be committed: ${(cause as Error).message}`,
          {},
          { cause },
        );
      }
      before.count++;
      before.bytes += draft.end - draft.start;
      count++;
      bytes += draft.end - draft.start;
      staged.set(target.node, before);
    }
  }

  rollback(redeliver: boolean): void {
    this.#end();
    this.#undo(redeliver);
  }

  #undo(redeliver: boolean): void {
    for (const { consumer, first, last } of this.#settles) {
      if (redeliver || consumer.isClosed) consumer.settleStaged(first, last, OUTCOME.FAIL);
      else consumer.unstage(first, last);
    }
  }

  #end(): void {
    if (this.#isDone) throw new BrokerError("unknown-transaction", "the transaction has ended");
    this.#isDone = true;
    this.#onEnd(this);
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    const operations = this.#publishes.length + this.#settles.length;
    if (operations < TRANSACTION_MAX_OPERATIONS && this.#bytes <= TRANSACTION_MAX_BYTES) return;
    throw new BrokerError(
      "limit-exceeded",
      `a transaction holds at most ${TRANSACTION_MAX_OPERATIONS} operations and ${TRANSACTION_MAX_BYTES} bytes: commit more often`,
    );
  }

  /** Accepted deliveries of durable groups as runs of a control record. */
  #controlEntries(): Buffer {
    const entries: Buffer[] = [];
    for (const { consumer, first, last, outcome } of this.#settles) {
      if (outcome !== OUTCOME.ACCEPT || !consumer.group.isDurable) continue;
      consumer.forEachStagedRun(first, last, (shard, from, count) => {
        entries.push(controlRun(shard, from, count));
      });
    }
    return Buffer.concat(entries);
  }
}
