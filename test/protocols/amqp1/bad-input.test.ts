/** Every mistake has its condition and costs what it should: the link, the session or the connection, never more. */
import test from "ava";
import { PERFORMATIVE } from "../../../protocols/amqp1/codec/codes.ts";
import {
  binary,
  bool,
  composite,
  described,
  list,
  map,
  NULL,
  string,
  symbol,
  ubyte,
  uint,
  type Value,
} from "../../../protocols/amqp1/codec/value.ts";
import { BrokerError } from "../../../src/model/errors.ts";
import { openTestBroker, type TestBroker } from "../../support/test-broker.ts";
import { until } from "../../support/wait.ts";
import {
  ACCEPTED,
  AmqpPeer,
  attach,
  begin,
  errorOf,
  message,
  open,
  rejectedWith,
  source,
  target,
} from "./support/peer.ts";

type Scope = "close" | "end" | "detach";
const FRAME_OF: Record<Scope, number> = {
  close: PERFORMATIVE.CLOSE,
  end: PERFORMATIVE.END,
  detach: PERFORMATIVE.DETACH,
};

/** Does what a case says on a fresh connection; the last broker answer must be of this scope with this condition. */
function wrong(
  name: string,
  scope: Scope,
  condition: string,
  act: (peer: AmqpPeer, broker: TestBroker) => void | Promise<void>,
  describes: RegExp = /./,
): void {
  test(`${name}: ${scope} ${condition}`, async (t) => {
    const broker = await openTestBroker({ maxMessageBytes: 10_000 });
    const other = await AmqpPeer.connect(broker);
    const peer = await AmqpPeer.connect(broker, {
      settings: { producerCredit: 10, incomingWindow: 20 },
      open: open({ channelMax: 5 }),
    });
    await act(peer, broker);
    const frame = await peer.next(FRAME_OF[scope]);
    const error = errorOf(frame.fields[scope === "detach" ? 2 : 0]);
    t.is(error.condition, condition);
    t.regex(error.description, describes);
    t.regex(error.description, /^[^\n]{10,300}\.?$/, "one sentence");
    if (scope === "close") {
      t.true(peer.wire.isOver);
    } else if (scope === "end") {
      // The session is gone, the connection is not.
      peer.send(composite(PERFORMATIVE.END, []));
      peer.begin(0);
      await peer.next(PERFORMATIVE.BEGIN);
    } else {
      await peer.sender({ handle: 500, name: "still here" });
    }
    await other.sender();
    t.false(other.wire.isOver, "others never notice");
    await broker.close();
  });
}

const raw = (hex: string) => (peer: AmqpPeer) => peer.wire.send(Buffer.from(hex, "hex"));
const says =
  (performative: Value, channel = 0) =>
  (peer: AmqpPeer) =>
    peer.send(performative, channel);
const sender = async (peer: AmqpPeer): Promise<void> => {
  await peer.sender();
  await peer.next(PERFORMATIVE.FLOW);
};

// ── frames ────────────────────────────────────────────────────────────────────────────────────────────────────────

