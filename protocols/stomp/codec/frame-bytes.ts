/** Searching and showing bytes of frames. */

const LF = 0x0a;
const CR = 0x0d;
/** The native search has a fixed cost that a short body does not pay back. */
const SHORT_BYTES = 48;
/** Longest piece of a frame in an error text. */
const SHOWN_BYTES = 64;

/** First index that is not a line end between frames (a heart-beat). A CR whose LF has not come is left. */
export function skipEols(bytes: Buffer, at: number, end: number): number {
  while (at < end) {
    const c = bytes[at];
    if (c === LF) at++;
    else if (c === CR && at + 1 < end && bytes[at + 1] === LF) at += 2;
    else break;
  }
  return at;
}

/** First NUL in `bytes[from, end)`, or −1. */
export function findNul(bytes: Buffer, from: number, end: number): number {
  const near = Math.min(end, from + SHORT_BYTES);
  for (let i = from; i < near; i++) if (bytes[i] === 0) return i;
  if (near === end) return -1;
  const at = bytes.indexOf(0, near);
  return at < end ? at : -1;
}

/** For an error text: its beginning, with everything but printable ASCII replaced. */
export function printable(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("latin1", start, Math.min(end, start + SHOWN_BYTES, bytes.length));
  return text.replace(/[^\x20-\x7e]/g, "?") + (end - start > SHOWN_BYTES ? "…" : "");
}
