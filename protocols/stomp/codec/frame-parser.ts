/**
 * Bytes → STOMP frames of versions 1.0, 1.1 and 1.2. Pure and synchronous: no sockets, no copies.
 *
 * `next` reads one frame; its headers stay bytes, described by a table of offsets that is used again for every frame, and
 * are turned into text only when somebody asks. The parser keeps its place inside an incomplete frame, so a frame that
 * comes in many small pieces costs no more than one that comes whole.
 *
 * Strict where the three specifications agree on MUST, lenient in two ways: CR before LF is accepted in every version
 * (1.0 and 1.1 clients on Windows send it), and a raw ":" inside a value is taken as it is (most clients send
 * `destination:queue://x`). No length is trusted before it was checked against its limit.
 */
import { isUtf8 } from "node:buffer";
import { StompError } from "../errors.ts";
import { type StompVersion, unescapeHeader } from "./header-escape.ts";
import { HEADER, HEADER_COUNT, type HeaderId, headerName } from "./header-names.ts";

export const COMMAND = {
  CONNECT: 1,
  STOMP: 2,
  SEND: 3,
  SUBSCRIBE: 4,
  UNSUBSCRIBE: 5,
  ACK: 6,
  NACK: 7,
  BEGIN: 8,
  COMMIT: 9,
  ABORT: 10,
  DISCONNECT: 11,
  // from a server
  CONNECTED: 12,
  MESSAGE: 13,
  RECEIPT: 14,
  ERROR: 15,
} as const;
export type Command = (typeof COMMAND)[keyof typeof COMMAND];

const COMMAND_NAMES = [
  "",
  "CONNECT",
  "STOMP",
  "SEND",
  "SUBSCRIBE",
  "UNSUBSCRIBE",
  "ACK",
  "NACK",
  "BEGIN",
  "COMMIT",
  "ABORT",
  "DISCONNECT",
  "CONNECTED",
  "MESSAGE",
  "RECEIPT",
  "ERROR",
] as const;
const COMMAND_BYTES = COMMAND_NAMES.map((name) => Buffer.from(name, "latin1"));
const LAST_CLIENT_COMMAND = COMMAND.DISCONNECT;

export const commandName = (command: number): string => COMMAND_NAMES[command] ?? "";

/** What is special about one header line. */
export const LINE = {
  /** The value or name has escape sequences (1.1 and 1.2) or a plain backslash (1.0). */
  BACKSLASH: 1,
  /** A raw ":" in the value. */
  COLON: 2,
  /** A raw CR that does not end the line (1.0 and 1.1 only). */
  CR: 4,
  /** Bytes 0x01 or 0x02, the separators of record properties. */
  SEPARATOR: 8,
  /** Not ASCII. */
  HIGH: 16,
} as const;

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

/** No command is longer; what is longer is not STOMP. */
const MAX_COMMAND_BYTES = 32;
/** Rows of the header table to begin with: most frames have fewer, and idle connections are many. */
const INITIAL_HEADERS = 16;
const NO_MEMO = Buffer.alloc(0);
/** Header sections longer than this are not remembered. */
const MEMO_BYTES = 1024;
const ACK_HEAD = Buffer.from("ACK\nid:", "latin1");
const MAX_PLAIN_ID = 64;
const LF = 0x0a;
const CR = 0x0d;
const COLON = 0x3a;
const BACKSLASH = 0x5c;

/** Bytes that mean something inside a header line: 0 1 2 LF CR : \\ and everything that is not ASCII. */
const IS_SPECIAL = new Uint8Array(256).fill(1, 0x80);
for (const c of [0, 1, 2, LF, CR, COLON, BACKSLASH]) IS_SPECIAL[c] = 1;

/** Where in a frame the parser stands. */
const PHASE = { COMMAND: 0, HEADERS: 1, BODY: 2 } as const;

export class FrameParser {
  /** Escaping and trimming rules; set after CONNECT was answered. */
  version: StompVersion = 10;
  limits: ParserLimits;

  // The frame that `next` found. Offsets are relative to `base`.
  command: number = 0;
  /** First byte of the frame in the buffer that was given to `next`. */
  base = 0;
  headerCount = 0;
  /** First byte after the command line, and the blank line's first byte. */
  headersStart = 0;
  headersEnd = 0;
  bodyStart = 0;
  bodyEnd = 0;
  hasContentLength = false;
  /** OR of the LINE flags of all headers. */
  flags = 0;
  /** nameStart, nameEnd, valueStart, valueEnd of each header line. */
  table = new Int32Array(INITIAL_HEADERS * 4);
  ids = new Uint8Array(INITIAL_HEADERS);
  lineFlags = new Uint8Array(INITIAL_HEADERS);

