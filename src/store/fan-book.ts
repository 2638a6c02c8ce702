/**
 * For offline checks: the names of all epochs of a log (fan-record.ts), a few bytes each, so that it can be asked of any
 * record whether its list has a certain queue.
 */
import type { RecordView } from "../model/record-view.ts";
import { isFanRecord, readFan } from "./fan-reader.ts";
import { FAN_FLAG, readFanHeader } from "./fan-record.ts";

/** The names of an epoch by their numbers. */
class Epoch {
  /** Numbers of names in the book, and base offsets. */
  readonly names: number[] = [];
  readonly bases: number[] = [];
  #sorted: Int32Array | null = null;

  /** Numbers that this name has. */
  numbersOf(name: number): number[] {
    const { names } = this;
    if (this.#sorted?.length !== names.length) {
      this.#sorted = Int32Array.from(names, (_, number) => number);
      this.#sorted.sort((a, b) => names[a]! - names[b]!);
    }
    const sorted = this.#sorted;
    let low = 0;
    for (let high = sorted.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (names[sorted[middle]!]! < name) low = middle + 1;
      else high = middle;
    }
    const numbers: number[] = [];
    for (; low < sorted.length && names[sorted[low]!] === name; low++) numbers.push(sorted[low]!);
    return numbers;
  }
}

export class FanBook {
  readonly #names = new Map<string, number>();
  readonly #epochs = new Map<number, Epoch>();

  /** Takes the names of a fan record; other records are left alone. */
  note(view: RecordView): void {
    if (!isFanRecord(view)) return;
    const header = readFanHeader(view.buffer, view.bodyStart, view.bodyEnd, view.physicalOffset);
    if (header === null || header.nameCount === 0) return;
    let epoch = this.#epochs.get(header.epoch);
    if (epoch === undefined) {
      epoch = new Epoch();
      this.#epochs.set(header.epoch, epoch);
    }
    const { names, bases } = epoch;
    readFan(view, header, {
      name: (number, name, base) => {
        let known = this.#names.get(name);
        if (known === undefined) {
          known = this.#names.size;
          this.#names.set(name, known);
        }
        while (names.length < number) names.push(-1);
        names[number] = known;
        bases[number] = base;
      },
      run: () => {},
    });
  }

  /** Does this fan record put its message at this offset of the queue? "more": the next one of the list may. */
  has(view: RecordView, name: string, offset: number): boolean | "more" {
    const known = this.#names.get(name);
    const header = readFanHeader(view.buffer, view.bodyStart, view.bodyEnd, view.physicalOffset);
    if (header === null || known === undefined || !isFanRecord(view)) return false;
    const epoch = this.#epochs.get(header.epoch);
    const numbers = epoch?.numbersOf(known) ?? [];
    let isThere = false;
    const isIn = (first: number, count: number, distance: number) => (number: number) =>
      number >= first && number < first + count && epoch!.bases[number]! + distance === offset;
    readFan(view, header, {
      name: () => {},
      run: (...run) => {
        isThere ||= numbers.some(isIn(...run));
      },
    });
    if (isThere) return true;
    return (header.flags & FAN_FLAG.LAST) === 0 ? "more" : false;
  }
}
