/** A SEND that is taken for a repetition of the one before means exactly what the parser would have read. */
import test from "ava";
import fc from "fast-check";
import { FrameParser } from "../../../protocols/stomp/codec/frame-parser.ts";
import type { StompVersion } from "../../../protocols/stomp/codec/header-escape.ts";
import { HEADER } from "../../../protocols/stomp/codec/header-names.ts";
import type { Destinations } from "../../../protocols/stomp/destinations.ts";
import { RepeatedSend } from "../../../protocols/stomp/repeated-send.ts";
import { SendHeaders } from "../../../protocols/stomp/send-headers.ts";
import type { Target } from "../../../src/broker/facade.ts";
import { Draft } from "../../../src/model/draft.ts";

const TARGET = {} as Target;
/** What lies around a frame in the shared buffer. */
const BEFORE = Buffer.from("\0SEND\n");
const AFTER = Buffer.from("\0\nSEND\n\0");

interface Read {
  readonly size: number;
  readonly lines: readonly string[];
  readonly body: string;
  readonly receipt: string | undefined;
}

/** As the parser reads it; undefined when it refuses it or wants more. */
function parsed(parser: FrameParser, bytes: Buffer, end: number): Read | undefined {
  let next: number;
  try {
    next = parser.next(bytes, BEFORE.length, end);
  } catch {
    return undefined;
  }
  if (next < 0) return undefined;
  const lines: string[] = [];
  for (let i = 0; i < parser.headerCount; i++) {
    const isOurs =
      i === parser.indexOf(HEADER.RECEIPT) || i === parser.indexOf(HEADER.CONTENT_LENGTH);
    lines.push(`${parser.nameAt(bytes, i)}:${isOurs ? "*" : parser.valueAt(bytes, i)}`);
  }
  return {
    size: next - BEFORE.length,
    lines,
    body: bytes.toString("latin1", parser.base + parser.bodyStart, parser.base + parser.bodyEnd),
    receipt: parser.text(bytes, HEADER.RECEIPT),
  };
}

const around = (text: string): Buffer =>
  Buffer.concat([BEFORE, Buffer.from(text, "latin1"), AFTER]);

function newParser(version: StompVersion): FrameParser {
  const parser = new FrameParser("client", {
    maxHeaders: 128,
    maxHeaderBytes: 4000,
    maxBodyBytes: 200,
  });
  parser.version = version;
  return parser;
}

function headersOf(parser: FrameParser, bytes: Buffer): SendHeaders {
  const context = { destinations: {} as Destinations, now: () => 0, expectReply() {} };
  const headers = new SendHeaders(context);
  headers.read(parser, bytes, true);
  return headers;
}

/** What goes into the record. */
const propertiesOf = ({ head, headStart, headEnd, properties }: Draft): string =>
  head.toString("latin1", headStart, headEnd) + properties;

interface Repeated {
  /** Its end; 0: not alike. */
  readonly next: number;
  readonly body: string;
  readonly receipt: string | undefined;
  readonly properties: string;
}

/** Takes `first` for the pattern and reads `second` with it. */
function repeated(
  first: string,
  second: string,
  version: StompVersion = 12,
  isOpen = false,
): Repeated {
  const send = new RepeatedSend();
  const pattern = around(first);
  const parser = newParser(version);
  if (parsed(parser, pattern, BEFORE.length + first.length) !== undefined) {
    const headers = headersOf(parser, pattern);
    headers.keepText();
    // One that nothing fitted is followed by an open one.
    for (let i = 0; i < (isOpen ? 2 : 1); i++) send.learn(parser, pattern, headers, TARGET);
  }
  const bytes = around(second);
  const end = BEFORE.length + second.length;
  const next = send.target === null ? 0 : send.read(bytes, BEFORE.length, end);
  const draft = new Draft();
  if (next > 0) send.fill(draft, bytes);
  return {
    next,
    body: bytes.toString("latin1", send.bodyStart, send.bodyEnd),
    receipt: send.hasReceipt
      ? bytes.toString("latin1", send.receiptStart, send.receiptEnd)
      : undefined,
    properties: propertiesOf(draft),
  };
}

