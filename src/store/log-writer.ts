/**
 * Takes published records out of the tail ring, seals them with their checksums, writes and syncs the segments.
 *
 * Invariants: durable <= written <= head. `written` moves only after the write returned, `durable` only after a sync
 * that began after that write. Errors are thrown before anything moves; the caller decides what they mean.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { RecordView } from "../model/record-view.ts";
import type { IndexStore } from "./index-store.ts";
import { BLANK_SIZE, HINT_HAS_KEYS, MAGIC_BLANK, MIN_RECORD_SIZE, sealRecord } from "./record.ts";
import { offsetName } from "./segment-list.ts";
import { isSystemError, type Storage, type StorageFile } from "./storage-file.ts";
import type { TailRing } from "./tail-ring.ts";

/** Bytes sealed before they are written: they are still in the processor's cache then. */
const WRITE_CHUNK = 512 << 10;
/** Space is reserved this far ahead: what an idle store holds beyond its contents. */
const RESERVE_STEP = 32 << 20;

interface Side {
  readonly offset: number;
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly used: number;
}

export class LogWriter {
  readonly #storage: Storage;
  readonly #folder: string;
  readonly #segmentBytes: number;
  readonly #ring: TailRing;
  written: number;
  durable: number;
  /** Records before this offset have their checksums. */
  #sealed: number;
  readonly #sides: Side[] = [];
  #segment: StorageFile | null = null;
  #segmentStart = -1;
  /** Up to here, from the start of the segment, space was asked for. */
  #reservedTo = 0;
  /** Older segments with unsynced bytes. */
  #unsynced: StorageFile[] = [];
  #isFolderUnsynced = false;
  #preparedTo = -1;
  readonly #index: IndexStore;
  /** Places (in the buffer being written) of records with keys that the Index does not have yet. */
  #keyed: number[] = [];
  /** The Index was given keys since the caller last cleared this. */
  hasNewKeys = false;
  readonly #view = new RecordView();

  constructor(
    storage: Storage,
    directory: string,
    segmentBytes: number,
    ring: TailRing,
    index: IndexStore,
    end: number,
  ) {
    this.#storage = storage;
    this.#folder = join(directory, "commitlog");
    this.#segmentBytes = segmentBytes;
    this.#ring = ring;
    this.#index = index;
    this.written = end;
    this.durable = end;
    this.#sealed = end;
  }

  addSide(offset: number, memory: ArrayBuffer, used: number): void {
    this.#sides.push({ offset, bytes: Buffer.from(memory), view: new DataView(memory), used });
  }

  /** Writes one run of records that ends at `head` at the latest; `written` says how far it came. */
  writeSome(head: number): void {
    const side = this.#sides[0];
    if (side !== undefined && side.offset === this.written) this.#writeSide(side);
    else this.#writeRun(side === undefined ? head : Math.min(head, side.offset));
  }

