/**
 * Tells the journal what of a shard is settled above its low-water mark: runs where they are few, a mask of the page where
 * they are strewn. Of a deep queue of which a random half is settled that is an eighth of a byte an offset, and a start reads
 * ten million of them in some milliseconds.
 */
import type { AckState } from "./ack-state.ts";
import type { CatalogWriter } from "./catalog.ts";
import { MASK_BYTES } from "./settled-mask.ts";
import { PAGE_SIZE } from "./state-pages.ts";

/** From here on a page takes less as a mask: a run takes about two bytes. */
const MASK_FROM_RUNS = MASK_BYTES / 2;
/** Pages that are told of in one step. */
const PAGES_PER_STEP = 64;

const mask = new Uint8Array(MASK_BYTES);

/** In steps: what is settled between two of them is journaled by others, and only ever more of it. */
export function* writeSettled(
  progress: number,
  state: AckState,
  catalog: CatalogWriter,
): Generator<void> {
  // A run that may go on in the next page.
  let from = -1;
  let end = -1;
  const add = (first: number, behind: number): void => {
    if (first !== end) {
      if (from >= 0) catalog.run(progress, from, end - from);
      from = first;
    }
    end = behind;
  };
  for (let page = state.firstPage; page < state.endPage; page++) {
    const base = page * PAGE_SIZE;
    const runs = state.settledMask(page, mask);
    if (runs < 0) add(base, base + PAGE_SIZE);
    else if (runs >= MASK_FROM_RUNS) catalog.mask(progress, page, mask);
    else if (runs > 0) forEachRun(base, add);
    if ((page + 1) % PAGES_PER_STEP !== 0) continue;
    if (from >= 0) catalog.run(progress, from, end - from);
    from = end = -1;
    catalog.endRuns();
    yield;
  }
  if (from >= 0) catalog.run(progress, from, end - from);
  catalog.endRuns();
}

/** The runs of the mask. */
function forEachRun(base: number, tell: (from: number, end: number) => void): void {
  let start = -1;
  for (let i = 0; i < PAGE_SIZE; i++) {
    if ((mask[i >>> 3]! & (1 << (i & 7))) !== 0) {
      if (start < 0) start = i;
    } else if (start >= 0) {
      tell(base + start, base + i);
      start = -1;
    }
  }
  if (start >= 0) tell(base + start, base + PAGE_SIZE);
}
