/**
 * Gives back the space of what nobody is owed although something near it is: looks from time to time how much of each
 * segment is still owed (live-survey.ts), decides how far it pays to move (reclaim-plan.ts), and moves (segment-mover.ts).
 * The segments then go by retention.ts, as any other.
 *
 * All of it in pieces of a few milliseconds, with pauses between them in which the log and its readers have their turn;
 * surveys take at most a fiftieth of the time, and a fourth of it while one is under way, as moving does; both a twentieth
 * while producers are at work and the disk has room. Nothing happens while the log has less than
 * two full segments, or while nothing was published and nothing settled since the last look.
 */
import { LiveSurvey } from "./live-survey.ts";
import type { ReclaimFigures } from "./message-store.ts";
import { type ReclaimRules, type SurveyResult, segmentsToEmpty } from "./reclaim-plan.ts";
import { type MoverHost, SegmentMover } from "./segment-mover.ts";

const SURVEY_ENTRIES = 10_000;
/** The pause after each piece of a survey, by how long that took; while producers are at work. */
const SURVEY_PAUSE = 3;
const BUSY_SURVEY_PAUSE = 24;
/** Longest piece of moving, and the pause after each piece. */
const SLICE_MS = 3;
const PAUSE_MS = 6;
/** The pause while producers append more than so many bytes a ms: moving then takes a twentieth of the time. */
const BUSY_PAUSE_MS = 57;
const BUSY_BYTES_PER_MS = 20_000;
/** Segments emptied before it is looked again how much is free: until then they take their space twice. */
const TARGETS_AT_ONCE = 2;
/** Surveys take at most this part of the time. */
const SURVEY_PART = 1 / 50;
/** Until the next survey, after one that the disk refused what it needed. */
const UNREADABLE_MS = 60_000;
/** Without a clock of its own: pieces of work in one tick. */
const STEPS_PER_TICK = 8;
/** Older surveys that are kept, to see what stands still. */
const HISTORY = 16;

export interface ReclaimOptions extends ReclaimRules {
  /** Time between two surveys at least. */
  readonly surveyMs: number;
}

export const DEFAULT_RECLAIM: ReclaimOptions = {
  surveyMs: 10_000,
  patienceMs: 60_000,
  restMs: 30_000,
};

export interface ReclaimHost extends MoverHost {
  /** A number that changes when something was published or settled. */
  activity(): number;
  /** May records be appended now? */
  isWell(): boolean;
  /** The disk is so full that space matters more than speed. */
  isScarce(): boolean;
  /** The store is open, and no atomic batch is. */
  mayAppend(): boolean;
  /** A checkpoint wants to be made: no copies now. */
  isCheckpointDue(): boolean;
  /** What was appended goes to the disk, and is synced; a checkpoint is made when one is due. */
  publish(): void;
}

export class Reclaimer {
  readonly #host: ReclaimHost;
  readonly #options: ReclaimOptions;
  readonly #mover: SegmentMover;
  #survey: LiveSurvey | null = null;
  #surveyCost = 0;
  #history: SurveyResult[] = [];
  /** Segments still to be emptied. */
  #targets: number[] = [];
  /** End of the log after the last piece of moving, and when that was. */
  #leftAt = 0;
  #leftOn = 0;
  #nextSurveyAt: number;
  #activity = -1;
  /** When a survey first found nothing published and nothing settled any more. */
  #stillSince = 0;
  #surveys = 0;
  #owedBytes = -1;
  #surveyedBytes = -1;

  /** Goes on by itself between two ticks. */
  readonly #hasClock: boolean;
  #timer: NodeJS.Timeout | null = null;

  constructor(host: ReclaimHost, options: ReclaimOptions, hasClock: boolean) {
    this.#host = host;
    this.#options = options;
    this.#hasClock = hasClock;
    this.#mover = new SegmentMover(host);
    this.#nextSurveyAt = performance.now() + options.surveyMs;
  }

  /** Copies were appended whose entries are not changed yet. */
  get isPending(): boolean {
    return this.#mover.isPending;
  }

  get figures(): ReclaimFigures {
    return {
      logStart: this.#host.segments.minOffset,
      movedRecords: this.#mover.records,
      movedBytes: this.#mover.bytes,
      surveys: this.#surveys,
      owedBytes: this.#owedBytes,
      surveyedBytes: this.#surveyedBytes,
    };
  }

  onDurable(durable: number): boolean {
    return this.#mover.onDurable(durable);
  }

