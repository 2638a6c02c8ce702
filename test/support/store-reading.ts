/** Reads a whole store the way RocketMQ's library is asked to (interop/rocketmq-store), for comparing the two. */
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import type { MessageStore, StoreEvents } from "../../src/store/message-store.ts";
import type { FixtureMessage } from "./store-fixture.ts";

const SILENT: StoreEvents = {
  onWatermark() {},
  onRoom() {},
  onHealth() {},
  onReadable() {},
};
const BATCH = 32;

/** Opens the store and reads every message of every queue; the caller closes it. Throws on what cannot be read. */
export async function readEverything(store: MessageStore): Promise<FixtureMessage[]> {
  await store.open(SILENT);
  const messages: FixtureMessage[] = [];
  const view = new RecordView();
  const batch = entryBatch(BATCH);
  for (const queue of [...store.queues()]) {
    for (let offset = queue.minOffset; offset < queue.maxOffset; ) {
      const count = store.read(queue, offset, BATCH, batch);
      if (count === 0) throw new Error(`${queue.topic}/${queue.queueId}: nothing at ${offset}`);
      for (let i = 0; i < count; i++) {
        const size = batch.size[i]!;
        if (!store.view(batch.physicalOffset[i]!, size, view)) {
          throw new Error(`${queue.topic}/${queue.queueId}: no record for offset ${offset + i}`);
        }
        const message = describeRecord(view, size);
        messages.push(
          queue.isLight
            ? { ...message, topic: `%LMQ%${queue.topic}`, queueId: 0, queueOffset: offset + i }
            : message,
        );
      }
      offset += count;
    }
  }
  return messages;
}

export function describeRecord(view: RecordView, size: number): FixtureMessage {
  const { buffer, start } = view;
  const bornLength = view.sysFlag & 16 ? 20 : 8;
  return {
    topic: buffer.toString("utf8", view.topicStart, view.topicEnd),
    queueId: view.queueId,
    queueOffset: view.queueOffset,
    physicalOffset: view.physicalOffset,
    size,
    bodyCrc: buffer.readInt32BE(start + 8),
    bodyLength: view.bodyLength,
    flag: view.flag,
    sysFlag: view.sysFlag,
    bornTimestamp: view.bornTimestamp,
    storeTimestamp: view.storeTimestamp,
    bornHost: hostText(buffer, start + 48, bornLength),
    storeHost: hostText(buffer, start + 56 + bornLength, view.sysFlag & 32 ? 20 : 8),
    reconsumeTimes: view.reconsumeTimes,
    properties: decodeProperties(buffer.toString("utf8", view.propertiesStart, view.propertiesEnd)),
  };
}

/** As RocketMQ's decoder does it: pieces without a name or a value are dropped. */
function decodeProperties(text: string): Record<string, string> {
  const properties: Record<string, string> = {};
  for (const piece of text.split("\x02")) {
    const [name = "", value = ""] = piece.split("\x01");
    if (name !== "" && value !== "") properties[name] = value;
  }
  return properties;
}

/** As Java's InetSocketAddress prints itself. */
function hostText(buffer: Buffer, at: number, length: number): string {
  const port = buffer.readInt32BE(at + length - 4);
  if (length === 8) return `/${[...buffer.subarray(at, at + 4)].join(".")}:${port}`;
  const groups = Array.from({ length: 8 }, (_, i) => buffer.readUInt16BE(at + 2 * i).toString(16));
  return `/[${groups.join(":")}]:${port}`;
}