  /** Makes everything written durable. */
  sync(): void {
    const to = this.written;
    if (to === this.durable) return;
    while (this.#unsynced.length > 0) {
      this.#unsynced[0]!.sync();
      this.#unsynced.shift()!.close();
    }
    this.#segment?.sync();
    // A segment whose name is not on the disk is no segment: before anything in it counts as durable.
    if (this.#isFolderUnsynced) this.#storage.syncDirectory(this.#folder);
    this.#isFolderUnsynced = false;
    this.durable = to;
  }

  /**
   * Does ahead of its time what a group commit would have to wait for: reserves space, creates the next segment.
   * True when it did something.
   */
  prepare(): boolean {
    if (this.#segment === null) return false;
    const used = this.written - this.#segmentStart;
    if (used + RESERVE_STEP / 2 > this.#reservedTo && this.#reservedTo < this.#segmentBytes) {
      this.#reserve(this.#segment, used);
      return true;
    }
    const next = this.#segmentStart + this.#segmentBytes;
    if (this.#preparedTo === next || used < this.#segmentBytes / 2) return false;
    this.#preparedTo = next;
    const path = join(this.#folder, offsetName(next));
    if (this.#storage.stat(path) !== undefined) return false;
    const file = this.#storage.open(path, "create");
    file.truncate(this.#segmentBytes);
    file.sync();
    file.close();
    this.#isFolderUnsynced = true;
    return true;
  }

  close(): void {
    for (const file of this.#unsynced) file.close();
    this.#segment?.close();
    this.#segment = null;
  }

  /** Seals and writes records that lie one after the other in the ring, about WRITE_CHUNK bytes. */
  #writeRun(head: number): void {
    const { bytes, view, size: ringSize } = this.#ring;
    const from = this.written;
    const first = this.#ring.indexOf(from);
    let at = first;
    let offset = from;
    while (offset < head && at < ringSize && at - first < WRITE_CHUNK) {
      if (view.getInt32(at + 4) === MAGIC_BLANK) {
        this.#write(bytes, first, at + BLANK_SIZE - first, from);
        this.#putKeys(bytes);
        this.written = this.#segmentEnd(from);
        return;
      }
      const size = view.getInt32(at);
      this.#seal(bytes, view, at, size, offset);
      at += size;
      offset += size;
    }
    this.#write(bytes, first, at - first, from);
    this.#putKeys(bytes);
    this.written = offset;
  }

  #writeSide(side: Side): void {
    let at = 0;
    let end = side.offset + side.used;
    while (at < side.used) {
      if (side.view.getInt32(at + 4) === MAGIC_BLANK) {
        end = this.#segmentEnd(side.offset);
        break;
      }
      const size = side.view.getInt32(at);
      this.#seal(side.bytes, side.view, at, size, side.offset + at);
      at += size;
    }
    this.#write(side.bytes, 0, side.used, side.offset);
    this.#putKeys(side.bytes);
    this.#sides.shift();
    this.written = end;
  }

  #seal(bytes: Buffer, view: DataView, at: number, size: number, offset: number): void {
    // Pair of what the loop wrote: if this does not hold, writing on would destroy the log.
    assert(
      size >= MIN_RECORD_SIZE && view.getUint32(at + 32) === offset >>> 0,
      "ring: not at a record",
    );
    // Once only, also when a full disk makes the write happen twice: the hints are gone after the first time.
    if (offset < this.#sealed) return;
    const hints = sealRecord(bytes, view, at, size);
    this.#sealed = offset + size;
    if ((hints & HINT_HAS_KEYS) !== 0) this.#keyed.push(at);
  }

  /** Before `written` moves: then the bytes may be overwritten. Whatever a full disk stops goes on next time. */
  #putKeys(bytes: Buffer): void {
    while (this.#keyed.length > 0) {
      const view = this.#view.open(bytes, this.#keyed[0]!);
      this.#index.putRecord(
        bytes,
        view.topicStart,
        view.topicEnd,
        view.propertiesStart,
        view.propertiesEnd,
        view.physicalOffset,
        view.storeTimestamp,
      );
      this.#keyed.shift();
      this.hasNewKeys = true;
    }
  }

  #segmentEnd(offset: number): number {
    return offset - (offset % this.#segmentBytes) + this.#segmentBytes;
  }

  #write(bytes: Buffer, start: number, length: number, offset: number): void {
    const file = this.#segmentFor(offset);
    const position = offset - this.#segmentStart;
    if (position + length > this.#reservedTo) this.#reserve(file, position + length);
    file.write(bytes, start, length, position);
  }

  /** A step ahead of what is written, and no further than the segment. */
  #reserve(file: StorageFile, end: number): void {
    const from = Math.max(this.#reservedTo, end - RESERVE_STEP);
    this.#reservedTo = Math.min(end + RESERVE_STEP, this.#segmentBytes);
    if (this.#reservedTo > from) file.reserve?.(from, this.#reservedTo - from);
  }

  /** Synced bytes that hardly anybody is owed leave the page cache. */
  forget(from: number, to: number): void {
    if (this.#segment?.forget === undefined) return;
    for (let at = from; at < to; at = this.#segmentEnd(at)) {
      const start = at - (at % this.#segmentBytes);
      const length = Math.min(to, start + this.#segmentBytes) - at;
      if (start === this.#segmentStart) this.#segment.forget(at - start, length);
      else if (start < this.#segmentStart) this.#forgetInOlder(start, at - start, length);
    }
  }

  /** It may have been removed meanwhile. */
  #forgetInOlder(segment: number, from: number, length: number): void {
    try {
      const file = this.#storage.open(join(this.#folder, offsetName(segment)), "read");
      file.forget?.(from, length);
      file.close();
    } catch (error) {
      if (!isSystemError(error)) throw error;
    }
  }

  #segmentFor(offset: number): StorageFile {
    const start = offset - (offset % this.#segmentBytes);
    if (this.#segment !== null && this.#segmentStart === start) return this.#segment;
    const path = join(this.#folder, offsetName(start));
    const file = this.#storage.open(path, "create");
    // Whoever has created it may not have come to syncing its name.
    this.#isFolderUnsynced = true;
    if (file.size() < this.#segmentBytes) {
      file.truncate(this.#segmentBytes);
      // Its length says later how long segments are.
      file.sync();
    }
    if (this.#segment !== null) this.#unsynced.push(this.#segment);
    this.#segment = file;
    this.#segmentStart = start;
    this.#reservedTo = offset - start;
    return file;
  }
}
