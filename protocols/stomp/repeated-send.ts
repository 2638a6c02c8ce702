/**
 * The SEND before, as the pattern of those that differ from it in body, receipt and content-length only: what its headers
 * said, and where it goes. A producer whose every message has headers of its own soon is no longer compared.
 */
import type { Target } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { findNul } from "./codec/frame-bytes.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { FrameTemplate } from "./codec/frame-template.ts";
import { HEADER } from "./codec/header-names.ts";

/** Patterns that nothing fitted make a pause that doubles, up to so many frames. */
const LONGEST_PAUSE = 63;

export class RepeatedSend {
  /** Where it goes; null while there is no pattern. */
  target: Target | null = null;
  /** What its headers said. */
  readonly draft = new Draft();
  // What `read` found.
  bodyStart = 0;
  bodyEnd = 0;
  readonly #template = new FrameTemplate();
  #hasLength = false;
  #maxBodyBytes = 0;
  /** Something fitted since the pattern was taken. */
  #isUsed = true;
  #pause = 0;
  #paused = 0;

  /** It asked for a receipt, and so do those that repeat it. */
  get hasReceipt(): boolean {
    return this.#template.hasText;
  }
  get receiptStart(): number {
    return this.#template.textStart;
  }
  get receiptEnd(): number {
    return this.#template.textEnd;
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

  /** The frame that the parser stands on, whose headers mean `draft` at any time, may repeat itself. */
  learn(parser: FrameParser, bytes: Buffer, draft: Draft, target: Target): void {
    this.#isUsed = false;
    this.target = null;
    const { base, table } = parser;
    const template = this.#template;
    if (!template.learn(bytes, base, base + parser.bodyStart)) return;
    const length = parser.indexOf(HEADER.CONTENT_LENGTH) * 4;
    this.#hasLength = length >= 0;
    if (length >= 0) template.varyNumber(table[length + 2]!, table[length + 3]!);
    const receipt = parser.indexOf(HEADER.RECEIPT) * 4;
    if (receipt >= 0) {
      if (table[receipt + 2] === table[receipt + 3]) return;
      template.varyText(table[receipt + 2]!, table[receipt + 3]!);
    }
    this.#maxBodyBytes = parser.limits.maxBodyBytes;
    this.draft.like(draft);
    this.target = target;
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
}
