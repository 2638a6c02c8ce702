/**
 * Bytes → STOMP frames of versions 1.0, 1.1 and 1.2. Pure and synchronous: no sockets, no copies.
 *
 * `next` reads one frame; its headers stay bytes in a table of offsets (header-table.ts). The parser keeps its place inside
 * an incomplete frame, so a frame that comes in many small pieces costs no more than one that comes whole.
 *
 * Strict where the three specifications agree on MUST, lenient in two ways: CR before LF is accepted in every version
 * (1.0 and 1.1 clients on Windows send it), and a raw ":" inside a value is taken as it is (most clients send
 * `destination:queue://x`). No length is trusted before it was checked against its limit.
 */
import { isUtf8 } from "node:buffer";
import { StompError } from "../errors.ts";
import {
  commandAt,
  commandName,
  isFromServer,
  MAX_COMMAND_BYTES,
  mayHaveBody,
} from "./commands.ts";
import { findNul, printable, skipEols } from "./frame-bytes.ts";
import { HEADER } from "./header-names.ts";
import { HeaderTable, LINE } from "./header-table.ts";

export interface ParserLimits {
  readonly maxHeaders: number;
  /** One header line, name and value. */
  readonly maxHeaderBytes: number;
  readonly maxBodyBytes: number;
}

export const DEFAULT_PARSER_LIMITS: ParserLimits = {
  maxHeaders: 128,
  maxHeaderBytes: 16 * 1024,
  maxBodyBytes: 16 * 1024 * 1024,
};

const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** Bytes that mean something inside a header line: 0 1 2 LF CR : \\ and everything that is not ASCII. */
const IS_SPECIAL = new Uint8Array(256).fill(1, 0x80);
for (const c of [0, 1, 2, LF, CR, COLON, BACKSLASH]) IS_SPECIAL[c] = 1;

/** Where in a frame the parser stands. */
const PHASE = { COMMAND: 0, HEADERS: 1, BODY: 2 } as const;

export class FrameParser extends HeaderTable {
  limits: ParserLimits;

  // The frame that `next` found, besides its headers. Offsets are relative to `base`.
  /** First byte after the command line, and the blank line's first byte. */
  headersStart = 0;
  headersEnd = 0;
  bodyStart = 0;
  bodyEnd = 0;
  hasContentLength = false;

  /** After `next` returned −1: the index from which on the bytes must be kept and given again. */
  rest = 0;
  /** After `next` returned −1: bytes of the whole frame from `rest` on, 0 when not known. */
  wanted = 0;

  readonly #isServer: boolean;
  #phase: number = PHASE.COMMAND;
  /** Where to go on, relative to `base`. */
  #scan = 0;
  #contentLength = -1;
  // What `#scanLine` found.
  #colon = -1;
  #lineFlags = 0;

  /** `from`: whose frames these are; a server refuses MESSAGE, a client refuses SEND. */
  constructor(from: "client" | "server", limits: ParserLimits = DEFAULT_PARSER_LIMITS) {
    super();
    this.limits = limits;
    this.#isServer = from === "server";
  }

