/**
 * What is settled of one page of states (state-pages.ts), a bit for each offset: the first in the lowest bit of the first
 * byte. Four states are looked at, or written, at once.
 */
import { PAGE_SIZE, STATE } from "./state-pages.ts";

/** A bit for each offset of a page. */
export const MASK_BYTES = PAGE_SIZE / 8;
const LOWEST_OF_EACH = 0x01010101;

// SETTLED is told from all others by two of its bits.
const isTold = Object.values(STATE).every(
  (state) => (((state >>> 1) & ~state & 1) === 1) === (state === STATE.SETTLED),
);
if (!isTold) throw new Error("page states: SETTLED is not the only one of the form x10");

/** By four bits of a mask, the states of their offsets, READY or SETTLED; and how many are settled. */
const STATES = new Int32Array(16);
const COUNTS = new Uint8Array(16);
for (let bits = 0; bits < 16; bits++) {
  for (let i = 0; i < 4; i++) {
    if ((bits & (1 << i)) === 0) continue;
    STATES[bits]! |= STATE.SETTLED << (8 * i);
    COUNTS[bits]!++;
  }
}

/** Makes the mask of a page; returns how many runs of settled offsets there are. */
export function maskOf(page: Uint8Array, into: Uint8Array): number {
  const view = new DataView(page.buffer, page.byteOffset, PAGE_SIZE);
  let runs = 0;
  let before = 0;
  for (let i = 0; i < MASK_BYTES; i++) {
    const bits =
      settledOf(view.getInt32(i * 8, true)) | (settledOf(view.getInt32(i * 8 + 4, true)) << 4);
    into[i] = bits;
    const begins = bits & ~((bits << 1) | before);
    runs += COUNTS[begins & 15]! + COUNTS[(begins >>> 4) & 15]!;
    before = bits >>> 7;
  }
  return runs;
}

/** Of four states. */
function settledOf(states: number): number {
  const settled = (states >>> 1) & ~states & LOWEST_OF_EACH;
  return (settled | (settled >>> 7) | (settled >>> 14) | (settled >>> 21)) & 15;
}

/** Fills a page of which all is ready from the mask at `mask[at]`; returns how many are settled. */
export function fillFrom(page: Uint8Array, mask: Uint8Array, at: number): number {
  const view = new DataView(page.buffer, page.byteOffset, PAGE_SIZE);
  let settled = 0;
  for (let i = 0; i < MASK_BYTES; i++) {
    const bits = mask[at + i]!;
    view.setInt32(i * 8, STATES[bits & 15]!, true);
    view.setInt32(i * 8 + 4, STATES[bits >>> 4]!, true);
    settled += COUNTS[bits & 15]! + COUNTS[bits >>> 4]!;
  }
  return settled;
}