const value = fc.oneof(
  fc.constantFrom(
    "1",
    "99",
    "100",
    "000000007",
    "a-b/c",
    "",
    "a:b",
    "a\\c",
    "é",
    "x y",
    "1234567890",
  ),
  fc.stringMatching(/^[a-z0-9:\\ ]{0,5}$/),
);
const line = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("destination:/queue/a", "persistent:true", "a:1") },
  { weight: 2, arbitrary: value.map((text) => `receipt:${text}`) },
  { weight: 2, arbitrary: value.map((text) => `own-id:${text}`) },
  { weight: 1, arbitrary: fc.nat(12).map((length) => `content-length:${length}`) },
);

test("what fits is read as the parser reads it, in every version", (t) => {
  let fitted = 0;
  const bodies = fc.stringMatching(/^[a-z\n]{0,12}$/);
  fc.assert(
    fc.property(
      fc.constantFrom<StompVersion>(10, 11, 12),
      fc.array(line, { maxLength: 4 }),
      fc.array(value, { minLength: 4, maxLength: 4 }),
      fc.tuple(bodies, bodies),
      fc.constantFrom("\n", "\r\n"),
      fc.constantFrom("\0", "\0", "\0", "x", ""),
      fc.boolean(),
      (version, lines, values, [body, otherBody], eol, last, isOpen) => {
        const frame = (all: readonly string[], text: string, end: string): string =>
          `SEND${eol}${all.map((one) => one + eol).join("")}${eol}${text}${end}`;
        const others = lines.map((one, i) =>
          one.startsWith("receipt:") || (isOpen && one.startsWith("own-id:"))
            ? `${one.slice(0, one.indexOf(":"))}:${values[i]}`
            : one.startsWith("content-length:")
              ? `content-length:${otherBody.length}`
              : one,
        );
        const first = frame(lines, body.padEnd(12, "-").slice(0, lengthIn(lines) ?? 12), "\0");
        const second = frame(others, otherBody, last);
        const found = repeated(first, second, version, isOpen);
        if (found.next === 0) return;
        fitted++;
        const bytes = around(second);
        const parser = newParser(version);
        const read = parsed(parser, bytes, BEFORE.length + second.length);
        t.truthy(read, second);
        t.is(found.next, BEFORE.length + read!.size);
        t.is(found.body, read!.body);
        t.is(found.receipt, read!.receipt);
        const headers = headersOf(parser, bytes);
        headers.keepText();
        t.is(found.properties, propertiesOf(headers.draft));
      },
    ),
    { numRuns: 3000 },
  );
  t.true(fitted > 300, `only ${fitted} frames were alike`);
});

function lengthIn(lines: readonly string[]): number | undefined {
  const found = lines.find((one) => one.startsWith("content-length:"));
  return found === undefined ? undefined : Number(found.slice("content-length:".length));
}

test("body, content-length and receipt may differ, nothing else", (t) => {
  const first = "SEND\ndestination:/queue/a\ncontent-length:3\nreceipt:9\n\nabc\0";
  const isAlike = (text: string): boolean => repeated(first, text).next > 0;
  t.true(isAlike(first));
  t.true(isAlike("SEND\ndestination:/queue/a\ncontent-length:4\nreceipt:10-x\n\na\0bc\0"));
  t.true(isAlike("SEND\ndestination:/queue/a\ncontent-length:0\nreceipt:10\n\n\0"));
  t.false(isAlike("SEND\ndestination:/queue/b\ncontent-length:3\nreceipt:9\n\nabc\0"));
  t.false(isAlike("SEND\ndestination:/queue/a\ncontent-length:3\n\nabc\0"));
  t.false(isAlike("SEND\ndestination:/queue/a\ncontent-length:3\nreceipt:9\na:b\n\nabc\0"));
  t.false(isAlike("SEND\ndestination:/queue/a\nreceipt:9\ncontent-length:3\n\nabc\0"));
  t.false(isAlike("SEND\ndestination:/queue/a\ncontent-length:3\nreceipt:9\r\n\nabc\0"));
});

