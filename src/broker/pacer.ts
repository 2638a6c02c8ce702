/**
 * When the event loop lingers. Under light load a message costs what its wake-ups cost: one for the message, one for
 * the sync, one for the acknowledgement, each with a thread or a core to be woken. Where messages arrive thousands of
 * times a second, a few at a time, a short sleep after each turn makes the next one serve several of them, with one
 * sync and one write per connection.
 *
 * A sender that waits for its confirms would only be slowed down. So it is measured: when less arrives while the loop
 * lingers than did before, it stops, for longer each time; and what would come without is measured again and again.
 */
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";

/** What lingers: the store, which tells afterwards what it has got done meanwhile. */
export interface Sleeper {
  /** Blocks the calling thread for so long. */
  sleep(ms: number): void;
}

/** A turn ends this long after the one before it while the loop lingers. */
const LINGER_MS = 0.6;
const WINDOW_MS = 20;
/** A window without traffic for so long says nothing. */
const STALE_MS = 200;
/** Fewer turns cost little as they are. */
const MIN_TURNS_PER_MS = 2;
/** Larger turns are worth their wake-up. */
const MAX_TURN_BYTES = 16 << 10;
/** Below this share of what came without lingering, senders are waiting for us. */
const MIN_SHARE = 0.85;
/** What a hitch of the disk or the machine holds up comes in the next window: only less than this is believed at once. */
const SURE_SHARE = 0.5;
/** The rate without lingering is measured again after this time. */
const MEASURE_AGAIN_MS = 1000;
const MIN_HOLD_MS = 500;
const MAX_HOLD_MS = 16_000;

export class Pacer implements TurnTask {
  readonly #turn: Turn;
  readonly #sleeper: Sleeper;
  readonly #now: () => number;
  /** Appended since the last turn; counted by the owner. */
  messages = 0;
  #publishedTo = 0;
  #isLingering = false;
  /** Messages per ms that came without lingering. */
  #rate = 0;
  /** Of the last window. */
  #lastRate = 0;
  #lingersSince = 0;
  #holdUntil = 0;
  #holdMs = MIN_HOLD_MS;
  #windowBegan = 0;
  #windowMessages = 0;
  #windowBytes = 0;
  #windowTurns = 0;
  /** When the last sleep ended. */
  #wokeAt = 0;

  constructor(turn: Turn, sleeper: Sleeper, now: () => number = () => performance.now()) {
    this.#turn = turn;
    this.#sleeper = sleeper;
    this.#now = now;
  }

  get isLingering(): boolean {
    return this.#isLingering;
  }

  /** A turn's messages are with the store; the log ends at `appended`. */
  onPublish(appended: number): void {
    if (this.messages === 0) return;
    const bytes = appended - this.#publishedTo;
    this.#publishedTo = appended;
    const now = this.#now();
    if (now - this.#windowBegan >= WINDOW_MS) this.#judge(now);
    this.#windowMessages += this.messages;
    this.messages = 0;
    this.#windowBytes += bytes;
    this.#windowTurns++;
    if (this.#isLingering && bytes <= MAX_TURN_BYTES) this.#turn.request(PHASE.REST, this);
  }

  runTurn(): void {
    const left = Math.min(this.#wokeAt + LINGER_MS - this.#now(), LINGER_MS);
    if (left > 0) this.#sleeper.sleep(left);
    this.#wokeAt = this.#now();
  }

  #judge(now: number): void {
    const elapsed = now - this.#windowBegan;
    const rate = this.#windowMessages / elapsed;
    const isStale = elapsed > STALE_MS;
    if (this.#isLingering) {
      const both = (rate + this.#lastRate) / 2;
      const isShort = rate < this.#rate * SURE_SHARE || both < this.#rate * MIN_SHARE;
      this.#isLingering = !isStale && !isShort && now - this.#lingersSince < MEASURE_AGAIN_MS;
      if (isShort && !isStale) {
        this.#holdUntil = now + this.#holdMs;
        this.#holdMs = Math.min(this.#holdMs * 2, MAX_HOLD_MS);
      } else {
        this.#holdMs = MIN_HOLD_MS;
      }
    } else if (!isStale && now >= this.#holdUntil && this.#isLight(elapsed)) {
      this.#isLingering = true;
      this.#rate = rate;
      this.#lingersSince = now;
    }
    this.#lastRate = rate;
    this.#windowBegan = now;
    this.#windowMessages = 0;
    this.#windowBytes = 0;
    this.#windowTurns = 0;
  }

  /** Many turns, each with little. */
  #isLight(elapsed: number): boolean {
    const turns = this.#windowTurns;
    return turns > elapsed * MIN_TURNS_PER_MS && this.#windowBytes < turns * MAX_TURN_BYTES;
  }
}
