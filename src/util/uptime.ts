/**
 * How long this process has run, for limits on the silence of a peer. It does not jump with the wall clock, and time in
 * which the process stood still (stopped, a machine that was paused, a disk that kept it waiting) hardly counts: what peers
 * said meanwhile lies in the sockets unread, and they are not to blame.
 */

/** Asked more often than this while the process runs: there is a tick each second. */
const STOOD_STILL_MS = 3000;
/** What such a time counts for. */
const COUNTS_FOR_MS = 1000;

/** Returns a clock of its own; `monotonic`: ms that never go back. */
export function uptimeClock(monotonic: () => number = () => performance.now()): () => number {
  let before = monotonic();
  let lost = before;
  return () => {
    const now = monotonic();
    const gap = now - before;
    before = now;
    if (gap > STOOD_STILL_MS) lost += gap - COUNTS_FOR_MS;
    return now - lost;
  };
}
