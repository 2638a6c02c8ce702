/**
 * The index file being written. Called by the store thread, in the order of the log.
 *
 * Entries go to a buffer and are written in runs; the slots that were touched are kept in pages of 4 KiB (20 MB at most
 * for a file of RocketMQ's default shape, growing with use) and written back with the entries. `flush` makes both
 * visible to readers of the file, `checkpoint` makes them durable and counts them in the header. After a crash `open`
 * goes back to the last checkpoint: the caller puts everything from `header.endPhysicalOffset` on again.
 */
import {
  applyCheckpointMark,
  entryPosition,
  INDEX_ENTRY_SIZE,
  INDEX_HEADER_SIZE,
  type IndexHeader,
  type IndexShape,
  indexFileSize,
  readIndexHeader,
  readInt64,
  SLOT_SIZE,
  slotPosition,
  writeCheckpointMark,
  writeIndexHeader,
  writeInt64,
} from "./index-format.ts";
import type { OpenMode, Storage, StorageFile } from "./storage-file.ts";

const SLOTS_PER_PAGE = 1024;
const PAGE_BYTES = SLOTS_PER_PAGE * SLOT_SIZE;
const PAGES_PER_READ = 256;
const ENTRIES_PER_WRITE = 3276; // just under 64 KiB
const MAX_SECONDS = 0x7fff_ffff;

export class IndexFile {
  readonly name: string;
  readonly header: IndexHeader;
  readonly #file: StorageFile;
  readonly #shape: IndexShape;
  readonly #pages: Array<Buffer | undefined>;
  readonly #isDirty: Uint8Array;
  #dirtyPages: number[] = [];
  readonly #entries = Buffer.allocUnsafe(ENTRIES_PER_WRITE * INDEX_ENTRY_SIZE);
  /** Number of the first entry in the buffer. */
  #firstBuffered: number;
  #hasChanges = false;

  private constructor(name: string, file: StorageFile, shape: IndexShape, header: IndexHeader) {
    this.name = name;
    this.header = header;
    this.#file = file;
    this.#shape = shape;
    const pages = Math.ceil(shape.slots / SLOTS_PER_PAGE);
    this.#pages = new Array<Buffer | undefined>(pages).fill(undefined);
    this.#isDirty = new Uint8Array(pages);
    this.#firstBuffered = header.nextEntry;
  }

  /** Makes a new file; its name is durable when this returns. */
  static create(storage: Storage, directory: string, name: string, shape: IndexShape): IndexFile {
    const { file, header } = openWithHeader(storage, `${directory}/${name}`, "new", shape);
    storage.syncDirectory(directory);
    return new IndexFile(name, file, shape, header);
  }

