/**
 * The writing half of the store: log, journal, queue entries, checkpoints, in this order of urgency, and the wake-ups
 * of the event loop. Runs in the store thread (store-thread.ts); tests run it in line.
 *
 * Once an error says that bytes may be lost, no watermark moves again. A full disk only makes it wait and try again.
 * The journal is synced after the log: no entry outlives the records it speaks of.
 */
import { join } from "node:path";
import { Checkpointer } from "./checkpointer.ts";
import { CommandRing } from "./command-ring.ts";
import { GroupCommit } from "./group-commit.ts";
import { IndexStore } from "./index-store.ts";
import { JournalWriter } from "./journal-writer.ts";
import { LogWriter } from "./log-writer.ts";
import { PageWriter } from "./page-writer.ts";
import { HEALTH, POSITION, SharedControl, WORD } from "./shared-control.ts";
import { isDiskFull, isSystemError, type Storage } from "./storage-file.ts";
import { TailRing } from "./tail-ring.ts";
import type { FromWriter, ToWriter, WriterStart } from "./writer-messages.ts";

const FULL_RETRY_MS = 250;
/** An acknowledgement that nobody waits for is durable after this time at the latest. */
const JOURNAL_SYNC_MS = 50;
const TELL_EVERY_MS = 60_000;
/** Keys can be searched for after this time at the latest. */
const INDEX_FLUSH_MS = 100;
/** Then the log has its turn again: after so many, or the first few that take longer than this. */
const PAGE_WRITES_PER_STEP = 32;
const PAGE_WRITES_AT_ONCE = 1;
const PAGE_WRITES_MS = 0.5;
/**
 * As many pages in one write are neighbours of one deep queue: cheap. Some such writes are made however late it is, or on a
 * machine with too much to do the pages of that queue would take ever more memory.
 */
const ROW_OF_PAGES = 8;
const ROWS_PER_STEP = 8;
/** Bytes of log written before they are synced: more only makes those wait that came first. */
const LOG_BYTES_PER_SYNC = 4 << 20;
/** With so much to sync there is nothing to wait for. */
const ENOUGH_FOR_A_SYNC = 1 << 20;

/** The store thread's side of the message port. */
export interface WriterPort {
  take(): ToWriter | undefined;
  reply(message: FromWriter): void;
}

export class StoreWriter {
  readonly #storage: Storage;
  readonly #port: WriterPort;
  readonly control: SharedControl;
  readonly #index: IndexStore;
  readonly #log: LogWriter;
  readonly #journal: JournalWriter;
  readonly #commands: CommandRing;
  readonly #pages: PageWriter;
  readonly #checkpointer: Checkpointer;
  readonly #commit: GroupCommit;
  #postedSeen = 0;
  #drops: Array<{ number: number; folder: string; logEnd: number }> = [];
  #indexFlushedAt = Number.NEGATIVE_INFINITY;
  /** When somebody was last told of what could not be removed. */
  #toldAt = Number.NEGATIVE_INFINITY;
  #health: "ok" | "full" | "failed" = "ok";
  #isClosing = false;
  isClosed = false;
  /** Wants to be left alone for the time that `step` returned, to collect more for the next sync. */
  isResting = false;

  constructor(storage: Storage, start: WriterStart, port: WriterPort) {
    this.#storage = storage;
    this.#port = port;
    this.control = new SharedControl(start.control);
    const { directory, segmentBytes } = start;
    const { ringBytes, ringOverhang } = start;
    // As this thread sees it: of a memory that was posted, it is another object.
    const memory = start.memory?.buffer ?? start.ring;
    const ring = new TailRing(ringBytes, ringOverhang, memory, start.ringStart);
    const shape = start.indexShape === undefined ? {} : { shape: start.indexShape };
    this.#index = new IndexStore({ storage, directory: join(directory, "index"), ...shape });
    // Recovery has left it complete.
    this.#index.open(true, start.logEnd);
    this.#log = new LogWriter(storage, directory, segmentBytes, ring, this.#index, start.logEnd);
    const journalRing = new TailRing(
      start.journalRingBytes,
      start.journalRing.byteLength - start.journalRingBytes,
      start.journalRing,
    );
    const { journalFile, journalEnd } = start;
    this.#journal = new JournalWriter(storage, directory, journalRing, journalFile, journalEnd);
    this.#commands = new CommandRing(this.control, start.commandCapacity, start.commands);
    this.#pages = new PageWriter(storage, directory, this.#commands);
    this.#pages.completed = start.commandsDone;
    this.#pages.addUnsynced(start.unsynced);
    this.#checkpointer = new Checkpointer(storage, directory, this.#pages, this.#index);
    this.#commit = new GroupCommit(start.syncSpacingMs);
  }

