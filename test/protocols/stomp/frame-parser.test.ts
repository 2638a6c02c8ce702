/** Bytes → frames: every rule of the three specifications about the shape of a frame, and every limit. */
import test from "ava";
import fc from "fast-check";
import { COMMAND } from "../../../protocols/stomp/codec/commands.ts";
import { DEFAULT_PARSER_LIMITS, FrameParser } from "../../../protocols/stomp/codec/frame-parser.ts";
import type { StompVersion } from "../../../protocols/stomp/codec/header-escape.ts";
import { HEADER } from "../../../protocols/stomp/codec/header-names.ts";
import { encodeFrame, parseAll, plainFrame } from "../../support/stomp-frames.ts";

const VERSIONS: readonly StompVersion[] = [10, 11, 12];

const parse = (text: string, version: StompVersion = 12) => parseAll(Buffer.from(text), version);

/** The short and the long text of the error that `text` causes. */
function refusal(text: string | Buffer, version: StompVersion = 12): string {
  try {
    parseAll(Buffer.from(text as string), version);
  } catch (error) {
    const { message, detail } = error as { message: string; detail: string };
    return `${message}: ${detail}`;
  }
  return "accepted";
}

for (const version of VERSIONS) {
  for (const hasContentLength of [false, true]) {
    const how = hasContentLength ? "with" : "without";
    test(`${version / 10}: frames ${how} content-length come back as they were written, split anywhere`, (t) => {
      fc.assert(
        fc.property(
          fc.array(plainFrame(version, hasContentLength), { minLength: 1, maxLength: 4 }),
          fc.constantFrom("\n", "\r\n"),
          fc.array(fc.nat(1000), { maxLength: 6 }),
          (frames, eol, cuts) => {
            const bytes = Buffer.concat(
              frames.map((frame) => encodeFrame(frame, { version, eol, hasContentLength })),
            );
            const sorted = cuts.filter((cut) => cut < bytes.length).sort((a, b) => a - b);
            const found = parseAll(bytes, version, sorted).map((frame) => ({
              ...frame,
              headers: frame.headers.filter(([name]) => name !== "content-length"),
            }));
            t.deepEqual(found, frames);
          },
        ),
        { numRuns: 150 },
      );
    });
  }
}

test("a stream of several frames is the same split at every single byte", (t) => {
  const bytes = Buffer.concat([
    Buffer.from("CONNECT\r\naccept-version:1.2\r\nhost:/\r\n\r\n\0\n\r\n\n"),
    Buffer.from("SEND\ndestination:/queue/a\ncontent-length:5\n\na\0b\0c\0\n\n"),
    Buffer.from("SEND\ndestination:/queue/b\nx\\c:\\n\n\nhé\0"),
    Buffer.from("SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0DISCONNECT\n\n\0"),
  ]);
  const whole = parseAll(bytes, 12);
  t.is(whole.length, 5);
  t.is(whole[1]!.body, "a\0b\0c");
  for (let cut = 1; cut < bytes.length; cut++) t.deepEqual(parseAll(bytes, 12, [cut]), whole);
  const everywhere = Array.from({ length: bytes.length - 1 }, (_, i) => i + 1);
  t.deepEqual(parseAll(bytes, 12, everywhere), whole);
});

test("frames whose lines repeat those of the frame before are read as if they came alone", (t) => {
  const line = fc.constantFrom(
    "a:1",
    "a:2",
    "destination:/queue/a",
    "b:",
    "n:xx",
    "a:1\r",
    "receipt:9",
    "é:\\c",
    "content-length:1",
  );
  fc.assert(
    fc.property(
      fc.array(fc.array(line, { maxLength: 5 }), { minLength: 2, maxLength: 8 }),
      fc.constantFrom(...VERSIONS),
      fc.nat(60),
      (lists, version, cut) => {
        const texts = lists.map((lines) => `SEND\n${lines.map((one) => `${one}\n`).join("")}\nx\0`);
        const alone = texts.map((text) => parseAll(Buffer.from(text), version)[0]);
        t.deepEqual(parseAll(Buffer.from(texts.join("")), version, [cut]), alone);
      },
    ),
    { numRuns: 300 },
  );
});

test("line ends between frames are skipped, whatever their kind", (t) => {
  t.is(parse("\n\r\n\n\nBEGIN\ntransaction:1\n\n\0\n\n\r\n").length, 1);
});

test("1.2: a line may end with CR LF or with LF", (t) => {
  const frame = { command: "SEND", headers: [["a", "b"]], body: "\r\nx" };
  t.deepEqual(parse("SEND\r\na:b\r\n\r\n\r\nx\0"), [frame]);
  t.deepEqual(parse("SEND\na:b\n\r\n\r\nx\0"), [frame]);
});

