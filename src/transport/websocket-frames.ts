/**
 * WebSocket framing (RFC 6455), the side of the server: takes the payload out of what a client sent, where it lies, and
 * writes the few bytes that stand before what is sent to it. No sockets here.
 *
 *   byte 0    FIN 0x80, reserved 0x70, opcode 0x0f          byte 1    masked 0x80, length 0x7f
 *   then      length as 2 bytes (126) or 8 (127); the masking key, 4 bytes, from clients only; the payload
 *
 * Messages are only envelopes of a byte stream, so nothing is collected until a message is whole: frames of any number,
 * cut anywhere, become one run of bytes per chunk. What is kept between chunks is at most one header, a control frame's
 * payload and the beginning of one character.
 */
import { isUtf8 } from "node:buffer";
import { moveMasked } from "../util/copy-memory.ts";

export const OPCODE = { CONTINUATION: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 } as const;

export const CLOSE_CODE = {
  NORMAL: 1000,
  PROTOCOL_ERROR: 1002,
  UNSUPPORTED_DATA: 1003,
  /** Never on the wire: the peer's close frame had no code. */
  NONE: 1005,
  INVALID_TEXT: 1007,
  MESSAGE_TOO_BIG: 1009,
} as const;

/** Why the connection cannot go on: a close code, and words for it. */
export interface FrameError {
  readonly code: number;
  readonly reason: string;
}

const FIN = 0x80;
const RESERVED = 0x70;
const MASKED = 0x80;
const CONTROL = 8;
const CONTROL_BYTES_MAX = 125;
const CLIENT_HEADER_MAX = 14;
/** Most bytes before a payload that a server sends. */
export const SERVER_HEADER_MAX = 10;
const NOTHING = Buffer.alloc(0);

/** What a client sends, chunk by chunk. */
export class FrameDecoder {
  /** Text messages are not for the protocol spoken here. */
  isBinaryOnly = false;
  /** Opcode of the first message; 0: none came yet. */
  firstOpcode = 0;
  /** A text message came at any time. */
  hadText = false;
  /** Payload of the last ping in this chunk: the one that wants an answer (§5.5.3). */
  ping: Buffer | null = null;
  /** The peer's close frame came, with this code; nothing behind it is looked at. */
  closeCode = 0;
  /** Nothing more can be read. */
  error: FrameError | null = null;
  readonly #messageBytesMax: number;
  /** Beginning of a header that the last chunk cut. */
  readonly #head = Buffer.alloc(CLIENT_HEADER_MAX);
  #headLength = 0;
  // The frame at hand.
  #opcode = 0;
  #isFinal = true;
  #left = 0;
  /** Masking key from the next byte on, lowest byte first. */
  #key = 0;
  // The message at hand, over all its frames.
  #isInMessage = false;
  #isText = false;
  #messageBytes = 0;
  #control = NOTHING;
  #controlLength = 0;
  /** Beginning of a character that a frame or a chunk cut. */
  readonly #character = Buffer.alloc(4);
  #characterLength = 0;

  constructor(messageBytesMax: number) {
    this.#messageBytesMax = messageBytesMax;
  }

  /** Nothing more is to be expected: the peer said goodbye, or nonsense. */
  get isOver(): boolean {
    return this.closeCode !== 0 || this.error !== null;
  }