wrong(
  "a frame smaller than its header",
  "close",
  "amqp:connection:framing-error",
  raw("0000000702000000"),
);
wrong(
  "a frame above max-frame-size",
  "close",
  "amqp:connection:framing-error",
  raw("0002000102000000"),
  /131072/,
);
wrong("a frame of 4 GiB", "close", "amqp:connection:framing-error", raw("ffffffff02000000"));
wrong("a data offset below 2", "close", "amqp:connection:framing-error", raw("0000000801000000"));
wrong(
  "a data offset beyond the frame",
  "close",
  "amqp:connection:framing-error",
  raw("0000000c04000000aaaaaaaa"),
);
wrong("a SASL frame after SASL", "close", "amqp:connection:framing-error", raw("0000000802010000"));
wrong("a frame of unknown type", "close", "amqp:connection:framing-error", raw("0000000802050000"));
wrong("a body that is no described value", "close", "amqp:decode-error", raw("000000090200000040"));
wrong("a body that is cut off", "close", "amqp:decode-error", raw("0000000a020000000053"));
wrong("an unknown performative", "close", "amqp:decode-error", says(composite(0x99, [])));
wrong(
  "an unknown performative by symbol",
  "close",
  "amqp:decode-error",
  says({ type: "described", descriptor: symbol("amqp:nonsense:list"), value: list([]) }),
);
wrong(
  "a performative that is a map",
  "close",
  "amqp:decode-error",
  says(described(PERFORMATIVE.ATTACH, map([]))),
);
wrong("bytes behind a performative", "close", "amqp:decode-error", (peer) => {
  peer.send(composite(PERFORMATIVE.DETACH, [uint(0)]), 0, Buffer.from([0x40]));
});
wrong("garbage", "close", "amqp:connection:framing-error", (peer) =>
  peer.wire.send("GET / HTTP/1.1\r\n\r\n"),
);

// ── connection ────────────────────────────────────────────────────────────────────────────────────────────────────

wrong("a second open", "close", "amqp:not-allowed", says(open()));
wrong("a begin where a session is", "close", "amqp:not-allowed", says(begin()));
wrong(
  "a channel above channel-max",
  "close",
  "amqp:connection:framing-error",
  says(begin(), 6),
  /channel-max 5/,
);
for (const [name, performative] of [
  ["attach", attach({ isReceiver: false })],
  ["flow", composite(PERFORMATIVE.FLOW, [NULL, uint(1), uint(0), uint(1)])],
  ["transfer", composite(PERFORMATIVE.TRANSFER, [uint(0), uint(0)])],
  ["disposition", composite(PERFORMATIVE.DISPOSITION, [bool(true), uint(0)])],
  ["detach", composite(PERFORMATIVE.DETACH, [uint(0)])],
  ["end", composite(PERFORMATIVE.END, [])],
] as const) {
  wrong(
    `${name} on a channel never begun`,
    "close",
    "amqp:not-allowed",
    says(performative, 3),
    /channel 3/,
  );
}
wrong(
  "begin without its windows",
  "close",
  "amqp:decode-error",
  says(composite(PERFORMATIVE.BEGIN, [NULL, uint(0)]), 1),
  /begin\.incoming-window is missing/,
);
wrong(
  "properties with the same key twice",
  "close",
  "amqp:decode-error",
  (peer) => {
    peer.send(
      attach({
        isReceiver: false,
        properties: [
          ["a", NULL],
          ["a", NULL],
        ],
      }),
    );
  },
  /twice/,
);
wrong(
  "a property list where a map belongs",
  "close",
  "amqp:decode-error",
  says(
    composite(PERFORMATIVE.ATTACH, [
      string("x"),
      uint(0),
      bool(true),
      NULL,
      NULL,
      source("q"),
      target(null),
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      list([]),
    ]),
  ),
  /attach\.properties is not a map/,
);

// ── sessions ──────────────────────────────────────────────────────────────────────────────────────────────────────

