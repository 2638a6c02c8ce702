/**
 * Thousands of damaged streams for each layer. Whatever comes, nothing throws, what we answer can be decoded, and the
 * broker goes on serving others. A failure names its seed: put it into REPLAY to see just that one.
 */
import test from "ava";
import { PERFORMATIVE, SASL } from "../../../protocols/amqp1/codec/codes.ts";
import {
  binary,
  bool,
  composite,
  list,
  NULL,
  string,
  symbol,
  timestamp,
  uint,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import type { Logger } from "../../../src/telemetry/log.ts";
import { TransportLoop } from "../../../src/transport/loop.ts";
import { Random } from "../../support/random.ts";
import { openTestBroker } from "../../support/test-broker.ts";
import {
  ACCEPTED,
  AMQP_HEADER,
  AmqpPeer,
  amqpAdapter,
  attach,
  begin,
  message,
  modified,
  open,
  SASL_HEADER,
  source,
  target,
  textOf,
} from "./support/peer.ts";

const RUNS = 2000;
const BATCH = 50;
const REPLAY: number | undefined = undefined;

/** Octets that mean much: constructors, limits. */
const TELLING = [
  0x00, 0x01, 0x40, 0x41, 0x43, 0x45, 0x53, 0x70, 0x7f, 0x80, 0x98, 0xa0, 0xb0, 0xc0, 0xd0, 0xd1,
  0xe0, 0xf0, 0xfe, 0xff,
];

/** A frame before it is encoded, or bytes as they are. */
interface FramePiece {
  readonly value: Value;
  readonly channel: number;
  readonly payload: Buffer;
  readonly type: number;
}
type Piece = Buffer | FramePiece;

const frame = (value: Value, channel = 0, payload: Buffer = Buffer.alloc(0), type = 0): Piece => ({
  value,
  channel,
  payload,
  type,
});

/** Damages the frames in a few places: half of the time in their values, half of the time in their bytes. */
function damage(
  random: Random,
  peer: AmqpPeer,
  pieces: readonly Piece[],
  isBodyOnly: boolean,
): Buffer[] {
  const victim = random.chance(50) ? random.below(pieces.length) : -1;
  const out = pieces.map((piece, index) => {
    if (Buffer.isBuffer(piece)) return Buffer.from(piece);
    const value = index === victim ? damagedValue(random, piece.value) : piece.value;
    return peer.frame(value, piece.channel, piece.payload, piece.type);
  });
  if (victim >= 0) return random.chance(20) ? damageBytes(random, out, isBodyOnly) : out;
  return damageBytes(random, out, isBodyOnly);
}

/** The value with one of its parts replaced, left out or doubled; the composite itself stays. */
function damagedValue(random: Random, value: Value): Value {
  if (value.type === "described" && random.chance(95)) {
    return { ...value, value: damagedValue(random, value.value) };
  }
  if (value.type === "list" && value.value.length > 0) {
    const at = random.below(value.value.length);
    const fields = [...value.value];
    if (random.chance(10)) fields.splice(at, 1);
    else fields[at] = damagedPart(random, fields[at]!);
    return { ...value, value: fields };
  }
  if (value.type === "map" && value.value.length > 0) {
    const at = random.below(value.value.length);
    const entries = [...value.value];
    const [key, held] = entries[at]!;
    if (random.chance(10)) entries.push(entries[at]!);
    else entries[at] = [key, damagedPart(random, held)];
    return { ...value, value: entries };
  }
  return damagedPart(random, value);
}

function damagedPart(random: Random, value: Value): Value {
  const isCompound = value.type === "described" || value.type === "list" || value.type === "map";
  return isCompound && random.chance(70) ? damagedValue(random, value) : anyValue(random);
}

function anyValue(random: Random): Value {
  return random.pick<Value>([
    NULL,
    bool(random.chance(50)),
    uint(random.pick([0, 1, 2, 3, 255, 256, 1023, 1024, 0x7fffffff, 0x80000000, 0xffffffff])),
    { type: "ubyte", value: random.below(256) },
    { type: "ushort", value: random.pick([0, 1, 0xffff]) },
    { type: "ulong", value: 2n ** 64n - 1n },
    { type: "long", value: -1 },
    timestamp(random.below(2 ** 31)),
    string(random.pick(["", "q", "\u0000", "a.b?c#d", "/queues/", "x".repeat(300)])),
    symbol(random.pick(["", "never", "topic", "amqp:accepted:list"])),
    binary(random.bytes(random.below(40))),
    list([]),
    composite(random.pick([0x10, 0x14, 0x24, 0x27, 0x29, 0x30, 0x34, 0x77]), [uint(1)]),
    { type: "map", value: [[uint(1), NULL]] },
    { type: "array", of: "symbol", value: [] },
  ]);
}

function damageBytes(random: Random, pieces: readonly Buffer[], isBodyOnly: boolean): Buffer[] {
  const out = [...pieces];
  const count = random.between(1, 2);
  for (let i = 0; i < count; i++) {
    const index = random.below(out.length);
    const piece = out[index]!;
    const from = isBodyOnly ? Math.min(8, piece.length - 1) : 0;
    const at = random.between(from, piece.length - 1);
    switch (random.below(isBodyOnly ? 8 : 7)) {
      case 0:
        piece[at] = random.below(256);
        break;
      case 1:
      case 2:
        piece[at] = random.pick(TELLING);
        break;
      case 3:
        piece[at] = piece[at]! ^ (1 << random.below(8));
        break;
      case 4: {
        // Some bytes out, some in; the frame's size is made right again or not.
        const changed = Buffer.concat([
          piece.subarray(0, at),
          random.bytes(random.below(6)),
          piece.subarray(at + random.below(6)),
        ]);
        if (isBodyOnly || random.chance(50)) fixSize(changed);
        if (changed.length > 0) out[index] = changed;
        break;
      }
      case 5:
        out.splice(random.below(out.length), 0, Buffer.from(piece));
        break;
      case 6:
        if (out.length > 1) out.splice(index, 1);
        break;
      default: {
        const other = random.below(out.length);
        out[index] = out[other]!;
        out[other] = piece;
      }
    }
  }
  return out;
}

function fixSize(frame: Buffer): void {
  if (frame.length >= 8 && frame.toString("latin1", 0, 4) !== "AMQP") {
    frame.writeUInt32BE(frame.length, 0);
  }
}

interface Layer {
  readonly name: string;
  /** Sent undamaged first. */
  readonly before: (peer: AmqpPeer) => Buffer[];
  readonly pieces: (peer: AmqpPeer) => Piece[];
  readonly isBodyOnly: boolean;
  /** What must be among our answers many times: the damage reached that deep. */
  readonly answers: readonly number[];
}

const opened = (peer: AmqpPeer): Buffer[] => [AMQP_HEADER, peer.frame(open()), peer.frame(begin())];
const flow = (...fields: Value[]): Value => composite(PERFORMATIVE.FLOW, fields);
const transfer = (id: number, more = false, extra: Value[] = []): Value =>
  composite(PERFORMATIVE.TRANSFER, [
    uint(0),
    uint(id),
    binary(Buffer.from([id])),
    uint(0),
    bool(false),
    bool(more),
    ...extra,
  ]);

const richSource = source("q", {
  durable: 1,
  expiry: "never",
  filter: [
    [
      "jms",
      { type: "described", descriptor: { type: "ulong", value: 0x468c00000003 }, value: list([]) },
    ],
    [
      "tag",
      {
        type: "described",
        descriptor: symbol("sluice:tag-filter:string"),
        value: string("a || b"),
      },
    ],
    [
      "from",
      { type: "described", descriptor: symbol("rabbitmq:stream-offset-spec"), value: timestamp(1) },
    ],
  ],
  defaultOutcome: modified(true, false),
  outcomes: ["amqp:accepted:list", "amqp:rejected:list"],
  capabilities: ["queue"],
});
const richMessage = message("body", {
  priority: 4,
  ttlMs: 60_000,
  annotations: [
    ["x-opt-delivery-time", timestamp(1)],
    ["x-tag", string("t")],
    ["x-opt-jms-dest", { type: "byte", value: 0 }],
  ],
  properties: [
    string("id"),
    binary(Buffer.from("me")),
    string("q"),
    NULL,
    string("r"),
    NULL,
    NULL,
    NULL,
    timestamp(4e12),
    timestamp(1),
    string("g"),
    uint(1),
  ],
});

const LAYERS: readonly Layer[] = [
  {
    name: "SASL",
    before: () => [SASL_HEADER],
    pieces: () => [
      frame(
        composite(SASL.INIT, [symbol("PLAIN"), NULL, string("vhost:x")]),
        0,
        Buffer.alloc(0),
        1,
      ),
      frame(composite(SASL.RESPONSE, [binary(Buffer.from("\0ann\0right"))]), 0, Buffer.alloc(0), 1),
      AMQP_HEADER,
      frame(open()),
    ],
    isBodyOnly: false,
    answers: [SASL.MECHANISMS, SASL.OUTCOME, PERFORMATIVE.OPEN, PERFORMATIVE.CLOSE],
  },
  {
    name: "frames",
    before: () => [],
    pieces: (peer) => [
      ...opened(peer),
      frame(attach({ isReceiver: false })),
      Buffer.from("0000000802000000", "hex"),
      frame(transfer(0), 0, message("x")),
      frame(composite(PERFORMATIVE.END, [])),
      frame(composite(PERFORMATIVE.CLOSE, [])),
    ],
    isBodyOnly: false,
    answers: [PERFORMATIVE.OPEN, PERFORMATIVE.ATTACH, PERFORMATIVE.CLOSE, PERFORMATIVE.END],
  },
  {
    name: "types",
    before: () => [AMQP_HEADER],
    pieces: () => [
      frame(
        open({
          hostname: "host",
          channelMax: 3,
          idleMs: 60_000,
          desired: ["a", "b"],
          properties: [
            ["product", string("x")],
            ["n", uint(7)],
            ["l", list([uint(1), NULL])],
          ],
        }),
      ),
      frame(begin()),
      frame(
        attach({
          isReceiver: true,
          source: richSource,
          properties: [["priority", uint(1)]],
          desired: ["SHARED-SUBS"],
        }),
      ),
      frame(attach({ isReceiver: false, handle: 1, target: target(null, { isDynamic: true }) })),
    ],
    isBodyOnly: true,
    answers: [PERFORMATIVE.ATTACH, PERFORMATIVE.DETACH, PERFORMATIVE.CLOSE],
  },
  {
    name: "sessions",
    before: (peer) => [
      ...opened(peer),
      peer.frame(attach({ isReceiver: true, source: source("ready") })),
    ],
    pieces: () => [
      frame(begin(), 1),
      frame(flow(uint(0), uint(100), uint(0), uint(100), uint(0), uint(0), uint(3))),
      frame(
        flow(
          uint(1),
          uint(100),
          uint(0),
          uint(100),
          uint(0),
          uint(0),
          uint(5),
          NULL,
          bool(true),
          bool(true),
        ),
      ),
      frame(
        composite(PERFORMATIVE.DISPOSITION, [bool(true), uint(0), uint(1), bool(true), ACCEPTED]),
      ),
      frame(
        composite(PERFORMATIVE.DISPOSITION, [
          bool(true),
          uint(2),
          NULL,
          bool(false),
          modified(true, false),
        ]),
      ),
      frame(composite(PERFORMATIVE.DETACH, [uint(0), bool(true)])),
      frame(composite(PERFORMATIVE.END, [])),
    ],
    isBodyOnly: true,
    answers: [
      PERFORMATIVE.TRANSFER,
      PERFORMATIVE.DISPOSITION,
      PERFORMATIVE.FLOW,
      PERFORMATIVE.END,
      PERFORMATIVE.CLOSE,
    ],
  },
  {
    name: "links",
    before: (peer) => [
      ...opened(peer),
      peer.frame(attach({ isReceiver: false })),
      peer.frame(attach({ isReceiver: false, handle: 1, target: composite(0x30, []) })),
    ],
    pieces: () => [
      frame(transfer(0), 0, richMessage),
      frame(transfer(1, true), 0, richMessage.subarray(0, 20)),
      frame(composite(PERFORMATIVE.TRANSFER, [uint(0)]), 0, richMessage.subarray(20)),
      frame(transfer(2, true), 0, richMessage.subarray(0, 20)),
      frame(transfer(2, false, [NULL, NULL, NULL, bool(true)])),
      frame(
        composite(PERFORMATIVE.TRANSFER, [uint(1), uint(3), binary(Buffer.from("d"))]),
        0,
        Buffer.from("005377005331c0020140".replace("c0020140", "45"), "hex"),
      ),
      frame(
        transfer(4, false, [NULL, composite(0x34, [binary(Buffer.from("txn"))])]),
        0,
        richMessage,
      ),
    ],
    isBodyOnly: true,
    answers: [PERFORMATIVE.DISPOSITION, PERFORMATIVE.DETACH, PERFORMATIVE.END, PERFORMATIVE.CLOSE],
  },
];

async function turn(): Promise<void> {
  for (let i = 0; i < 2; i++) await new Promise((resolve) => setImmediate(resolve));
}

for (const [layerIndex, layer] of LAYERS.entries()) {
  test(`damaged streams do no harm: ${layer.name}`, async (t) => {
    const broker = await openTestBroker({
      maxMessageBytes: 100_000,
      // However often the messages are lost, they stay.
      settings: { maxLosses: -1, maxDeliveries: -1 },
    });
    const bugs: string[] = [];
    const logger: Logger = {
      isDebug: false,
      debug() {},
      info() {},
      warn() {},
      error: (event, fields) =>
        bugs.push(`${event} ${String((fields?.["error"] as Error)?.stack)}`),
      child: () => logger,
    };
    const adapter = amqpAdapter(broker, { logger, settings: { incomingWindow: 64 } });
    // The wire logs what a protocol throws: that must be seen here too.
    const loop = new TransportLoop(broker.turn, logger);
    const answers = new Map<number, number>();
    const steady = await AmqpPeer.connect(broker, { adapter });
    await steady.sender({ address: "ready" });
    await steady.next(PERFORMATIVE.FLOW);
    for (let run = 0; run < RUNS; run += BATCH) {
      for (let i = 0; i < 20; i++) steady.transfer(message(`m${i}`), { isSettled: true });
      const peers: AmqpPeer[] = [];
      const rests: Buffer[] = [];
      for (let i = run; i < run + BATCH; i++) {
        const seed = layerIndex * 100_000 + i;
        if (REPLAY !== undefined && seed !== REPLAY) continue;
        const random = new Random(seed);
        const peer = new AmqpPeer(broker, { wire: { loop } }, adapter);
        peers.push(peer);
        for (const piece of layer.before(peer)) peer.wire.send(piece);
        const all = Buffer.concat(damage(random, peer, layer.pieces(peer), layer.isBodyOnly));
        // In two parts, with a turn of the broker between them.
        const cut = random.below(all.length);
        const pieceBytes = random.chance(10) ? random.between(1, 40) : all.length;
        peer.wire.send(all.subarray(0, cut), pieceBytes);
        rests.push(all.subarray(cut));
        if (bugs.length > 0) t.fail(`seed ${seed}: ${bugs[0]}\n${all.toString("hex")}`);
      }
      await turn();
      for (const [index, peer] of peers.entries()) peer.wire.send(rests[index]!);
      await turn();
      for (const peer of peers) {
        // Decodes everything we said; throws when it cannot.
        peer.wire.flush();
        peer.wire.sendEnd();
        for (const { code } of peer.frames) answers.set(code, (answers.get(code) ?? 0) + 1);
      }
      t.deepEqual(bugs, [], `seeds ${layerIndex * 100_000 + run} and after`);
    }
    // How often depends on the seeds; that it happens at all shows that the damage gets so far.
    for (const code of layer.answers)
      t.true((answers.get(code) ?? 0) > 5, `0x${code.toString(16)}`);
    const reader = await AmqpPeer.connect(broker, { adapter });
    await steady.sender({ address: "clean", handle: 1 });
    await steady.next(PERFORMATIVE.FLOW);
    steady.transfer(message("still here"), { handle: 1, deliveryId: 1000 });
    await reader.receiver({ address: "clean" });
    reader.flow({ handle: 0, credit: 1 });
    t.is(textOf((await reader.transfers(1))[0]!.payload), "still here");
    t.is(broker.broker.connections.size, 2, "the others are gone");
    await broker.close();
  });
}

test("damaged first bytes are sniffed without throwing, right ones only are ours", async (t) => {
  const broker = await openTestBroker();
  const adapter = amqpAdapter(broker);
  for (const header of [AMQP_HEADER, SASL_HEADER]) {
    for (let length = 1; length <= 8; length++) {
      const padded = Buffer.concat([Buffer.alloc(3, 0xee), header.subarray(0, length)]);
      t.is(adapter.sniff(padded, 3, 3 + length), length === 8 ? "yes" : "more");
    }
  }
  for (let seed = 0; seed < RUNS; seed++) {
    const random = new Random(seed);
    const bytes = Buffer.from(random.pick([AMQP_HEADER, SASL_HEADER]));
    const original = Buffer.from(bytes);
    bytes[random.below(8)] = random.below(256);
    const other = bytes.equals(AMQP_HEADER) || bytes.equals(SASL_HEADER);
    t.is(adapter.sniff(bytes, 0, 8), other || bytes.equals(original) ? "yes" : "no");
  }
  await broker.close();
});
