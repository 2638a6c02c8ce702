/**
 * How a STOMP message's own headers are stored: one record property `x-hd`, so that a MESSAGE frame is built by copying it.
 *
 *   x-hd 0x01 kind line* 0x02          line = name ":" value LF, escaped as STOMP 1.2
 *
 *   kind   0x40 plus   1  SEND gave a content-length: bytes rather than text
 *                      2  some line has escapes: only a 1.2 peer gets the block as it is
 *                      4  bytes 0x01 and 0x02 are written as \1 and \2
 *
 * Order and repetitions are the publisher's. Headers that other parts of the record hold (persistent, priority, expires,
 * timestamp) and those that only speak to the broker (receipt, transaction, content-length …) are left out by send.ts.
 */
import { deathCount, deathSummary } from "../../../src/model/deaths.ts";
import { valueText } from "../../../src/model/property-text.ts";
import { neutralFromRecord } from "../../../src/model/record-fields.ts";
import type { RecordView } from "../../../src/model/record-view.ts";
import { KnownBytes } from "../../../src/util/known-bytes.ts";
import type { FrameParser } from "./frame-parser.ts";
import { escapeHeader, headerLine, type StompVersion, unescapeHeader } from "./header-escape.ts";
import { LINE } from "./header-table.ts";

export const BLOCK = { BASE: 0x40, BYTES: 1, ESCAPED: 2, SEPARATORS: 4 } as const;
const BLOCK_PROPERTY = "x-hd";
const DEATH = Buffer.from("x-death", "latin1");
const PROPERTY_HEAD = Buffer.from(`${BLOCK_PROPERTY}\x01`, "latin1");

const PROPERTY_END = 0x02;
const COLON = 0x3a;
const LF = 0x0a;
const NEEDS_WORK = LINE.BACKSLASH | LINE.COLON | LINE.CR | LINE.SEPARATOR;

/** Collects the lines of one frame. */
export class HeaderBlockWriter {
  /** After `end`: the property, in `bytes[0, length)`. */
  bytes = Buffer.allocUnsafe(256);
  length = 0;
  /** Where in it the value of the header line that was added last lies, as it came; 0 when it was written another way. */
  valueStart = 0;
  #kind = 0;
  #isUtf8 = false;
  /** The last one that was asked for as text. */
  readonly #known = new KnownBytes();
  #knownText = "";

  constructor() {
    PROPERTY_HEAD.copy(this.bytes);
  }

  begin(hasContentLength: boolean): void {
    this.#kind = BLOCK.BASE | (hasContentLength ? BLOCK.BYTES : 0);
    // The kind is known at the end; its place is kept.
    this.length = PROPERTY_HEAD.length + 1;
    this.#isUtf8 = false;
  }

  /** One header line of the frame the parser found, as it came where that is the stored form already. */
  add(parser: FrameParser, bytes: Buffer, index: number): void {
    const flags = parser.lineFlags[index]!;
    this.valueStart = 0;
    if ((flags & NEEDS_WORK) !== 0) {
      this.addText(parser.nameAt(bytes, index), parser.valueAt(bytes, index));
      return;
    }
    const at = index * 4;
    const { base, table } = parser;
    const nameStart = base + table[at]!;
    const nameEnd = base + table[at + 1]!;
    const valueStart = base + table[at + 2]!;
    const valueEnd = base + table[at + 3]!;
    const size = nameEnd - nameStart + valueEnd - valueStart + 2;
    if (this.length + size > this.bytes.length) this.#grow(size);
    if ((flags & LINE.HIGH) !== 0) this.#isUtf8 = true;
    const out = this.bytes;
    let to = this.length;
    for (let i = nameStart; i < nameEnd; i++) out[to++] = bytes[i]!;
    out[to++] = COLON;
    this.valueStart = to;
    if (valueEnd - valueStart < 32) {
      for (let i = valueStart; i < valueEnd; i++) out[to++] = bytes[i]!;
    } else {
      bytes.copy(out, to, valueStart, valueEnd);
      to += valueEnd - valueStart;
    }
    out[to++] = LF;
    this.length = to;
  }

  /** A header of our own making, or one that has to be escaped anew. */
  addText(name: string, value: string): void {
    const line = `${escapeHeader(name, 12)}:${escapeHeader(value, 12)}`;
    if (line.includes("\\")) this.#kind |= BLOCK.ESCAPED;
    let safe = line;
    if (SEPARATORS.test(line)) {
      this.#kind |= BLOCK.SEPARATORS | BLOCK.ESCAPED;
      safe = line.replace(ALL_SEPARATORS, (c) => (c === "\x01" ? "\\1" : "\\2"));
    }
    const size = Buffer.byteLength(safe, "utf8") + 1;
    if (this.length + size > this.bytes.length) this.#grow(size);
    if (size !== safe.length + 1) this.#isUtf8 = true;
    this.length += this.bytes.write(safe, this.length, "utf8");
    this.bytes[this.length++] = LF;
  }

