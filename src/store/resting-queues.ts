/**
 * Queues that nobody uses just now, packed: a record of some sixty bytes each instead of objects. A queue is packed when
 * its owner has let go of it and all of it is in the files; it becomes an object again when it is asked for.
 *
 *   key    topic queues: topic, NUL, queue id      light queues: 0x01, name
 *
 *   at  size  value, little-endian
 *    0     4  number          16     8  maxOffset
 *    4     4  firstFile       24     8  owed (retention.ts), -1: not known
 *    8     8  minOffset       32     -  20 each: entries of a light queue, in place of `firstFile` as many
 *                                    8  4 page number, 4 block: blocks of the arena
 *                                    8  movedTo, at the end, where bit 31 of the number is set
 */
import { ByteTable } from "../util/byte-table.ts";
import { KEPT_MAX } from "./catalog.ts";
import type { CatalogLoader } from "./catalog-loader.ts";
import { ConsumeQueue, keptEntries } from "./consume-queue.ts";
import type { QueueRange } from "./message-store.ts";
import { ENTRY_SIZE } from "./page-pool.ts";

const FIXED = 32;
const PAIR = 8;
/** Of the number: some of its records were moved. */
const HAS_MOVED = 0x80000000;
/** A queue with more blocks than this stays an object. */
const MAX_BLOCKS = 4096;
/** Longest name that is taken from a catalog as it lies, and what an id may add to it. */
const MAX_NAME = 4096;
const ID_BYTES = 16;
/** Looked at and passed over before there is a pause. */
const QUEUES_PER_PAUSE = 4096;
const LIGHT = "\x01";
const LIGHT_BYTE = 1;

const keyOf = (topic: string, queueId: number, isLight: boolean): string =>
  isLight ? LIGHT + topic : `${topic}\x00${queueId}`;

function numberOf(value: Buffer): number {
  const number = value.readUInt32LE(0);
  return number >= HAS_MOVED ? number - HAS_MOVED : number;
}

const hasEntries = (view: DataView, at: number): boolean =>
  view.getFloat64(at + 8, true) < view.getFloat64(at + 16, true);

export class RestingQueues {
  readonly #table = new ByteTable();
  #value = Buffer.alloc(256 + KEPT_MAX * ENTRY_SIZE);

  get size(): number {
    return this.#table.size;
  }
  get bytes(): number {
    return this.#table.bytes;
  }

