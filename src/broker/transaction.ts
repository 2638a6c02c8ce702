/**
 * A local transaction: publishes and settlements staged, then made real together. The publishes are one atomic batch of
 * the log; what was settled goes into the same batch as a control record, so that a crash leaves both or neither.
 */
import { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import { ENTRY } from "./catalog.ts";
import type { Consumer } from "./consumer.ts";
import type {
  Consumer as ConsumerFacade,
  Transaction as Facade,
  Outcome,
  Target as TargetFacade,
} from "./facade.ts";
import { OUTCOME } from "./facade.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Target } from "./target.ts";

export const TRANSACTION_MAX_OPERATIONS = 100_000;
export const TRANSACTION_MAX_BYTES = 64 * 1024 * 1024;

export interface TransactionHost {
  /** One atomic batch: every publish, then `control` (journal entries of what is settled; empty for none). */
  commitBatch(publishes: ReadonlyArray<{ target: Target; draft: Draft }>, control: Buffer): number;
}

interface StagedSettle {
  readonly consumer: Consumer;
  readonly first: number;
  readonly last: number;
  readonly outcome: Outcome;
}

export class Transaction implements Facade {
  readonly #host: TransactionHost;
  readonly #publishes: Array<{ target: Target; draft: Draft }> = [];
  readonly #settles: StagedSettle[] = [];
  #bytes = 0;
  #isDone = false;

  constructor(host: TransactionHost) {
    this.#host = host;
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
    (consumer as Consumer).stage(first, last);
    this.#settles.push({ consumer: consumer as Consumer, first, last, outcome });
  }

  commit(): number {
    this.#end();
    for (const { target, draft } of this.#publishes) {
      try {
        target.check(draft);
      } catch (cause) {
        this.#undo(true);
        throw new BrokerError(
          "transaction-rollback",
          `the transaction cannot be committed: ${(cause as Error).message}`,
          {},
          { cause },
        );
      }
    }
    const control = this.#controlEntries();
    const position =
      this.#publishes.length > 0 || control.length > 0
        ? this.#host.commitBatch(this.#publishes, control)
        : 0;
    for (const { consumer, first, last, outcome } of this.#settles) {
      consumer.settleStaged(first, last, outcome);
    }
    return position;
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

  /** Accepted deliveries of durable groups as RUN entries, one after the other. */
  #controlEntries(): Buffer {
    const entries: Buffer[] = [];
    for (const { consumer, first, last, outcome } of this.#settles) {
      if (outcome !== OUTCOME.ACCEPT || !consumer.group.isDurable) continue;
      consumer.forEachStagedRun(first, last, (shard, from, count) => {
        entries.push(runEntry(shard, from, count));
      });
    }
    return Buffer.concat(entries);
  }
}

export const RUN_ENTRY_BYTES = 17;

function runEntry(shard: ShardProgress, from: number, count: number): Buffer {
  const bytes = Buffer.alloc(RUN_ENTRY_BYTES);
  bytes[0] = ENTRY.RUN;
  bytes.writeUInt32BE(shard.journalId, 1);
  bytes.writeDoubleBE(from, 5);
  bytes.writeUInt32BE(count, 13);
  return bytes;
}
