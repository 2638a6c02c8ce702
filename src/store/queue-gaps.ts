/**
 * Entries of a ConsumeQueue file that were never written, or that a power cut took: those that were consumed before their
 * file was synced. Nobody here reads them, but RocketMQ takes a queue to end at the first empty entry of its last files. So
 * before something is written behind them they become fillers, as RocketMQ's own (FILLER_SIZE), which name no record.
 */
import { ENTRY_SIZE } from "./page-pool.ts";
import { FILLER_SIZE } from "./record.ts";
import { isSystemError, type StorageFile } from "./storage-file.ts";

const CHUNK_ENTRIES = 3200;

/** Only of entries that nobody reads any more: a sector of them that the disk refuses is left as it is. */
function readSome(file: StorageFile, chunk: Buffer, length: number, position: number): number {
  try {
    return file.readInto(chunk, 0, length, position);
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return 0;
  }
}

/** Makes what is empty below `end`, an entry's number in the file, a filler. Nobody is owed anything there. */
export function fillGaps(file: StorageFile, end: number): void {
  const chunk = Buffer.allocUnsafe(Math.min(end, CHUNK_ENTRIES) * ENTRY_SIZE);
  for (let first = 0; first < end; first += CHUNK_ENTRIES) {
    const length = Math.min(CHUNK_ENTRIES, end - first) * ENTRY_SIZE;
    const position = first * ENTRY_SIZE;
    const got = readSome(file, chunk, length, position);
    let from = -1;
    let to = 0;
    for (let at = 0; at + ENTRY_SIZE <= got; at += ENTRY_SIZE) {
      if (chunk.readInt32BE(at + 8) !== 0) continue;
      chunk.fill(0, at, at + ENTRY_SIZE);
      chunk.writeInt32BE(FILLER_SIZE, at + 8);
      if (from < 0) from = at;
      to = at + ENTRY_SIZE;
    }
    if (from >= 0) file.write(chunk, from, to - from, position + from);
  }
}