wrong(
  "a handle above handle-max",
  "close",
  "amqp:connection:framing-error",
  says(attach({ isReceiver: false, handle: 1024 })),
  /handle-max 1023/,
);
wrong("a handle in use", "end", "amqp:session:handle-in-use", async (peer) => {
  await sender(peer);
  peer.send(attach({ isReceiver: false, handle: 0, name: "other" }));
});
wrong("a transfer for no link", "end", "amqp:session:unattached-handle", (peer) => {
  peer.transfer(message("x"), { handle: 3 });
});
wrong("a flow for no link", "end", "amqp:session:unattached-handle", (peer) =>
  peer.flow({ handle: 3, credit: 1 }),
);
wrong("a detach of no link", "end", "amqp:session:unattached-handle", (peer) => peer.detach(3));
wrong(
  "a transfer after both sides detached in error",
  "end",
  "amqp:session:errant-link",
  async (peer) => {
    await sender(peer);
    peer.transfer(message("x").subarray(0, 4), { isSettled: true });
    await peer.next(PERFORMATIVE.DETACH);
    peer.detach(0);
    peer.transfer(message("x"));
  },
);
wrong("more transfers than the window", "end", "amqp:session:window-violation", async (peer) => {
  await sender(peer);
  // In one piece: no flow can come in between.
  const transfer = composite(PERFORMATIVE.TRANSFER, [
    uint(0),
    uint(0),
    binary(Buffer.from("t")),
    NULL,
    NULL,
    bool(true),
  ]);
  const more = composite(PERFORMATIVE.TRANSFER, [uint(0), NULL, NULL, NULL, NULL, bool(true)]);
  const frames = [peer.frame(transfer)];
  for (let i = 0; i < 20; i++) frames.push(peer.frame(more));
  peer.wire.send(Buffer.concat(frames));
});
wrong("a disposition of an unknown transaction", "end", "amqp:transaction:unknown-id", (peer) => {
  peer.disposition(0, 0, composite(0x34, [binary(Buffer.from("nothing"))]));
});
wrong("a disposition with an unknown state", "close", "amqp:decode-error", (peer) => {
  peer.disposition(0, 0, composite(0x29, []));
});
wrong("a disposition whose state is no composite", "close", "amqp:decode-error", (peer) => {
  peer.disposition(0, 0, string("accepted"));
});

// ── links ─────────────────────────────────────────────────────────────────────────────────────────────────────────

wrong("a transfer without credit", "detach", "amqp:link:transfer-limit-exceeded", async (peer) => {
  await sender(peer);
  const frames: Buffer[] = [];
  for (let id = 0; id < 11; id++) {
    frames.push(
      peer.frame(
        composite(PERFORMATIVE.TRANSFER, [uint(0), uint(id), binary(Buffer.from([id]))]),
        0,
        message("x"),
      ),
    );
  }
  peer.wire.send(Buffer.concat(frames));
});
wrong("a first transfer without delivery-id", "detach", "amqp:not-allowed", async (peer) => {
  await sender(peer);
  peer.transfer(message("x"), { isContinuation: true });
});
wrong("another delivery in the middle of one", "detach", "amqp:not-allowed", async (peer) => {
  await sender(peer);
  peer.transfer(message("x").subarray(0, 4), { hasMore: true });
  peer.transfer(message("x"));
});
wrong("another format in the middle of a delivery", "detach", "amqp:not-allowed", async (peer) => {
  await sender(peer);
  peer.transfer(message("x").subarray(0, 4), { hasMore: true });
  peer.transfer(message("x"), { deliveryId: 0, format: 9 });
});
wrong("a settled message that is none", "detach", "amqp:decode-error", async (peer) => {
  await sender(peer);
  peer.transfer(Buffer.from("nonsense"), { isSettled: true });
});
wrong(
  "a message that is too large",
  "detach",
  "amqp:link:message-size-exceeded",
  async (peer) => {
    await sender(peer);
    peer.transfer(message(Buffer.alloc(20_000)));
  },
  /10000 bytes/,
);
wrong("a transfer's tag of 33 bytes", "close", "amqp:decode-error", async (peer) => {
  await sender(peer);
  peer.send(composite(PERFORMATIVE.TRANSFER, [uint(0), uint(0), binary(Buffer.alloc(33))]));
});

for (const [name, value] of [
  ["name", composite(PERFORMATIVE.ATTACH, [NULL, uint(0), bool(true)])],
  ["handle", composite(PERFORMATIVE.ATTACH, [string("x"), NULL, bool(true)])],
  ["role", composite(PERFORMATIVE.ATTACH, [string("x"), uint(0)])],
] as const) {
  wrong(
    `an attach without ${name}`,
    "close",
    "amqp:decode-error",
    says(value),
    new RegExp(`attach\\.${name} is missing`),
  );
}
wrong(
  "a sender's attach without initial-delivery-count",
  "close",
  "amqp:invalid-field",
  says(
    composite(PERFORMATIVE.ATTACH, [
      string("x"),
      uint(0),
      bool(false),
      NULL,
      NULL,
      source(null),
      target("q"),
    ]),
  ),
  /initial-delivery-count/,
);
wrong(
  "an unknown settle mode",
  "close",
  "amqp:invalid-field",
  says(composite(PERFORMATIVE.ATTACH, [string("x"), uint(0), bool(true), ubyte(3)])),
  /snd-settle-mode/,
);

