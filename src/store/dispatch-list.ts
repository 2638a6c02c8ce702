/**
 * The list of light queues among a record's properties, and the record's place in each (RocketMQ's light message queues):
 *
 *   INNER_MULTI_DISPATCH 1 %LMQ%name , %LMQ%name … 2 INNER_MULTI_QUEUE_OFFSET 1 17 , 4 … 2      (1 and 2 are bytes)
 *
 * One record after the other goes to the same queues: the text before the offsets is kept and copied in one piece.
 */
import { copyBytes, fastBuffer } from "../util/copy-memory.ts";
import type { StoreQueue } from "./message-store.ts";
import {
  DISPATCH_OVERHEAD,
  digitsOf,
  writeDecimal,
  writeDispatchName,
  writeOffsetsName,
} from "./record.ts";

/** What the list tells of a queue. */
export interface ListedQueue extends StoreQueue {
  /** Its name as it stands there. */
  readonly topicBytes: Buffer;
}

const TEXT_BYTES = 4096;
const COMMA = 0x2c;
const END = 0x02;

export class DispatchList {
  /** Whose text is kept. */
  readonly #queues: ListedQueue[] = [];
  #text: Buffer | null = null;
  #textLength = 0;

  /** Bytes the list takes. */
  size(queues: readonly ListedQueue[]): number {
    const { length } = queues;
    let size = this.#isKept(queues) ? this.#textLength + length : fixedSize(queues);
    for (let i = 0; i < length; i++) size += digitsOf(queues[i]!.maxOffset);
    return size;
  }

  /** Writes the list with the queues' next offsets; returns where it ends. */
  write(bytes: Buffer, at: number, queues: readonly ListedQueue[]): number {
    let to: number;
    if (this.#isKept(queues)) to = copyBytes(this.#text!, 0, this.#textLength, bytes, at);
    else {
      to = writeNames(bytes, at, queues);
      this.#keep(bytes, at, to, queues);
    }
    for (let i = 0; i < queues.length; i++) {
      if (i > 0) bytes[to++] = COMMA;
      to = writeDecimal(bytes, to, queues[i]!.maxOffset);
    }
    bytes[to++] = END;
    return to;
  }

  #isKept(queues: readonly ListedQueue[]): boolean {
    const kept = this.#queues;
    if (kept.length !== queues.length) return false;
    for (let i = 0; i < kept.length; i++) if (kept[i] !== queues[i]) return false;
    return true;
  }

  #keep(bytes: Buffer, start: number, end: number, queues: readonly ListedQueue[]): void {
    this.#queues.length = 0;
    if (end - start > TEXT_BYTES) return;
    this.#text ??= fastBuffer(TEXT_BYTES);
    copyBytes(bytes, start, end, this.#text, 0);
    this.#textLength = end - start;
    for (const queue of queues) this.#queues.push(queue);
  }
}

/** What does not depend on the offsets; commas and the last separator stand for a byte of each queue. */
function fixedSize(queues: readonly ListedQueue[]): number {
  let size = DISPATCH_OVERHEAD + (queues.length - 1) * 2;
  for (let i = 0; i < queues.length; i++) size += queues[i]!.topicBytes.length;
  return size;
}

function writeNames(bytes: Buffer, at: number, queues: readonly ListedQueue[]): number {
  let to = writeDispatchName(bytes, at);
  for (let i = 0; i < queues.length; i++) {
    const name = queues[i]!.topicBytes;
    if (i > 0) bytes[to++] = COMMA;
    to = copyBytes(name, 0, name.length, bytes, to);
  }
  bytes[to++] = END;
  return writeOffsetsName(bytes, to);
}