  /** After `next` returned −1: the index from which on the bytes must be kept and given again. */
  rest = 0;
  /** After `next` returned −1: bytes of the whole frame from `rest` on, 0 when not known. */
  wanted = 0;

  readonly #isServer: boolean;
  readonly #first = new Int16Array(HEADER_COUNT).fill(-1);
  #phase: number = PHASE.COMMAND;
  /** Where to go on, relative to `base`. */
  #scan = 0;
  #contentLength = -1;
  /**
   * The header lines of the last SEND, at their offsets in the frame, and how many. Most producers send the same lines
   * again and again: one that equals the line before it at the same place keeps its row of the table.
   */
  #memo: Buffer = NO_MEMO;
  #memoCount = 0;

  /** `from`: whose frames these are; a server refuses MESSAGE, a client refuses SEND. */
  constructor(from: "client" | "server", limits: ParserLimits = DEFAULT_PARSER_LIMITS) {
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
      if (bytes[at] === ACK_HEAD[0] && this.version === 12) {
        const next = this.#readPlainAck(bytes, at, end);
        if (next > 0) return next;
      }
      if (!this.#readCommand(bytes, at, end)) return -1;
    } else {
      this.base = at;
      this.rest = at;
    }
    if (this.#phase === PHASE.HEADERS && !this.#readHeaders(bytes, end)) return -1;
    return this.#readBody(bytes, end);
  }

  /** Index of the first header of that name, or −1. */
  indexOf(id: HeaderId): number {
    return this.#first[id]!;
  }

  has(id: HeaderId): boolean {
    return this.#first[id]! >= 0;
  }

  /** Text of the first header of that name, unescaped, or undefined. */
  text(bytes: Buffer, id: HeaderId): string | undefined {
    const index = this.#first[id]!;
    return index < 0 ? undefined : this.valueAt(bytes, index);
  }

  nameAt(bytes: Buffer, index: number): string {
    const at = index * 4;
    return this.#decode(bytes, this.table[at]!, this.table[at + 1]!);
  }

  valueAt(bytes: Buffer, index: number): string {
    const at = index * 4;
    return this.#decode(bytes, this.table[at + 2]!, this.table[at + 3]!);
  }

  /** The next byte begins a frame, or a line end between two. */
  get isBetweenFrames(): boolean {
    return this.#phase === PHASE.COMMAND;
  }

  /** CONNECT and CONNECTED are never escaped. */
  get isEscaped(): boolean {
    return this.version > 10 && this.command > COMMAND.STOMP && this.command !== COMMAND.CONNECTED;
  }

  #decode(bytes: Buffer, start: number, end: number): string {
    const text = bytes.toString("utf8", this.base + start, this.base + end);
    return this.isEscaped ? unescapeHeader(text) : text;
  }

