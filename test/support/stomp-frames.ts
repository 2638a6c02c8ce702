/** Writes and reads STOMP frames in the plainest way, as a yardstick for the codec. */
import fc from "fast-check";
import { commandName } from "../../protocols/stomp/codec/commands.ts";
import { FrameParser, type ParserLimits } from "../../protocols/stomp/codec/frame-parser.ts";
import { escapeHeader, type StompVersion } from "../../protocols/stomp/codec/header-escape.ts";

export interface PlainFrame {
  readonly command: string;
  readonly headers: ReadonlyArray<readonly [string, string]>;
  readonly body: string;
}

export interface EncodeOptions {
  readonly version: StompVersion;
  readonly eol?: string;
  readonly hasContentLength?: boolean;
}

/** The bytes of a frame as a client of this version writes it. */
export function encodeFrame(frame: PlainFrame, options: EncodeOptions): Buffer {
  const { version, eol = "\n" } = options;
  const body = Buffer.from(frame.body, "latin1");
  let text = frame.command + eol;
  for (const [name, value] of frame.headers) {
    text += `${escapeHeader(name, version)}:${escapeHeader(value, version)}${eol}`;
  }
  if (options.hasContentLength) text += `content-length:${body.length}${eol}`;
  return Buffer.concat([Buffer.from(text + eol, "utf8"), body, Buffer.alloc(1)]);
}

/** Every frame in `bytes`, given to the parser in pieces cut at `cuts`. */
export function parseAll(
  bytes: Buffer,
  version: StompVersion,
  cuts: readonly number[] = [],
  limits?: ParserLimits,
): PlainFrame[] {
  const parser = new FrameParser("client", limits);
  parser.version = version;
  const frames: PlainFrame[] = [];
  let kept = Buffer.alloc(0);
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    // Bytes around the piece that do not belong to it: a parser that looks there goes wrong.
    const piece = Buffer.concat([kept, bytes.subarray(from, cut)]);
    const padded = Buffer.concat([Buffer.from("\0x:\n"), piece, Buffer.from("\n\0\0\nSEND")]);
    const end = 4 + piece.length;
    let at = 4;
    for (;;) {
      const next = parser.next(padded, at, end);
      if (next < 0) break;
      frames.push(read(parser, padded));
      at = next;
    }
    kept = Buffer.from(padded.subarray(parser.rest, end));
    from = cut;
  }
  return frames;
}

function read(parser: FrameParser, bytes: Buffer): PlainFrame {
  const headers: Array<readonly [string, string]> = [];
  for (let i = 0; i < parser.headerCount; i++) {
    headers.push([parser.nameAt(bytes, i), parser.valueAt(bytes, i)]);
  }
  return {
    command: commandName(parser.command),
    headers,
    body: bytes.toString("latin1", parser.base + parser.bodyStart, parser.base + parser.bodyEnd),
  };
}

/** Header text that a client of this version can say. */
function headerText(version: StompVersion, isName: boolean): fc.Arbitrary<string> {
  const unit = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(..."abcxyz-019./=") },
    { weight: 1, arbitrary: fc.constantFrom("é", "日", "😀", "\x01", "\x02", "\x7f", " ") },
    {
      weight: 1,
      arbitrary: fc.constantFrom(...(version === 10 ? ["\\", "'"] : ["\\", ":", "\n"])),
    },
    { weight: 1, arbitrary: fc.constant(version === 12 ? "\r" : "r") },
  );
  return fc
    .array(unit, { minLength: isName ? 1 : 0, maxLength: 12 })
    .map((units) => units.join(""))
    .map((text) => (version === 10 ? text.trim() || (isName ? "n" : "") : text));
}

export const plainFrame = (
  version: StompVersion,
  hasContentLength: boolean,
): fc.Arbitrary<PlainFrame> =>
  fc.record({
    command: fc.constant("SEND"),
    headers: fc.array(fc.tuple(headerText(version, true), headerText(version, false)), {
      maxLength: 8,
    }),
    body: fc
      .array(fc.integer({ min: hasContentLength ? 0 : 1, max: 255 }), { maxLength: 80 })
      .map((units) => String.fromCharCode(...units)),
  });
