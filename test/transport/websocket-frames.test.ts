/** Promises of src/transport/websocket-frames.ts: RFC 6455 §5 to §8, wherever the bytes are cut. */
import test from "ava";
import fc from "fast-check";
import {
  CLOSE_CODE,
  closeFrame,
  FrameDecoder,
  OPCODE,
  putHeader,
  SERVER_HEADER_MAX,
} from "../../src/transport/websocket-frames.ts";
import { CopyMemory } from "../../src/util/copy-memory.ts";
import { clientFrame } from "../support/websocket.ts";

const { CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG } = OPCODE;
const LIMIT = 200_000;

/** Feeds the pieces one by one; what comes out, and how it ended. */
function decode(pieces: readonly Uint8Array[], decoder = new FrameDecoder(LIMIT)) {
  const out: Buffer[] = [];
  const pings: string[] = [];
  for (const piece of pieces) {
    // Somewhere in a larger buffer, as a read would lie there.
    const bytes = Buffer.concat([Buffer.from("before"), piece, Buffer.from("behind")]);
    const end = decoder.decode(bytes, 6, 6 + piece.length);
    out.push(Buffer.from(bytes.subarray(6, end)));
    if (decoder.ping !== null) pings.push(decoder.ping.toString());
    if (bytes.toString("latin1", 6 + piece.length) !== "behind") throw new Error("wrote beyond");
    if (decoder.isOver) break;
  }
  const { error, closeCode } = decoder;
  return { text: Buffer.concat(out).toString("latin1"), pings, code: error?.code ?? 0, closeCode };
}

const cutEverywhere = (bytes: Buffer): Buffer[][] => [
  [bytes],
  [...bytes].map((byte) => Buffer.from([byte])),
  ...Array.from(bytes, (_, at) => [bytes.subarray(0, at), bytes.subarray(at)]),
];

test("payload comes out whole and in order however frames, messages and reads are cut, control frames between them", (t) => {
  const part = fc.record({
    body: fc.uint8Array({ maxLength: 400 }),
    isFinal: fc.boolean(),
    ping: fc.option(fc.string({ maxLength: 20 }), { nil: null }),
    key: fc.integer(),
  });
  fc.assert(
    fc.property(
      fc.array(part, { minLength: 1, maxLength: 12 }),
      fc.array(fc.integer({ min: 1, max: 300 }), { minLength: 1, maxLength: 50 }),
      fc.boolean(),
      (parts, cuts, isFast) => {
        const memory = isFast ? CopyMemory.open(1 << 20) : null;
        const frames: Buffer[] = [];
        let isOpen = false;
        for (const { body, isFinal, ping, key } of parts) {
          if (ping !== null) frames.push(clientFrame(PING, Buffer.from(ping), { key }));
          const opcode = isOpen ? CONTINUATION : BINARY;
          frames.push(clientFrame(opcode, Buffer.from(body), { key, isFinal }));
          isOpen = !isFinal;
        }
        const bytes = Buffer.concat(frames);
        const pieces: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const end = at + cuts[i % cuts.length]!;
          pieces.push(bytes.subarray(at, end));
          at = end;
        }
        const room = memory?.takeBuffer(bytes.length + 3) ?? Buffer.alloc(bytes.length + 3);
        const decoder = new FrameDecoder(LIMIT);
        let got = "";
        for (const piece of pieces) {
          piece.copy(room, 3);
          got += room.toString("latin1", 3, decoder.decode(room, 3, 3 + piece.length));
        }
        memory?.close();
        t.is(decoder.error, null);
        t.is(got, Buffer.concat(parts.map(({ body }) => body)).toString("latin1"));
      },
    ),
  );
});

test("lengths of one, two and eight bytes are read, at each of their limits (§5.2)", (t) => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT]) {
    const body = Buffer.alloc(length, "x");
    const frame = clientFrame(BINARY, body);
    t.is(frame.length - length, length < 126 ? 6 : length < 65_536 ? 8 : 14);
    const head = [...frame.subarray(0, 14)].map((byte) => Buffer.from([byte]));
    const { text, code } = decode([...head, frame.subarray(14)]);
    t.is(code, 0);
    t.is(text, body.toString());
  }
});

