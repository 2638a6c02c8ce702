/** Stores that RocketMQ wrote, and what RocketMQ read out of them: we read the same. No Java needed. */
import test from "ava";
import { RecordView } from "../../src/model/record-view.ts";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { DEFAULT_SHAPE, entryPosition, indexFileSize } from "../../src/store/index-format.ts";
import { IndexReader, IndexStore } from "../../src/store/index-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { checkRecord, javaHash } from "../../src/store/record.ts";
import {
  type FixtureMessage,
  loadFixture,
  type StoreFixture,
  unpackFixture,
} from "../support/store-fixture.ts";
import { describeRecord, readEverything } from "../support/store-reading.ts";

const ROOT = "/data";
const FIXTURES = ["plain.json.gz", "with-record-crc.json.gz"];

function unpacked(fixture: StoreFixture): MemoryStorage {
  const storage = new MemoryStorage();
  unpackFixture(fixture, storage, ROOT);
  return storage;
}

/** The log's records in order, found by walking the files. */
function* recordsOf(fixture: StoreFixture, storage: MemoryStorage): Generator<[Buffer, number]> {
  const { segmentBytes } = fixture;
  for (let start = 0; start < fixture.maxPhysicalOffset; start += segmentBytes) {
    const file = storage.open(`${ROOT}/commitlog/${String(start).padStart(20, "0")}`, "read");
    const bytes = Buffer.alloc(segmentBytes);
    file.readInto(bytes, 0, segmentBytes, 0);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (let at = 0; start + at < fixture.maxPhysicalOffset; ) {
      const size = checkRecord(bytes, view, at, segmentBytes, segmentBytes, start + at);
      if (typeof size !== "number") break; // The blank record, or the end.
      yield [bytes.subarray(at, at + size), start + at];
      at += size;
    }
  }
}

