/**
 * Control records: what a transaction settled, stored in the same atomic batch as what it published. Their home is one
 * internal queue; once the settlements are in the journal a control record has done its work.
 *
 *   body   runs: u8 1 for a light queue | i32 queueId | f64 from | u32 count | u16 length, topic | u16 length, group
 *
 * Queues and groups are named: the journal, which numbers them, may end before the log does.
 */
import { Draft } from "../model/draft.ts";
import { entryBatch } from "../model/entry-batch.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { CatalogWriter } from "./catalog.ts";
import type { NodeRegistry } from "./node-registry.ts";
import { CONTROL_TOPIC } from "./node-restorer.ts";
import type { ProgressJournal } from "./progress-journal.ts";
import { mayCome, readOne } from "./read-one.ts";
import { LOOPBACK, type RecordComposer, RecordTemplate } from "./record-composer.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Visibility } from "./visibility.ts";

const STATE_KEY = "control.low";

export class TransactionLog {
  readonly #store: MessageStore;
  readonly #journal: ProgressJournal;
  readonly #template = new RecordTemplate("");
  readonly #draft = new Draft();
  #queue: StoreQueue | null = null;
  #low = 0;
  /** `#low` as last written to the journal, and where. */
  #noted = { low: 0, position: 0 };
  /** Control records whose settlements are still to be carried out, in order. */
  readonly #open: Array<{ readonly position: number; readonly offset: number; done: () => void }> =
    [];

  constructor(store: MessageStore, journal: ProgressJournal) {
    this.#store = store;
    this.#journal = journal;
  }

  /** Between the store's beginAtomic and endAtomic. `control` is a row of runs. */
  append(control: Buffer, composer: RecordComposer, now: number): void {
    this.#queue ??= this.#store.queue(CONTROL_TOPIC, 0);
    const draft = this.#draft.reset();
    draft.bytes = control;
    draft.start = 0;
    draft.end = control.length;
    this.#store.append(
      this.#queue,
      composer.compose(this.#template, draft, LOOPBACK, now, 0, null),
    );
  }

  /** What `publish` appends is there all or none, and seen when it is durable; then `done` is called. */
  atomically(visibility: Visibility, publish: () => void, done: () => void): number {
    const store = this.#store;
    let position = 0;
    store.beginAtomic();
    visibility.beginBatch();
    try {
      publish();
    } finally {
      position = store.endAtomic();
      visibility.endBatch(position);
    }
    this.#open.push({ position, offset: (this.#queue?.maxOffset ?? 1) - 1, done });
    return position;
  }

  onDurable(durable: number): void {
    while (this.#open.length > 0 && this.#open[0]!.position <= durable) this.#open.shift()!.done();
  }

  /** The turn's settlements have just been journaled: control records that were followed have done their work. */
  noteJournaled(): void {
    const queue = this.#queue;
    if (queue === null) return;
    const low = this.#open.length === 0 ? queue.maxOffset : Math.max(this.#open[0]!.offset, 0);
    // The records stay until the journal that replaces them is safe.
    if (this.#noted.low > queue.minOffset && this.#noted.position <= this.#store.journal.durable) {
      this.#store.trim(queue, this.#noted.low);
    }
    if (low <= this.#low) return;
    this.#low = low;
    this.#noted = { low, position: this.#journal.catalog.state(STATE_KEY, this.#value()) };
  }

  /** After the groups are back: settles what control records say that the journal does not cover. */
  recover(state: ReadonlyMap<string, Buffer>, registry: NodeRegistry): void {
    const queue = this.#store.queue(CONTROL_TOPIC, 0);
    if (queue.maxOffset === 0) return;
    this.#queue = queue;
    const low = Math.max(state.get(STATE_KEY)?.readDoubleBE(0) ?? 0, queue.minOffset);
    const entry = entryBatch();
    const view = new RecordView();
    for (let offset = low; offset < queue.maxOffset; offset++) {
      if (readOne(this.#store, this.#store, queue, offset, entry, view)) {
        applyRuns(view.buffer.subarray(view.bodyStart, view.bodyEnd), registry);
      } else if (mayCome(this.#store, entry)) {
        throw new Error(
          "cannot read what a commit has settled: mend the disk, or copy the files to a sound one",
        );
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

/** One run of a control record. */
export function controlRun(shard: ShardProgress, from: number, count: number): Buffer {
  const topic = Buffer.from(shard.queue.topic, "latin1");
  const group = Buffer.from(shard.group.name, "utf8");
  const bytes = Buffer.alloc(RUN_BYTES + topic.length + group.length);
  bytes[0] = shard.queue.isLight ? 1 : 0;
  bytes.writeInt32BE(shard.queue.queueId, 1);
  bytes.writeDoubleBE(from, 5);
  bytes.writeUInt32BE(count, 13);
  bytes.writeUInt16BE(topic.length, 17);
  topic.copy(bytes, 19);
  bytes.writeUInt16BE(group.length, 19 + topic.length);
  group.copy(bytes, RUN_BYTES + topic.length);
  return bytes;
}

const RUN_BYTES = 21;

function applyRuns(bytes: Buffer, registry: NodeRegistry): void {
  for (let at = 0; at + RUN_BYTES <= bytes.length; ) {
    const isLight = bytes[at] === 1;
    const queueId = bytes.readInt32BE(at + 1);
    const from = bytes.readDoubleBE(at + 5);
    const count = bytes.readUInt32BE(at + 13);
    const topicEnd = at + 19 + bytes.readUInt16BE(at + 17);
    const topic = bytes.toString("latin1", at + 19, topicEnd);
    const end = topicEnd + 2 + bytes.readUInt16BE(topicEnd);
    const group = bytes.toString("utf8", topicEnd + 2, end);
    at = end;
    const shard = registry.findShard(isLight, topic, queueId, group);
    if (shard === undefined || from >= shard.queue.maxOffset) continue;
    shard.settle(from, Math.min(count, shard.queue.maxOffset - from));
  }
}
