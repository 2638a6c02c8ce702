/**
 * A process for kill tests: appends numbered messages and journal entries as fast as it can, some in atomic batches, and
 * prints how far they are confirmed: `log N journal M`, both counting from the beginning of the store.
 */
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { recordFields } from "./record-fields.ts";

export const KILL_OPTIONS = { segmentBytes: 1 << 20, ringBytes: 1 << 18, tickMs: 20 };

const directory = process.argv[2];
if (directory !== undefined) await appendForever(directory, Number(process.argv[3]));

async function appendForever(folder: string, entries: number): Promise<void> {
  const positions: Array<[number, number]> = [];
  const journalPositions: Array<[number, number]> = [];
  const store = new CommitLogStore({ directory: folder, ...KILL_OPTIONS });
  let log = 0;
  let journal = 0;
  const confirm = (): void => {
    const { durable } = store.watermarks;
    while (positions.length > 0 && positions[0]![1] <= durable) log = positions.shift()![0];
    while (journalPositions.length > 0 && journalPositions[0]![1] <= store.journal.durable) {
      journal = journalPositions.shift()![0];
    }
    process.stdout.write(`log ${log} journal ${journal}\n`);
  };
  await store.open({ onWatermark: confirm, onRoom() {}, onHealth() {}, onReadable() {} });
  store.journal.replay(() => {});
  const queue = store.queue("T", 0);
  const light = store.lightQueue("L");
  let next = queue.maxOffset;
  let nextEntry = entries;
  for (;;) {
    if (store.hasRoom(60_000)) {
      const isBatch = next % 3 === 0;
      const count = isBatch ? 10 : 1 + (next % 17);
      if (isBatch) store.beginAtomic();
      const first = next;
      for (let i = 0; i < count; i++) {
        // The batch is in the body: its first message and its length.
        const body = Buffer.alloc(30 + ((next * 7919) % 3000), next % 251);
        body.writeUInt32BE(next, 0);
        body.writeUInt32BE(isBatch ? first : 0xffffffff, 4);
        body.writeUInt32BE(count, 8);
        const position = store.append(
          queue,
          recordFields({
            body,
            dispatch: [light],
            ...(next % 5 === 0 ? { keys: `k${next}` } : {}),
          }),
        );
        next++;
        positions.push([next, position]);
      }
      if (isBatch) {
        const end = store.endAtomic();
        for (let i = positions.length - count; i < positions.length; i++) positions[i]![1] = end;
      }
      const entry = Buffer.from(String(nextEntry++));
      journalPositions.push([nextEntry, store.journal.append(entry, 0, entry.length)]);
      if (nextEntry % 3 === 0) store.journal.requestSync();
      store.publish(true);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}
