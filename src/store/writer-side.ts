/**
 * The store's end of its writer: starts it with all that it shares with the loop, posts to it (what comes before it runs
 * is kept until then), hears what it replies, and knows whether it is well.
 */
import type { CopyMemory } from "../util/copy-memory.ts";
import type { CommandRing } from "./command-ring.ts";
import type { IndexShape } from "./index-format.ts";
import type { Journal } from "./journal.ts";
import type { StoreHealth } from "./message-store.ts";
import { POSITION, type SharedControl } from "./shared-control.ts";
import type { Storage } from "./storage-file.ts";
import { COMMANDS } from "./store-options.ts";
import type { TailRing } from "./tail-ring.ts";
import { type InlineSchedule, startInline, startThread, type WriterLink } from "./writer-link.ts";
import type { ToWriter, WriterStart } from "./writer-messages.ts";

const SYNC_SPACING_MS = 0.4;

/** What both sides use, and what the writer has to know. */
export interface WriterParts {
  readonly directory: string;
  readonly segmentBytes: number;
  readonly control: SharedControl;
  readonly ring: TailRing;
  readonly memory: CopyMemory | null | undefined;
  readonly journal: Journal;
  readonly commands: CommandRing;
  /** End of the log. */
  readonly end: number;
  /** What recovery has written and nobody has synced. */
  readonly unsynced: WriterStart["unsynced"];
  readonly indexShape: IndexShape | undefined;
  readonly syncSpacingMs: number | undefined;
}

export interface WriterNews {
  /** Something moved, or there is a reply. */
  onWake(): void;
  onCheckpoint(): void;
  /** `health` has changed. */
  onHealth(): void;
  /** Something could not be removed. */
  onLeftover(reason: string): void;
}

export class WriterSide {
  readonly #news: WriterNews;
  /** Messages from before the writer runs: slabs and folders from recovery. */
  readonly announced: ToWriter[] = [];
  #link: WriterLink | null = null;
  /** What the writer met. */
  health: StoreHealth = { state: "ok" };

  constructor(news: WriterNews) {
    this.#news = news;
  }

  get isStarted(): boolean {
    return this.#link !== null;
  }

  /** In a thread of its own; with `inlineOn` on this one, and on that storage. */
  start(parts: WriterParts, inlineOn?: Storage, schedule?: InlineSchedule): void {
    const { control, end } = parts;
    for (const at of [POSITION.HEAD, POSITION.WRITTEN, POSITION.DURABLE, POSITION.SYNC_TO]) {
      control.setPosition(at, end);
    }
    const start = startOf(parts);
    const events = {
      onWake: () => this.#news.onWake(),
      onDeath: (error: Error) =>
        this.#setHealth({ state: "failed", reason: `store thread: ${error.message}` }),
    };
    this.#link =
      inlineOn === undefined
        ? startThread(start, events)
        : startInline(start, events, inlineOn, schedule);
    for (const message of this.announced.splice(0)) {
      if (message.kind !== "drop") this.#link.post(message);
    }
  }

  post(message: ToWriter): void {
    if (this.#link === null) this.announced.push(message);
    else this.#link.post(message);
  }

  wake(): void {
    this.#link!.wake();
  }

  /** Resolves when the writer has ended. */
  get ended(): Promise<void> {
    return this.#link!.ended;
  }

  takeReplies(): void {
    for (;;) {
      const message = this.#link!.take();
      if (message === undefined) return;
      switch (message.kind) {
        case "health":
          this.#setHealth(
            message.state === "ok"
              ? { state: "ok" }
              : { state: message.state, reason: message.reason },
          );
          break;
        case "checkpoint":
          this.#news.onCheckpoint();
          break;
        case "leftover":
          this.#news.onLeftover(message.reason);
          break;
        case "closed":
          break;
        default:
          message satisfies never;
      }
    }
  }

  #setHealth(health: StoreHealth): void {
    if (this.health.state === "failed") return;
    this.health = health;
    this.#news.onHealth();
  }
}

function startOf(parts: WriterParts): WriterStart {
  const { directory, segmentBytes, control, ring, memory, journal, commands } = parts;
  return {
    directory,
    segmentBytes,
    control: control.memory,
    ring: ring.memory,
    ringStart: ring.start,
    memory: ring.memory === memory?.memory ? memory.handle : null,
    ringBytes: ring.size,
    ringOverhang: ring.maxRecord,
    journalRing: journal.ring.memory,
    journalRingBytes: journal.ring.size,
    commands: commands.memory,
    commandCapacity: COMMANDS,
    commandsDone: commands.issued,
    logEnd: parts.end,
    journalFile: journal.nextFile,
    journalEnd: journal.end,
    unsynced: parts.unsynced,
    ...(parts.indexShape && { indexShape: parts.indexShape }),
    syncSpacingMs: parts.syncSpacingMs ?? SYNC_SPACING_MS,
  };
}
