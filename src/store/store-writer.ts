/**
 * The writing half of the store: takes published records out of the tail ring, seals them with their checksums, writes
 * and syncs them, and moves the watermarks. Runs in the store thread (store-thread.ts); tests run it in line.
 *
 * Invariants: written <= head, durable <= written. `written` moves only after the write returned, `durable` only after
 * a sync that began after that write. Once an error says that bytes may be lost, neither moves again.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { CommandRing } from "./command-ring.ts";
import { GroupCommit } from "./group-commit.ts";
import { PageWriter } from "./page-writer.ts";
import { BLANK_SIZE, MAGIC_BLANK, MIN_RECORD_SIZE, sealRecord } from "./record.ts";
import { offsetName } from "./segment-list.ts";
import { HEALTH, POSITION, SharedControl, WORD } from "./shared-control.ts";
import { isDiskFull, type Storage, type StorageFile } from "./storage-file.ts";
import { TailRing } from "./tail-ring.ts";
import type { FromWriter, ToWriter, WriterStart } from "./writer-messages.ts";

/** Bytes sealed before they are written: they are still in the processor's cache then. */
const WRITE_CHUNK = 512 << 10;
/** Space is reserved this far ahead: what an idle store holds beyond its contents. */
const RESERVE_STEP = 32 << 20;
const FULL_RETRY_MS = 250;
/** Then the log has its turn again. */
const COMMANDS_PER_STEP = 64;

/** The store thread's side of the message port. */
export interface WriterPort {
  take(): ToWriter | undefined;
  reply(message: FromWriter): void;
}

export class StoreWriter {
  readonly #storage: Storage;
  readonly #port: WriterPort;
  readonly #start: WriterStart;
  readonly control: SharedControl;
  readonly #ring: TailRing;
  readonly #pages: PageWriter;
  readonly #commit: GroupCommit;
  readonly #logFolder: string;
  #written: number;
  /** Records before this offset have their checksums. */
  #sealed: number;
  #durable: number;
  #postedSeen = 0;
  #sides: Array<{ offset: number; bytes: Buffer; view: DataView; used: number }> = [];
  #segment: StorageFile | null = null;
  #segmentStart = -1;
  /** Up to here, from the start of the segment, space was asked for. */
  #reservedTo = 0;
  /** Older segments with unsynced bytes. */
  #unsynced: StorageFile[] = [];
  #isDirectoryUnsynced = false;
  #health: "ok" | "full" | "failed" = "ok";
  #isClosing = false;
  isClosed = false;
  isResting = false;

  constructor(storage: Storage, start: WriterStart, port: WriterPort) {
    this.#storage = storage;
    this.#port = port;
    this.#start = start;
    this.control = new SharedControl(start.control);
    this.#ring = new TailRing(start.ringBytes, start.ring.byteLength - start.ringBytes, start.ring);
    const commands = new CommandRing(this.control, start.commandCapacity, start.commands);
    this.#pages = new PageWriter(storage, commands);
    this.#commit = new GroupCommit(start.syncSpacingMs);
    this.#logFolder = join(start.directory, "commitlog");
    this.#written = start.logEnd;
    this.#sealed = start.logEnd;
    this.#durable = start.logEnd;
  }

