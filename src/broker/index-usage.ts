/**
 * How many messages wait in indexes (of MQTT sessions, shares, wildcard subscriptions), and bytes of their records: each once,
 * however many indexes it waits in. Beyond some ten thousand messages it counts a sample, exact to about half a per cent, so
 * that it takes bounded memory.
 */
import { entryBatch } from "../model/entry-batch.ts";
import { STATE } from "./ack-state.ts";
import type { EntrySource } from "./delivery-run.ts";
import type { ShardProgress } from "./shard-progress.ts";

const BATCH = 256;
const SAMPLE_MAX = 65_536;

export interface IndexedMessages {
  readonly messages: number;
  readonly bytes: number;
}

/** Nobody needs to know by how much these are exceeded: it stops when they are. 0 is no limit. */
export function countIndexed(
  indexes: Iterable<ShardProgress>,
  entries: Pick<EntrySource, "read">,
  most: IndexedMessages = { messages: 0, bytes: 0 },
): IndexedMessages {
  const distinct = new DistinctRecords();
  for (const progress of indexes) {
    if (progress.backlog > 0) addOwed(distinct, progress, entries);
    if (most.messages > 0 && distinct.messages > most.messages) break;
    if (most.bytes > 0 && distinct.bytes > most.bytes) break;
  }
  return { messages: distinct.messages, bytes: distinct.bytes };
}

const batch = entryBatch(BATCH);

function addOwed(
  distinct: DistinctRecords,
  progress: ShardProgress,
  entries: Pick<EntrySource, "read">,
): void {
  const { state, queue } = progress;
  for (let at = state.low; at < queue.maxOffset; ) {
    const count = entries.read(queue, at, Math.min(BATCH, queue.maxOffset - at), batch);
    if (count === 0) return;
    for (let i = 0; i < count; i++) {
      if (state.stateOf(at + i) === STATE.SETTLED) continue;
      distinct.add(batch.physicalOffset[i]!, batch.size[i]!);
    }
    at += count;
  }
}

/** Records by their place in the log. Of more than fit, those stay whose hash ends in enough zeros: each stands for many. */
class DistinctRecords {
  readonly #sizes = new Map<number, number>();
  #mask = 0;
  #bytes = 0;

  get messages(): number {
    return this.#sizes.size * (this.#mask + 1);
  }
  get bytes(): number {
    return this.#bytes * (this.#mask + 1);
  }

  add(physicalOffset: number, size: number): void {
    if ((hashOf(physicalOffset) & this.#mask) !== 0 || this.#sizes.has(physicalOffset)) return;
    this.#sizes.set(physicalOffset, size);
    this.#bytes += size;
    if (this.#sizes.size > SAMPLE_MAX) this.#halve();
  }

  #halve(): void {
    this.#mask = this.#mask * 2 + 1;
    for (const [offset, size] of this.#sizes) {
      if ((hashOf(offset) & this.#mask) === 0) continue;
      this.#sizes.delete(offset);
      this.#bytes -= size;
    }
  }
}

/** Every bit of the offset moves every bit of the hash. */
function hashOf(offset: number): number {
  let hash = Math.imul((offset % 2 ** 32) | 0, 0x9e3779b1) ^ Math.floor(offset / 2 ** 32);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}