test("a message may be as large as the limit and no larger, in one frame or in many (§10.4)", (t) => {
  const half = Buffer.alloc(LIMIT / 2);
  const fits = [
    clientFrame(BINARY, half, { isFinal: false }),
    clientFrame(CONTINUATION, half, { isFinal: false }),
    clientFrame(CONTINUATION, Buffer.alloc(0)),
    clientFrame(BINARY, half),
  ];
  t.is(decode(fits).code, 0);
  const tooLarge = [...fits.slice(0, 2), clientFrame(CONTINUATION, Buffer.alloc(1))];
  t.is(decode(tooLarge).code, CLOSE_CODE.MESSAGE_TOO_BIG);
  // The header is enough, even of a length beyond all numbers.
  const huge = Buffer.from([
    0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
  ]);
  t.is(decode([huge]).code, CLOSE_CODE.MESSAGE_TOO_BIG);
});

const WRONG: Array<[string, Buffer, number]> = [
  ["a frame that is not masked (§5.1)", Buffer.from([0x82, 1, 65]), 1002],
  ...[0x40, 0x20, 0x10].map((bit): [string, Buffer, number] => [
    `reserved bit ${bit} (§5.2)`,
    clientFrame(BINARY | bit, Buffer.from("a")),
    1002,
  ]),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode): [string, Buffer, number] => [
    `opcode ${opcode} (§5.2)`,
    clientFrame(opcode, Buffer.alloc(0)),
    1002,
  ]),
  ["a continuation of nothing (§5.4)", clientFrame(CONTINUATION, Buffer.from("a")), 1002],
  [
    "a message within another (§5.4)",
    Buffer.concat([
      clientFrame(BINARY, Buffer.from(""), { isFinal: false }),
      clientFrame(BINARY, Buffer.from("")),
    ]),
    1002,
  ],
  [
    "a continuation of a message that ended (§5.4)",
    Buffer.concat([clientFrame(TEXT, Buffer.from("")), clientFrame(CONTINUATION, Buffer.from(""))]),
    1002,
  ],
  ["a ping in fragments (§5.5)", clientFrame(PING, Buffer.from("a"), { isFinal: false }), 1002],
  ["a ping of 126 bytes (§5.5)", clientFrame(PING, Buffer.alloc(126)), 1002],
  ["a close frame of 126 bytes (§5.5)", clientFrame(CLOSE, Buffer.alloc(126, 3)), 1002],
  ["half a close code (§5.5.1)", clientFrame(CLOSE, Buffer.from([3])), 1002],
  ...[0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535].map(
    (code): [string, Buffer, number] => [
      `close code ${code} (§7.4)`,
      clientFrame(CLOSE, Buffer.from([code >> 8, code & 0xff])),
      1002,
    ],
  ),
  [
    "a reason that is not UTF-8 (§5.5.1)",
    clientFrame(CLOSE, Buffer.from([3, 0xe8, 0xce, 0xba, 0xed, 0xa0, 0x80])),
    1007,
  ],
  ["text that is not UTF-8 (§8.1)", clientFrame(TEXT, Buffer.from([65, 0xff, 65])), 1007],
  ["a surrogate (§8.1)", clientFrame(TEXT, Buffer.from([0xed, 0xa0, 0x80])), 1007],
  [
    "a character above U+10FFFF (§8.1)",
    clientFrame(TEXT, Buffer.from([0xf4, 0x90, 0x80, 0x80])),
    1007,
  ],
  ["an overlong character (§8.1)", clientFrame(TEXT, Buffer.from([0xc0, 0xaf])), 1007],
  ["text that ends in a character (§8.1)", clientFrame(TEXT, Buffer.from([65, 0xe2, 0x82])), 1007],
  ["the second half of a character alone", clientFrame(TEXT, Buffer.from([0x82, 0xac])), 1007],
];

for (const [what, bytes, expected] of WRONG) {
  test(`refused wherever it is cut, what stood before it counts: ${what}`, (t) => {
    const before = clientFrame(BINARY, Buffer.from("before"));
    const behind = clientFrame(BINARY, Buffer.from("behind"));
    for (const pieces of cutEverywhere(bytes)) {
      const { text, code } = decode([before, ...pieces, behind]);
      t.is(code, expected);
      t.true(text.startsWith("before"));
      t.false(text.includes("behind"));
    }
  });
}

