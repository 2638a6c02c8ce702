/**
 * What a selector said of a message, remembered for the next consumer with the same selector: most of the price of asking
 * is to decode the message. As many answers as a run has messages; a group's turn asks for a run, the next group for the
 * same one. Of one broker: the message is known by its place in the log.
 */
import type { RecordView } from "../model/record-view.ts";
import { RUN_MAX } from "./delivery-run.ts";
import type { MessageFilter, Verdict } from "./filter.ts";

/** Twice a run: its messages are strewn over the places. */
const PLACES = RUN_MAX * 2;
/** Texts that are kept with their answers; one that is in use stays with who uses it. */
const TEXTS_MAX = 256;

class RememberingFilter implements MessageFilter {
  readonly #filter: MessageFilter;
  /** Place in the log by place here; negative: it was not selected. */
  #known: Float64Array | null = null;
  /** Who has only one consumer need not remember. */
  isShared = false;

  constructor(filter: MessageFilter) {
    this.#filter = filter;
  }

  byHash(tagHash: number): Verdict {
    return this.#filter.byHash(tagHash);
  }

  byRecord(record: RecordView): boolean {
    const at = record.physicalOffset;
    if (!this.isShared || at === 0) return this.#filter.byRecord(record);
    this.#known ??= new Float64Array(PLACES);
    const place = (at ^ Math.floor(at / 512)) & (PLACES - 1);
    const known = this.#known[place]!;
    if (known === at) return true;
    if (known === -at) return false;
    const isSelected = this.#filter.byRecord(record);
    this.#known[place] = isSelected ? at : -at;
    return isSelected;
  }
}

/** Compiles as `compile` does; equal texts share one filter and its answers. */
export function rememberingSelectors(
  compile: (text: string) => MessageFilter,
): (text: string) => MessageFilter {
  const filters = new Map<string, RememberingFilter>();
  return (text) => {
    const known = filters.get(text);
    if (known !== undefined) {
      known.isShared = true;
      return known;
    }
    const filter = new RememberingFilter(compile(text));
    if (filters.size >= TEXTS_MAX) filters.delete(filters.keys().next().value as string);
    filters.set(text, filter);
    return filter;
  };
}
