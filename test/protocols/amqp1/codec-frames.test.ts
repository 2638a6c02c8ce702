import test from "ava";
import fc from "fast-check";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import { decodeValue, descriptorNumber } from "../../../protocols/amqp1/codec/decode.ts";
import { encodeValue } from "../../../protocols/amqp1/codec/encode.ts";
import {
  ABSENT,
  DISPOSITION_MAX,
  DispositionFrame,
  FLOW_MAX,
  FlowFrame,
  TransferFrame,
  writeDisposition,
  writeFlow,
} from "../../../protocols/amqp1/codec/frames.ts";
import {
  binary,
  bool,
  composite,
  NULL,
  ubyte,
  uint,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import {
  HEADER_MAX,
  setFrameSize,
  TRANSFER_MAX,
  writeContinuation,
  writeHeader,
  writeTransfer,
} from "../../../protocols/amqp1/delivery-encoder.ts";
import { ConnectionError } from "../../../protocols/amqp1/errors.ts";
import { rheaDecode, rheaEncode, toRhea } from "./support/values.ts";

const uint32 = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 0xffffffff }));
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
const orNull = <T>(value: T | undefined, make: (value: T) => Value): Value =>
  value === undefined ? NULL : make(value);
const bytesOf = (length: number) => fc.uint8Array({ maxLength: length }).map((b) => Buffer.from(b));
const STATE = composite(0x24, []);

/** The list of a performative in an encoding that rhea made, after some other bytes. */
function encoded(
  value: Value,
  choices: Iterator<number>,
): { bytes: Buffer; at: number; end: number } {
  const pick = (count: number): number => choices.next().value % count;
  const body = value.type === "described" ? value.value : value;
  const list = rheaEncode(toRhea(body, pick));
  return { bytes: Buffer.concat([Buffer.alloc(3, 0xee), list]), at: 3, end: 3 + list.length };
}

test("a transfer's fields are read in every encoding, absent ones are known as absent", (t) => {
  const frame = new TransferFrame();
  fc.assert(
    fc.property(
      fc.record({
        handle: uint32,
        id: maybe(uint32),
        tag: maybe(bytesOf(32)),
        format: maybe(uint32),
        settled: maybe(fc.boolean()),
        more: maybe(fc.boolean()),
        mode: maybe(fc.integer({ min: 0, max: 1 })),
        state: fc.boolean(),
        resume: maybe(fc.boolean()),
        aborted: maybe(fc.boolean()),
      }),
      fc.infiniteStream(fc.nat()),
      (f, choices) => {
        const value = composite(PERFORMATIVE.TRANSFER, [
          uint(f.handle),
          orNull(f.id, uint),
          orNull(f.tag, binary),
          orNull(f.format, uint),
          orNull(f.settled, bool),
          orNull(f.more, bool),
          orNull(f.mode, ubyte),
          f.state ? STATE : NULL,
          orNull(f.resume, bool),
          orNull(f.aborted, bool),
          NULL,
        ]);
        const { bytes, at, end } = encoded(value, choices);
        frame.read(bytes, at, end);
        const number = (value: boolean | undefined) =>
          value === undefined ? ABSENT : Number(value);
        t.is(frame.handle, f.handle);
        t.is(frame.deliveryId, f.id ?? ABSENT);
        t.is(frame.messageFormat, f.format ?? ABSENT);
        t.is(frame.settled, number(f.settled));
        t.is(frame.more, number(f.more));
        t.is(frame.rcvSettleMode, f.mode ?? ABSENT);
        t.is(frame.resume, number(f.resume));
        t.is(frame.aborted, number(f.aborted));
        t.is(frame.payloadStart, end);
        if (f.tag === undefined) t.is(frame.tagStart, ABSENT);
        else t.deepEqual(bytes.subarray(frame.tagStart, frame.tagEnd), f.tag);
        if (f.state) t.deepEqual(decodeValue(bytes, frame.stateStart, frame.stateEnd), STATE);
        else t.is(frame.stateStart, ABSENT);
      },
    ),
  );
});

