/**
 * Entries of a ConsumeQueue file that were never written, or that a power cut took: those that were consumed before their
 * file was synced. Nobody here reads them, but RocketMQ takes a queue to end at the first empty entry of its last files. So
 * before something is written behind them they become fillers, as RocketMQ's own (FILLER_SIZE), which name no record.
 */
import { ENTRY_SIZE } from "./page-pool.ts";
import { FILLER_SIZE } from "./record.ts";
import type { StorageFile } from "./storage-file.ts";

const CHUNK_ENTRIES = 3200;

/** Makes what is empty below `end`, an entry's number in the file, a filler. True when there was something. */
export function fillGaps(file: StorageFile, end: number): boolean {
  const chunk = Buffer.allocUnsafe(Math.min(end, CHUNK_ENTRIES) * ENTRY_SIZE);
  let isChanged = false;
  for (let first = 0; first < end; first += CHUNK_ENTRIES) {
    const length = Math.min(CHUNK_ENTRIES, end - first) * ENTRY_SIZE;
    const position = first * ENTRY_SIZE;
    const got = file.readInto(chunk, 0, length, position);
    chunk.fill(0, got, length);
    let from = -1;
    let to = 0;
    for (let at = 0; at < length; at += ENTRY_SIZE) {
      if (chunk.readInt32BE(at + 8) !== 0) continue;
      chunk.fill(0, at, at + ENTRY_SIZE);
      chunk.writeInt32BE(FILLER_SIZE, at + 8);
      if (from < 0) from = at;
      to = at + ENTRY_SIZE;
    }
    if (from < 0) continue;
    file.write(chunk, from, to - from, position + from);
    isChanged = true;
  }
  return isChanged;
}
