/** What lay on a disk is checked each time it comes from there, and not again in bytes that nobody else can change. */
import { join } from "node:path";
import { crc32 } from "node:zlib";
import test from "ava";
import { Draft } from "../../src/model/draft.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { LogReader } from "../../src/store/log-reader.ts";
import { offsetName, SegmentList } from "../../src/store/segment-list.ts";
import { CACHE_BYTES } from "../../src/store/segment-reader.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { buildRecord } from "../support/record-builder.ts";

const SEGMENT_BYTES = 10 << 20;
const BODY_AT = 88;
/** Records of 64 KiB in a segment. */
const LARGE = SEGMENT_BYTES >> 16;

/** A sealed record of exactly `size` bytes. */
function sealed(physicalOffset: number, size: number): Buffer {
  const draft = new Draft();
  draft.bytes = Buffer.alloc(size - 92, physicalOffset % 251);
  draft.start = 0;
  draft.end = draft.bytes.length;
  const { buffer } = buildRecord(draft, { topic: "t", isForeign: true, physicalOffset });
  buffer.writeInt32BE(crc32(draft.bytes) & 0x7fffffff, 8);
  return buffer;
}

/** A segment of records of one size, and the beginning of the next, which makes the first one sealed. */
class Log {
  readonly reader: LogReader;
  readonly view = new RecordView();
  readonly #size: number;
  readonly #storage: Storage;
  readonly #path: string;

  constructor(storage: Storage, directory: string, size: number, count: number) {
    this.#size = size;
    this.#storage = storage;
    this.#path = join(directory, offsetName(0));
    for (const start of [0, SEGMENT_BYTES]) {
      const file = storage.open(join(directory, offsetName(start)), "new");
      file.truncate(SEGMENT_BYTES);
      const records: Buffer[] = [];
      for (let i = 0; i < (start === 0 ? count : 1); i++) {
        records.push(sealed(start + i * size, size));
      }
      const bytes = Buffer.concat(records);
      file.write(bytes, 0, bytes.length, 0);
      file.close();
    }
    this.reader = new LogReader(new SegmentList(storage, directory, SEGMENT_BYTES));
  }

  isSound(index: number): boolean {
    return this.isSoundAt(index * this.#size);
  }

  isSoundAt(position: number): boolean {
    return this.reader.view(position, this.#size, 2 * SEGMENT_BYTES, this.view);
  }

  flipBit(index: number): void {
    const file = this.#storage.open(this.#path, "write");
    const byte = Buffer.alloc(1);
    const at = index * this.#size + BODY_AT;
    file.readInto(byte, 0, 1, at);
    byte[0]! ^= 4;
    file.write(byte, 0, 1, at);
    file.close();
  }
}

function simulated(size: number, count: number): Log {
  const storage = new FaultyStorage(new Random(1));
  storage.makeDirectory("/log");
  return new Log(storage, "/log", size, count);
}

test("a record that was found intact is checked again when it comes from the disk again", (t) => {
  const log = simulated(64 << 10, LARGE);
  for (let i = 0; i < LARGE; i++) if (!log.isSound(i)) t.fail(`record ${i}`);
  t.true(SEGMENT_BYTES > CACHE_BYTES + (1 << 20), "the first records are not kept any more");
  log.flipBit(0);
  t.false(log.isSound(0));
  t.true(log.reader.isDamaged(0));
  t.true(log.isSound(1));
});

test("a damaged record is refused each time, whatever was found around it", (t) => {
  const damaged = [0, 3, 4, 77];
  // The smallest ones: several in what is looked at together.
  for (const size of [96, 100, 128, 1000]) {
    const log = simulated(size, 100);
    for (const index of damaged) log.flipBit(index);
    for (let round = 0; round < 3; round++) {
      const refused = Array.from({ length: 100 }, (_, i) => i).filter((i) => !log.isSound(i));
      t.deepEqual(refused, damaged, `records of ${size} bytes, round ${round}`);
    }
  }
});