test("a disposition's fields are read in every encoding; without last it is one delivery", (t) => {
  const frame = new DispositionFrame();
  fc.assert(
    fc.property(
      fc.boolean(),
      uint32,
      maybe(uint32),
      maybe(fc.boolean()),
      fc.boolean(),
      fc.infiniteStream(fc.nat()),
      (role, first, last, settled, hasState, choices) => {
        const { bytes, at, end } = encoded(
          composite(PERFORMATIVE.DISPOSITION, [
            bool(role),
            uint(first),
            orNull(last, uint),
            orNull(settled, bool),
            hasState ? STATE : NULL,
          ]),
          choices,
        );
        frame.read(bytes, at, end);
        t.is(frame.isReceiver, role);
        t.is(frame.first, first);
        t.is(frame.last, last ?? first);
        t.is(frame.settled === 1, settled ?? false);
        t.is(frame.stateStart !== ABSENT, hasState);
      },
    ),
  );
});

test("a flow's fields are read in every encoding", (t) => {
  const frame = new FlowFrame();
  fc.assert(
    fc.property(
      fc.array(maybe(uint32), { minLength: 8, maxLength: 8 }),
      fc.tuple(uint32, uint32, uint32),
      maybe(fc.boolean()),
      maybe(fc.boolean()),
      fc.infiniteStream(fc.nat()),
      (optional, [window, next, outgoing], drain, echo, choices) => {
        const { bytes, at, end } = encoded(
          composite(PERFORMATIVE.FLOW, [
            orNull(optional[0], uint),
            uint(window),
            uint(next),
            uint(outgoing),
            orNull(optional[4], uint),
            orNull(optional[5], uint),
            orNull(optional[6], uint),
            orNull(optional[7], uint),
            orNull(drain, bool),
            orNull(echo, bool),
            { type: "map", value: [] },
          ]),
          choices,
        );
        frame.read(bytes, at, end);
        t.is(frame.nextIncomingId, optional[0] ?? ABSENT);
        t.is(frame.incomingWindow, window);
        t.is(frame.nextOutgoingId, next);
        t.is(frame.outgoingWindow, outgoing);
        t.is(frame.handle, optional[4] ?? ABSENT);
        t.is(frame.deliveryCount, optional[5] ?? ABSENT);
        t.is(frame.linkCredit, optional[6] ?? ABSENT);
        t.is(frame.available, optional[7] ?? ABSENT);
        t.is(frame.drain === 1, drain ?? false);
        t.is(frame.echo === 1, echo ?? false);
      },
    ),
  );
});

test("a performative cut anywhere is refused, whatever lies behind it", (t) => {
  const full = encodeValue(
    composite(PERFORMATIVE.TRANSFER, [
      uint(1),
      uint(70_000),
      binary(Buffer.from("tag")),
      uint(0),
      bool(true),
    ]),
  );
  const frame = new TransferFrame();
  for (let end = 4; end < full.length; end++) {
    t.throws(() => frame.read(full, 3, end), { instanceOf: ConnectionError });
  }
  // The list says that it is longer than its fields, or shorter.
  const long = Buffer.from(full);
  long[4] = long[4]! + 1;
  t.throws(() => frame.read(Buffer.concat([long, Buffer.alloc(40)]), 3, long.length), {
    instanceOf: ConnectionError,
  });
  const short = Buffer.from(full);
  short[4] = short[4]! - 3;
  t.throws(() => frame.read(short, 3, short.length), { instanceOf: ConnectionError });
});

test("mandatory fields that are missing are named", (t) => {
  const listOf = (...fields: Value[]) => {
    const value = composite(1, fields);
    return encodeValue(value.type === "described" ? value.value : value);
  };
  const read = (frame: { read(b: Buffer, at: number, end: number): void }, bytes: Buffer) =>
    t.throws(() => frame.read(bytes, 0, bytes.length))!.message;
  t.regex(read(new TransferFrame(), listOf()), /transfer\.handle is missing/);
  t.regex(read(new DispositionFrame(), listOf()), /disposition\.role is missing/);
  t.regex(read(new DispositionFrame(), listOf(bool(true))), /disposition\.first is missing/);
  t.regex(read(new FlowFrame(), listOf(uint(1))), /flow\.incoming-window is missing/);
  t.regex(read(new FlowFrame(), listOf(uint(1), uint(1))), /flow\.next-outgoing-id is missing/);
  t.regex(
    read(new FlowFrame(), listOf(uint(1), uint(1), uint(1))),
    /flow\.outgoing-window is missing/,
  );
  t.regex(read(new TransferFrame(), listOf(bool(true))), /not a uint/);
  t.regex(
    read(new TransferFrame(), listOf(uint(0), uint(0), binary(Buffer.alloc(33)))),
    /longer than 32/,
  );
});