  /**
   * One pass over what there is to do. Returns the ms after which it wants to run again; Infinity: when woken.
   * `isResting` then says that it wants to be left alone until then, to collect more for the next sync.
   */
  step(now: number): number {
    this.isResting = false;
    // The head first: messages that belong to records before it are posted before it moves.
    const head = this.control.position(POSITION.HEAD);
    // Likewise commands: those seen here speak of slabs and queues whose messages are in the port by now, later ones may not.
    const commandHead = this.control.load(WORD.COMMAND_HEAD);
    if (!this.#takeMessages()) return 0;
    const isSyncWanted =
      this.#health !== "failed" && this.control.position(POSITION.SYNC_TO) > this.#durable;
    if (isSyncWanted && !this.#isClosing && this.control.load(WORD.WANTS_ROOM) === 0) {
      const rest = this.#commit.delay(now);
      if (rest > 0) {
        this.isResting = true;
        return rest;
      }
    }
    const before = this.#written;
    if (this.#health !== "failed") this.#writeUpTo(head);
    let isMoved = this.#written !== before;
    if (isSyncWanted && this.#written > this.#durable) {
      this.#sync();
      isMoved = true;
    }
    if (isMoved) {
      this.control.store(WORD.WANTS_ROOM, 0);
      this.control.wakeLoop();
    }
    // After the wake-up: nobody waits for these.
    const hasMore = this.#runCommands(commandHead);
    if (this.control.load(WORD.WANTS_ROOM) !== 0) {
      this.control.store(WORD.WANTS_ROOM, 0);
      this.control.wakeLoop();
    }
    if (hasMore) return 0;
    if (this.#isClosing && (this.#health !== "ok" || this.#written === head)) this.#finish();
    return this.#health === "full" ? FULL_RETRY_MS : Number.POSITIVE_INFINITY;
  }

  /** Carries out commands up to `head`, a bounded number. True when there are more. */
  #runCommands(head: number): boolean {
    const twice = this.#start.commandCapacity * 2;
    const open = (head - this.control.load(WORD.COMMAND_TAIL) + twice) % twice;
    return open > 0 && this.#pages.run(Math.min(open, COMMANDS_PER_STEP));
  }

  /** False when a message was announced that is not here yet. */
  #takeMessages(): boolean {
    const posted = this.control.load(WORD.POSTED);
    while (this.#postedSeen !== posted) {
      const message = this.#port.take();
      if (message === undefined) return false;
      this.#postedSeen = (this.#postedSeen + 1) | 0;
      switch (message.kind) {
        case "side": {
          const bytes = Buffer.from(message.bytes);
          const view = new DataView(message.bytes);
          this.#sides.push({ offset: message.offset, bytes, view, used: message.used });
          break;
        }
        case "slab":
          this.#pages.addSlab(message.index, message.memory);
          break;
        case "queue":
          this.#pages.addQueue(message.number, message.folder);
          break;
        case "close":
          this.#isClosing = true;
          break;
      }
    }
    return true;
  }

  #writeUpTo(head: number): void {
    try {
      while (this.#written < head) {
        const side = this.#sides[0];
        if (side !== undefined && side.offset === this.#written) this.#writeSide(side);
        else this.#writeRun(Math.min(head, side?.offset ?? head));
      }
      if (this.#health === "full" && this.#written === head) this.#report("ok", "");
    } catch (error) {
      this.#onError(error);
    }
  }

  /** Seals and writes records that lie one after the other in the ring, about WRITE_CHUNK bytes. */
  #writeRun(head: number): void {
    const { bytes, view, size: ringSize } = this.#ring;
    const from = this.#written;
    const first = this.#ring.indexOf(from);
    let at = first;
    let offset = from;
    while (offset < head && at < ringSize && at - first < WRITE_CHUNK) {
      if (view.getInt32(at + 4) === MAGIC_BLANK) {
        this.#write(bytes, first, at + BLANK_SIZE - first, from);
        this.#advance(this.#segmentEnd(from));
        return;
      }
      const size = view.getInt32(at);
      this.#seal(bytes, view, at, size, offset);
      at += size;
      offset += size;
    }
    this.#write(bytes, first, at - first, from);
    this.#advance(offset);
  }

  #writeSide(side: { offset: number; bytes: Buffer; view: DataView; used: number }): void {
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
    this.#sides.shift();
    this.#advance(end);
  }

  #seal(bytes: Buffer, view: DataView, at: number, size: number, offset: number): void {
    // Pair of what the loop wrote: if this does not hold, writing on would destroy the log.
    assert(
      size >= MIN_RECORD_SIZE && view.getUint32(at + 32) === offset >>> 0,
      "ring: not at a record",
    );
    // Once only, also when a full disk makes the write happen twice: the hints are gone after the first time.
    if (offset < this.#sealed) return;
    sealRecord(bytes, view, at, size);
    this.#sealed = offset + size;
  }

