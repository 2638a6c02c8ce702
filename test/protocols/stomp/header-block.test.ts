/** Headers as they are stored, and as they go out to each version. */
import test from "ava";
import fc from "fast-check";
import { FrameParser } from "../../../protocols/stomp/codec/frame-parser.ts";
import { HeaderBlockWriter, StoredBlock } from "../../../protocols/stomp/codec/header-block.ts";
import type { StompVersion } from "../../../protocols/stomp/codec/header-escape.ts";
import { RecordView } from "../../../src/model/record-view.ts";
import { encodeFrame, parseAll, plainFrame } from "../../support/stomp-frames.ts";

/** A view whose properties are this text. */
function viewOf(properties: string): RecordView {
  const view = new RecordView();
  view.buffer = Buffer.from(properties, "utf8");
  view.propertiesStart = 0;
  view.propertiesEnd = view.buffer.length;
  return view;
}

function store(bytes: Buffer, version: StompVersion, writer = new HeaderBlockWriter()): string {
  const parser = new FrameParser("client");
  parser.version = version;
  parser.next(bytes, 0, bytes.length);
  writer.begin(parser.hasContentLength);
  for (let i = 0; i < parser.headerCount; i++) writer.add(parser, bytes, i);
  writer.end();
  const text = writer.text();
  if (writer.bytes.toString("utf8", 0, writer.length) !== text) throw new Error("not the same");
  return text;
}

/** What a peer of this version reads of a stored block. */
function readBack(
  properties: string,
  version: StompVersion,
): ReadonlyArray<readonly [string, string]> {
  const view = viewOf(properties);
  const block = new StoredBlock();
  if (!block.find(view)) throw new Error("no block");
  const text = block.isPlainFor(version)
    ? view.buffer.toString("utf8", block.start, block.end)
    : block.text(view.buffer, version);
  return parseAll(Buffer.from(`SEND\n${text}\n\0`, "utf8"), version)[0]!.headers;
}

test("headers from any version come back to 1.2 exactly", (t) => {
  for (const version of [10, 11, 12] as const) {
    fc.assert(
      fc.property(plainFrame(version, false), (frame) => {
        const properties = `x-enc\x01stomp\x02${store(encodeFrame(frame, { version }), version)}more\x01y\x02`;
        t.deepEqual(readBack(properties, 12), frame.headers);
        // The separators of properties occur only as separators.
        t.is(properties.split("\x02").length, 4);
        t.is(properties.split("\x01").length, 4);
      }),
      { numRuns: 200 },
    );
  }
});

test("1.1 peers get everything but a final carriage return", (t) => {
  fc.assert(
    fc.property(plainFrame(12, false), (frame) => {
      const wanted = frame.headers.map(([name, value]) => [
        name.replace(/\r$/, " "),
        value.replace(/\r$/, " "),
      ]);
      t.deepEqual(readBack(store(encodeFrame(frame, { version: 12 }), 12), 11), wanted);
    }),
    { numRuns: 200 },
  );
});

test("a header value never becomes a header of its own for a 1.0 peer", (t) => {
  const stored = store(Buffer.from("SEND\na:x\\nevil\\cyes\\r\\n\n\n\0"), 12);
  t.deepEqual(readBack(stored, 10), [["a", "x\\nevil:yes\\r\\n"]]);
});

test("a block that equals the one before is the same string", (t) => {
  const writer = new HeaderBlockWriter();
  const one = Buffer.from("SEND\na:1\nreply-to:/queue/b\n\nx\0");
  const first = store(one, 12, writer);
  const second = store(Buffer.from(one), 12, writer);
  t.is(first, second);
  t.not(store(Buffer.from("SEND\na:2\nreply-to:/queue/b\n\nx\0"), 12, writer), first);
});

test("the kind tells text from bytes", (t) => {
  const block = new StoredBlock();
  t.true(block.find(viewOf(store(Buffer.from("SEND\n\nx\0"), 12))));
  t.false(block.isBytes);
  t.true(block.find(viewOf(store(Buffer.from("SEND\ncontent-length:1\n\nx\0"), 12))));
  t.true(block.isBytes);
});

test("a record without the property has no block", (t) => {
  const block = new StoredBlock();
  t.false(block.find(viewOf("")));
  t.false(block.find(viewOf("x-enc\x01amqp\x02TAGS\x01x-hd\x02")));
  t.false(block.find(viewOf("x-hd")));
});
