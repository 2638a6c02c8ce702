/** What a SegmentReader promises, whatever its bytes come from. Called once per source. */
import { join } from "node:path";
import type { ExecutionContext, TestFn } from "ava";
import { SegmentReader } from "../../src/store/segment-reader.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { Random } from "../support/random.ts";

export interface ReaderUnderTest {
  readonly storage: Storage;
  readonly root: string;
}

const SEGMENT = 5 * 256 * 1024;
const SEGMENTS = 4;
const END = SEGMENTS * SEGMENT - 5000;

/** The byte at each position of the log: any misplaced read shows. */
const byteAt = (position: number): number => (Math.imul(position, 0x9e3779b1) >>> 24) & 0xff;

let log: Buffer | undefined;
const logBytes = (): Buffer => {
  log ??= Buffer.from(Uint8Array.from({ length: SEGMENTS * SEGMENT }, (_, at) => byteAt(at)));
  return log;
};

function setUp(under: ReaderUnderTest, cacheBytes = 2 * 1024 * 1024): SegmentReader {
  const reader = new SegmentReader({ segmentSize: SEGMENT, cacheBytes });
  for (let i = 0; i < SEGMENTS; i++) {
    const path = join(under.root, String(i).padStart(20, "0"));
    const file = under.storage.open(path, "create");
    file.write(logBytes(), i * SEGMENT, SEGMENT, 0);
    reader.add({ base: i * SEGMENT, size: SEGMENT, file });
  }
  return reader;
}

const isRight = (reader: SegmentReader, position: number, size: number): boolean =>
  logBytes().compare(
    reader.buffer,
    reader.offset,
    reader.offset + size,
    position,
    position + size,
  ) === 0;

export function segmentReaderSuite(
  name: string,
  test: TestFn<unknown>,
  make: (t: ExecutionContext<unknown>) => ReaderUnderTest,
): void {
  test(`${name}: a drain in order finds every record`, (t) => {
    const random = new Random(7);
    const reader = setUp(make(t));
    let records = 0;
    for (let position = 0; position < END; records++) {
      let size = random.between(60, random.chance(2) ? 90_000 : 1500);
      const inSegment = SEGMENT - (position % SEGMENT);
      size = Math.min(size, inSegment, END - position);
      t.true(reader.locate(position, size, END), `at ${position}`);
      if (!isRight(reader, position, size)) t.fail(`wrong bytes at ${position}`);
      position += size;
      if (random.chance(5)) reader.endTurn();
    }
    // Reads ahead: a few dozen reads for thousands of records.
    t.true(reader.blockReads < records / 20, `${reader.blockReads} reads for ${records} records`);
  });

  test(`${name}: scattered reads find every record`, (t) => {
    const random = new Random(8);
    const reader = setUp(make(t), 256 * 1024);
    for (let i = 0; i < 2000; i++) {
      const position = random.below(END - 3000);
      const size = Math.min(random.between(60, 3000), SEGMENT - (position % SEGMENT));
      t.true(reader.locate(position, size, END));
      if (!isRight(reader, position, size)) t.fail(`wrong bytes at ${position}`);
      if (random.chance(10)) reader.endTurn();
      if (reader.cachedBytes > 256 * 1024) t.fail("more cached than allowed");
    }
  });

  test(`${name}: bytes located in a turn stay as they are until it ends`, (t) => {
    const random = new Random(9);
    // A cache of one block: everything is thrown out at once.
    const reader = setUp(make(t), 16_384);
    for (let turn = 0; turn < 20; turn++) {
      const kept: Array<[Buffer, number, number]> = [];
      for (let i = 0; i < 50; i++) {
        const position = random.below(SEGMENTS) * SEGMENT + random.below(SEGMENT - 6000);
        t.true(reader.locate(position, 500, END));
        kept.push([reader.buffer, reader.offset, position]);
      }
      for (const [buffer, offset, position] of kept) {
        t.is(buffer.compare(logBytes(), position, position + 500, offset, offset + 500), 0);
      }
      reader.endTurn();
    }
  });

  test(`${name}: many drains at once through a small cache find every record`, (t) => {
    const random = new Random(10);
    const reader = setUp(make(t), 300_000);
    const drains = Array.from({ length: 40 }, (_, i) => Math.floor((i * END) / 40));
    for (let i = 0; i < 8000; i++) {
      const drain = random.below(drains.length);
      const position = drains[drain]!;
      const size = Math.min(400, SEGMENT - (position % SEGMENT), END - position);
      if (size <= 0) continue;
      t.true(reader.locate(position, size, END));
      if (!isRight(reader, position, size)) t.fail(`wrong bytes at ${position}`);
      drains[drain] = position + size;
      if (i % 64 === 0) reader.endTurn();
    }
  });

  test(`${name}: nothing beyond the end that is given is located or remembered`, (t) => {
    const under = make(t);
    const reader = setUp(under);
    const end = (SEGMENTS - 1) * SEGMENT + 10_000;
    t.true(reader.locate(end - 100, 100, end));
    t.false(reader.locate(end - 100, 101, end));
    t.false(reader.locate(end, 1, end));
    // The writer goes on: what lies there now must be read, not what lay there before.
    const path = join(under.root, String(SEGMENTS - 1).padStart(20, "0"));
    const file = under.storage.open(path, "write");
    file.write(Buffer.alloc(500, 0xee), 0, 500, 10_000);
    file.close();
    t.true(reader.locate(end - 100, 600, end + 500));
    t.is(reader.buffer[reader.offset + 99], byteAt(end - 1));
    t.is(reader.buffer[reader.offset + 100], 0xee);
    t.is(reader.buffer[reader.offset + 599], 0xee);
  });

  test(`${name}: a record of the whole segment's size is read once, and let go after the turn`, (t) => {
    const reader = setUp(make(t), 65_536);
    t.true(reader.locate(SEGMENT, SEGMENT, END));
    t.true(isRight(reader, SEGMENT, SEGMENT));
    t.true(reader.locate(SEGMENT, SEGMENT, END));
    t.true(isRight(reader, SEGMENT, SEGMENT));
    t.true(reader.cachedBytes <= 65_536);
  });

  test(`${name}: a removed segment is gone at once, its bytes only after the turn`, (t) => {
    const reader = setUp(make(t));
    for (let i = 0; i < 50; i++) reader.locate((i * 77_777) % SEGMENT, 100, END);
    t.true(reader.locate(1234, 100, END));
    const { buffer, offset } = reader;
    reader.remove(0);
    t.false(reader.locate(1234, 100, END));
    t.false(reader.locate(0, 10, END));
    t.is(buffer[offset], byteAt(1234));
    t.true(reader.locate(SEGMENT + 5, 100, END));
    t.true(isRight(reader, SEGMENT + 5, 100));
  });
}