/** Refusals of an attach: the terminus that would be ours is null, then comes the detach. */
function refused(
  name: string,
  condition: string,
  link: Parameters<typeof attach>[0],
  describes?: RegExp,
): void {
  wrong(
    name,
    "detach",
    condition,
    async (peer) => {
      peer.send(attach(link));
      const answer = await peer.next(PERFORMATIVE.ATTACH);
      const terminus = answer.fields[link.isReceiver ? 5 : 6];
      if (terminus !== undefined && terminus.type !== "null")
        throw new Error("the terminus is not null");
    },
    describes,
  );
}

refused("a sender without target", "amqp:invalid-field", { isReceiver: false, target: NULL });
refused("a target of an unknown type", "amqp:not-implemented", {
  isReceiver: false,
  target: composite(0x77, []),
});
refused("a source of an unknown type", "amqp:not-implemented", {
  isReceiver: true,
  source: composite(0x77, []),
});
refused("an address that is no string", "amqp:invalid-field", {
  isReceiver: false,
  target: composite(0x29, [uint(1)]),
});
refused("an empty address", "amqp:invalid-field", { isReceiver: false, address: "" });
refused("an address with a control character", "amqp:invalid-field", {
  isReceiver: false,
  address: "a\u0007b",
});
refused("a source without address", "amqp:invalid-field", {
  isReceiver: true,
  source: source(null),
});
refused("a dynamic source with an address", "amqp:invalid-field", {
  isReceiver: true,
  source: source("q", { isDynamic: true }),
});
refused(
  "sending to a topic filter",
  "amqp:invalid-field",
  { isReceiver: false, address: "a.*", capabilities: ["topic"] },
  /wildcard/,
);
refused("an unknown durability", "amqp:invalid-field", {
  isReceiver: true,
  source: source("q", { durable: 3 }),
});
refused("an unknown expiry policy", "amqp:invalid-field", {
  isReceiver: true,
  source: source("q", { expiry: "tomorrow" }),
});
refused("an unknown distribution mode", "amqp:invalid-field", {
  isReceiver: true,
  source: source("q", { distribution: "borrow" }),
});
refused(
  "a selector that is no text",
  "amqp:invalid-field",
  {
    isReceiver: true,
    source: source("q", {
      filter: [
        [
          "s",
          {
            type: "described",
            descriptor: symbol("apache.org:selector-filter:string"),
            value: uint(1),
          },
        ],
      ],
    }),
  },
  /Invalid filter/,
);
refused(
  "a place in a topic that is none",
  "amqp:invalid-field",
  {
    isReceiver: true,
    source: source("topic:t", {
      filter: [
        [
          "s",
          {
            type: "described",
            descriptor: symbol("rabbitmq:stream-offset-spec"),
            value: string("middle"),
          },
        ],
      ],
    }),
  },
  /no place to begin/,
);
refused("a temporary node that does not exist", "amqp:not-found", {
  isReceiver: true,
  address: "temp-queue://nobody.made.it",
});

wrong("attaching where one may not", "detach", "amqp:unauthorized-access", async (peer, broker) => {
  for (const connection of broker.broker.connections.values()) {
    connection.openTarget = () => {
      throw new BrokerError("unauthorized", "user 'ann' may not send to queue 'q'");
    };
  }
  peer.send(attach({ isReceiver: false }));
});

wrong(
  "a node deleted under its consumer",
  "detach",
  "amqp:resource-deleted",
  async (peer, broker) => {
    await peer.receiver();
    for (const node of broker.broker.registry.nodes()) broker.broker.deleteNode(node);
  },
);