/** A frame that we wrote, as rhea reads it. */
function read(frame: Buffer): { code: number; channel: number; fields: unknown[]; rest: Buffer } {
  const size = frame.readUInt32BE(0);
  const value = decodeValue(frame, frame[4]! * 4, size);
  if (value.type !== "described" || value.value.type !== "list") throw new Error("no performative");
  // The oracle agrees on the type and the number of fields.
  const typed = rheaDecode(frame.subarray(8, size));
  if ((typed.value as unknown[]).length !== value.value.value.length)
    throw new Error("rhea differs");
  return {
    code: descriptorNumber(value.descriptor),
    channel: frame.readUInt16BE(6),
    fields: value.value.value.map((field) => field.value),
    rest: frame.subarray(size),
  };
}

test("flows and dispositions we write are what they should be", (t) => {
  fc.assert(
    fc.property(
      fc.array(uint32, { minLength: 8, maxLength: 8 }),
      fc.nat({ max: 0xffff }),
      fc.boolean(),
      fc.boolean(),
      (n, channel, drain, hasLink) => {
        const out = Buffer.alloc(FLOW_MAX + 5, 0xaa);
        const end = writeFlow(
          out,
          2,
          channel,
          n[0]!,
          n[1]!,
          n[2]!,
          n[3]!,
          hasLink ? n[4]! : ABSENT,
          n[5]!,
          n[6]!,
          n[7]!,
          drain,
          false,
        );
        t.true(end - 2 <= FLOW_MAX);
        const flow = read(out.subarray(2, end));
        t.is(flow.code, PERFORMATIVE.FLOW);
        t.is(flow.channel, channel);
        t.deepEqual(flow.fields, hasLink ? [...n, drain, false] : n.slice(0, 4));
        t.is(flow.rest.length, 0);
      },
    ),
  );
  fc.assert(
    fc.property(
      uint32,
      uint32,
      fc.boolean(),
      fc.nat({ max: 600 }),
      (first, last, settled, size) => {
        const state = size < 10 ? null : encodeValue(composite(0x25, [binary(Buffer.alloc(size))]));
        const out = Buffer.alloc(DISPOSITION_MAX + (state?.length ?? 0));
        const end = writeDisposition(out, 0, 3, true, first, last, settled, 0x24, state);
        const disposition = read(out.subarray(0, end));
        t.is(disposition.code, PERFORMATIVE.DISPOSITION);
        t.deepEqual(disposition.fields.slice(0, 4), [
          true,
          first,
          last === first ? null : last,
          settled,
        ]);
      },
    ),
  );
});

test("transfers and headers we write are what they should be", (t) => {
  fc.assert(
    fc.property(
      uint32,
      uint32,
      uint32,
      fc.boolean(),
      fc.boolean(),
      (handle, id, format, settled, more) => {
        const out = Buffer.alloc(TRANSFER_MAX + 4);
        let end = writeTransfer(out, 0, 9, handle, id, format, settled, more);
        t.true(end <= TRANSFER_MAX);
        setFrameSize(out, 0, end);
        const tag = Buffer.alloc(4);
        tag.writeUInt32BE(id);
        t.deepEqual(read(out).fields.slice(0, 5), [handle, id, tag, format, settled]);
        end = writeContinuation(out, 0, 9, handle, settled, more);
        t.true(end <= TRANSFER_MAX);
        setFrameSize(out, 0, end);
        t.deepEqual(read(out).fields, [handle, null, null, null, settled, more]);
      },
    ),
  );
  fc.assert(
    fc.property(
      fc.boolean(),
      fc.integer({ min: -1, max: 255 }),
      fc.nat({ max: 2 ** 34 }),
      fc.boolean(),
      uint32,
      (durable, priority, ttl, first, count) => {
        const out = Buffer.alloc(HEADER_MAX);
        const end = writeHeader(out, 0, durable, priority, ttl, first, count);
        t.true(end <= HEADER_MAX);
        const header = decodeValue(out, 0, end);
        t.true(header.type === "described" && header.value.type === "list");
        if (header.type !== "described" || header.value.type !== "list") return;
        t.deepEqual(
          header.value.value.map((field) => field.value),
          [
            durable,
            priority < 0 ? null : priority,
            ttl === 0 ? null : Math.min(ttl, 0xffffffff),
            first,
            count,
          ],
        );
      },
    ),
  );
});