  #segmentEnd(offset: number): number {
    const { segmentBytes } = this.#start;
    return offset - (offset % segmentBytes) + segmentBytes;
  }

  #write(bytes: Buffer, start: number, length: number, offset: number): void {
    const file = this.#segmentFor(offset);
    const end = offset - this.#segmentStart + length;
    if (end > this.#reservedTo) this.#reserve(file, end);
    file.write(bytes, start, length, offset - this.#segmentStart);
  }

  /** A step ahead of what is written, and no further than the segment. */
  #reserve(file: StorageFile, end: number): void {
    const from = Math.max(this.#reservedTo, end - RESERVE_STEP);
    this.#reservedTo = Math.min(end + RESERVE_STEP, this.#start.segmentBytes);
    if (this.#reservedTo > from) file.reserve?.(from, this.#reservedTo - from);
  }

  #segmentFor(offset: number): StorageFile {
    const { segmentBytes } = this.#start;
    const start = offset - (offset % segmentBytes);
    if (this.#segment !== null && this.#segmentStart === start) return this.#segment;
    const path = join(this.#logFolder, offsetName(start));
    const isNew = this.#storage.stat(path) === undefined;
    const file = this.#storage.open(path, "create");
    if (file.size() < segmentBytes) file.truncate(segmentBytes);
    if (isNew) this.#isDirectoryUnsynced = true;
    if (this.#segment !== null) this.#unsynced.push(this.#segment);
    this.#segment = file;
    this.#segmentStart = start;
    this.#reservedTo = offset - start;
    return file;
  }

  #advance(to: number): void {
    this.#written = to;
    this.control.setPosition(POSITION.WRITTEN, to);
  }

  #sync(): void {
    const to = this.#written;
    try {
      this.#commit.begin(performance.now());
      for (const file of this.#unsynced) {
        file.sync();
        file.close();
      }
      this.#unsynced = [];
      this.#segment?.sync();
      // A segment whose name is not on the disk is no segment: before anything in it counts as durable.
      if (this.#isDirectoryUnsynced) this.#storage.syncDirectory(this.#logFolder);
      this.#isDirectoryUnsynced = false;
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // The kernel may have dropped what it could not write: the state of the file is unknown from here on.
      this.#report("failed", `commitlog: sync failed: ${messageOf(error)}`);
      return;
    }
    this.#durable = to;
    this.control.setPosition(POSITION.DURABLE, to);
    this.#commit.end(this.control.position(POSITION.HEAD) === to);
  }

  #onError(error: unknown): void {
    if (!isSystemError(error)) throw error; // A bug: nothing it has done may be trusted.
    if (isDiskFull(error)) {
      if (this.#health !== "full") this.#report("full", `no space left: ${messageOf(error)}`);
    } else {
      this.#report("failed", `commitlog: write failed: ${messageOf(error)}`);
    }
  }

  #report(state: "ok" | "full" | "failed", reason: string): void {
    if (this.#health === "failed") return;
    this.#health = state;
    this.control.store(
      WORD.HEALTH,
      state === "ok" ? HEALTH.OK : state === "full" ? HEALTH.FULL : HEALTH.FAILED,
    );
    this.#reply({ kind: "health", state, reason });
    this.control.wakeLoop();
  }

  #reply(message: FromWriter): void {
    this.#port.reply(message);
    this.control.add(WORD.REPLIED, 1);
  }

  #finish(): void {
    if (this.isClosed) return;
    if (this.#health !== "failed" && this.#durable !== this.#written) this.#sync();
    this.#segment?.close();
    this.#pages.close();
    this.isClosed = true;
    this.#reply({ kind: "closed" });
    this.control.wakeLoop();
  }
}

const isSystemError = (error: unknown): boolean =>
  typeof (error as { code?: unknown } | null)?.code === "string";

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
