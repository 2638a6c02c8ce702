/** A store with something of everything, on a simulated disk, and what must be read out of it. For damage tests. */
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreEvents, StoreQueue } from "../../src/store/message-store.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { FaultyStorage } from "./faulty-storage.ts";
import { Random } from "./random.ts";
import { recordFields } from "./record-fields.ts";

export const SILENT: StoreEvents = {
  onWatermark() {},
  onRoom() {},
  onHealth() {},
  onReadable() {},
};
export const SEGMENT_BYTES = 65_536;

export interface BuiltMessage {
  readonly queue: string;
  readonly queueOffset: number;
  readonly body: Buffer;
  /** First and last byte + 1 of its record. */
  readonly from: number;
  readonly to: number;
  /** Number of its atomic batch, 0 for none. */
  readonly batch: number;
}

export interface BuiltStore {
  readonly storage: FaultyStorage;
  readonly directory: string;
  readonly messages: readonly BuiltMessage[];
  readonly journal: readonly string[];
}

export const storeOn = (storage: Storage, directory: string): CommitLogStore =>
  new CommitLogStore({
    directory,
    segmentBytes: SEGMENT_BYTES,
    ringBytes: 65_536,
    minFreeBytes: 0,
    tickMs: 0,
    inlineOn: storage,
  });

export const queueName = (queue: StoreQueue): string =>
  queue.isLight ? `~${queue.topic}` : `${queue.topic}/${queue.queueId}`;

/** Several segments, queues, light queues, keys, batches, a journal with a snapshot; closed in order. */
export async function buildStore(
  seed = 1,
  directory = "/data",
  records = 300,
): Promise<BuiltStore> {
  const random = new Random(seed);
  const storage = new FaultyStorage(new Random(seed));
  const store = storeOn(storage, directory);
  await store.open(SILENT);
  const messages: BuiltMessage[] = [];
  const journal: string[] = [];
  const lights = ["one", "two"].map((name) => store.lightQueue(name));
  let batch = 0;
  for (let i = 0; i < records; i++) {
    if (i % 30 === 10) {
      store.beginAtomic();
      batch++;
    }
    const isInBatch = i % 30 >= 10 && i % 30 <= 14;
    const body = random.bytes(random.between(4, 1500));
    const queue = store.queue(random.pick(["A", "B", "C"]), random.below(2));
    const dispatch = i % 7 === 0 ? lights : [];
    const places = [queue, ...dispatch].map((each) => [queueName(each), each.maxOffset] as const);
    const fields = recordFields({
      body,
      ...(i % 3 === 0 ? { tag: `tag${i % 4}` } : {}),
      ...(i % 5 === 0 ? { keys: `key${i} all` } : {}),
      ...(dispatch.length > 0 ? { dispatch } : {}),
    });
    const to = store.append(queue, fields);
    const from = to - recordSizeAt(store, queue);
    for (const [name, queueOffset] of places) {
      messages.push({ queue: name, queueOffset, body, from, to, batch: isInBatch ? batch : 0 });
    }
    if (i % 30 === 14) store.endAtomic();
    if (isInBatch && i % 30 !== 14) continue;
    const entry = Buffer.from(`entry ${i}`);
    store.journal.append(entry, 0, entry.length);
    journal.push(entry.toString());
    if (i === 95) {
      store.journal.snapshot(journal.map((text) => Buffer.from(text)));
    }
    store.publish(i % 4 === 0);
    if (i % 50 === 0) store.tick(i % 100 === 0);
    await new Promise(setImmediate);
  }
  await store.close();
  return { storage, directory, messages, journal };
}

const batchOfOne = entryBatch();

function recordSizeAt(store: CommitLogStore, queue: StoreQueue): number {
  store.read(queue, queue.maxOffset - 1, 1, batchOfOne);
  return batchOfOne.size[0]!;
}

/** What can be read, by `queue@offset`; opens and closes the store. */
export async function readBodies(
  store: CommitLogStore,
): Promise<{ bodies: Map<string, Buffer>; journal: string[] }> {
  await store.open(SILENT);
  const bodies = new Map<string, Buffer>();
  const view = new RecordView();
  for (const queue of store.queues()) {
    for (let offset = queue.minOffset; offset < queue.maxOffset; offset++) {
      if (store.read(queue, offset, 1, batchOfOne) !== 1) continue;
      const [position, size] = [batchOfOne.physicalOffset[0]!, batchOfOne.size[0]!];
      if (!store.view(position, size, view)) continue;
      const body = Buffer.from(view.buffer.subarray(view.bodyStart, view.bodyEnd));
      bodies.set(`${queueName(queue)}@${offset}`, body);
    }
  }
  const journal: string[] = [];
  store.journal.replay((bytes) => void journal.push(bytes.toString()));
  await store.close();
  return { bodies, journal };
}

/** Every file below the folder, with its size. */
export function allFiles(
  storage: Storage,
  directory: string,
): Array<{ path: string; size: number }> {
  return storage.list(directory).flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return allFiles(storage, path);
    return [{ path, size: storage.stat(path)!.size }];
  });
}