  /** One pass over what there is to do. Returns the ms after which it wants to run again; Infinity: when woken. */
  step(now: number): number {
    this.isResting = false;
    // The heads first: messages that belong to what lies before them were posted before they moved.
    const head = this.control.position(POSITION.HEAD);
    const journalHead = this.control.position(POSITION.JOURNAL_HEAD);
    const commandHead = this.#commands.head;
    if (!this.#takeMessages()) return 0;
    const isSyncWanted = this.#isSyncWanted(now);
    const isUrgent =
      this.#isClosing ||
      head - this.#log.durable > ENOUGH_FOR_A_SYNC ||
      this.control.load(WORD.WANTS_ROOM) !== 0;
    if (isSyncWanted && !isUrgent) {
      const rest = this.#commit.delay(now);
      if (rest > 0) {
        this.isResting = true;
        return rest;
      }
    }
    let isBusy = false;
    if (this.#health !== "failed") {
      try {
        let isMoved = this.#write(head, journalHead, now);
        if (isSyncWanted) isMoved = this.#sync(now) || isMoved;
        if (isMoved) this.#wake();
        // After the wake-up: nobody waits for the rest.
        isBusy = this.#background(commandHead, now) || this.#log.written < head;
        if (this.#health === "full") this.#report("ok", "");
      } catch (error) {
        this.#onError(error);
      }
    }
    if (this.control.load(WORD.WANTS_ROOM) !== 0) this.#wake();
    if (this.#isClosing) return this.#finish(head, journalHead, isBusy);
    if (isBusy && this.#health === "ok") return 0;
    return this.#idle(now);
  }

  #idle(now: number): number {
    if (this.#health === "failed") return Number.POSITIVE_INFINITY;
    if (this.#health === "full") return FULL_RETRY_MS;
    let at = Number.POSITIVE_INFINITY;
    if (this.#journal.written !== this.#journal.durable) {
      at = this.#journal.unsyncedSince + JOURNAL_SYNC_MS;
    }
    if (this.#log.hasNewKeys) at = Math.min(at, this.#indexFlushedAt + INDEX_FLUSH_MS);
    return Math.max(1, at - now);
  }

  #isSyncWanted(now: number): boolean {
    if (this.#health === "failed") return false;
    const log = this.#log;
    const journal = this.#journal;
    return (
      this.control.position(POSITION.SYNC_TO) > log.durable ||
      this.control.position(POSITION.JOURNAL_SYNC_TO) > journal.durable ||
      (journal.written > journal.durable && now - journal.unsyncedSince >= JOURNAL_SYNC_MS) ||
      this.#checkpointer.wantsDurable > log.durable ||
      journal.wantsLogDurable > log.durable ||
      (this.#drops.length > 0 && this.#drops[0]!.logEnd > log.durable)
    );
  }

  #write(head: number, journalHead: number, now: number): boolean {
    const log = this.#log;
    const journal = this.#journal;
    const isMoved = log.written < head;
    const isSyncWanted = this.control.position(POSITION.SYNC_TO) > log.durable;
    const stop = isSyncWanted ? Math.min(head, log.durable + LOG_BYTES_PER_SYNC) : head;
    while (log.written < stop) {
      log.writeSome(head);
      this.control.setPosition(POSITION.WRITTEN, log.written);
    }
    if (journal.written < journalHead) {
      journal.writeTo(journalHead, now);
      this.control.setPosition(POSITION.JOURNAL_WRITTEN, journal.written);
    }
    return isMoved;
  }

  #sync(now: number): boolean {
    const log = this.#log;
    const journal = this.#journal;
    if (log.written === log.durable && journal.written === journal.durable) return false;
    journal.runOpeningSnapshot(log.durable);
    this.#commit.begin(now);
    try {
      log.sync();
      this.control.setPosition(POSITION.DURABLE, log.durable);
      const isJournalDue =
        this.control.position(POSITION.JOURNAL_SYNC_TO) > journal.durable ||
        now - journal.unsyncedSince >= JOURNAL_SYNC_MS ||
        this.#isClosing;
      if (isJournalDue) journal.sync();
      // Also when the snapshot has synced it already.
      this.control.setPosition(POSITION.JOURNAL_DURABLE, journal.durable);
    } catch (error) {
      if (!isSystemError(error)) throw error;
      // The kernel may have dropped what it could not write: what the file holds is unknown from here on.
      this.#fail(`sync failed: ${messageOf(error)}`);
      return true;
    }
    this.#commit.end(this.control.position(POSITION.HEAD) === log.durable);
    return true;
  }

  /** A piece of what nobody waits for. True when there is more to do at once. */
  #background(commandHead: number, now: number): boolean {
    if (this.#health === "failed") return false;
    let isBusy = this.#writePages(commandHead);
    if (this.#log.hasNewKeys && now - this.#indexFlushedAt >= INDEX_FLUSH_MS) {
      this.#index.flush();
      this.#log.hasNewKeys = false;
      this.#indexFlushedAt = now;
    }
    try {
      const done = this.#checkpointer.run(this.#log.durable);
      if (typeof done === "object") {
        this.#reply({ kind: "checkpoint", offset: done.checkpoint.offset });
        this.control.wakeLoop();
      }
      if (done !== false) isBusy = true;
      if (this.#journal.runSnapshot(this.#log.durable)) {
        isBusy = true;
        // A snapshot's end syncs the journal: whoever waits for that is told now.
        if (this.control.position(POSITION.JOURNAL_DURABLE) < this.#journal.durable) {
          this.control.setPosition(POSITION.JOURNAL_DURABLE, this.#journal.durable);
          this.#wake();
        }
      }
      while (this.#drops.length > 0 && this.#drops[0]!.logEnd <= this.#log.durable) {
        const { number, folder } = this.#drops.shift()!;
        this.#cleanUp(() => this.#pages.drop(number, folder));
      }
      if (this.#log.prepare()) isBusy = true;
    } catch (error) {
      if (!isSystemError(error) || isDiskFull(error)) throw error;
      this.#fail(`sync failed: ${messageOf(error)}`);
    }
    return isBusy;
  }

  /** Where files have to be made, a write may take as long as a sync. */
  #writePages(commandHead: number): boolean {
    const until = performance.now() + PAGE_WRITES_MS;
    for (let done = 0; done < PAGE_WRITES_PER_STEP; done += PAGE_WRITES_AT_ONCE) {
      const before = this.#pages.completed;
      if (!this.#pages.run(PAGE_WRITES_AT_ONCE, commandHead)) return false;
      const isRow = this.#pages.completed - before >= ROW_OF_PAGES;
      if (performance.now() >= until && !(isRow && done < ROWS_PER_STEP)) break;
    }
    return true;
  }

  /** False when a message was announced that is not here yet. */
  #takeMessages(): boolean {
    const posted = this.control.load(WORD.POSTED);
    while (this.#postedSeen !== posted) {
      const message = this.#port.take();
      if (message === undefined) return false;
      this.#postedSeen = (this.#postedSeen + 1) | 0;
      this.#onMessage(message);
    }
    return true;
  }

  #onMessage(message: ToWriter): void {
    switch (message.kind) {
      case "side":
        this.#log.addSide(message.offset, message.bytes, message.used);
        break;
      case "slab":
        this.#pages.addSlab(message.isLight, message.index, message.memory);
        break;
      case "queue":
        this.#dropNow(message.folder);
        this.#pages.addQueue(message.number, message.folder, message.settledTo);
        break;
      case "settled":
        this.#pages.settle(message.number, message.settledTo);
        break;
      case "rest":
        this.#pages.forget(message.number);
        break;
      case "drop":
        this.#pages.forget(message.number);
        this.#drops.push(message);
        break;
      case "checkpoint":
        this.#checkpointer.add(message);
        break;
      case "snapshot":
        this.#journal.addSnapshot(message.file, message.at, message.logEnd, message.chunks);
        break;
      case "remove":
        for (const path of message.paths) this.#cleanUp(() => this.#storage.remove(path));
        for (const [from, to] of message.moves) this.#cleanUp(() => this.#storage.rename(from, to));
        this.#cleanUp(() => void this.#index.deleteBelow(message.logStart));
        break;
      case "forget":
        this.#log.forget(message.from, message.to);
        break;
      case "close":
        this.#isClosing = true;
        break;
      default:
        message satisfies never;
    }
  }

  /** A queue of the same name begins anew: what is left of the old one must not wait. */
  #dropNow(folder: string): void {
    const drop = this.#drops.find((candidate) => candidate.folder === folder);
    if (drop === undefined) return;
    this.#drops.splice(this.#drops.indexOf(drop), 1);
    // What may be left of it is written over, or lies behind the end of the new one.
    this.#cleanUp(() => this.#pages.drop(drop.number, folder));
  }

  /** Lets go of what nobody needs. What the system refuses stays, and goes at a later start: that stops nothing. */
  #cleanUp(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!isSystemError(error)) throw error;
      const now = performance.now();
      if (now < this.#toldAt + TELL_EVERY_MS) return;
      this.#toldAt = now;
      this.#reply({ kind: "leftover", reason: messageOf(error) });
      this.control.wakeLoop();
    }
  }

  #wake(): void {
    this.control.store(WORD.WANTS_ROOM, 0);
    this.control.wakeLoop();
  }

  #onError(error: unknown): void {
    if (!isSystemError(error)) throw error; // A bug: nothing it has done may be trusted.
    if (!isDiskFull(error)) this.#fail(`write failed: ${messageOf(error)}`);
    else if (this.#health === "ok") this.#report("full", `disk full: ${messageOf(error)}`);
  }

  #fail(reason: string): void {
    this.#report("failed", reason);
  }

  #report(state: "ok" | "full" | "failed", reason: string): void {
    if (this.#health === "failed") return;
    this.#health = state;
    const word = state === "ok" ? HEALTH.OK : state === "full" ? HEALTH.FULL : HEALTH.FAILED;
    this.control.store(WORD.HEALTH, word);
    this.#reply({ kind: "health", state, reason });
    this.control.wakeLoop();
  }

  #reply(message: FromWriter): void {
    this.#port.reply(message);
    this.control.add(WORD.REPLIED, 1);
  }

  /** Ends once everything is done, or cannot be. */
  #finish(head: number, journalHead: number, isBusy: boolean): number {
    const isDone =
      this.#log.durable === head &&
      this.#journal.durable === journalHead &&
      !isBusy &&
      !this.#checkpointer.isBusy;
    if (!isDone && this.#health === "ok") {
      this.control.setPosition(POSITION.SYNC_TO, head);
      this.control.setPosition(POSITION.JOURNAL_SYNC_TO, journalHead);
      return 0;
    }
    this.#log.close();
    this.#journal.close();
    this.#pages.close();
    this.#checkpointer.close();
    this.#index.close();
    this.isClosed = true;
    this.#reply({ kind: "closed" });
    this.control.wakeLoop();
    return Number.POSITIVE_INFINITY;
  }
}

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
