/**
 * A list that is filled and emptied turn after turn. An array that is cut to nothing gives its room away and asks for it
 * again as it grows; this keeps the room, up to a bound, and none of what was in it.
 */

/** Items for which room stays. */
const KEPT = 4096;

export class WorkList<T> {
  #items: Array<T | null> = [];
  length = 0;

  /** Returns how many there are now. */
  push(item: T): number {
    this.#items[this.length] = item;
    return ++this.length;
  }

  /** `index` is below `length`. */
  at(index: number): T {
    return this.#items[index]!;
  }

  clear(): void {
    if (this.length > KEPT) this.#items = [];
    else this.#items.fill(null, 0, this.length);
    this.length = 0;
  }
}
