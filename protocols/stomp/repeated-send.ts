/**
 * The SEND before, as the pattern of those that differ from it in body, receipt and content-length only: what its headers
 * said, and where it goes. Where nothing fits such a pattern, the next one also leaves the values of those headers open
 * that only readers know the meaning of (correlation ids and the like): they go into the block that the record keeps.
 *
 * A producer whose messages fit neither is compared ever more rarely.
 */
import type { Target } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { findNul } from "./codec/frame-bytes.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { FrameTemplate, MAX_SLOTS, MAX_TEXT, SLOT } from "./codec/frame-template.ts";
import { HEADER } from "./codec/header-names.ts";

/** Patterns that nothing fitted make a pause that doubles, up to so many frames. */
const LONGEST_PAUSE = 63;
/** Longer blocks are not put together from parts. */
const MAX_BLOCK = 1024;
/** With a lower limit for header lines a value that fits the pattern may be too long. */
const LEAST_LINE_LIMIT = 2048;

/** What the headers of a SEND said. */
export interface ReadHeaders {
  readonly draft: Draft;
  /** Those that are kept for readers, as a property of the record. */
  readonly block: { readonly bytes: Buffer; readonly length: number };
  /** Where in it a value lies, by the header's index; for headers that only readers know the meaning of, 0 if changed. */
  readonly places: Int32Array;
}

export class RepeatedSend {
  /** Where it goes; null while there is no pattern. */
  target: Target | null = null;
  /** What its headers said. */
  readonly draft = new Draft();
  // What `read` found.
  bodyStart = 0;
  bodyEnd = 0;
  readonly #template = new FrameTemplate();
  /** The slot of the receipt, -1 for none. */
  #receipt = -1;
  #hasLength = false;
  #maxBodyBytes = 0;
  /** The block of the pattern, and by slot where in it the value lies that may be another: start and end, 0 for none. */
  #block = Buffer.alloc(0);
  #blockLength = 0;
  readonly #places = new Int32Array(MAX_SLOTS * 2);
  #isOpen = false;
  /** The block of the frame that was read. */
  #ownBlock = Buffer.alloc(0);
  /** Something fitted since the pattern was taken. */
  #isUsed = true;
  #pause = 0;
  #paused = 0;

  /** It asked for a receipt, and so do those that repeat it. */
  get hasReceipt(): boolean {
    return this.#receipt >= 0;
  }
  get receiptStart(): number {
    return this.#template.found[this.#receipt * 2]!;
  }
  get receiptEnd(): number {
    return this.#template.found[this.#receipt * 2 + 1]!;
  }

  forget(): void {
    this.target = null;
  }

  /** A frame came that is not like the one before: should it be the next pattern? */
  wantsPattern(): boolean {
    if (!this.#isUsed && this.#paused++ < this.#pause) return false;
    this.#pause = this.#isUsed ? 0 : Math.min(this.#pause * 2 + 1, LONGEST_PAUSE);
    this.#paused = 0;
    return true;
  }

  /** The frame that the parser stands on, whose headers mean the same at any time, may repeat itself. */
  learn(parser: FrameParser, bytes: Buffer, headers: ReadHeaders, target: Target): void {
    const { base } = parser;
    // One that fitted is followed by one of its kind, one that did not by one of the other.
    const isOpen = this.#isUsed === this.#isOpen;
    const mayOpen = isOpen && parser.limits.maxHeaderBytes >= LEAST_LINE_LIMIT;
    this.#isUsed = false;
    this.#isOpen = false;
    this.target = null;
    if (!this.#template.learn(bytes, base, base + parser.bodyStart)) return;
    if (!this.#findSlots(parser, mayOpen ? headers : null)) return;
    this.#maxBodyBytes = parser.limits.maxBodyBytes;
    this.draft.like(headers.draft);
    if (this.#isOpen) this.#keepBlock(headers);
    this.target = target;
  }

  /** `open`: whose values may differ. False when the frame is no pattern. */
  #findSlots(parser: FrameParser, open: ReadHeaders | null): boolean {
    const template = this.#template;
    const { table, ids, lineFlags } = parser;
    const length = parser.indexOf(HEADER.CONTENT_LENGTH);
    const receipt = parser.indexOf(HEADER.RECEIPT);
    this.#hasLength = length >= 0;
    this.#receipt = -1;
    this.#places.fill(0);
    for (let i = 0; i < parser.headerCount; i++) {
      const start = table[i * 4 + 2]!;
      const end = table[i * 4 + 3]!;
      if (i === length) {
        if (template.vary(SLOT.NUMBER, start, end) < 0) return false;
      } else if (i === receipt) {
        this.#receipt = start === end ? -1 : template.vary(SLOT.TEXT, start, end);
        if (this.#receipt < 0) return false;
      } else if (open !== null && ids[i] === HEADER.UNKNOWN && lineFlags[i] === 0) {
        const place = i < open.places.length && start < end ? open.places[i]! : 0;
        const slot = place === 0 ? -1 : template.vary(SLOT.TEXT, start, end);
        if (slot < 0) continue;
        this.#places[slot * 2] = place;
        this.#places[slot * 2 + 1] = place + end - start;
        this.#isOpen = true;
      }
    }
    return true;
  }

  #keepBlock({ block }: ReadHeaders): void {
    this.#blockLength = block.length;
    if (block.length > MAX_BLOCK) {
      this.#template.forget();
      return;
    }
    this.#block = Buffer.from(block.bytes.subarray(0, block.length));
    this.#ownBlock = Buffer.alloc(block.length + MAX_SLOTS * MAX_TEXT);
  }

  /** The index after the frame at `at`; 0 when it is another one, or not all there. */
  read(bytes: Buffer, at: number, end: number): number {
    const start = this.#template.read(bytes, at, end);
    if (start === 0) return 0;
    const stop = this.#hasLength ? start + this.#template.number : findNul(bytes, start, end);
    if (stop < start || stop >= end || bytes[stop] !== 0 || stop - start > this.#maxBodyBytes) {
      return 0;
    }
    this.bodyStart = start;
    this.bodyEnd = stop;
    this.#isUsed = true;
    return stop + 1;
  }

  /** Makes `draft` what the headers of the frame that was read say. */
  fill(draft: Draft, bytes: Buffer): void {
    draft.like(this.draft);
    draft.bytes = bytes;
    draft.start = this.bodyStart;
    draft.end = this.bodyEnd;
    if (!this.#isOpen) return;
    draft.properties = "";
    draft.head = this.#ownBlock;
    draft.headStart = 0;
    draft.headEnd = this.#putTogether(bytes);
  }

  /** The block with the values of the frame that was read. Returns its length. */
  #putTogether(bytes: Buffer): number {
    const block = this.#block;
    const own = this.#ownBlock;
    const places = this.#places;
    const { found } = this.#template;
    let from = 0;
    let to = 0;
    for (let i = 0; i < this.#template.slotCount * 2; i += 2) {
      const place = places[i]!;
      if (place === 0) continue;
      while (from < place) own[to++] = block[from++]!;
      for (let k = found[i]!; k < found[i + 1]!; k++) own[to++] = bytes[k]!;
      from = places[i + 1]!;
    }
    while (from < this.#blockLength) own[to++] = block[from++]!;
    return to;
  }
}
