/**
 * The header lines of one frame, described by a table of offsets that is used again for every frame. They stay bytes, and
 * are turned into text only when somebody asks.
 *
 * Most producers send the same lines again and again: a line that equals the one the last SEND had at the same place
 * keeps its row.
 */
import { KnownBytes } from "../../../src/util/known-bytes.ts";
import { COMMAND } from "./commands.ts";
import { type StompVersion, unescapeHeader } from "./header-escape.ts";
import { HEADER, HEADER_COUNT, type HeaderId, headerName } from "./header-names.ts";

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

/** Rows of the table to begin with: most frames have fewer, and idle connections are many. */
const INITIAL_HEADERS = 16;
const LF = 0x0a;
/** Lines that end later in their frame are not compared with the next. */
const KNOWN_BYTES = 1024;

export class HeaderTable {
  /** Escaping and trimming rules; set after CONNECT was answered. */
  version: StompVersion = 10;
  /** Whose headers these are. */
  command: number = 0;
  /** First byte of the frame; offsets are relative to it. */
  base = 0;
  headerCount = 0;
  /** OR of the LINE flags of all headers. */
  flags = 0;
  /** nameStart, nameEnd, valueStart, valueEnd of each header line. */
  table = new Int32Array(INITIAL_HEADERS * 4);
  ids = new Uint8Array(INITIAL_HEADERS);
  lineFlags = new Uint8Array(INITIAL_HEADERS);
  readonly #first = new Int16Array(HEADER_COUNT).fill(-1);
  /** The last SEND up to the end of its headers, and how many of them. */
  readonly #known = new KnownBytes();
  #knownCount = 0;

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

  /** CONNECT and CONNECTED are never escaped. */
  get isEscaped(): boolean {
    return this.version > 10 && this.command > COMMAND.STOMP && this.command !== COMMAND.CONNECTED;
  }

  #decode(bytes: Buffer, start: number, end: number): string {
    const text = bytes.toString("utf8", this.base + start, this.base + end);
    return this.isEscaped ? unescapeHeader(text) : text;
  }

  // ---- filling

  /** A new frame: nothing of the last one counts. */
  protected beginHeaders(base: number, command: number): void {
    for (let i = 0; i < this.headerCount; i++) this.#first[this.ids[i]!] = -1;
    this.base = base;
    this.command = command;
    this.headerCount = 0;
    this.flags = 0;
    if (command !== COMMAND.SEND) this.#knownCount = 0;
  }

  /**
   * Is the line that begins at the offset `start` the one that the last SEND had there? Then it is taken over. Returns the
   * offset after it, or 0.
   */
  protected takeKnownLine(bytes: Buffer, start: number, end: number): number {
    const index = this.headerCount;
    if (index >= this.#knownCount) return 0;
    const { base, table } = this;
    const after = table[index * 4 + 3]! + 1;
    // A line with blanks or a CR behind its value is none of these.
    if (table[index * 4] !== start || base + after > end || bytes[base + after - 1] !== LF)
      return 0;
    if (!this.#known.isAt(bytes, base + start, start, after)) return 0;
    this.#count(index);
    return after;
  }

  /** The line of offsets `start` to `stop`, with the colon at `colon`, is the next one. */
  protected addHeader(
    bytes: Buffer,
    start: number,
    colon: number,
    stop: number,
    lineFlags: number,
  ): void {
    const index = this.headerCount;
    if (index === this.ids.length) this.#growTable();
    const { base, table } = this;
    let valueStart = colon + 1;
    let valueEnd = stop;
    // 1.0 alone let implementations pad and trim values; CONNECT comes before the version is known.
    if (this.version === 10) {
      while (valueStart < valueEnd && isSpace(bytes[base + valueStart]!)) valueStart++;
      while (valueEnd > valueStart && isSpace(bytes[base + valueEnd - 1]!)) valueEnd--;
    }
    const at = index * 4;
    table[at] = start;
    table[at + 1] = colon;
    table[at + 2] = valueStart;
    table[at + 3] = valueEnd;
    this.ids[index] = headerName(bytes, base + start, base + colon);
    this.lineFlags[index] = lineFlags;
    this.#count(index);
    if (this.command === COMMAND.SEND && stop < KNOWN_BYTES) {
      this.#known.put(start, bytes, base + start, base + stop + 1);
    }
  }

  /** All lines of the frame are there. */
  protected endHeaders(headersEnd: number): void {
    const isKnown = this.command === COMMAND.SEND && headersEnd < KNOWN_BYTES;
    this.#knownCount = isKnown ? this.headerCount : 0;
  }

  #count(index: number): void {
    const id = this.ids[index]! as HeaderId;
    this.flags |= this.lineFlags[index]!;
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
}

const isSpace = (c: number): boolean => c === 0x20 || c === 0x09;