test("single symbols are taken where several may stand", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker, {
    open: composite(PERFORMATIVE.OPEN, [
      string("c"),
      NULL,
      NULL,
      NULL,
      NULL,
      symbol("en-US"),
      symbol("en-US"),
      symbol("A"),
      symbol("sole-connection-for-container"),
    ]),
  });
  peer.send(
    composite(PERFORMATIVE.ATTACH, [
      string("x"),
      uint(0),
      bool(true),
      NULL,
      NULL,
      composite(0x28, [
        string("t"),
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        symbol("amqp:accepted:list"),
        symbol("topic"),
      ]),
      target(null),
      NULL,
      NULL,
      NULL,
      NULL,
      NULL,
      symbol("SHARED-SUBS"),
    ]),
  );
  const attached = await peer.next(PERFORMATIVE.ATTACH);
  t.is(attached.fields[5]!.type, "described");
  t.is(attached.fields[11]!.type, "array", "what we offer is an array");
  await broker.close();
});

test("dispositions of deliveries that never were do nothing", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  await peer.receiver();
  for (const [first, last] of [
    [0, 0],
    [5, 2],
    [0, 0xffffffff],
    [0xffffff00, 10],
  ] as const) {
    peer.disposition(first, last, ACCEPTED);
    peer.disposition(first, last, rejectedWith("amqp:not-found"), false);
  }
  await peer.settled();
  t.false(peer.wire.isOver);
  await broker.close();
});

test("after an error of ours the peer's frames for that link are dropped, not punished", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  await sender(peer);
  peer.transfer(Buffer.from("nonsense"), { isSettled: true });
  peer.transfer(message("x"));
  peer.flow({ handle: 0 });
  await peer.next(PERFORMATIVE.DETACH);
  peer.transfer(message("x"));
  peer.detach(0);
  await peer.sender({ handle: 0, name: "again" });
  t.false(peer.has(PERFORMATIVE.END));
  await broker.close();
});

test("after an error of the session its frames are dropped until its end", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  peer.transfer(message("x"), { handle: 7 });
  peer.transfer(message("x"), { handle: 7 });
  peer.send(attach({ isReceiver: false, handle: 1 }));
  await peer.next(PERFORMATIVE.END);
  await peer.settled();
  t.is(peer.frames.length, 0);
  peer.send(composite(PERFORMATIVE.END, []));
  peer.begin();
  await peer.next(PERFORMATIVE.BEGIN);
  await broker.close();
});

test("nothing is answered after a close of ours", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker);
  peer.wire.send(Buffer.from("0000000702000000", "hex"));
  peer.wire.send(peer.frame(begin(), 1));
  await until("the wire is over", () => peer.wire.isOver);
  await peer.next(PERFORMATIVE.CLOSE);
  t.is(peer.frames.length, 0);
  await broker.close();
});

test("a connection has a bounded number of links, over all its sessions", async (t) => {
  const broker = await openTestBroker();
  const peer = await AmqpPeer.connect(broker, { settings: { maxLinks: 2 } });
  peer.begin(1);
  await peer.next(PERFORMATIVE.BEGIN);
  await peer.sender({ handle: 0 });
  await peer.receiver({ handle: 0, channel: 1 });
  await peer.sender({ handle: 1, name: "third" });
  const refused = await peer.next(PERFORMATIVE.DETACH);
  t.is(errorOf(refused.fields[2]).condition, "amqp:resource-limit-exceeded");
  peer.detach(0, true, 1);
  await peer.next(PERFORMATIVE.DETACH);
  await peer.sender({ handle: 2, name: "fourth" });
  await peer.next(PERFORMATIVE.FLOW);
  peer.send(attach({ isReceiver: false, handle: 3, name: "n".repeat(5_000) }));
  await peer.next(PERFORMATIVE.DETACH);
  await broker.close();
});
