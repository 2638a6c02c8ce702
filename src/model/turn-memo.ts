/**
 * What was made of records, for as long as the turn lasts: a message that many consumers get in a form other than the stored
 * one is converted once. Not longer: views into what was read would keep buffers alive.
 */
import type { RecordView } from "./record-view.ts";

/** A power of two: neighbours in the log hardly ever share a place. */
const PLACES = 64;

interface Kept<T> {
  readonly buffer: Buffer;
  readonly start: number;
  readonly physicalOffset: number;
  readonly made: T;
}

const placeOf = (offset: number): number => (offset ^ (offset >>> 7)) & (PLACES - 1);

export class TurnMemo<T extends object> {
  readonly #kept: Array<Kept<T> | undefined> = new Array(PLACES).fill(undefined);
  #isClearing = false;
  readonly #clear = (): void => {
    this.#isClearing = false;
    this.#kept.fill(undefined);
  };

  /** What was kept for this record last, unless another one took its place. */
  find({ buffer, start, physicalOffset }: RecordView): T | undefined {
    const kept = this.#kept[placeOf(physicalOffset)];
    // The bytes at this very place hold this very record, so views into them made earlier are right.
    return kept !== undefined &&
      kept.physicalOffset === physicalOffset &&
      kept.start === start &&
      kept.buffer === buffer
      ? kept.made
      : undefined;
  }

  keep({ buffer, start, physicalOffset }: RecordView, made: T): T {
    this.#kept[placeOf(physicalOffset)] = { buffer, start, physicalOffset, made };
    if (!this.#isClearing) {
      this.#isClearing = true;
      setImmediate(this.#clear).unref();
    }
    return made;
  }
}
