/**
 * The MESSAGE frame before, in the output it was written to, as the source of the next one. Messages of one producer and
 * one millisecond mostly have the same headers, so that of a frame only the number of the delivery and the body are new;
 * where the publisher's headers differ, at least the broker's are the same.
 *
 * It holds for one run of deliveries, in which nobody else writes to the wire.
 */
import { FLAG, type RecordView } from "../../../src/model/record-view.ts";
import type { Wire } from "../../../src/transport/wire.ts";
import { copyBytes } from "../../../src/util/copy-memory.ts";
import { KnownBytes } from "../../../src/util/known-bytes.ts";

/** Longer properties are not compared. */
const MAX_PROPERTIES = 512;
const NOTHING = Buffer.alloc(0);
/** Frames in a row that were not like the one before, after which a run is no longer compared. */
const MAX_MISSES = 4;
/** First byte of the property that says what became of a dead letter: behind what is compared there must not be one. */
const DEATH_LETTER = 0x78;

export class FrameBefore {
  #out: Buffer = NOTHING;
  /** Where it begins there; how long it is up to the publisher's headers, and up to its body: 0 when that is not known. */
  #at = 0;
  #factsEnd = 0;
  #head = 0;
  // From its beginning to the ends of the number, and the number; 0 for an end that is not there.
  #digitsEnd = 0;
  #ackDigitsEnd = 0;
  #delivery = 0;
  /** Numbers from here on have more digits. */
  #limit = 0;
  // What the headers were made of.
  #flag = 0;
  #bornTimestamp = 0;
  #bodyLength = 0;
  readonly #properties = new KnownBytes();
  #misses = 0;

  forget(): void {
    this.#out = NOTHING;
    this.#misses = 0;
  }

  /** The frame of this record begins at `out[at]`; the broker's headers are written, and end `factsEnd` bytes later. */
  begun(out: Buffer, at: number, record: RecordView, factsEnd: number): void {
    this.#out = out;
    this.#at = at;
    this.#factsEnd = factsEnd;
    this.#head = 0;
    this.#flag = record.flag;
    this.#bornTimestamp = record.bornTimestamp;
  }

  /** The number that frame has, and where it ends in it. */
  number(delivery: number, digitsEnd: number, ackDigitsEnd: number): void {
    this.#delivery = delivery;
    this.#digitsEnd = digitsEnd;
    this.#ackDigitsEnd = ackDigitsEnd;
    let limit = 10;
    while (limit <= delivery) limit *= 10;
    this.#limit = limit;
  }

  /**
   * The frame that was begun is whole, with `head` bytes before its body. `end`: where the part of the record's properties
   * ends that its headers were made of.
   */
  ended(record: RecordView, end: number, head: number): void {
    const { buffer, propertiesStart: start } = record;
    if (end + 1 - start > MAX_PROPERTIES || this.#misses++ > MAX_MISSES) return;
    this.#properties.learn(buffer, start, end + 1);
    this.#bodyLength = record.bodyEnd - record.bodyStart;
    this.#head = head;
  }

  /** Writes the frame of the next delivery. Returns its bytes; 0 when it is not like the one before. */
  repeat(wire: Wire, record: RecordView, delivery: number): number {
    const before = this.#out;
    const head = this.#head;
    if (head === 0 || wire.out !== before || !this.#isNext(delivery) || !this.#isAlike(record)) {
      return 0;
    }
    const { buffer, bodyStart, bodyEnd } = record;
    const bytes = head + bodyEnd - bodyStart + 1;
    wire.reserve(bytes);
    if (wire.out !== before) return 0;
    const from = wire.outAt;
    this.#copy(from, head);
    const end = copyBytes(buffer, bodyStart, bodyEnd, before, from + head);
    before[end] = 0;
    wire.outAt = end + 1;
    this.#misses = 0;
    return bytes;
  }

  /**
   * Begins the frame of the next delivery at `out[from]`, where the broker's headers are those of the one before. Returns
   * the index after them; 0 when they are others.
   */
  repeatFacts(out: Buffer, from: number, record: RecordView, delivery: number): number {
    const isSame =
      out === this.#out &&
      this.#isNext(delivery) &&
      record.flag === this.#flag &&
      (record.flag & FLAG.HAS_EXPIRY) === 0 &&
      record.bornTimestamp === this.#bornTimestamp;
    if (!isSame) return 0;
    this.#copy(from, this.#factsEnd);
    this.#head = 0;
    return from + this.#factsEnd;
  }

  #isNext(delivery: number): boolean {
    return delivery === this.#delivery + 1 && delivery < this.#limit;
  }

  /** The first bytes of the frame once more, for the next number. */
  #copy(to: number, length: number): void {
    const out = this.#out;
    copyBytes(out, this.#at, this.#at + length, out, to);
    countUp(out, to + this.#digitsEnd - 1);
    if (this.#ackDigitsEnd > 0) countUp(out, to + this.#ackDigitsEnd - 1);
    this.#at = to;
    this.#delivery++;
  }

  #isAlike(record: RecordView): boolean {
    const { buffer, propertiesStart: start, propertiesEnd } = record;
    const { length } = this.#properties;
    if (
      record.flag !== this.#flag ||
      record.bodyEnd - record.bodyStart !== this.#bodyLength ||
      record.bornTimestamp !== this.#bornTimestamp ||
      start + length > propertiesEnd ||
      buffer[start + length] === DEATH_LETTER
    ) {
      return false;
    }
    return this.#properties.isAt(buffer, start);
  }
}

/** One more, in decimal digits that end at `last`; there is no carry beyond them. */
function countUp(bytes: Buffer, last: number): void {
  let at = last;
  while (bytes[at] === 0x39) bytes[at--] = 0x30;
  bytes[at]!++;
}
