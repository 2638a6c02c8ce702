/**
 * When the event loop lingers. Under light load a message costs what its wake-ups cost: one for the message, one for
 * the sync, one for the acknowledgement, each with a thread or a core to be woken. Where messages arrive thousands of
 * times a second, a few at a time, a short sleep after each turn makes the next one serve several of them, with one
 * write per connection; and every third such turn is handed to the store thread, with one sync for all three.
 *
 * A sender that waits for its confirms, or a consumer that gets a few messages at a time, would only be slowed down. So
 * it is measured: when less is published or delivered while the loop lingers than was before, it stops and looks. Where
 * more comes then, somebody was waiting for us: it does not try again for a while, for longer each time. And what would
 * come without is measured again and again.
 */
import { PHASE, type Turn, type TurnTask } from "../util/turn.ts";

/** What lingers: the store, which tells afterwards what it has got done meanwhile. */
export interface Sleeper {
  /** Blocks the calling thread for so long. */
  sleep(ms: number): void;
}

/** A turn ends this long after the one before it while the loop lingers. */
const LINGER_MS = 1.2;
/** Turns that wait for another to be handed to the store with it. */
const MAX_HELD_BACK = 2;
const WINDOW_MS = 20;
/** A turn after a longer pause says nothing: what a hitch of the machine or the disk held up comes with it. */
const MAX_GAP_MS = 2 * LINGER_MS;
/** After such a pause nothing is known. */
const STALE_MS = 200;
/** Fewer turns cost little as they are. */
const MIN_TURNS_PER_MS = 2;
/** Larger turns are worth their wake-up. */
const MAX_TURN_BYTES = 16 << 10;
/** The same for turns that had this long to collect. */
const MAX_LINGERED_BYTES = 32 << 10;
/** Below this share of what came without lingering, it may be that somebody waits for us. */
const MIN_SHARE = 0.85;
/** A hitch may hold up as much: only less than this is believed at once. */
const SURE_SHARE = 0.5;
/** Windows without lingering before it is said who was to blame: in the first comes what was held up. */
const LOOK_WINDOWS = 2;
/** What comes without lingering is measured again after this time; later where that says the same. */
const MIN_MEASURE_MS = 1000;
const MAX_MEASURE_MS = 4000;
const MIN_HOLD_MS = 500;
const MAX_HOLD_MS = 16_000;

/** Messages that go one way, in windows of time. */
class Flow {
  #count = 0;
  #last = 0;
  /** Messages per ms, in the window that has ended, and with the one before it. */
  rate = 0;
  both = 0;
  /** What it was without lingering. */
  base = 0;
  /** What it was when the lingering stopped. */
  #lingered = 0;

  add(count: number): void {
    this.#count += count;
  }

  endWindow(ms: number): void {
    this.rate = this.#count / ms;
    this.both = (this.rate + this.#last) / 2;
    this.#last = this.rate;
    this.#count = 0;
  }

  forget(): void {
    this.#count = 0;
  }

  get isShort(): boolean {
    return this.rate < this.base * SURE_SHARE || this.both < this.base * MIN_SHARE;
  }

  stopLingering(): void {
    this.#lingered = Math.min(this.rate, this.both);
  }

  /** More comes without lingering than did with it. */
  get hasRisen(): boolean {
    return this.rate * MIN_SHARE > this.#lingered;
  }
}

export class Pacer implements TurnTask {
  readonly #turn: Turn;
  readonly #sleeper: Sleeper;
  readonly #delivered: () => number;
  readonly #now: () => number;
  /** Appended since the last turn; counted by the owner. */
  messages = 0;
  #appended = 0;
  #deliveredBefore = 0;
  /** Turns that wait to be handed over. */
  #heldBack = 0;
  #isLingering = false;
  readonly #in = new Flow();
  readonly #out = new Flow();
  #lingersSince = 0;
  #measureMs = MIN_MEASURE_MS;
  #holdUntil = 0;
  #holdMs = MIN_HOLD_MS;
  /** Windows until it is said why less came; 0: nobody asks. */
  #looking = 0;
  #turnAt = 0;
  #windowMs = 0;
  #windowBytes = 0;
  #windowTurns = 0;
  /** When the last sleep ended. */
  #wokeAt = 0;

