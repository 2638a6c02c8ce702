/**
 * The words that the event loop and the store thread share: wake-up counters, positions and the command ring.
 *
 * A position is a 48-bit number kept in two 32-bit words with one writer each. The writer stores the low word first:
 * a reader that looks in between sees a value that is too small, never one that is too large, and the wake-up that
 * follows makes it look again. Every reader keeps the largest value it has seen.
 */

/** Indexes of single words. */
export const WORD = {
  /** Counts up when the loop has something for the store thread; the thread sleeps on it. */
  WAKE_WRITER: 0,
  /** Counts up when the store thread has something for the loop. */
  WAKE_LOOP: 1,
  /** Messages posted to the writer so far: it looks into its port only when this has moved. */
  POSTED: 2,
  REPLIED: 3,
  /** HEALTH below. */
  HEALTH: 4,
  /** 1: the loop holds producers back and wants to hear when `written` moves. */
  WANTS_ROOM: 5,
  COMMAND_HEAD: 6,
  COMMAND_TAIL: 7,
  /** Nobody ever notifies this one: waiting on it is a sleep. */
  SLEEP: 8,
  /** 1 while the store thread sleeps on WAKE_WRITER. */
  WRITER_SLEEPS: 9,
  /** 1 while the loop sleeps on purpose and will look by itself. */
  LOOP_SLEEPS: 10,
} as const;

/** First word of each position. */
export const POSITION = {
  /** End of what the loop has published. */
  HEAD: 16,
  WRITTEN: 18,
  DURABLE: 20,
  /** Somebody waits for the log to be durable up to here. */
  SYNC_TO: 22,
  JOURNAL_HEAD: 24,
  JOURNAL_WRITTEN: 26,
  JOURNAL_DURABLE: 28,
  JOURNAL_SYNC_TO: 30,
} as const;
const WORDS = 64;

export const HEALTH = { OK: 0, FULL: 1, FAILED: 2 } as const;

const TWO_POW_32 = 2 ** 32;

export class SharedControl {
  readonly words: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(WORDS * 4)) {
    this.words = new Int32Array(memory);
  }

  get memory(): SharedArrayBuffer {
    return this.words.buffer as SharedArrayBuffer;
  }

  load(word: number): number {
    return Atomics.load(this.words, word);
  }
  store(word: number, value: number): void {
    Atomics.store(this.words, word, value);
  }
  add(word: number, value: number): void {
    Atomics.add(this.words, word, value);
  }

  position(at: number): number {
    const { words } = this;
    for (;;) {
      const high = Atomics.load(words, at + 1);
      const low = Atomics.load(words, at);
      if (Atomics.load(words, at + 1) === high) return high * TWO_POW_32 + (low >>> 0);
    }
  }
  setPosition(at: number, value: number): void {
    Atomics.store(this.words, at, value | 0);
    Atomics.store(this.words, at + 1, Math.floor(value / TWO_POW_32));
  }

  wakeWriter(): void {
    Atomics.add(this.words, WORD.WAKE_WRITER, 1);
    // A busy or resting writer looks by itself; a system call only for one that sleeps.
    if (Atomics.load(this.words, WORD.WRITER_SLEEPS) !== 0) {
      Atomics.notify(this.words, WORD.WAKE_WRITER);
    }
  }

  /** Store thread: sleeps until woken, unless that happened since WAKE_WRITER was `seen`. */
  sleep(seen: number, timeoutMs: number): void {
    Atomics.store(this.words, WORD.WRITER_SLEEPS, 1);
    Atomics.wait(this.words, WORD.WAKE_WRITER, seen, timeoutMs);
    Atomics.store(this.words, WORD.WRITER_SLEEPS, 0);
  }
  wakeLoop(): void {
    Atomics.add(this.words, WORD.WAKE_LOOP, 1);
    // After the positions were set: a loop that sleeps on purpose looks at them as soon as it has taken the flag down.
    if (Atomics.load(this.words, WORD.LOOP_SLEEPS) === 0) {
      Atomics.notify(this.words, WORD.WAKE_LOOP);
    }
  }

  /** Loop: sleeps for this time. Meanwhile the store thread does not wake it: it has to look by itself afterwards. */
  sleepLoop(ms: number): void {
    Atomics.store(this.words, WORD.LOOP_SLEEPS, 1);
    Atomics.wait(this.words, WORD.SLEEP, 0, ms);
    Atomics.store(this.words, WORD.LOOP_SLEEPS, 0);
  }
}