  /** Packs a queue of which nothing is in memory any more. False when it cannot be. */
  add(queue: ConsumeQueue): boolean {
    const { topic, queueId, isLight, number, kept } = queue;
    const keptBytes = kept?.bytes.length ?? 0;
    const blocks = queue.blocks();
    const key = keyOf(topic, queueId, isLight);
    const hasMoved = queue.movedTo > queue.minOffset;
    const length = FIXED + keptBytes + (blocks.length + (hasMoved ? 1 : 0)) * PAIR;
    if (blocks.length > MAX_BLOCKS || !ByteTable.fits(key, length)) return false;
    if (this.#value.length < length) this.#value = Buffer.alloc(length);
    const value = this.#value;
    value.writeUInt32LE(hasMoved ? number + HAS_MOVED : number, 0);
    value.writeUInt32LE(isLight ? keptBytes / ENTRY_SIZE : queue.firstFile, 4);
    value.writeDoubleLE(queue.minOffset, 8);
    value.writeDoubleLE(queue.maxOffset, 16);
    value.writeDoubleLE(queue.owed, 24);
    if (kept !== null) value.set(kept.bytes, FIXED);
    let at = FIXED + keptBytes;
    for (const [page, block] of blocks) {
      value.writeUInt32LE(page, at);
      value.writeUInt32LE(block, at + 4);
      at += PAIR;
    }
    if (hasMoved) value.writeDoubleLE(queue.movedTo, at);
    this.#table.set(key, value, length);
    return true;
  }

  reserve(queues: number): void {
    this.#table.reserve(queues);
  }

  /** The same with one that a catalog tells of. False when it is not plain. */
  load(catalog: CatalogLoader, row: number): boolean {
    const { bytes, start, end } = catalog.nameOf(row);
    const length = end - start;
    if (length > MAX_NAME || !catalog.isPlain(row)) return false;
    const queueId = catalog.queueIdOf(row);
    const isLight = queueId < 0;
    const key = this.#table.keyRoom(length + ID_BYTES);
    if (isLight) key[0] = LIGHT_BYTE;
    let at = isLight ? 1 : 0;
    for (let from = start; from < end; from++) key[at++] = bytes[from]!;
    if (!isLight) at += key.write(`\x00${queueId}`, at, "latin1");
    const value = this.#value;
    value.writeUInt32LE(catalog.numberOf(row), 0);
    const kept = catalog.copyKept(row, value, FIXED);
    value.writeUInt32LE(kept, 4);
    value.writeDoubleLE(catalog.minOf(row), 8);
    value.writeDoubleLE(catalog.maxOf(row), 16);
    value.writeDoubleLE(-1, 24);
    const page = catalog.pageOf(row);
    if (page >= 0) {
      value.writeUInt32LE(page, FIXED);
      value.writeUInt32LE(catalog.blockOf(row), FIXED + 4);
    }
    this.#table.setWritten(at, value, FIXED + kept * ENTRY_SIZE + (page < 0 ? 0 : PAIR));
    return true;
  }

  /** The queue as an object, no longer packed; undefined when it is not here. */
  take(topic: string, queueId: number, isLight: boolean): ConsumeQueue | undefined {
    if (this.#table.size === 0) return undefined;
    const key = keyOf(topic, queueId, isLight);
    const found = this.#table.find(key);
    if (found < 0) return undefined;
    const queue = this.#unpack(topic, queueId, isLight, this.#table.valueOf(found));
    this.#table.delete(key);
    return queue;
  }

  /** The same to look at: it stays packed. */
  peek(topic: string, queueId: number, isLight: boolean): ConsumeQueue | undefined {
    const found = this.#table.find(keyOf(topic, queueId, isLight));
    if (found < 0) return undefined;
    return this.#unpack(topic, queueId, isLight, this.#table.valueOf(found));
  }

  /** The range of one, without an object for it. False when it is not here. */
  rangeOf(topic: string, queueId: number, isLight: boolean, into: QueueRange): boolean {
    const found = this.#table.find(keyOf(topic, queueId, isLight));
    if (found < 0) return false;
    const value = this.#table.valueOf(found);
    into.minOffset = value.readDoubleLE(8);
    into.maxOffset = value.readDoubleLE(16);
    return true;
  }

  /**
   * All of them to look at, one after the other. What retention notes on one (`owed`, `firstFile`) is kept. Queues may
   * be taken between two steps.
   */
  *queues(): Generator<ConsumeQueue> {
    for (const reference of this.#table.references()) yield* this.#look(reference);
  }

  /** The same with those that have entries; null after every so many that have none. */
  *withEntries(): Generator<ConsumeQueue | null> {
    for (const reference of this.#table.seek(hasEntries, QUEUES_PER_PAUSE)) {
      if (reference < 0) yield null;
      else yield* this.#look(reference);
    }
  }

  /** Those that owe something before this place, or do not know; of all others with entries the lowest place is noted. */
  *owedBelow(limit: number, passed: { lowest: number }): Generator<ConsumeQueue> {
    const isWanted = (view: DataView, at: number): boolean => {
      if (!hasEntries(view, at)) return false;
      const owed = view.getFloat64(at + 24, true);
      if (owed < limit) return true;
      if (owed < passed.lowest) passed.lowest = owed;
      return false;
    };
    for (const reference of this.#table.seek(isWanted, Number.POSITIVE_INFINITY)) {
      yield* this.#look(reference);
    }
  }

  /** Those with entries that were settled up to this offset at least. */
  *settledTo(offset: number): Generator<ConsumeQueue> {
    const isWanted = (view: DataView, at: number): boolean =>
      view.getFloat64(at + 8, true) >= offset;
    for (const reference of this.#table.seek(isWanted, QUEUES_PER_PAUSE)) {
      if (reference >= 0) yield* this.#look(reference);
    }
  }

  /** Those that are packed now, also when more are packed meanwhile. */
  *present(): Generator<ConsumeQueue> {
    for (const reference of this.#table.references(this.#table.end)) yield* this.#look(reference);
  }

  /** The same without light ones. */
  *topicQueues(): Generator<ConsumeQueue> {
    for (const reference of this.#table.references()) {
      if (this.#table.headOf(reference) !== LIGHT_BYTE) yield* this.#look(reference);
    }
  }

  *#look(reference: number): Generator<ConsumeQueue> {
    const key = this.#table.keyOf(reference);
    const isLight = key.startsWith(LIGHT);
    const end = isLight ? key.length : key.lastIndexOf("\x00");
    const topic = key.slice(isLight ? 1 : 0, end);
    const queueId = isLight ? 0 : Number(key.slice(end + 1));
    const queue = this.#unpack(topic, queueId, isLight, this.#table.valueOf(reference));
    const { owed, firstFile } = queue;
    yield queue;
    if (queue.owed !== owed || queue.firstFile !== firstFile) this.#note(key, queue);
  }

  /** Topics of queues with entries, and files for them. */
  *topics(): Generator<string> {
    for (const reference of this.#table.references()) {
      if (this.#table.headOf(reference) === LIGHT_BYTE) continue;
      const value = this.#table.valueOf(reference);
      if (value.readDoubleLE(8) === value.readDoubleLE(16)) continue;
      const key = this.#table.keyOf(reference);
      yield key.slice(0, key.lastIndexOf("\x00"));
    }
  }

  #note(key: string, queue: ConsumeQueue): void {
    const found = this.#table.find(key);
    if (found < 0) return;
    const value = this.#table.valueOf(found);
    if (numberOf(value) !== queue.number) return;
    // Trimmed and packed again meanwhile: what was found does not hold any more.
    if (value.readDoubleLE(8) !== queue.minOffset) return;
    if (!queue.isLight) value.writeUInt32LE(queue.firstFile, 4);
    value.writeDoubleLE(queue.owed, 24);
  }

  clear(): void {
    this.#table.clear();
  }

  tidy(): void {
    this.#table.tidy();
  }

  #unpack(topic: string, queueId: number, isLight: boolean, value: Buffer): ConsumeQueue {
    const queue = new ConsumeQueue(topic, queueId, isLight, numberOf(value));
    queue.isDefined = true;
    queue.restore(value.readDoubleLE(8), value.readDoubleLE(16));
    const more = value.readUInt32LE(4);
    let from = FIXED;
    if (!isLight) queue.firstFile = more;
    else if (more > 0) {
      from += more * ENTRY_SIZE;
      queue.kept = keptEntries(queue.minOffset, new Uint8Array(value.subarray(FIXED, from)));
    }
    queue.owed = value.readDoubleLE(24);
    let end = value.length;
    if (value.readUInt32LE(0) >= HAS_MOVED) {
      end -= PAIR;
      queue.movedTo = value.readDoubleLE(end);
    }
    for (let at = from; at < end; at += PAIR) {
      queue.setBlock(value.readUInt32LE(at), value.readUInt32LE(at + 4));
    }
    return queue;
  }
}