test("1.2: the four escapes are read, in names and values", (t) => {
  t.deepEqual(parse("SEND\na\\cb:\\r\\n\\c\\\\\n\n\0")[0]!.headers, [["a:b", "\r\n:\\"]]);
  t.deepEqual(parse("SEND\na:\\\\n\n\n\0")[0]!.headers, [["a", "\\n"]]);
});

test("1.1: \\n, \\c and \\\\ are read; \\r is not defined there", (t) => {
  t.deepEqual(parse("SEND\na:\\n\\c\\\\\n\n\0", 11)[0]!.headers, [["a", "\n:\\"]]);
  t.regex(refusal("SEND\na:\\r\n\n\0", 11), /Undefined escape/);
});

test("1.0: nothing is an escape", (t) => {
  t.deepEqual(parse("SEND\na:\\n\\c\\t\\\n\n\0", 10)[0]!.headers, [["a", "\\n\\c\\t\\"]]);
});

test("1.1, 1.2: an undefined escape sequence is an error", (t) => {
  for (const version of [11, 12] as const) {
    t.regex(refusal("SEND\na:\\t\n\n\0", version), /Undefined escape/);
    t.regex(refusal("SEND\na:x\\\n\n\0", version), /Undefined escape/);
    t.regex(refusal("SEND\na\\:x\n\n\0", version), /Undefined escape/);
  }
});

test("CONNECT and STOMP are not escaped in any version", (t) => {
  const parser = new FrameParser("client");
  parser.version = 12;
  const bytes = Buffer.from("CONNECT\nlogin:a\\tb\npasscode:x\\c\n\n\0");
  t.is(parser.next(bytes, 0, bytes.length), bytes.length);
  t.is(parser.text(bytes, HEADER.LOGIN), "a\\tb");
  t.is(parser.text(bytes, HEADER.PASSCODE), "x\\c");
});

test("1.1, 1.2: values are not trimmed; 1.0: they are", (t) => {
  t.deepEqual(parse("SEND\na: b \n\n\0", 12)[0]!.headers, [["a", " b "]]);
  t.deepEqual(parse("SEND\na: b \n\n\0", 11)[0]!.headers, [["a", " b "]]);
  t.deepEqual(parse("SEND\na: b \n\n\0", 10)[0]!.headers, [["a", "b"]]);
});

test("repeated headers are all there and the first one counts", (t) => {
  const parser = new FrameParser("client");
  parser.version = 12;
  const bytes = Buffer.from("SEND\ndestination:/queue/a\ndestination:/queue/b\n\n\0");
  parser.next(bytes, 0, bytes.length);
  t.is(parser.headerCount, 2);
  t.is(parser.text(bytes, HEADER.DESTINATION), "/queue/a");
});

test("a colon inside a value belongs to the value", (t) => {
  t.deepEqual(parse("SEND\ndestination:queue://a\n\n\0")[0]!.headers, [
    ["destination", "queue://a"],
  ]);
});

test("with content-length the body may hold NUL, and the byte after it has to be NUL", (t) => {
  t.is(parse("SEND\ncontent-length:3\n\n\0\0\0\0")[0]!.body, "\0\0\0");
  t.regex(refusal("SEND\ncontent-length:3\n\nabcd\0"), /missing NUL/);
  t.regex(refusal("SEND\ncontent-length:3\n\nabcd"), /missing NUL/);
});

test("of two content-lengths the first counts", (t) => {
  t.is(parse("SEND\ncontent-length:2\ncontent-length:9\n\nab\0")[0]!.body, "ab");
});

test("content-length has to be a plain number", (t) => {
  for (const value of ["", "-1", "x", "1x", "0x10", "1.0", " 1", "99999999999999999999"]) {
    t.regex(refusal(`SEND\ncontent-length:${value}\n\na\0`), /content-length|too large/, value);
  }
});

test("only SEND may have a body", (t) => {
  for (const command of ["CONNECT", "SUBSCRIBE", "ACK", "BEGIN", "DISCONNECT"]) {
    t.regex(refusal(`${command}\n\nx\0`), /body not allowed/);
    t.regex(refusal(`${command}\n\nx`), /body not allowed/);
    t.regex(refusal(`${command}\ncontent-length:1\n\nx\0`), /body not allowed/);
    t.is(parse(`${command}\ncontent-length:0\n\n\0`).length, 1);
  }
});

