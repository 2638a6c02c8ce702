/**
 * Control records: what a transaction settled, stored in the same atomic batch as what it published. Their home is one
 * internal queue; once the settlements are in the journal a control record has done its work.
 */
import { Draft } from "../model/draft.ts";
import { RecordView } from "../model/record-view.ts";
import type { EntryBatch, MessageStore, StoreQueue } from "../store/message-store.ts";
import { applyEntry, type CatalogImage, type CatalogWriter } from "./catalog.ts";
import { CONTROL_TOPIC } from "./node-registry.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { type RecordComposer, RecordTemplate } from "./record-composer.ts";
import { RUN_ENTRY_BYTES } from "./transaction.ts";

const STATE_KEY = "control.low";

export class TransactionLog {
  readonly #store: MessageStore;
  readonly #journal: ProgressJournal;
  readonly #template = new RecordTemplate("");
  readonly #draft = new Draft();
  readonly #host = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);
  #queue: StoreQueue | null = null;
  #low = 0;
  /** Control records whose settlements are still to be carried out, in order. */
  readonly #open: Array<{ readonly position: number; readonly offset: number; done: () => void }> =
    [];

  constructor(store: MessageStore, journal: ProgressJournal) {
    this.#store = store;
    this.#journal = journal;
  }

  /** Between the store's beginAtomic and endAtomic. `control` is a row of RUN entries. */
  append(control: Buffer, composer: RecordComposer): void {
    this.#queue ??= this.#store.queue(CONTROL_TOPIC, 0);
    const draft = this.#draft.reset();
    draft.bytes = control;
    draft.start = 0;
    draft.end = control.length;
    this.#store.append(
      this.#queue,
      composer.compose(this.#template, draft, this.#host, Date.now(), 0, null),
    );
  }

  /** The batch that ends at `position` is to be followed by this once it is durable. */
  follow(position: number, done: () => void): void {
    this.#open.push({ position, offset: (this.#queue?.maxOffset ?? 1) - 1, done });
  }

  onDurable(durable: number): void {
    while (this.#open.length > 0 && this.#open[0]!.position <= durable) this.#open.shift()!.done();
  }

  /** The turn's settlements have just been journaled: control records that were followed have done their work. */
  noteJournaled(): void {
    const queue = this.#queue;
    if (queue === null) return;
    const low = this.#open.length === 0 ? queue.maxOffset : Math.max(this.#open[0]!.offset, 0);
    if (low <= this.#low) return;
    this.#low = low;
    this.#journal.catalog.state(STATE_KEY, this.#value());
    this.#store.trim(queue, this.#low);
  }

  /** Applies control records that the journal does not cover. */
  recover(image: CatalogImage): void {
    const hasControl = [...this.#store.queues()].some((queue) => queue.topic === CONTROL_TOPIC);
    if (!hasControl) return;
    const queue = this.#store.queue(CONTROL_TOPIC, 0);
    this.#queue = queue;
    const low = Math.max(image.state.get(STATE_KEY)?.readDoubleBE(0) ?? 0, queue.minOffset);
    const entry: EntryBatch = {
      physicalOffset: new Float64Array(1),
      size: new Int32Array(1),
      tagHash: new Int32Array(1),
    };
    const view = new RecordView();
    for (let offset = low; offset < queue.maxOffset; offset++) {
      if (this.#store.read(queue, offset, 1, entry) !== 1) continue;
      if (!this.#store.view(entry.physicalOffset[0]!, entry.size[0]!, view)) continue;
      for (let at = view.bodyStart; at + RUN_ENTRY_BYTES <= view.bodyEnd; at += RUN_ENTRY_BYTES) {
        applyEntry(image, view.buffer.subarray(at, at + RUN_ENTRY_BYTES));
      }
    }
    this.#low = queue.maxOffset;
  }

  writeSnapshot(catalog: CatalogWriter): void {
    if (this.#queue !== null) catalog.state(STATE_KEY, this.#value());
  }

  #value(): Buffer {
    const value = Buffer.alloc(8);
    value.writeDoubleBE(this.#low);
    return value;
  }
}