  /** About every second. */
  tick(): void {
    if (this.#timer === null && this.#isWanted(performance.now())) this.#run();
  }

  stop(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #run(): void {
    this.#timer = null;
    if (!this.#host.mayAppend()) return;
    let wait = this.#tryStep(performance.now());
    if (this.#hasClock) {
      if (wait < Number.POSITIVE_INFINITY)
        this.#timer = setTimeout(() => this.#run(), wait).unref();
      return;
    }
    for (let i = 0; i < STEPS_PER_TICK && wait === 0; i++) wait = this.#tryStep(performance.now());
  }

  #tryStep(now: number): number {
    try {
      return this.#step(now);
    } catch (error) {
      this.#host.onReadError(error);
      // It cannot be told what is owed: nothing is moved before it can.
      this.#survey = null;
      this.#nextSurveyAt = now + UNREADABLE_MS;
      return Number.POSITIVE_INFINITY;
    }
  }

  /** Is there something to begin? */
  #isWanted(now: number): boolean {
    if (this.#survey !== null || this.#isMoving) return true;
    if (now < this.#nextSurveyAt) return false;
    const { segments, log } = this.#host;
    if (segments.startOf(log.durable) - segments.minOffset < segments.segmentBytes) return false;
    return this.#activity !== this.#host.activity() || !this.#isSettledView();
  }

  get #isMoving(): boolean {
    return this.#mover.isBusy || this.#mover.isPending || this.#targets.length > 0;
  }

  /** Since nothing happens any more, surveys have gone on for long enough to say that what they saw stands still. */
  #isSettledView(): boolean {
    const newest = this.#history.at(-1);
    return newest !== undefined && newest.at - this.#stillSince >= this.#options.restMs * 2;
  }

  /** A piece of work; ms until the next one, or Infinity when there is nothing to do. */
  #step(now: number): number {
    if (this.#survey !== null) return this.#surveySome(this.#survey, now);
    if (this.#isMoving) return this.#moveSome(now);
    if (!this.#isWanted(now)) return Number.POSITIVE_INFINITY;
    this.#begin();
    return 0;
  }

  #begin(): void {
    const { table, owed, segments, log } = this.#host;
    const activity = this.#host.activity();
    if (activity !== this.#activity) this.#stillSince = performance.now();
    this.#activity = activity;
    this.#surveyCost = 0;
    this.#survey = new LiveSurvey(
      table,
      owed,
      segments.minOffset,
      segments.startOf(log.durable),
      segments.segmentBytes,
      () => log.appended,
    );
  }

  #surveySome(survey: LiveSurvey, now: number): number {
    const begun = performance.now();
    const isDone = survey.step(SURVEY_ENTRIES);
    const cost = performance.now() - begun;
    this.#surveyCost += cost;
    const isBusy = this.#isBusy(now);
    this.#noteLeft();
    if (!isDone) {
      if (this.#options.surveyMs === 0) return 0;
      return cost * (isBusy ? BUSY_SURVEY_PAUSE : SURVEY_PAUSE);
    }
    this.#survey = null;
    this.#surveys++;
    this.#plan({ base: survey.base, live: survey.live, at: now });
    const { surveyMs } = this.#options;
    // Where there is no time to wait, in tests, it does not count what a survey takes.
    if (surveyMs > 0) this.#nextSurveyAt = now + Math.max(surveyMs, this.#surveyCost / SURVEY_PART);
    return this.#targets.length > 0 ? 0 : Number.POSITIVE_INFINITY;
  }

  #plan(result: SurveyResult): void {
    const { segmentBytes, minOffset } = this.#host.segments;
    const count = segmentsToEmpty(result, this.#history, segmentBytes, this.#options);
    this.#owedBytes = result.live.reduce((sum, bytes) => sum + bytes, 0);
    this.#surveyedBytes = result.live.length * segmentBytes;
    for (let i = 0; i < count; i++) {
      const start = result.base + i * segmentBytes;
      if (result.live[i] === 0 || start < minOffset) continue;
      // Nothing behind it can go before it does.
      if (this.#mover.stuck.has(start)) break;
      this.#targets.push(start);
      if (this.#targets.length === TARGETS_AT_ONCE) break;
    }
    this.#history.push(result);
    if (this.#history.length > HISTORY) {
      // Thinned out where it is old: it has to reach back far enough.
      const kept = this.#history.filter((_, i) => i % 2 === 0 || i > HISTORY - 4);
      this.#history = kept;
    }
  }

  #moveSome(now: number): number {
    const host = this.#host;
    if (!host.isWell()) return PAUSE_MS;
    if (this.#mover.onDurable(host.log.durable)) host.publish();
    if (host.isCheckpointDue()) {
      if (!this.#mover.isPending) host.publish();
      return PAUSE_MS;
    }
    if (!this.#mover.isBusy && this.#targets.length > 0) {
      const start = this.#targets.shift()!;
      if (start >= host.segments.minOffset) this.#mover.begin(start);
    }
    const isBusy = this.#isBusy(now);
    if (this.#mover.step(performance.now() + SLICE_MS)) host.publish();
    this.#noteLeft();
    if (!this.#mover.isBusy && !this.#mover.isPending && this.#targets.length === 0) {
      // How much is free now is only known when it has been looked at.
      this.#nextSurveyAt = now;
      this.#activity = -1;
    }
    return isBusy ? BUSY_PAUSE_MS : PAUSE_MS;
  }

  #noteLeft(): void {
    this.#leftAt = this.#host.log.appended;
    this.#leftOn = performance.now();
  }

  /** Do producers append a lot between our pieces? */
  #isBusy(now: number): boolean {
    if (this.#host.isScarce()) return false;
    return this.#host.log.appended - this.#leftAt > (now - this.#leftOn) * BUSY_BYTES_PER_MS;
  }
}