  /**
   * Reads one frame that begins at or after `at`. Returns the index after it, with the fields above describing it, or −1
   * when `bytes[at, end)` holds no whole frame: call again with the bytes from `rest` on and more after them.
   * Throws StompError; the parser cannot go on after that.
   */
  next(bytes: Buffer, at: number, end: number): number {
    if (this.#phase === PHASE.COMMAND) {
      at = skipEols(bytes, at, end);
      this.rest = at;
      this.wanted = 0;
      if (at === end) return -1;
      if (!this.#readCommand(bytes, at, end)) return -1;
    } else {
      this.base = at;
      this.rest = at;
    }
    if (this.#phase === PHASE.HEADERS && !this.#readHeaders(bytes, end)) return -1;
    return this.#readBody(bytes, end);
  }

  /** The next byte begins a frame, or a line end between two. */
  get isBetweenFrames(): boolean {
    return this.#phase === PHASE.COMMAND;
  }

  /** A new frame: nothing of the last one counts. */
  #begin(at: number, command: number): void {
    this.beginHeaders(at, command);
    this.hasContentLength = false;
    this.#contentLength = -1;
  }

  #readCommand(bytes: Buffer, at: number, end: number): boolean {
    const most = Math.min(end, at + MAX_COMMAND_BYTES + 2);
    let p = at;
    while (p < most && bytes[p] !== LF) {
      if (bytes[p] === 0) break;
      p++;
    }
    if (p === most && p < at + MAX_COMMAND_BYTES + 2) return false;
    const stop = p > at && bytes[p] === LF && bytes[p - 1] === CR ? p - 1 : p;
    const command = p < most && bytes[p] === LF ? commandAt(bytes, at, stop) : 0;
    this.#begin(at, command);
    if (command === 0 || isFromServer(command) !== this.#isServer) {
      throw new StompError(
        "Unknown command",
        `"${printable(bytes, at, stop)}" is not a command that ${this.#isServer ? "a server" : "a client"} may send.`,
      );
    }
    this.#scan = this.headersStart = p + 1 - at;
    this.#phase = PHASE.HEADERS;
    return true;
  }

