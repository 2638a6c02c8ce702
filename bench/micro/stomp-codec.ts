/**
 * What reading and writing STOMP frames costs, without anything behind it: `node dist/bench/micro/stomp-codec.js`.
 * Nanoseconds per frame, best of many short rounds, so that a busy machine shows the same.
 */
import { FrameParser } from "../../protocols/stomp/codec/frame-parser.ts";
import { FrameTemplate, SLOT } from "../../protocols/stomp/codec/frame-template.ts";
import { MessageWriter } from "../../protocols/stomp/codec/message-writer.ts";
import type { Destinations } from "../../protocols/stomp/destinations.ts";
import { RepeatedSend } from "../../protocols/stomp/repeated-send.ts";
import { SendHeaders } from "../../protocols/stomp/send-headers.ts";
import type { Target } from "../../src/broker/facade.ts";
import { Draft } from "../../src/model/draft.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { MemoryWire } from "../../src/transport/memory-wire.ts";
import { CopyMemory, fastBuffer } from "../../src/util/copy-memory.ts";

const COUNT = 64;
const ROUNDS = 200;
const memory = CopyMemory.open(8 << 20);

/** `run` does `COUNT` frames. */
function measure(name: string, run: () => void): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const started = process.hrtime.bigint();
    for (let i = 0; i < 50; i++) run();
    best = Math.min(best, Number(process.hrtime.bigint() - started) / (50 * COUNT));
  }
  process.stdout.write(`${best.toFixed(0).padStart(5)} ns  ${name}\n`);
}

function inMemory(text: string): Buffer {
  const bytes = fastBuffer(Buffer.byteLength(text, "latin1"));
  bytes.write(text, "latin1");
  return bytes;
}

const send = (size: number): string =>
  `SEND\ndestination:/queue/q0\ncontent-length:${size}\npersistent:true\nreceipt:1234567\n\n${"x".repeat(size)}\0`;

function reading(name: string, text: string): void {
  const bytes = inMemory(text.repeat(COUNT));
  const parser = new FrameParser("client");
  parser.version = 12;
  measure(`read ${name}`, () => {
    for (let at = 0; at < bytes.length; ) at = parser.next(bytes, at, bytes.length);
  });
}

function headersOf(parser: FrameParser, bytes: Buffer): SendHeaders {
  const headers = new SendHeaders({
    destinations: {} as Destinations,
    now: Date.now,
    expectReply() {},
  });
  headers.read(parser, bytes, true);
  return headers;
}

/** Headers that differ from frame to frame: a correlation id. */
function readingOpen(): void {
  const frame = (n: number): string =>
    `SEND\ndestination:/queue/q0\ncontent-type:text/plain\ncorrelation-id:${n}\ncontent-length:100\nreceipt:${n}\n\n${"x".repeat(100)}\0`;
  const bytes = inMemory(Array.from({ length: COUNT }, (_, i) => frame(1_234_500 + i)).join(""));
  const parser = new FrameParser("client");
  parser.version = 12;
  const headers = headersOf(parser, bytes);
  measure("read SEND 100 B, with an id of its own", () => {
    for (let at = 0; at < bytes.length; ) {
      at = parser.next(bytes, at, bytes.length);
      headers.read(parser, bytes, true);
      headers.keepBytes();
    }
  });
  const last = new RepeatedSend();
  parser.next(bytes, 0, bytes.length);
  headers.read(parser, bytes, true);
  for (let i = 0; i < 2; i++) last.learn(parser, bytes, headers, {} as Target);
  const draft = new Draft();
  measure("read SEND 100 B, with an id of its own, like the one before", () => {
    for (let at = 0; at < bytes.length; ) {
      at = last.read(bytes, at, bytes.length);
      last.fill(draft, bytes);
    }
  });
}

function readingAlike(name: string, text: string): void {
  const bytes = inMemory(text.repeat(COUNT));
  const parser = new FrameParser("client");
  parser.version = 12;
  parser.next(bytes, 0, bytes.length);
  const last = new RepeatedSend();
  last.learn(parser, bytes, headersOf(parser, bytes), {} as Target);
  measure(`read ${name}, like the one before`, () => {
    for (let at = 0; at < bytes.length; ) at = last.read(bytes, at, bytes.length);
  });
}

function readingAcks(): void {
  const text = "ACK\nid:1-1-1234567\n\n\0";
  const bytes = inMemory(text.repeat(COUNT));
  const template = new FrameTemplate();
  template.learn(bytes, 0, text.length);
  template.vary(SLOT.NUMBER, 11, 18);
  measure("read ACK, like the one before", () => {
    for (let at = 0; at < bytes.length; ) at = template.read(bytes, at, bytes.length);
  });
}

/** A record as it lies in the log, with its header block. */
function recordOf(bodyBytes: number, lines: string): RecordView {
  const topic = "q0";
  const properties = `x-enc\x01stomp\x02x-hd\x01A${lines}\x02__CRC32#\x010000000000\x02`;
  const size = 88 + bodyBytes + 1 + topic.length + 2 + properties.length;
  const bytes = fastBuffer(size);
  bytes.writeInt32BE(size, 0);
  bytes.writeInt32BE(0xdaa320a7 | 0, 4);
  bytes.writeBigInt64BE(1_760_000_000_000n, 40);
  bytes.writeInt32BE(bodyBytes, 84);
  let at = 88 + bodyBytes;
  bytes[at++] = topic.length;
  at += bytes.write(topic, at, "latin1");
  bytes.writeInt16BE(properties.length, at);
  bytes.write(properties, at + 2, "latin1");
  return new RecordView().open(bytes, 0);
}

function writing(name: string, bodyBytes: number, lines: string): void {
  const wire = new MemoryWire();
  wire.out = fastBuffer(1 << 20);
  const writer = new MessageWriter({
    version: 12,
    subscriptionId: "0",
    idPrefix: "1-1-",
    needsAck: true,
  });
  writer.setDestination("/queue/q0");
  const record = recordOf(bodyBytes, lines);
  const facts = { delivery: 0, isRedelivered: false, deliveryCount: 0, streamOffset: -1 };
  let delivery = 1_234_567;
  measure(`write MESSAGE ${name}`, () => {
    wire.outAt = 0;
    for (let i = 0; i < COUNT; i++) {
      facts.delivery = delivery++;
      writer.findBlock(record);
      writer.writeStored(wire, record, facts);
    }
  });
  writer.begin();
  measure(`write MESSAGE ${name}, like the one before`, () => {
    wire.outAt = 0;
    for (let i = 0; i < COUNT; i++) {
      facts.delivery = delivery++;
      if (writer.writeAlike(wire, record, facts.delivery) > 0) continue;
      writer.begin();
      writer.findBlock(record);
      writer.writeStored(wire, record, facts);
    }
  });
}

reading("SEND 100 B, four headers", send(100));
readingAlike("SEND 100 B, four headers", send(100));
reading("SEND 1 KiB, four headers", send(1024));
readingAlike("SEND 1 KiB, four headers", send(1024));
readingOpen();
reading("SEND without content-length", `SEND\ndestination:/queue/q0\n\n${"x".repeat(100)}\0`);
reading("ACK", "ACK\nid:1-1-1234567\n\n\0");
readingAcks();
writing("100 B", 100, "");
writing("100 B, two headers", 100, "content-type:text/plain\ncolour:red\n");
writing("1 KiB", 1024, "");
memory?.close();