  /** Moves the payload in `bytes[start, end)` together at `start`; returns where it ends. */
  decode(bytes: Buffer, start: number, end: number): number {
    this.ping = null;
    let at = start;
    let to = start;
    if (this.#headLength > 0) at = this.#completeHead(bytes, at, end);
    while (!this.isOver) {
      if (this.#left > 0) {
        if (at === end) break;
        const count = Math.min(this.#left, end - at);
        const isControl = this.#opcode >= CONTROL;
        moveMasked(bytes, at, at + count, to, this.#key);
        this.#left -= count;
        if (this.#left > 0) this.#turnKey(count);
        at += count;
        if (isControl) this.#addControl(bytes, to, count);
        else {
          if (this.#isText && !this.#isTextSound(bytes, to, to + count)) return to;
          to += count;
        }
        if (this.#left === 0) this.#endFrame();
      } else {
        const length = headerLength(bytes, at, end);
        if (at + length > end) {
          while (at < end) this.#head[this.#headLength++] = bytes[at++]!;
          break;
        }
        this.#beginFrame(bytes, at, length);
        at += length;
      }
    }
    return to;
  }

  /** Returns where the payload begins, or `end`. */
  #completeHead(bytes: Buffer, start: number, end: number): number {
    const head = this.#head;
    let at = start;
    for (;;) {
      const length = headerLength(head, 0, this.#headLength);
      if (this.#headLength === length) {
        this.#headLength = 0;
        this.#beginFrame(head, 0, length);
        return at;
      }
      if (at === end) return end;
      head[this.#headLength++] = bytes[at++]!;
    }
  }

  #beginFrame(bytes: Buffer, at: number, headerBytes: number): void {
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    const opcode = first & 0x0f;
    const short = second & 0x7f;
    if ((first & RESERVED) !== 0) this.#fail("reserved bits are set without an extension (§5.2)");
    else if ((second & MASKED) === 0) this.#fail("a client's frame is not masked (§5.1)");
    if (this.error !== null) return;
    this.#isFinal = (first & FIN) !== 0;
    const isKnown =
      opcode >= CONTROL
        ? this.#beginControl(opcode, short)
        : this.#beginData(opcode, lengthOf(bytes, at, short));
    if (!isKnown) return;
    const key = at + headerBytes - 4;
    this.#key =
      bytes[key]! | (bytes[key + 1]! << 8) | (bytes[key + 2]! << 16) | (bytes[key + 3]! << 24);
    if (this.#left === 0) this.#endFrame();
  }

  #beginControl(opcode: number, length: number): boolean {
    if (opcode > OPCODE.PONG) this.#fail(`opcode ${opcode} is reserved (§5.2)`);
    else if (!this.#isFinal) this.#fail("a control frame is fragmented (§5.5)");
    else if (length > CONTROL_BYTES_MAX) this.#fail("a control frame is too long (§5.5)");
    else if (opcode === OPCODE.CLOSE && length === 1) this.#fail("half a close code (§5.5.1)");
    if (this.error !== null) return false;
    this.#opcode = opcode;
    this.#left = length;
    this.#controlLength = 0;
    return true;
  }

  #beginData(opcode: number, length: number): boolean {
    if (opcode > OPCODE.BINARY) this.#fail(`opcode ${opcode} is reserved (§5.2)`);
    else if (opcode === OPCODE.CONTINUATION && !this.#isInMessage)
      this.#fail("a continuation of no message (§5.4)");
    else if (opcode !== OPCODE.CONTINUATION && this.#isInMessage)
      this.#fail("a message within a message (§5.4)");
    else if (opcode === OPCODE.TEXT && this.isBinaryOnly)
      this.#fail("binary messages only", CLOSE_CODE.UNSUPPORTED_DATA);
    if (this.error !== null) return false;
    if (opcode !== OPCODE.CONTINUATION) {
      this.#messageBytes = 0;
      this.#isText = opcode === OPCODE.TEXT;
      if (this.#isText) this.hadText = true;
      if (this.firstOpcode === 0) this.firstOpcode = opcode;
    }
    this.#messageBytes += length;
    if (this.#messageBytes > this.#messageBytesMax) {
      this.#fail(
        `message is larger than ${this.#messageBytesMax} bytes`,
        CLOSE_CODE.MESSAGE_TOO_BIG,
      );
      return false;
    }
    this.#isInMessage = true;
    this.#opcode = opcode;
    this.#left = length;
    return true;
  }

  #endFrame(): void {
    if (this.#opcode >= CONTROL) {
      this.#endControl();
    } else if (this.#isFinal) {
      this.#isInMessage = false;
      if (this.#characterLength > 0)
        this.#fail("text ends in a character", CLOSE_CODE.INVALID_TEXT);
    }
  }

  #addControl(bytes: Buffer, from: number, count: number): void {
    if (this.#control.length === 0) this.#control = Buffer.alloc(CONTROL_BYTES_MAX);
    bytes.copy(this.#control, this.#controlLength, from, from + count);
    this.#controlLength += count;
  }

  #endControl(): void {
    const payload = this.#control.subarray(0, this.#controlLength);
    if (this.#opcode === OPCODE.PING) this.ping = Buffer.from(payload);
    if (this.#opcode !== OPCODE.CLOSE) return;
    if (payload.length === 0) {
      this.closeCode = CLOSE_CODE.NONE;
      return;
    }
    const code = payload.readUInt16BE(0);
    if (!mayClose(code)) this.#fail(`close code ${code} is not for the wire (§7.4)`);
    else if (!isUtf8(payload.subarray(2)))
      this.#fail("the reason to close is not UTF-8", CLOSE_CODE.INVALID_TEXT);
    else this.closeCode = code;
  }

  #turnKey(count: number): void {
    const bits = (count & 3) * 8;
    if (bits !== 0) this.#key = (this.#key >>> bits) | (this.#key << (32 - bits));
  }

  /** Characters may be cut between frames and chunks (§8.1). */
  #isTextSound(bytes: Buffer, start: number, end: number): boolean {
    const character = this.#character;
    let from = start;
    if (this.#characterLength > 0) {
      const size = characterSize(character[0]!);
      while (this.#characterLength < size && from < end) {
        character[this.#characterLength++] = bytes[from++]!;
      }
      if (this.#characterLength < size) return true;
      this.#characterLength = 0;
      if (!isUtf8(character.subarray(0, size))) return this.#failText();
    }
    const until = end - cutBytes(bytes, from, end);
    if (until > from && !isUtf8(bytes.subarray(from, until))) return this.#failText();
    for (let at = until; at < end; at++) character[this.#characterLength++] = bytes[at]!;
    return true;
  }

  #failText(): false {
    this.#fail("text is not UTF-8 (§8.1)", CLOSE_CODE.INVALID_TEXT);
    return false;
  }

  #fail(reason: string, code: number = CLOSE_CODE.PROTOCOL_ERROR): void {
    this.error = { code, reason };
  }
}

/** How long the header is that begins at `at`, as far as these bytes tell: more than there are when they do not. */
function headerLength(bytes: Buffer, at: number, end: number): number {
  if (end - at < 2) return 2;
  const short = bytes[at + 1]! & 0x7f;
  const key = (bytes[at + 1]! & MASKED) === 0 ? 0 : 4;
  return 2 + key + (short < 126 ? 0 : short === 126 ? 2 : 8);
}

/** A length that no number holds exactly is beyond every limit. */
function lengthOf(bytes: Buffer, at: number, short: number): number {
  if (short < 126) return short;
  if (short === 126) return (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
}

/** Bytes of a character by its first one; 1 for what begins none. */
const characterSize = (first: number): number =>
  first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf8 ? 4 : 1;

/** Bytes at the end that begin a character which goes on behind it. */
function cutBytes(bytes: Buffer, start: number, end: number): number {
  for (let back = 1; back <= 3 && end - back >= start; back++) {
    const byte = bytes[end - back]!;
    if ((byte & 0xc0) === 0x80) continue;
    return characterSize(byte) > back ? back : 0;
  }
  return 0;
}

const mayClose = (code: number): boolean =>
  (code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)) || (code >= 3000 && code <= 4999);

/** Writes the header of a frame with so many bytes, ending at `end`; returns where it begins. */
export function putHeader(out: Buffer, end: number, opcode: number, length: number): number {
  const size = length < 126 ? 2 : length < 65_536 ? 4 : SERVER_HEADER_MAX;
  const at = end - size;
  out[at] = FIN | opcode;
  if (size === 2) {
    out[at + 1] = length;
  } else if (size === 4) {
    out[at + 1] = 126;
    out[at + 2] = length >> 8;
    out[at + 3] = length & 0xff;
  } else {
    out[at + 1] = 127;
    out.writeUInt32BE(Math.floor(length / 2 ** 32), at + 2);
    out.writeUInt32BE(length >>> 0, at + 6);
  }
  return at;
}

/** A close frame; `NONE` has no code in it. */
export function closeFrame(code: number, reason: string): Buffer {
  const words = Buffer.from(reason).subarray(0, CONTROL_BYTES_MAX - 2);
  const length = code === CLOSE_CODE.NONE ? 0 : 2 + words.length;
  const frame = Buffer.alloc(2 + length);
  putHeader(frame, 2, OPCODE.CLOSE, length);
  if (length === 0) return frame;
  frame.writeUInt16BE(code, 2);
  words.copy(frame, 4);
  return frame;
}