  end(): void {
    if (this.length === this.bytes.length) this.#grow(1);
    this.bytes[PROPERTY_HEAD.length] = this.#kind;
    this.bytes[this.length++] = PROPERTY_END;
  }

  /** After `end`: the block is the one that was asked for as text before. */
  get isKnown(): boolean {
    const known = this.#known;
    return known.length === this.length && known.isAt(this.bytes, 0);
  }

  /** After `end`: the property as text. That of a block which equals the one before is the same string object. */
  text(): string {
    if (!this.isKnown) {
      this.#known.learn(this.bytes, 0, this.length);
      this.#knownText = this.bytes.toString(this.#isUtf8 ? "utf8" : "latin1", 0, this.length);
    }
    return this.#knownText;
  }

  #grow(size: number): void {
    const larger = Buffer.allocUnsafe((this.length + size) * 2);
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they separate record properties
const SEPARATORS = /[\x01\x02]/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they separate record properties
const ALL_SEPARATORS = /[\x01\x02]/g;

/** Finds the block of a record. One object is used again for every record. */
export class StoredBlock {
  kind: number = BLOCK.BASE;
  start = 0;
  end = 0;
  /** The record is a dead letter: what became of it follows the block. */
  isDead = false;

  /** False when the record has none (it was not written over STOMP). */
  find(record: RecordView): boolean {
    const { buffer, propertiesEnd } = record;
    let at = record.propertiesStart;
    while (at + PROPERTY_HEAD.length < propertiesEnd) {
      let i = 0;
      while (i < PROPERTY_HEAD.length && buffer[at + i] === PROPERTY_HEAD[i]) i++;
      const isFound = i === PROPERTY_HEAD.length;
      const from = at + i;
      at = from;
      while (at < propertiesEnd && buffer[at] !== 0x02) at++;
      if (isFound) {
        this.kind = buffer[from]!;
        this.start = from + 1;
        this.end = at;
        this.isDead = buffer[at + 1] === DEATH[0] && startsWith(buffer, at + 1, propertiesEnd);
        return true;
      }
      at++;
    }
    return false;
  }

  get isBytes(): boolean {
    return (this.kind & BLOCK.BYTES) !== 0;
  }

  /** May the block be copied to a peer of this version as it is? */
  isPlainFor(version: StompVersion): boolean {
    const special = this.kind & (BLOCK.ESCAPED | BLOCK.SEPARATORS);
    return special === 0 || (special === BLOCK.ESCAPED && version === 12);
  }

  /** Name and value of each line, unescaped. */
  headers(buffer: Buffer): Array<[name: string, value: string]> {
    const out: Array<[string, string]> = [];
    const hasSeparators = (this.kind & BLOCK.SEPARATORS) !== 0;
    for (const line of buffer.toString("utf8", this.start, this.end).split("\n")) {
      const colon = line.indexOf(":");
      if (colon < 0) continue;
      out.push([
        decode(line.slice(0, colon), hasSeparators),
        decode(line.slice(colon + 1), hasSeparators),
      ]);
    }
    return out;
  }

  /** The block for a peer that cannot take it as it is. */
  text(buffer: Buffer, version: StompVersion): string {
    let text = "";
    for (const [name, value] of this.headers(buffer)) {
      text += `${escapeHeader(name, version)}:${escapeHeader(value, version)}\n`;
    }
    return text;
  }
}

function startsWith(buffer: Buffer, at: number, end: number): boolean {
  if (at + DEATH.length > end) return false;
  for (let i = 0; i < DEATH.length; i++) if (buffer[at + i] !== DEATH[i]) return false;
  return true;
}

/** Header lines for what became of a dead letter before it came here; "" for none. */
export function deathHeaders(record: RecordView, version: StompVersion): string {
  const { deaths } = neutralFromRecord(record);
  if (deaths.length === 0) return "";
  let text = headerLine("x-death-count", String(deathCount(deaths)), version);
  for (const { name, value } of deathSummary(deaths)) {
    text += headerLine(name, valueText(value), version);
  }
  return text;
}

/** In one pass, because `\\1` is a backslash and "1". */
function decode(text: string, hasSeparators: boolean): string {
  if (!hasSeparators) return unescapeHeader(text);
  return text.replace(/\\(.)/gs, (sequence, c: string) =>
    c === "1" ? "\x01" : c === "2" ? "\x02" : unescapeHeader(sequence),
  );
}
