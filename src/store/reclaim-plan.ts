/**
 * Which segments to empty, so that what nobody owes takes no space for long. Segments leave the log from its beginning
 * only, so the question is how far from the beginning it pays to move what is still owed.
 *
 * Moving a byte costs a byte written. A part of the log of which at most ALMOST_DEAD is owed is emptied as soon as it is
 * clear that it does not empty itself: that costs at most a quarter of what it gives back, and bounds the log to five times
 * what is owed. What stays as it is for longer is emptied from HALF_DEAD on, two bytes written for one given back at
 * worst, which is worth it once: the moved part has to be settled by a third again before it is looked at anew.
 */

const ALMOST_DEAD = 0.2;
const HALF_DEAD = 0.667;
/** So little is not worth waiting for. */
const NEXT_TO_NOTHING = 0.01;

export interface ReclaimRules {
  /** A part that would be empty by itself within this time is left to that. */
  readonly patienceMs: number;
  /** How long a part has to stand still before it is moved at HALF_DEAD. */
  readonly restMs: number;
}

export interface SurveyResult {
  readonly base: number;
  readonly live: Float64Array;
  /** When it was made, ms. */
  readonly at: number;
}

/** How many segments from the beginning of the log are to be emptied. */
export function segmentsToEmpty(
  now: SurveyResult,
  /** Older ones, the newest last. */
  history: readonly SurveyResult[],
  segmentBytes: number,
  rules: ReclaimRules,
): number {
  let best = 0;
  let owed = 0;
  for (let count = 1; count <= now.live.length; count++) {
    const own = now.live[count - 1]!;
    owed += own;
    // A full one at the end gains nothing.
    if (own > HALF_DEAD * segmentBytes) continue;
    const part = owed / (count * segmentBytes);
    if (part > HALF_DEAD) continue;
    if (part <= NEXT_TO_NOTHING) {
      best = count;
    } else if (part <= ALMOST_DEAD) {
      if (!emptiesItself(now, history.at(-1), count, owed, segmentBytes, rules.patienceMs))
        best = count;
    } else if (standsStill(now, history, count, owed, segmentBytes, rules.restMs)) {
      best = count;
    }
  }
  return best;
}

/** Owed bytes of the log's first `count` segments as an older survey saw them; undefined when it did not see them. */
function owedThen(
  then: SurveyResult,
  now: SurveyResult,
  count: number,
  segmentBytes: number,
): number | undefined {
  const skip = (now.base - then.base) / segmentBytes;
  if (skip + count > then.live.length) return undefined;
  let owed = 0;
  // What is empty by now tells nothing of the rest: it may have been emptied just for that.
  for (let i = 0; i < count; i++) if (now.live[i] !== 0) owed += then.live[skip + i]!;
  return owed;
}

function emptiesItself(
  now: SurveyResult,
  then: SurveyResult | undefined,
  count: number,
  owed: number,
  segmentBytes: number,
  patienceMs: number,
): boolean {
  if (patienceMs === 0) return false;
  const before = then === undefined ? undefined : owedThen(then, now, count, segmentBytes);
  if (before === undefined) return true; // Seen for the first time.
  const settledPerMs = (before - owed) / Math.max(1, now.at - then!.at);
  return settledPerMs * patienceMs > owed;
}

/** Is there a survey at least `restMs` ago since which next to nothing was settled? */
function standsStill(
  now: SurveyResult,
  history: readonly SurveyResult[],
  count: number,
  owed: number,
  segmentBytes: number,
  restMs: number,
): boolean {
  if (restMs === 0) return true;
  for (let i = history.length - 1; i >= 0; i--) {
    const then = history[i]!;
    if (now.at - then.at < restMs) continue;
    const before = owedThen(then, now, count, segmentBytes);
    return before !== undefined && before - owed < 0.03 * count * segmentBytes;
  }
  return false;
}
