/**
 * The MESSAGE frame before, in the output it was written to, as the source of the next one. Messages of one producer and
 * one millisecond mostly have the same headers, so that of a frame only the number of the delivery and the body are new.
 *
 * It holds for one run of deliveries, in which nobody else writes to the wire.
 */
import type { RecordView } from "../../../src/model/record-view.ts";
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
  /** Where it begins there, and how long it is up to its body. */
  #at = 0;
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

  /**
   * The frame of `bytes`, `head` of them before its body, was just written for this record; `end` is where the part of the
   * properties ends that its headers were made of.
   */
  remember(wire: Wire, record: RecordView, end: number, bytes: number, head: number): void {
    const { buffer, propertiesStart: start } = record;
    this.#out = NOTHING;
    if (end + 1 - start > MAX_PROPERTIES || this.#misses++ > MAX_MISSES) return;
    this.#properties.learn(buffer, start, end + 1);
    this.#flag = record.flag;
    this.#bornTimestamp = record.bornTimestamp;
    this.#bodyLength = record.bodyEnd - record.bodyStart;
    this.#out = wire.out;
    this.#at = wire.outAt - bytes;
    this.#head = head;
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

  /** Writes the frame of the next delivery. Returns its bytes; 0 when it is not like the one before. */
  repeat(wire: Wire, record: RecordView, delivery: number): number {
    const before = this.#out;
    if (wire.out !== before || delivery !== this.#delivery + 1 || delivery === this.#limit)
      return 0;
    if (!this.#isAlike(record)) return 0;
    const head = this.#head;
    const { buffer, bodyStart, bodyEnd } = record;
    const bytes = head + bodyEnd - bodyStart + 1;
    wire.reserve(bytes);
    if (wire.out !== before) return 0;
    const from = wire.outAt;
    copyBytes(before, this.#at, this.#at + head, before, from);
    countUp(before, from + this.#digitsEnd - 1);
    if (this.#ackDigitsEnd > 0) countUp(before, from + this.#ackDigitsEnd - 1);
    const end = copyBytes(buffer, bodyStart, bodyEnd, before, from + head);
    before[end] = 0;
    wire.outAt = end + 1;
    this.#at = from;
    this.#delivery = delivery;
    this.#misses = 0;
    return bytes;
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
