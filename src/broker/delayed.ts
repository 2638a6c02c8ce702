/**
 * Waiting messages as an operator sees them: listed, looked up and taken back, by number, destination or message id. They
 * are found by reading what waits, a slice at a time, so that a long list keeps nobody waiting.
 */
import { type Address, parseCanonical } from "../model/address.ts";
import { toNeutral } from "../model/conversion.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { BrokerError } from "../model/errors.ts";
import { identifierToText } from "../model/identifiers.ts";
import { RecordView } from "../model/record-view.ts";
import { dedupIdOf } from "./admission.ts";
import type { Broker } from "./broker.ts";
import {
  DELAYED_TO_PROPERTY,
  type DelayScheduler,
  DUE_PROPERTY,
  isWaiting,
  numberOf,
} from "./delay-scheduler.ts";

export interface DelayedFilter {
  readonly namespace?: string;
  readonly kind?: "queue" | "topic";
  readonly name?: string;
  /** The publisher's message id, as text. */
  readonly messageId?: string;
}

export interface DelayedView {
  /** Names it towards the broker. */
  readonly number: number;
  readonly kind: "queue" | "topic";
  readonly namespace: string;
  readonly name: string;
  /** ms since the epoch. */
  readonly dueAt: number;
  readonly storedAt: number;
  readonly expiresAt: number;
  readonly messageId: string;
  readonly keys: string;
  readonly priority: number;
  readonly size: number;
}

export interface DelayedPage {
  /** All that wait, whatever was asked for. */
  readonly waiting: number;
  readonly messages: readonly DelayedView[];
  /** Where to go on; null at the end. */
  readonly next: number | null;
}

const PAGE_MAX = 1000;
/** Records looked at for one page, and before others get their turn. */
const LOOK_MAX = 10_000;
const SLICE = 1000;
const BATCH = 256;

export class DelayedMessages {
  readonly #broker: Broker;
  readonly #scheduler: DelayScheduler;
  readonly #view = new RecordView();
  readonly #entries = entryBatch(BATCH);

  constructor(broker: Broker, scheduler: DelayScheduler) {
    this.#broker = broker;
    this.#scheduler = scheduler;
  }

  get waitingCount(): number {
    return this.#scheduler.waitingCount;
  }

