import test from "ava";
import { ConsumeQueue } from "../../src/store/consume-queue.ts";
import { CHUNK_BYTES, PageCacheAdvice } from "../../src/store/page-cache-advice.ts";

const RECORD = 1 << 12;
const PER_CHUNK = CHUNK_BYTES / RECORD;

/** A log of records of one size, `queues` in turn, of which the advice is told. */
class Log {
  readonly queues: ConsumeQueue[];
  readonly forgotten: Array<[fromChunk: number, toChunk: number]> = [];
  readonly advice: PageCacheAdvice;
  records: number;
  diskReads = 0;

  constructor(queues: number, startChunk = 0) {
    this.records = startChunk * PER_CHUNK;
    this.queues = Array.from({ length: queues }, (_, i) => new ConsumeQueue(`q${i}`, 0, false, i));
    const start = this.records;
    this.advice = new PageCacheAdvice(
      {
        read: (queue, offset, into) => {
          into.physicalOffset[0] = (start + offset * queues + queue.number) * RECORD;
          into.size[0] = RECORD;
          return true;
        },
        diskReads: () => this.diskReads,
        forget: (from, to) => void this.forgotten.push([from / CHUNK_BYTES, to / CHUNK_BYTES]),
      },
      0,
      this.end,
    );
  }
  /** A chunk is read, from the disk or not. */
  read(chunk: number, isFromDisk: boolean): void {
    if (isFromDisk) this.diskReads += CHUNK_BYTES;
    this.advice.noteRead(chunk * CHUNK_BYTES);
  }
  get end(): number {
    return this.records * RECORD;
  }
  append(chunks: number): void {
    this.records += chunks * PER_CHUNK;
    for (const queue of this.queues) queue.maxOffset += (chunks * PER_CHUNK) / this.queues.length;
  }
  owes(queue: number, count: number): void {
    this.advice.owes(this.queues[queue]!, count, this.end);
  }
  review(): void {
    this.advice.review(this.end, this.end);
  }
}

test("what nobody is owed is told to the kernel once, in order, without a gap", (t) => {
  const log = new Log(1);
  for (let i = 0; i < 4; i++) {
    log.append(2);
    log.owes(0, 3);
    log.review();
  }
  t.deepEqual(log.forgotten, [
    [0, 2],
    [2, 4],
    [4, 6],
    [6, 8],
  ]);
});

test("what is not durable, or came after the queues were looked at, stays", (t) => {
  const log = new Log(1);
  log.append(8);
  log.owes(0, 0);
  log.advice.review(4 * CHUNK_BYTES, 3 * CHUNK_BYTES);
  log.advice.review(5 * CHUNK_BYTES + 1, log.end);
  t.deepEqual(log.forgotten, [
    [0, 3],
    [3, 5],
  ]);
});

test("a backlog stays until it is drained, then it goes from its beginning as the log grows", (t) => {
  const log = new Log(1);
  log.append(8);
  log.owes(0, 8 * PER_CHUNK);
  log.review();
  t.deepEqual(log.forgotten, []);
  log.queues[0]!.minOffset = 5 * PER_CHUNK;
  log.owes(0, 3 * PER_CHUNK);
  log.review();
  t.deepEqual(log.forgotten, []);
  for (let i = 0; i < 2; i++) {
    log.records += 2 * PER_CHUNK;
    log.review();
  }
  t.deepEqual(log.forgotten, [
    [0, 4],
    [4, 5],
    [9, 12],
  ]);
});

test("a straggler does not keep the page cache full: one old message keeps nothing", (t) => {
  const log = new Log(1);
  log.append(64);
  log.owes(0, 1);
  log.review();
  t.deepEqual(log.forgotten, [[0, 64]]);
});

test("with a straggler before it, a fresh backlog stays all the same", (t) => {
  const log = new Log(1);
  log.append(64);
  log.owes(0, 4 * PER_CHUNK);
  log.review();
  t.deepEqual(log.forgotten, [[0, 60]]);
});

test("where half of a backlog is settled here and there, all of it stays", (t) => {
  const log = new Log(1);
  log.append(64);
  log.owes(0, 32 * PER_CHUNK);
  log.review();
  t.deepEqual(log.forgotten, []);
});

test("a few stuck queues among many keep nothing, many small backlogs together all of theirs", (t) => {
  const log = new Log(256);
  log.append(32);
  for (let i = 0; i < 256; i++) log.owes(i, i < 16 ? (32 * PER_CHUNK) / 256 : 0);
  log.review();
  t.deepEqual(log.forgotten, [[0, 32]]);
  log.append(32);
  for (let i = 0; i < 256; i++) log.owes(i, (32 * PER_CHUNK) / 256);
  log.review();
  t.deepEqual(log.forgotten, [[0, 32]]);
  for (let i = 0; i < 256; i++) log.advice.gone(log.queues[i]!);
  log.records += 16 * PER_CHUNK;
  log.review();
  t.deepEqual(log.forgotten, [
    [0, 32],
    [32, 64],
  ]);
});

test("an old backlog that nobody drains does not keep what came after it", (t) => {
  const log = new Log(2);
  log.append(8);
  log.owes(0, 4 * PER_CHUNK);
  log.owes(1, 0);
  log.review();
  // From now on only the second is used.
  for (let i = 0; i < 3; i++) {
    log.records += 4 * PER_CHUNK;
    log.review();
  }
  t.deepEqual(log.forgotten, [
    [9, 12],
    [12, 16],
    [16, 20],
  ]);
});

test("in a log that is larger than what is remembered, what is owed far back is counted out again", (t) => {
  const log = new Log(1, 1000);
  log.append(8);
  log.owes(0, 8 * PER_CHUNK);
  log.append(40_000);
  log.owes(0, 40_008 * PER_CHUNK);
  log.review();
  t.deepEqual(log.forgotten, []);
  log.owes(0, 0);
  log.records += 3000 * PER_CHUNK;
  log.review();
  t.deepEqual(log.forgotten, [[44_008 - 32_768, 44_008 - 32_768 + 6000]]);
});

test("what a drain reads from the disk goes behind it, although nothing is appended", (t) => {
  const log = new Log(1);
  log.append(16);
  log.owes(0, 0);
  log.review();
  t.deepEqual(log.forgotten, [[0, 16]]);
  log.forgotten.length = 0;
  for (let read = 0; read < 16; read++) {
    log.read(read, true);
    log.queues[0]!.minOffset = read * PER_CHUNK;
    log.owes(0, (16 - read) * PER_CHUNK);
    log.review();
  }
  t.deepEqual(
    log.forgotten,
    Array.from({ length: 15 }, (_, i) => [i, i + 1]),
  );
});

test("what was there at the start goes as well, once it was read", (t) => {
  const log = new Log(1, 16);
  log.review();
  t.deepEqual(log.forgotten, []);
  log.read(3, true);
  log.read(4, true);
  log.review();
  log.review();
  t.deepEqual(log.forgotten, [[3, 5]]);
});

test("a drain of what is still in memory has nothing forgotten until something takes its place", (t) => {
  const log = new Log(1);
  log.append(8);
  log.owes(0, 8 * PER_CHUNK);
  log.review();
  for (let chunk = 0; chunk < 8; chunk++) {
    log.read(chunk, false);
    log.queues[0]!.minOffset += PER_CHUNK;
    log.owes(0, (7 - chunk) * PER_CHUNK);
    log.review();
  }
  t.deepEqual(log.forgotten, []);
  t.is(log.advice.readBytes, 0);
  log.records += PER_CHUNK;
  log.review();
  t.deepEqual(log.forgotten, [[0, 2]]);
});