test("control frames between the fragments of a message change nothing; the last ping of a read is to be answered (§5.4, §5.5)", (t) => {
  const bytes = Buffer.concat([
    clientFrame(TEXT, Buffer.from("h\u20ac").subarray(0, 2), { isFinal: false }),
    clientFrame(PING, Buffer.alloc(0)),
    clientFrame(PING, Buffer.alloc(125, "p")),
    clientFrame(PONG, Buffer.from("unasked")),
    clientFrame(CONTINUATION, Buffer.from("\u20acllo").subarray(1)),
    clientFrame(PONG, Buffer.alloc(125)),
  ]);
  for (const pieces of cutEverywhere(bytes)) {
    const { text, code, pings } = decode(pieces);
    t.is(code, 0);
    t.is(Buffer.from(text, "latin1").toString(), "h\u20acllo");
    t.is(pings.at(-1), "p".repeat(125));
  }
});

test("text may cut its characters anywhere between frames and reads (§8.1)", (t) => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 30 }), fc.nat(40), (words, cut) => {
      const all = Buffer.from(words);
      const at = Math.min(cut, all.length);
      const bytes = Buffer.concat([
        clientFrame(TEXT, all.subarray(0, at), { isFinal: false }),
        clientFrame(CONTINUATION, all.subarray(at)),
      ]);
      for (const pieces of cutEverywhere(bytes)) {
        const { text, code } = decode(pieces);
        t.is(code, 0);
        t.is(text, all.toString("latin1"));
      }
    }),
    { numRuns: 40 },
  );
});

test("the peer's close code is told, and what comes behind it is not looked at (§5.5.1)", (t) => {
  const behind = clientFrame(BINARY, Buffer.from("behind"));
  for (const code of [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 4999,
  ]) {
    const body = Buffer.concat([Buffer.from([code >> 8, code & 0xff]), Buffer.from("so it is")]);
    for (const pieces of cutEverywhere(clientFrame(CLOSE, body))) {
      const { text, closeCode } = decode([...pieces, behind]);
      t.is(closeCode, code);
      t.is(text, "");
    }
  }
  t.is(decode([clientFrame(CLOSE, Buffer.alloc(0)), behind]).closeCode, CLOSE_CODE.NONE);
});

test("text is refused where only binary messages are spoken", (t) => {
  const decoder = new FrameDecoder(LIMIT);
  decoder.isBinaryOnly = true;
  const { code, text } = decode([clientFrame(TEXT, Buffer.from("hello"))], decoder);
  t.is(code, CLOSE_CODE.UNSUPPORTED_DATA);
  t.is(text, "");
});

test("whatever comes is read or refused, and no read goes beyond its bytes", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { maxLength: 8 }),
      (pieces) => {
        const { text } = decode(pieces);
        t.true(text.length <= pieces.reduce((sum, { length }) => sum + length, 0));
      },
    ),
    { numRuns: 2000 },
  );
});

test("a server's frames are not masked, and as short as they can be (§5.1, §5.2)", (t) => {
  for (const [length, size] of [
    [0, 2],
    [125, 2],
    [126, 4],
    [65_535, 4],
    [65_536, 10],
    [2 ** 33, 10],
  ] as const) {
    const out = Buffer.alloc(20);
    const at = putHeader(out, SERVER_HEADER_MAX, BINARY, length);
    t.is(SERVER_HEADER_MAX - at, size);
    t.is(out[at], 0x82);
    if (size === 2) t.is(out[at + 1], length);
    if (size === 4) t.deepEqual([out[at + 1], out.readUInt16BE(at + 2)], [126, length]);
    if (size === 10) t.deepEqual([out[at + 1], out.readBigUInt64BE(at + 2)], [127, BigInt(length)]);
  }
  t.deepEqual([...closeFrame(1000, "bye")], [0x88, 5, 3, 0xe8, 0x62, 0x79, 0x65]);
  t.deepEqual([...closeFrame(CLOSE_CODE.NONE, "")], [0x88, 0]);
  t.is(closeFrame(1002, "x".repeat(500)).length, 127);
});