test("what the parser has to refuse, unescape or trim is left to it", (t) => {
  const first = "SEND\ndestination:/queue/a\ncontent-length:3\nreceipt:9\n\nabc\0";
  const next = (length: string, receipt: string, body: string): number =>
    repeated(
      first,
      `SEND\ndestination:/queue/a\ncontent-length:${length}\nreceipt:${receipt}\n\n${body}`,
    ).next;
  t.is(next("3", "9", "abcd\0"), 0);
  t.is(next("3", "9", "abc"), 0);
  t.is(next("", "9", "\0"), 0);
  t.is(next("-1", "9", "\0"), 0);
  t.is(next("4294967296", "9", "abc\0"), 0);
  t.is(next("201", "9", `${"x".repeat(201)}\0`), 0);
  t.true(next("200", "9", `${"x".repeat(200)}\0`) > 0);
  t.is(next("3", "a\\cb", "abc\0"), 0);
  t.is(next("3", "a:b", "abc\0"), 0);
  t.is(next("3", "é", "abc\0"), 0);
  t.is(next("3", "x".repeat(129), "abc\0"), 0);
  t.true(next("3", "x".repeat(128), "abc\0") > 0);
});

test("an open pattern leaves values of headers open that only readers know, and their places", (t) => {
  const frame = (id: string, more: string): string =>
    `SEND\ndestination:/queue/a\ncorrelation-id:${id}\nreceipt:1\ncolour:${more}\ntag:t\n\nx\0`;
  const found = repeated(frame("1", "red"), frame("a-much-longer-one", "b"), 12, true);
  t.true(found.next > 0);
  t.is(found.properties, "x-hd\x01@correlation-id:a-much-longer-one\ncolour:b\ntag:t\n\x02");
  t.is(repeated(frame("1", "red"), frame("2", "red")).next, 0);
  for (const [id, more] of [
    ["", "red"],
    ["1", ""],
  ] as const) {
    const { next, properties } = repeated(frame("1", "red"), frame(id, more), 12, true);
    t.true(next > 0);
    t.is(properties, `x-hd\x01@correlation-id:${id}\ncolour:${more}\ntag:t\n\x02`);
  }
  t.is(repeated(frame("1", "red"), frame("2", "a:b"), 12, true).next, 0);
  t.is(repeated(frame("1", "red"), frame("2", "x\x01y"), 12, true).next, 0);
  t.is(repeated(frame("1", "red"), frame("2", "red").replace("tag:t", "tag:u"), 12, true).next, 0);
});

test("a frame that is not all there is no repetition, wherever it ends", (t) => {
  for (const frame of [
    "SEND\ndestination:/queue/a\ncontent-length:12\nreceipt:9\n\nabcdefghijkl\0",
    "SEND\ndestination:/queue/a\nreceipt:9\n\nabcdefghijkl\0",
  ]) {
    for (let size = 0; size < frame.length; size++) {
      t.is(repeated(frame, frame.slice(0, size)).next, 0, `${size} bytes`);
    }
    t.is(repeated(frame, frame).next, BEFORE.length + frame.length);
  }
});

test("patterns that nothing fits are taken ever more rarely", (t) => {
  const send = new RepeatedSend();
  const parser = newParser(12);
  let changes = 0;
  let before = "";
  for (let i = 0; i < 1000; i++) {
    const bytes = around(`SEND\ndestination:/queue/a\nexpires:${i}\n\nx\0`);
    parser.next(bytes, BEFORE.length, bytes.length);
    const headers = headersOf(parser, bytes);
    headers.draft.tag = String(i);
    if (send.wantsPattern()) send.learn(parser, bytes, headers, TARGET);
    if (send.draft.tag !== before) changes++;
    before = send.draft.tag;
  }
  t.true(changes > 10 && changes < 40, `${changes} patterns of 1000 frames`);
});