  /**
   * The ACK that nearly every client of version 1.2 sends, `ACK LF id:<digits and dashes> LF LF NUL`, in one pass. Returns
   * the index after it, or 0 when it is anything else, whole or not.
   */
  #readPlainAck(bytes: Buffer, at: number, end: number): number {
    const idStart = at + ACK_HEAD.length;
    if (end < idStart + 4) return 0;
    for (let i = 1; i < ACK_HEAD.length; i++) if (bytes[at + i] !== ACK_HEAD[i]) return 0;
    let p = idStart;
    const most = Math.min(end, idStart + MAX_PLAIN_ID);
    while (p < most) {
      const c = bytes[p]!;
      if ((c < 0x30 || c > 0x39) && c !== 0x2d) break;
      p++;
    }
    if (p + 3 > end || bytes[p] !== LF || bytes[p + 1] !== LF || bytes[p + 2] !== 0) return 0;
    this.#begin(at, COMMAND.ACK);
    this.#memoCount = 0;
    const { table } = this;
    table[0] = this.headersStart = 4;
    table[1] = 6;
    table[2] = 7;
    table[3] = p - at;
    this.ids[0] = HEADER.ID;
    this.lineFlags[0] = 0;
    this.#first[HEADER.ID] = 0;
    this.headerCount = 1;
    this.headersEnd = p + 1 - at;
    this.bodyStart = this.bodyEnd = p + 2 - at;
    return p + 3;
  }

  /** A new frame: nothing of the last one counts. */
  #begin(at: number, command: number): void {
    for (let i = 0; i < this.headerCount; i++) this.#first[this.ids[i]!] = -1;
    this.base = at;
    this.command = command;
    this.headerCount = 0;
    this.hasContentLength = false;
    this.flags = 0;
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
    if (command === 0 || command > LAST_CLIENT_COMMAND !== this.#isServer) {
      throw new StompError(
        "Unknown command",
        `"${printable(bytes, at, stop)}" is not a command that ${this.#isServer ? "a server" : "a client"} may send.`,
      );
    }
    this.#scan = this.headersStart = p + 1 - at;
    this.#phase = PHASE.HEADERS;
    if (command !== COMMAND.SEND) this.#memoCount = 0;
    return true;
  }

  #readHeaders(bytes: Buffer, end: number): boolean {
    const { base, limits } = this;
    const mayEscape = this.isEscaped;
    for (;;) {
      const lineStart = base + this.#scan;
      if (this.headerCount < this.#memoCount && this.#isAsBefore(bytes, end)) continue;
      let p = lineStart;
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
            this.#checkEscape(bytes[p + 1]!, bytes, lineStart, p);
            p++;
          }
        } else if (c > 0x7f) flags |= LINE.HIGH;
        else if (c === CR) flags |= LINE.CR;
        else if (c === 0) throw noBlankLine(this.command);
        else flags |= LINE.SEPARATOR;
      }
      if (p - lineStart > limits.maxHeaderBytes + 1) {
        throw new StompError(
          "header too long",
          `A header line may have ${limits.maxHeaderBytes} bytes.`,
        );
      }
      if (p >= end || c !== LF) return false;
      let stop = p;
      if (stop > lineStart && bytes[stop - 1] === CR) stop--;
      this.#scan = p + 1 - base;
      if (stop === lineStart) {
        this.headersEnd = lineStart - base;
        this.#endHeaders(bytes);
        return true;
      }
      if ((flags & LINE.CR) !== 0) flags = this.#checkCr(bytes, lineStart, stop, flags);
      this.#addHeader(bytes, lineStart, colon, stop, flags);
      if (this.command === COMMAND.SEND && p - base < MEMO_BYTES) {
        this.#remember(bytes, lineStart, p);
      }
    }
  }

  /** Is the line at `#scan` the one that the last SEND had there? Then it is taken over. */
  #isAsBefore(bytes: Buffer, end: number): boolean {
    const memo = this.#memo;
    const { base, table, headerCount: index } = this;
    const stop = table[index * 4 + 3]!;
    if (table[index * 4] !== this.#scan || base + stop >= end || memo[stop] !== LF) return false;
    for (let i = this.#scan; i <= stop; i++) if (bytes[base + i] !== memo[i]) return false;
    const id = this.ids[index]!;
    if (id !== HEADER.UNKNOWN && this.#first[id]! < 0) this.#first[id] = index;
    this.flags |= this.lineFlags[index]!;
    this.headerCount = index + 1;
    this.#scan = stop + 1;
    return true;
  }

  /** Remembers the line from `start` up to and with its LF, for the next SEND. */
  #remember(bytes: Buffer, start: number, end: number): void {
    if (this.#memo === NO_MEMO) this.#memo = Buffer.alloc(MEMO_BYTES);
    const memo = this.#memo;
    const { base } = this;
    for (let i = start; i <= end; i++) memo[i - base] = bytes[i]!;
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

  #addHeader(
    bytes: Buffer,
    lineStart: number,
    colon: number,
    stop: number,
    lineFlags: number,
  ): void {
    if (colon <= lineStart) {
      throw new StompError(
        "Invalid header",
        `The header line "${printable(bytes, lineStart, stop)}" has no ${colon < 0 ? "colon" : "name"}.`,
      );
    }
    const index = this.headerCount;
    if (index === this.limits.maxHeaders) {
      throw new StompError(
        "too many headers",
        `A frame may have ${this.limits.maxHeaders} headers.`,
      );
    }
    if (index === this.ids.length) this.#growTable();
    let valueStart = colon + 1;
    let valueEnd = stop;
    // 1.0 alone let implementations pad and trim values; CONNECT comes before the version is known.
    if (this.version === 10) {
      while (valueStart < valueEnd && isSpace(bytes[valueStart]!)) valueStart++;
      while (valueEnd > valueStart && isSpace(bytes[valueEnd - 1]!)) valueEnd--;
    }
    const { base, table } = this;
    const at = index * 4;
    table[at] = lineStart - base;
    table[at + 1] = colon - base;
    table[at + 2] = valueStart - base;
    table[at + 3] = valueEnd - base;
    const id = headerName(bytes, lineStart, colon);
    this.ids[index] = id;
    this.lineFlags[index] = lineFlags;
    this.flags |= lineFlags;
    // 1.2 "Repeated Header Entries": only the first counts.
    if (id !== HEADER.UNKNOWN && this.#first[id]! < 0) this.#first[id] = index;
    this.headerCount = index + 1;
  }

  #growTable(): void {
    const grown = <T extends Int32Array | Uint8Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const size = this.ids.length * 2;
    this.table = grown(this.table, new Int32Array(size * 4));
    this.ids = grown(this.ids, new Uint8Array(size));
    this.lineFlags = grown(this.lineFlags, new Uint8Array(size));
  }

  #endHeaders(bytes: Buffer): void {
    const { base } = this;
    if (this.command === COMMAND.SEND && this.headersEnd < MEMO_BYTES) {
      this.#memoCount = this.headerCount;
    } else this.#memoCount = 0;
    if ((this.flags & LINE.HIGH) !== 0) {
      if (!isUtf8(bytes.subarray(base + this.headersStart, base + this.headersEnd))) {
        throw new StompError("Invalid header", "Headers have to be UTF-8.");
      }
    }
    this.bodyStart = this.#scan;
    const index = this.#first[HEADER.CONTENT_LENGTH]!;
    if (index >= 0) {
      this.hasContentLength = true;
      this.#contentLength = this.#readLength(bytes, index);
      const most = this.#mayHaveBody ? this.limits.maxBodyBytes : 0;
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

  /** 1.2 "Body": only SEND, MESSAGE and ERROR may have one. */
  get #mayHaveBody(): boolean {
    const { command } = this;
    return command === COMMAND.SEND || command === COMMAND.MESSAGE || command === COMMAND.ERROR;
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
        if (end - start > 0 && !this.#mayHaveBody) throw noBodyAllowed(this.command);
        if (end - start > this.limits.maxBodyBytes) throw tooLarge(this.limits.maxBodyBytes);
        this.wanted = 0;
        return -1;
      }
      if (stop > start && !this.#mayHaveBody) throw noBodyAllowed(this.command);
      if (stop - start > this.limits.maxBodyBytes) throw tooLarge(this.limits.maxBodyBytes);
    }
    this.bodyEnd = stop - base;
    this.#phase = PHASE.COMMAND;
    return stop + 1;
  }
}

/** First index that is not a line end between frames (a heart-beat). A CR whose LF has not come is left. */
function skipEols(bytes: Buffer, at: number, end: number): number {
  while (at < end) {
    const c = bytes[at];
    if (c === LF) at++;
    else if (c === CR && at + 1 < end && bytes[at + 1] === LF) at += 2;
    else break;
  }
  return at;
}

const isSpace = (c: number): boolean => c === 0x20 || c === 0x09;

/** First NUL in `bytes[from, end)`, or −1. The native search has a fixed cost that a short body does not pay back. */
export function findNul(bytes: Buffer, from: number, end: number): number {
  const near = Math.min(end, from + 48);
  for (let i = from; i < near; i++) if (bytes[i] === 0) return i;
  if (near === end) return -1;
  const at = bytes.indexOf(0, near);
  return at < end ? at : -1;
}

/** Commands by the length of their name. */
const BY_LENGTH: ReadonlyArray<readonly number[]> = Array.from({ length: 12 }, (_, length) =>
  COMMAND_BYTES.flatMap((name, command) =>
    command > 0 && name.length === length ? [command] : [],
  ),
);

function commandAt(bytes: Buffer, start: number, end: number): number {
  const length = end - start;
  const candidates = BY_LENGTH[length];
  if (candidates === undefined) return 0;
  next: for (let c = 0; c < candidates.length; c++) {
    const name = COMMAND_BYTES[candidates[c]!]!;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== name[i]) continue next;
    return candidates[c]!;
  }
  return 0;
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

/** At most 64 bytes for an error text, with everything but printable ASCII replaced. */
export function printable(bytes: Buffer, start: number, end: number): string {
  const text = bytes.toString("latin1", start, Math.min(end, start + 64, bytes.length));
  return text.replace(/[^\x20-\x7e]/g, "?") + (end - start > 64 ? "…" : "");
}
