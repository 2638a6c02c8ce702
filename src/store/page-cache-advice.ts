/**
 * Log that hardly anybody needs soon leaves the page cache of the kernel: otherwise it pushes out what is needed, and
 * fresh pages cost the writer more than the writing.
 *
 * The log is looked at in chunks. The owner says from time to time how many entries of a queue somebody is owed; from that
 * follows about how many bytes of each chunk. Where it is little the chunk goes: a message that nobody settles for hours
 * keeps nothing in memory, a backlog that waits to be drained keeps all of itself. It is a hint only: whoever is owed
 * something of a chunk that has gone reads it from the disk. What a drain brings in from there goes again behind it.
 */
import type { EntryBatch } from "../model/entry-batch.ts";
import { entryBatch } from "../model/entry-batch.ts";
import type { ConsumeQueue } from "./consume-queue.ts";

export const CHUNK_BYTES = 8 << 20;
/** Chunks that are remembered: 256 GiB. What is owed further back is left to the kernel. */
const CHUNKS = 1 << 15;
/** Chunks that go for each that was appended or read: those of a drained backlog go as they are replaced, not all at once. */
const PER_MOVED = 2;
/** With less than this owed, a chunk goes. */
const LITTLE = CHUNK_BYTES / 8;

/** What was last said of a queue: bytes in each chunk from one to before the next. */
export interface HeldChunks {
  front: number;
  frontBytes: number;
  tail: number;
  tailBytes: number;
  end: number;
}

export interface AdviceHost {
  /** Copies the entry of this offset. False when it cannot be had. */
  read(queue: ConsumeQueue, offset: number, into: EntryBatch): boolean;
  /** Bytes that this process has read from disks so far. */
  diskReads(): number;
  /** Tells the writer that [from, to) may go. */
  forget(from: number, to: number): void;
}

export class PageCacheAdvice {
  readonly #host: AdviceHost;
  readonly #entry = entryBatch();
  /** First chunk that is remembered, and what is owed in the one before it by queues that owe in both. */
  #first: number;
  #before = 0;
  /** By chunk: what is owed in it more than in the one before. */
  readonly #changes = new Float64Array(CHUNKS);
  /** By chunk: 1 when it is not in the page cache, for all that is known. */
  readonly #isForgotten = new Uint8Array(CHUNKS);
  /** Bytes that had been read from disks when something was last read in order. */
  readBytes = 0;
  /** Bytes appended and read at the last review. */
  #reviewedAt: number;

  /** `start`, `end`: of the log that is there; none of it was read yet. */
  constructor(host: AdviceHost, start: number, end: number) {
    this.#host = host;
    const last = Math.floor(end / CHUNK_BYTES);
    this.#first = Math.max(Math.floor(start / CHUNK_BYTES), last - CHUNKS / 2);
    for (let chunk = this.#first; chunk < last; chunk++) this.#isForgotten[chunk % CHUNKS] = 1;
    this.#reviewedAt = end;
  }

  /** Log from this place on is being read in order: from the page cache, or into it. */
  noteRead(position: number): void {
    // What was in memory took nobody's page.
    this.readBytes = this.#host.diskReads();
    const chunk = Math.floor(position / CHUNK_BYTES);
    if (chunk >= this.#first && chunk < this.#first + CHUNKS) this.#isForgotten[chunk % CHUNKS] = 0;
  }

  /** Of the entries that the queue has now, somebody is owed about `count`. `appended`: end of the log. */
  owes(queue: ConsumeQueue, count: number, appended: number): void {
    if (queue.held !== null) this.gone(queue);
    const { minOffset, maxOffset } = queue;
    const all = maxOffset - minOffset;
    const owed = Math.min(count, all);
    if (owed <= 0) return;
    // Most are those at the end. The rest of them may lie anywhere before: both are counted in full.
    const tail = this.#chunkOf(queue, maxOffset - owed);
    const front = owed === all ? tail : this.#chunkOf(queue, minOffset);
    if (tail < 0 || front < 0) return;
    const size = this.#entry.size[0]!;
    const end = Math.max(tail, Math.floor(appended / CHUNK_BYTES)) + 1;
    const inFront = tail > front ? ((owed / all) * (all - owed) * size) / (tail - front) : 0;
    queue.held ??= { front: 0, frontBytes: 0, tail: 0, tailBytes: 0, end: 0 };
    queue.held.front = front;
    queue.held.frontBytes = Math.round(inFront);
    queue.held.tail = tail;
    queue.held.tailBytes = Math.round((owed * size) / (end - tail));
    queue.held.end = end;
    this.#count(queue.held, 1);
  }

  /** The queue owes nothing, or nobody uses it: whoever does later reads from the disk. */
  gone(queue: ConsumeQueue): void {
    const { held } = queue;
    if (held === null || held.end === 0) return;
    this.#count(held, -1);
    held.end = 0;
  }

  /** All queues that changed before `position` was the end of the log have been told of. */
  review(position: number, durable: number): void {
    const end = Math.floor(Math.min(position, durable) / CHUNK_BYTES);
    const moved = position + this.readBytes;
    let left = Math.ceil(((moved - this.#reviewedAt) * PER_MOVED) / CHUNK_BYTES);
    this.#reviewedAt = moved;
    while (end > this.#first + CHUNKS) this.#slide();
    let owed = this.#before;
    let from = -1;
    let to = -1;
    for (let chunk = this.#first; chunk < end && left > 0; chunk++) {
      const slot = chunk % CHUNKS;
      owed += this.#changes[slot]!;
      if (this.#isForgotten[slot] === 0 && owed < LITTLE) {
        this.#isForgotten[slot] = 1;
        left--;
        if (from < 0) from = chunk;
        to = chunk + 1;
      } else if (from >= 0) {
        this.#host.forget(from * CHUNK_BYTES, to * CHUNK_BYTES);
        from = -1;
      }
    }
    if (from >= 0) this.#host.forget(from * CHUNK_BYTES, to * CHUNK_BYTES);
  }

  /** Chunk in which the record of an entry lies, -1 where that is not known. */
  #chunkOf(queue: ConsumeQueue, offset: number): number {
    if (!this.#host.read(queue, offset, this.#entry)) return -1;
    return Math.floor(this.#entry.physicalOffset[0]! / CHUNK_BYTES);
  }

  #count({ front, frontBytes, tail, tailBytes, end }: HeldChunks, sign: number): void {
    this.#add(front, frontBytes * sign);
    this.#add(tail, (tailBytes - frontBytes) * sign);
    this.#add(end, -tailBytes * sign);
  }

  #add(chunk: number, bytes: number): void {
    while (chunk >= this.#first + CHUNKS) this.#slide();
    if (chunk < this.#first) this.#before += bytes;
    else this.#changes[chunk % CHUNKS]! += bytes;
  }

  #slide(): void {
    const slot = this.#first++ % CHUNKS;
    this.#before += this.#changes[slot]!;
    this.#changes[slot] = 0;
    this.#isForgotten[slot] = 0;
  }
}