  /** `delivered`: messages given to consumers so far. */
  constructor(
    turn: Turn,
    sleeper: Sleeper,
    delivered: () => number,
    now: () => number = () => performance.now(),
  ) {
    this.#turn = turn;
    this.#sleeper = sleeper;
    this.#delivered = delivered;
    this.#now = now;
  }

  get isLingering(): boolean {
    return this.#isLingering;
  }

  /**
   * Before the turn's messages are handed to the store; the log ends at `appended`. True: they can wait for those of the
   * next turn, which the caller then asks for.
   */
  holdsBack(appended: number): boolean {
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    if (this.messages === 0) return false;
    const bytes = appended - this.#appended;
    this.#appended = appended;
    this.#note(bytes, this.#now());
    this.messages = 0;
    if (!this.#isLingering || bytes > MAX_LINGERED_BYTES) return false;
    this.#turn.request(PHASE.REST, this);
    if (heldBack === MAX_HELD_BACK) return false;
    this.#heldBack = heldBack + 1;
    return true;
  }

  runTurn(): void {
    const left = Math.min(this.#wokeAt + LINGER_MS - this.#now(), LINGER_MS);
    if (left > 0) this.#sleeper.sleep(left);
    this.#wokeAt = this.#now();
  }

  #note(bytes: number, now: number): void {
    const gap = now - this.#turnAt;
    this.#turnAt = now;
    const delivered = this.#delivered();
    const count = delivered - this.#deliveredBefore;
    this.#deliveredBefore = delivered;
    if (gap > STALE_MS) {
      this.#isLingering = false;
      this.#looking = 0;
      this.#in.forget();
      this.#out.forget();
      this.#beginWindow();
    } else if (gap <= MAX_GAP_MS && bytes <= MAX_LINGERED_BYTES) {
      this.#in.add(this.messages);
      this.#out.add(count);
      this.#windowMs += gap;
      this.#windowBytes += bytes;
      this.#windowTurns++;
      if (this.#windowMs >= WINDOW_MS) this.#judge(now);
    }
  }

  #judge(now: number): void {
    this.#in.endWindow(this.#windowMs);
    this.#out.endWindow(this.#windowMs);
    if (this.#isLingering) this.#judgeLingering(now);
    else if (this.#looking > 0) this.#look(now);
    else if (now >= this.#holdUntil && this.#isLight()) this.#linger(now);
    this.#beginWindow();
  }

  #beginWindow(): void {
    this.#windowMs = 0;
    this.#windowBytes = 0;
    this.#windowTurns = 0;
  }

  #judgeLingering(now: number): void {
    if (this.#in.isShort || this.#out.isShort) {
      this.#isLingering = false;
      this.#looking = LOOK_WINDOWS;
      this.#in.stopLingering();
      this.#out.stopLingering();
    } else if (now - this.#lingersSince >= this.#measureMs) {
      this.#isLingering = false;
      this.#measureMs = Math.min(this.#measureMs * 2, MAX_MEASURE_MS);
      this.#holdMs = MIN_HOLD_MS;
    }
  }

  /** Less came while the loop lingered: is that so without, too? */
  #look(now: number): void {
    if (--this.#looking > 0) return;
    if (!this.#in.hasRisen && !this.#out.hasRisen) {
      this.#linger(now);
      return;
    }
    this.#measureMs = MIN_MEASURE_MS;
    this.#holdUntil = now + this.#holdMs;
    this.#holdMs = Math.min(this.#holdMs * 2, MAX_HOLD_MS);
  }

  #linger(now: number): void {
    this.#isLingering = true;
    this.#in.base = this.#in.rate;
    this.#out.base = this.#out.rate;
    this.#lingersSince = now;
  }

  /** Many turns, each with little. */
  #isLight(): boolean {
    const turns = this.#windowTurns;
    return turns > this.#windowMs * MIN_TURNS_PER_MS && this.#windowBytes < turns * MAX_TURN_BYTES;
  }
}