for (const name of FIXTURES) {
  test(`${name}: every message of every queue reads as RocketMQ reads it`, async (t) => {
    const fixture = loadFixture(name);
    const store = new CommitLogStore({
      directory: ROOT,
      segmentBytes: fixture.segmentBytes,
      inlineOn: unpacked(fixture),
    });
    const messages = await readEverything(store);
    await store.close();
    const key = (message: FixtureMessage) =>
      `${message.topic} ${message.queueId} ${String(message.queueOffset).padStart(9)}`;
    const sorted = (list: readonly FixtureMessage[]) =>
      [...list].sort((a, b) => (key(a) < key(b) ? -1 : 1));
    t.deepEqual(sorted(messages), sorted(fixture.messages));
  });

  test(`${name}: every record of the log passes our check, and says what it holds`, (t) => {
    const fixture = loadFixture(name);
    const view = new RecordView();
    const seen = new Map<number, FixtureMessage>();
    for (const [record, physicalOffset] of recordsOf(fixture, unpacked(fixture))) {
      const described = describeRecord(view.open(record, 0), record.length);
      t.is(described.physicalOffset, physicalOffset);
      seen.set(physicalOffset, described);
    }
    for (const message of fixture.messages) {
      const ours = seen.get(message.physicalOffset);
      t.truthy(ours, `nothing at ${message.physicalOffset}`);
      if (!message.topic.startsWith("%LMQ%")) t.deepEqual(ours, message);
    }
    // Prepared and rolled-back half messages are in the log, but in no queue.
    const queued = new Set(fixture.messages.map((message) => message.physicalOffset));
    const unqueued = [...seen.values()].filter((message) => !queued.has(message.physicalOffset));
    t.deepEqual(
      unqueued.map((message) => message.sysFlag),
      [4, 12],
    );
  });

  test(`${name}: the ConsumeQueue files hold the entries that the messages call for`, (t) => {
    const fixture = loadFixture(name);
    const storage = unpacked(fixture);
    for (const message of fixture.messages) {
      const path = `${ROOT}/consumequeue/${message.topic}/${message.queueId}/00000000000000000000`;
      const entry = Buffer.alloc(20);
      storage.open(path, "read").readInto(entry, 0, 20, message.queueOffset * 20);
      t.is(Number(entry.readBigInt64BE(0)), message.physicalOffset);
      t.is(entry.readInt32BE(8), message.size);
      const tag = message.properties["TAGS"];
      t.is(Number(entry.readBigInt64BE(12)), tag === undefined ? 0 : javaHash(tag));
    }
  });

  test(`${name}: the offline check finds nothing wrong with it, before and after we had it open`, async (t) => {
    const fixture = loadFixture(name);
    const storage = unpacked(fixture);
    const findings = async () =>
      (await checkStore({ storage, directory: ROOT })).files
        .filter((file) => file.state === "damaged")
        .map((file) => `${file.path}: ${file.findings[0]}`);
    t.deepEqual(await findings(), []);
    const store = new CommitLogStore({ directory: ROOT, inlineOn: storage });
    await readEverything(store);
    await store.close();
    t.deepEqual(await findings(), []);
    const report = await checkStore({ storage, directory: ROOT });
    t.is(report.state, "sound");
    t.is(report.records, 121);
  });

  test(`${name}: our Index finds every key in RocketMQ's file`, (t) => {
    const fixture = loadFixture(name);
    const reader = new IndexReader({ storage: unpacked(fixture), directory: `${ROOT}/index` });
    let keys = 0;
    for (const message of fixture.messages) {
      if (message.topic.startsWith("%LMQ%")) continue;
      const { KEYS = "", UNIQ_KEY } = message.properties;
      const all = [...KEYS.split(" "), UNIQ_KEY ?? ""].filter((text) => text !== "");
      for (const each of all) {
        const found = reader.query(message.topic, each, 64, 0, Number.MAX_SAFE_INTEGER);
        t.true(found.includes(message.physicalOffset), `${message.topic}#${each}`);
        keys++;
      }
    }
    t.true(keys > 100);
    t.deepEqual(reader.query("TopicA", "no such key", 64, 0, Number.MAX_SAFE_INTEGER), []);
  });

  test(`${name}: an Index built by us from the same records is RocketMQ's file, byte for byte`, (t) => {
    const fixture = loadFixture(name);
    const theirs = unpacked(fixture);
    const ours = new MemoryStorage();
    ours.makeDirectory(ROOT);
    const store = new IndexStore({ storage: ours, directory: `${ROOT}/index` });
    store.open(true, Number.MAX_SAFE_INTEGER);
    const view = new RecordView();
    for (const [record, physicalOffset] of recordsOf(fixture, theirs)) {
      view.open(record, 0);
      if ((view.sysFlag & 12) === 12) continue; // Rolled back.
      store.putRecord(
        record,
        view.topicStart,
        view.topicEnd,
        view.propertiesStart,
        view.propertiesEnd,
        physicalOffset,
        view.storeTimestamp,
      );
      // RocketMQ 5.5 also indexes tags, under a type of their own. We leave that out: a filter by tag reads the queue.
      const tag = view.property("TAGS");
      if (tag !== undefined) {
        store.put(view.topic, `T#${tag}`, physicalOffset, view.storeTimestamp);
      }
    }
    store.close();
    const bytesOf = (storage: MemoryStorage): Buffer => {
      const [file] = storage.list(`${ROOT}/index`);
      const all = storage.open(`${ROOT}/index/${file!.name}`, "read");
      t.is(all.size(), indexFileSize(DEFAULT_SHAPE));
      // Header, slots and the first entries; the rest is empty in both.
      const bytes = Buffer.alloc(entryPosition(DEFAULT_SHAPE, 1000));
      all.readInto(bytes, 0, bytes.length, 0);
      // Entry 0, which RocketMQ never uses, holds our mark.
      return bytes.fill(0, entryPosition(DEFAULT_SHAPE, 0), entryPosition(DEFAULT_SHAPE, 1));
    };
    t.is(bytesOf(ours).compare(bytesOf(theirs)), 0);
  });
}