test("a command nobody knows is refused, as soon as it cannot become one", (t) => {
  t.regex(refusal("FOO\n\n\0"), /Unknown command/);
  t.regex(refusal("send\n\n\0"), /Unknown command/);
  t.regex(refusal(" SEND\n\n\0"), /Unknown command/);
  t.regex(refusal("SEND \n\n\0"), /Unknown command/);
  t.regex(refusal("MESSAGE\n\n\0"), /Unknown command/);
  t.regex(refusal("\0"), /Unknown command/);
  t.regex(refusal("SEND\0"), /Unknown command/);
  t.regex(refusal("A".repeat(40)), /Unknown command/);
});

test("a header line without colon, or without name, is refused", (t) => {
  t.regex(refusal("SEND\nfoo\n\n\0"), /has no colon/);
  t.regex(refusal("SEND\n:foo\n\n\0"), /has no name/);
});

test("headers that end with NUL instead of a blank line are refused at once", (t) => {
  t.regex(refusal("SEND\ndestination:/queue/a\0"), /blank line/);
  t.regex(refusal("SEND\ndestination:/queue/a\n\0"), /blank line/);
});

test("1.2: a carriage return inside a header has to be escaped; 1.0 and 1.1 allow it", (t) => {
  t.regex(refusal("SEND\na:b\rc\n\n\0", 12), /carriage return/);
  t.deepEqual(parse("SEND\na:b\rc\n\n\0", 11)[0]!.headers, [["a", "b\rc"]]);
  t.deepEqual(parse("SEND\na:b\rc\r\n\r\n\0", 10)[0]!.headers, [["a", "b\rc"]]);
});

test("headers that are not UTF-8 are refused", (t) => {
  const bytes = Buffer.concat([
    Buffer.from("SEND\na:"),
    Buffer.from([0xff, 0xfe]),
    Buffer.from("\n\n\0"),
  ]);
  for (const version of VERSIONS) t.regex(refusal(bytes, version), /UTF-8/);
});

const small = { maxHeaders: 3, maxHeaderBytes: 20, maxBodyBytes: 10 };

function limited(text: string): string {
  try {
    return String(parseAll(Buffer.from(text), 12, [], small).length);
  } catch (error) {
    return (error as Error).message;
  }
}

test("limits hold: at the limit yes, one more no", (t) => {
  t.is(limited("SEND\na:1\nb:2\nc:3\n\n\0"), "1");
  t.is(limited("SEND\na:1\nb:2\nc:3\nd:4\n\n\0"), "too many headers");
  t.is(limited(`SEND\na:${"x".repeat(18)}\n\n\0`), "1");
  t.is(limited(`SEND\na:${"x".repeat(18)}\r\n\r\n\0`), "1");
  t.is(limited(`SEND\na:${"x".repeat(20)}\n\n\0`), "header too long");
  t.is(limited(`SEND\na:${"x".repeat(30)}`), "header too long");
  t.is(limited(`SEND\n\n${"x".repeat(10)}\0`), "1");
  t.is(limited(`SEND\n\n${"x".repeat(11)}\0`), "message too large");
  t.is(limited(`SEND\n\n${"x".repeat(11)}`), "message too large");
  t.is(limited("SEND\ncontent-length:10\n\n0123456789\0"), "1");
  t.is(limited("SEND\ncontent-length:11\n\n"), "message too large");
});

test("defaults are 128 headers of 16 KiB and a body of 16 MiB", (t) => {
  t.deepEqual(DEFAULT_PARSER_LIMITS, {
    maxHeaders: 128,
    maxHeaderBytes: 16_384,
    maxBodyBytes: 16_777_216,
  });
});

test("an incomplete frame with content-length says how many bytes it wants", (t) => {
  const parser = new FrameParser("client");
  parser.version = 12;
  const head = "SEND\ncontent-length:1000\n\n";
  const bytes = Buffer.from(`\n\n${head}abc`);
  t.is(parser.next(bytes, 0, bytes.length), -1);
  t.is(parser.rest, 2);
  t.is(parser.wanted, head.length + 1001);
});

test("a claimed length costs nothing before its bytes come", (t) => {
  const parser = new FrameParser("client");
  const bytes = Buffer.from("SEND\ncontent-length:16777216\n\n");
  t.is(parser.next(bytes, 0, bytes.length), -1);
  t.is(parser.command, COMMAND.SEND);
});

test("a long body that comes in small pieces is taken when its end is there, and not before", (t) => {
  const parser = new FrameParser("client");
  parser.version = 12;
  const size = 4 * 1024 * 1024;
  const bytes = Buffer.alloc(size, 0x61);
  bytes.write("SEND\na:b\n\n");
  for (let end = 1024; end < size; end += 1024) t.is(parser.next(bytes, 0, end), -1);
  bytes[size - 1] = 0;
  t.is(parser.next(bytes, 0, size), size);
});