  /** In the order in which they came. A page may be short, or empty, and yet not be the last. */
  list(filter: DelayedFilter, from = 0, max = 100): DelayedPage {
    const messages: DelayedView[] = [];
    const most = Math.min(max, PAGE_MAX);
    const next = this.#look(from, LOOK_MAX, filter, (view) => {
      messages.push(view);
      return messages.length < most;
    });
    return { waiting: this.waitingCount, messages, next };
  }

  find(number: number): DelayedView | undefined {
    let found: DelayedView | undefined;
    this.#look(this.#scheduler.offsetOf(number), 1, {}, (view) => {
      found = view.number === number ? view : undefined;
      return false;
    });
    return found;
  }

  /** Durable when it resolves. False when there is none of that number, or it is on its way already. */
  async cancel(number: number): Promise<boolean> {
    const isDone = this.#cancelAt(this.#scheduler.offsetOf(number), number);
    if (isDone) await this.#settled();
    return isDone;
  }

  /** Everything that the filter means; it has to say something. Returns how many. */
  async cancelAll(filter: DelayedFilter): Promise<number> {
    if (filter.name === undefined && filter.messageId === undefined) {
      throw new BrokerError("invalid-argument", "name a queue, a topic or a message id");
    }
    let cancelled = 0;
    let from: number | null = 0;
    while (from !== null) {
      const numbers: DelayedView[] = [];
      from = this.#look(from, SLICE, filter, (view) => {
        numbers.push(view);
        return true;
      });
      for (const { number } of numbers) {
        if (this.#cancelAt(this.#scheduler.offsetOf(number), number)) cancelled++;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (cancelled > 0) await this.#settled();
    return cancelled;
  }

  #cancelAt(offset: number, number: number): boolean {
    const shard = this.#scheduler.progress;
    if (shard === undefined || !isWaiting(shard, offset)) return false;
    const { store } = this.#broker;
    const entries = this.#entries;
    if (store.read(shard.queue, offset, 1, entries) !== 1) return false;
    const size = entries.size[0]!;
    if (!store.view(entries.physicalOffset[0]!, size, this.#view)) return false;
    if (numberOf(this.#view, offset) !== number) return false;
    const id = dedupIdOf(this.#view);
    // Sending it again is no repetition of what never came.
    if (id !== undefined) this.#targetOf(this.#view)?.duplicates?.remove(id);
    return this.#scheduler.cancel(offset, this.#view, size);
  }

  #targetOf(view: RecordView) {
    const to = parseCanonical(view.property(DELAYED_TO_PROPERTY) ?? "");
    return this.#broker.directory.known(to);
  }

  /** Settlements up to now are safe. */
  #settled(): Promise<void> {
    const broker = this.#broker;
    const position = broker.settlePosition();
    return new Promise((resolve) => {
      const onConfirm = (): boolean => {
        if (broker.settledTo() < position) return true;
        resolve();
        return false;
      };
      if (onConfirm()) broker.awaitConfirm({ onConfirm });
    });
  }

  /** Shows what waits, from an offset on, until `show` has enough or so many were looked at. Returns where to go on. */
  #look(
    from: number,
    most: number,
    filter: DelayedFilter,
    show: (view: DelayedView) => boolean,
  ): number | null {
    const shard = this.#scheduler.progress;
    if (shard === undefined) return null;
    const { store } = this.#broker;
    const { queue, state } = shard;
    const end = queue.maxOffset;
    const entries = this.#entries;
    let looked = 0;
    for (let at = state.findReady(Math.max(from, queue.minOffset), end); at < end; ) {
      if (looked >= most) return at;
      const run = Math.min(state.readyRun(at, end - at), BATCH, most - looked);
      const count = store.read(queue, at, run, entries);
      if (count === 0) return null;
      for (let i = 0; i < count; i++) {
        looked++;
        const size = entries.size[i]!;
        if (!store.view(entries.physicalOffset[i]!, size, this.#view)) continue;
        const found = this.#matching(at + i, size, filter);
        if (found !== undefined && !show(found)) return at + i + 1 < end ? at + i + 1 : null;
      }
      at = state.findReady(at + count, end);
    }
    return null;
  }

  #matching(offset: number, size: number, filter: DelayedFilter): DelayedView | undefined {
    const view = this.#view;
    const to = parseCanonical(view.property(DELAYED_TO_PROPERTY) ?? "");
    if (filter.namespace !== undefined && to.namespace !== filter.namespace) return undefined;
    const kind = kindOf(to);
    if (filter.kind !== undefined && kind !== filter.kind) return undefined;
    if (filter.name !== undefined && to.name !== filter.name) return undefined;
    const messageId = messageIdOf(view);
    if (filter.messageId !== undefined && messageId !== filter.messageId) return undefined;
    return {
      number: numberOf(view, offset),
      kind,
      namespace: to.namespace,
      name: to.name,
      dueAt: Number(view.property(DUE_PROPERTY) ?? 0),
      storedAt: view.storeTimestamp,
      expiresAt: view.expiresAt,
      messageId,
      keys: view.property("KEYS") ?? "",
      priority: view.priority,
      size,
    };
  }
}

const kindOf = ({ kind }: Address): "queue" | "topic" =>
  kind === "topic" || kind === "temp-topic" ? "topic" : "queue";

/** As the publisher wrote it; "" where it gave none, or its protocol is switched off here. */
function messageIdOf(view: RecordView): string {
  try {
    const { id, uniqueKey } = toNeutral(view);
    return id === null ? uniqueKey : identifierToText(id);
  } catch (error) {
    if (error instanceof BrokerError) return "";
    throw error;
  }
}