  /**
   * Opens the newest file. Entries from `logEnd` on are dropped: the log was cut there. Unless the last stop was clean,
   * or when some were dropped, slots are rebuilt from the entries of the last checkpoint.
   */
  static open(
    storage: Storage,
    directory: string,
    name: string,
    shape: IndexShape,
    wasClean: boolean,
    logEnd: number,
  ): IndexFile {
    const { file, header } = openWithHeader(storage, `${directory}/${name}`, "write", shape);
    try {
      if (!wasClean) applyMarkOf(file, shape, header);
      const isCut = cutEntries(file, shape, header, logEnd);
      const index = new IndexFile(name, file, shape, header);
      if (!wasClean || isCut) index.#rebuildSlots();
      return index;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  get isFull(): boolean {
    return this.header.nextEntry >= this.#shape.entries;
  }

  /**
   * Adds one entry. Call in the order of the log, not when `isFull`. When it throws (a full disk), nothing was added
   * and the same call may be made again.
   */
  put(keyHash: number, physicalOffset: number, storeTimestamp: number): void {
    const { header } = this;
    if (header.nextEntry - this.#firstBuffered === ENTRIES_PER_WRITE) this.#writeEntries();
    const slot = keyHash % this.#shape.slots;
    const page = this.#page(Math.floor(slot / SLOTS_PER_PAGE));
    const inPage = (slot % SLOTS_PER_PAGE) * SLOT_SIZE;
    let previous = page.readInt32BE(inPage);
    if (previous < 0 || previous >= header.nextEntry) previous = 0;
    let seconds = 0;
    if (header.nextEntry === 1) {
      header.beginTimestamp = storeTimestamp;
      header.beginPhysicalOffset = physicalOffset;
    } else {
      seconds = Math.floor((storeTimestamp - header.beginTimestamp) / 1000);
      seconds = Math.min(Math.max(seconds, 0), MAX_SECONDS);
    }
    const at = (header.nextEntry - this.#firstBuffered) * INDEX_ENTRY_SIZE;
    this.#entries.writeInt32BE(keyHash, at);
    writeInt64(this.#entries, at + 4, physicalOffset);
    this.#entries.writeInt32BE(seconds, at + 12);
    this.#entries.writeInt32BE(previous, at + 16);
    page.writeInt32BE(header.nextEntry, inPage);
    this.#markDirty(Math.floor(slot / SLOTS_PER_PAGE));
    if (previous === 0) header.usedSlots++;
    header.nextEntry++;
    header.endPhysicalOffset = physicalOffset;
    header.endTimestamp = storeTimestamp;
    this.#hasChanges = true;
  }

  /** Lets readers of the file see everything put so far. May be repeated after it threw. */
  flush(): void {
    const isFirst = this.#firstBuffered === 1 && this.header.nextEntry > 1;
    // Readers need the begin of time; the count stays that of the last checkpoint, which is none.
    if (isFirst) this.#writeHeader(1);
    // Entries first: a slot never points to an entry that is not in the file, for a reader at the same time.
    this.#writeEntries();
    while (this.#dirtyPages.length > 0) {
      const page = this.#dirtyPages[this.#dirtyPages.length - 1]!;
      const slots = Math.min(SLOTS_PER_PAGE, this.#shape.slots - page * SLOTS_PER_PAGE);
      this.#file.write(
        this.#pages[page]!,
        0,
        slots * SLOT_SIZE,
        slotPosition(page * SLOTS_PER_PAGE),
      );
      this.#isDirty[page] = 0;
      this.#dirtyPages.pop();
    }
  }

  /** Makes everything put so far durable. Cheap when nothing changed. */
  checkpoint(): void {
    if (!this.#hasChanges) return;
    this.flush();
    this.#file.sync(); // With the header of the checkpoint before: from now on the mark may be torn.
    const mark = Buffer.alloc(INDEX_ENTRY_SIZE);
    writeCheckpointMark(mark, this.header);
    this.#file.write(mark, 0, INDEX_ENTRY_SIZE, entryPosition(this.#shape, 0));
    this.#file.sync(); // From now on the header may be torn.
    this.#writeHeader(this.header.nextEntry);
    this.#hasChanges = false;
  }

  /** After the last checkpoint of a file: makes its header durable too. */
  syncHeader(): void {
    this.#file.sync();
  }

  /** Closes without a checkpoint. */
  close(): void {
    this.#file.close();
  }

  #writeEntries(): void {
    const count = this.header.nextEntry - this.#firstBuffered;
    if (count === 0) return;
    this.#file.write(
      this.#entries,
      0,
      count * INDEX_ENTRY_SIZE,
      entryPosition(this.#shape, this.#firstBuffered),
    );
    this.#firstBuffered = this.header.nextEntry;
  }

  #writeHeader(nextEntry: number): void {
    const bytes = Buffer.alloc(INDEX_HEADER_SIZE);
    writeIndexHeader(bytes, { ...this.header, nextEntry });
    this.#file.write(bytes, 0, INDEX_HEADER_SIZE, 0);
  }

  #page(index: number): Buffer {
    const found = this.#pages[index];
    if (found !== undefined) return found;
    const page = Buffer.alloc(PAGE_BYTES);
    const slots = Math.min(SLOTS_PER_PAGE, this.#shape.slots - index * SLOTS_PER_PAGE);
    this.#file.readInto(page, 0, slots * SLOT_SIZE, slotPosition(index * SLOTS_PER_PAGE));
    this.#pages[index] = page;
    return page;
  }

  #markDirty(page: number): void {
    if (this.#isDirty[page] === 1) return;
    this.#isDirty[page] = 1;
    this.#dirtyPages.push(page);
  }

  /**
   * Slots are written at any time between checkpoints, so after a crash they may point to entries that are not there
   * (and so have lost the ones before). The entries that the header counts are whole: link them again.
   */
  #rebuildSlots(): void {
    const { slots } = this.#shape;
    const { header } = this;
    this.#clearSlots();
    header.usedSlots = 0;
    let seconds = 0;
    const block = Buffer.allocUnsafe(ENTRIES_PER_WRITE * INDEX_ENTRY_SIZE);
    for (let first = 1; first < header.nextEntry; first += ENTRIES_PER_WRITE) {
      const count = Math.min(ENTRIES_PER_WRITE, header.nextEntry - first);
      const bytes = count * INDEX_ENTRY_SIZE;
      const read = this.#file.readInto(block, 0, bytes, entryPosition(this.#shape, first));
      block.fill(0, read, bytes);
      for (let i = 0; i < count; i++) {
        const keyHash = block.readInt32BE(i * INDEX_ENTRY_SIZE);
        if (keyHash < 0) continue; // Damaged: no hash is negative.
        const slot = keyHash % slots;
        const pageIndex = Math.floor(slot / SLOTS_PER_PAGE);
        const page = this.#page(pageIndex);
        this.#markDirty(pageIndex);
        const inPage = (slot % SLOTS_PER_PAGE) * SLOT_SIZE;
        const previous = page.readInt32BE(inPage);
        if (previous === 0) header.usedSlots++;
        block.writeInt32BE(previous, i * INDEX_ENTRY_SIZE + 16);
        page.writeInt32BE(first + i, inPage);
        seconds = Math.max(seconds, block.readInt32BE(i * INDEX_ENTRY_SIZE + 12));
      }
      this.#file.write(block, 0, bytes, entryPosition(this.#shape, first));
    }
    header.endTimestamp = header.nextEntry === 1 ? 0 : header.beginTimestamp + seconds * 1000 + 999;
    this.#hasChanges = true;
    this.checkpoint();
  }

  /** Empties every slot. Pages that are empty already stay holes of the file and take no memory. */
  #clearSlots(): void {
    const end = this.#shape.slots * SLOT_SIZE;
    const block = Buffer.allocUnsafe(Math.min(end, PAGES_PER_READ * PAGE_BYTES));
    const zeros = Buffer.alloc(PAGE_BYTES);
    for (let at = 0; at < end; at += block.length) {
      const length = Math.min(block.length, end - at);
      const read = this.#file.readInto(block, 0, length, INDEX_HEADER_SIZE + at);
      block.fill(0, read, length);
      for (let from = 0; from < length; from += PAGE_BYTES) {
        const to = Math.min(from + PAGE_BYTES, length);
        if (block.compare(zeros, 0, to - from, from, to) === 0) continue;
        const page = (at + from) / PAGE_BYTES;
        this.#pages[page] = Buffer.alloc(PAGE_BYTES);
        this.#markDirty(page);
      }
    }
  }
}

/** Leaves the entries below `logEnd`; they lie in the order of the log. True when there were others. */
function cutEntries(
  file: StorageFile,
  shape: IndexShape,
  header: IndexHeader,
  logEnd: number,
): boolean {
  if (header.nextEntry === 1 || header.endPhysicalOffset < logEnd) return false;
  const bytes = Buffer.alloc(INDEX_ENTRY_SIZE);
  const offsetOf = (entry: number): number => {
    file.readInto(bytes, 0, INDEX_ENTRY_SIZE, entryPosition(shape, entry));
    return readInt64(bytes, 4);
  };
  let low = 1;
  let high = header.nextEntry;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (offsetOf(middle) < logEnd) low = middle + 1;
    else high = middle;
  }
  header.nextEntry = low;
  header.endPhysicalOffset = low === 1 ? 0 : offsetOf(low - 1);
  return true;
}

/** Goes back to what was durable for sure: after an unclean stop the header may be torn. */
export function applyMarkOf(file: StorageFile, shape: IndexShape, header: IndexHeader): void {
  const bytes = Buffer.alloc(INDEX_ENTRY_SIZE);
  file.readInto(bytes, 0, INDEX_ENTRY_SIZE, entryPosition(shape, 0));
  applyCheckpointMark(bytes, header);
  header.nextEntry = Math.min(header.nextEntry, shape.entries);
  if (header.nextEntry === 1) header.endPhysicalOffset = 0;
}

function openWithHeader(
  storage: Storage,
  path: string,
  mode: OpenMode,
  shape: IndexShape,
): { file: StorageFile; header: IndexHeader } {
  const file = storage.open(path, mode);
  try {
    const size = indexFileSize(shape);
    if (file.size() !== size) file.truncate(size);
    const bytes = Buffer.alloc(INDEX_HEADER_SIZE);
    file.readInto(bytes, 0, INDEX_HEADER_SIZE, 0);
    const header = readIndexHeader(bytes);
    header.nextEntry = Math.min(header.nextEntry, shape.entries);
    return { file, header };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** One candidate chain of a file, newest first, read by position. `take` returns false to stop. */
export function walkChain(
  file: StorageFile,
  shape: IndexShape,
  keyHash: number,
  take: (physicalOffset: number, seconds: number) => boolean,
): void {
  const bytes = Buffer.allocUnsafe(INDEX_ENTRY_SIZE);
  const slot = keyHash % shape.slots;
  if (file.readInto(bytes, 0, SLOT_SIZE, slotPosition(slot)) < SLOT_SIZE) return;
  let entry = bytes.readInt32BE(0);
  while (entry > 0 && entry < shape.entries) {
    const read = file.readInto(bytes, 0, INDEX_ENTRY_SIZE, entryPosition(shape, entry));
    if (read < INDEX_ENTRY_SIZE) return;
    const seconds = bytes.readInt32BE(12);
    if (seconds < 0) return;
    if (bytes.readInt32BE(0) === keyHash && !take(readInt64(bytes, 4), seconds)) return;
    const previous = bytes.readInt32BE(16);
    // Links go back in time only: whatever is on the disk, this loop ends.
    if (previous >= entry) return;
    entry = previous;
  }
}