  /** False when the blank line has not come yet. */
  #readHeaders(bytes: Buffer, end: number): boolean {
    const { base } = this;
    for (;;) {
      const start = this.#scan;
      const after = this.takeKnownLine(bytes, start, end);
      if (after > 0) {
        this.#scan = after;
        continue;
      }
      const lineEnd = this.#scanLine(bytes, base + start, end);
      if (lineEnd < 0) return false;
      let stop = lineEnd - base;
      this.#scan = stop + 1;
      if (stop > start && bytes[lineEnd - 1] === CR) stop--;
      if (stop === start) {
        this.headersEnd = start;
        this.#checkHeaders(bytes);
        return true;
      }
      this.#takeLine(bytes, start, stop);
    }
  }

  /** Index of the LF that ends the line from `start` on; −1 when it has not come. */
  #scanLine(bytes: Buffer, start: number, end: number): number {
    const mayEscape = this.isEscaped;
    let p = start;
    let colon = -1;
    let flags = 0;
    let c = 0;
    for (; p < end; p++) {
      c = bytes[p]!;
      if (IS_SPECIAL[c] === 0) continue;
      if (c === LF) break;
      if (c === COLON) {
        if (colon < 0) colon = p;
        else flags |= LINE.COLON;
      } else if (c === BACKSLASH) {
        flags |= LINE.BACKSLASH;
        if (mayEscape) {
          if (p + 1 === end) break;
          this.#checkEscape(bytes[p + 1]!, bytes, start, p);
          p++;
        }
      } else if (c > 0x7f) flags |= LINE.HIGH;
      else if (c === CR) flags |= LINE.CR;
      else if (c === 0) throw noBlankLine(this.command);
      else flags |= LINE.SEPARATOR;
    }
    const most = this.limits.maxHeaderBytes;
    if (p - start > most + 1) {
      throw new StompError("header too long", `A header line may have ${most} bytes.`);
    }
    this.#colon = colon;
    this.#lineFlags = flags;
    return p < end && c === LF ? p : -1;
  }

  /** The header line that was scanned, without its line end, at these offsets. */
  #takeLine(bytes: Buffer, start: number, stop: number): void {
    const { base, limits } = this;
    const colon = this.#colon - base;
    let flags = this.#lineFlags;
    if ((flags & LINE.CR) !== 0) flags = this.#checkCr(bytes, base + start, base + stop, flags);
    if (colon <= start) {
      throw new StompError(
        "Invalid header",
        `The header line "${printable(bytes, base + start, base + stop)}" has no ${this.#colon < 0 ? "colon" : "name"}.`,
      );
    }
    if (this.headerCount === limits.maxHeaders) {
      throw new StompError("too many headers", `A frame may have ${limits.maxHeaders} headers.`);
    }
    this.addHeader(bytes, start, colon, stop, flags);
  }

  /** 1.2 "Value Encoding": undefined escape sequences MUST be treated as a fatal protocol error. */
  #checkEscape(next: number, bytes: Buffer, lineStart: number, at: number): void {
    if (next === 0x6e || next === 0x63 || next === BACKSLASH) return;
    if (next === 0x72 && this.version === 12) return;
    throw new StompError(
      "Undefined escape sequence",
      `"${printable(bytes, at, at + 2)}" in the header "${printable(bytes, lineStart, at)}" is not defined in this version.`,
    );
  }

  /** The CR that ends a line was taken off already; 1.2 allows no other, the older versions do. */
  #checkCr(bytes: Buffer, lineStart: number, stop: number, flags: number): number {
    for (let i = lineStart; i < stop; i++) {
      if (bytes[i] !== CR) continue;
      if (this.version < 12 || !this.isEscaped) return flags;
      throw new StompError(
        "Invalid header",
        "A carriage return inside a header has to be written as \\r.",
      );
    }
    return flags & ~LINE.CR;
  }

  /** All lines are there: what has to hold for them together. */
  #checkHeaders(bytes: Buffer): void {
    const { base } = this;
    this.endHeaders(this.headersEnd);
    if ((this.flags & LINE.HIGH) !== 0) {
      if (!isUtf8(bytes.subarray(base + this.headersStart, base + this.headersEnd))) {
        throw new StompError("Invalid header", "Headers have to be UTF-8.");
      }
    }
    this.bodyStart = this.#scan;
    const index = this.indexOf(HEADER.CONTENT_LENGTH);
    if (index >= 0) {
      this.hasContentLength = true;
      this.#contentLength = this.#readLength(bytes, index);
      const most = mayHaveBody(this.command) ? this.limits.maxBodyBytes : 0;
      if (this.#contentLength > most) {
        if (most === 0) throw noBodyAllowed(this.command);
        throw tooLarge(most);
      }
    }
    this.#phase = PHASE.BODY;
  }

  #readLength(bytes: Buffer, index: number): number {
    const start = this.base + this.table[index * 4 + 2]!;
    const end = this.base + this.table[index * 4 + 3]!;
    let value = 0;
    for (let i = start; i < end; i++) {
      const digit = bytes[i]! - 0x30;
      if (digit < 0 || digit > 9 || i - start > 15) value = Number.NaN;
      else value = value * 10 + digit;
    }
    if (start === end || Number.isNaN(value)) {
      throw new StompError(
        "Invalid content-length",
        `"${printable(bytes, start, end)}" is not a number of bytes.`,
      );
    }
    return value;
  }

  #readBody(bytes: Buffer, end: number): number {
    const { base } = this;
    const start = base + this.bodyStart;
    let stop: number;
    if (this.#contentLength >= 0) {
      stop = start + this.#contentLength;
      if (stop >= end) {
        this.wanted = stop + 1 - base;
        return -1;
      }
      if (bytes[stop] !== 0) {
        throw new StompError(
          "frame missing NUL",
          `The ${commandName(this.command)} frame has no NUL after the ${this.#contentLength} bytes of its content-length.`,
        );
      }
    } else {
      stop = findNul(bytes, base + this.#scan, end);
      if (stop < 0) {
        this.#scan = end - base;
        if (end - start > 0 && !mayHaveBody(this.command)) throw noBodyAllowed(this.command);
        if (end - start > this.limits.maxBodyBytes) throw tooLarge(this.limits.maxBodyBytes);
        this.wanted = 0;
        return -1;
      }
      if (stop > start && !mayHaveBody(this.command)) throw noBodyAllowed(this.command);
      if (stop - start > this.limits.maxBodyBytes) throw tooLarge(this.limits.maxBodyBytes);
    }
    this.bodyEnd = stop - base;
    this.#phase = PHASE.COMMAND;
    return stop + 1;
  }
}

const noBlankLine = (command: number): StompError =>
  new StompError(
    "Invalid header",
    `The headers of the ${commandName(command)} frame end with NUL instead of a blank line.`,
  );

const noBodyAllowed = (command: number): StompError =>
  new StompError("body not allowed", `A ${commandName(command)} frame must not have a body.`);

const tooLarge = (limit: number): StompError =>
  new StompError("message too large", `A body may have ${limit} bytes.`);
