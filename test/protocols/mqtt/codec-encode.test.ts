import { readFileSync } from "node:fs";
import test from "ava";
import fc from "fast-check";
import { type Packet, parser } from "mqtt-packet";
import { putAck } from "../../../protocols/mqtt/codec/ack.ts";
import type { Version } from "../../../protocols/mqtt/codec/constants.ts";
import {
  encodeAuth,
  encodeConnack,
  encodeDisconnect,
  encodeSuback,
  encodeUnsuback,
} from "../../../protocols/mqtt/codec/control.ts";
import type { Properties } from "../../../protocols/mqtt/codec/properties.ts";
import { putVarint, varintSize } from "../../../protocols/mqtt/codec/writer.ts";

const golden = new Map<string, string>(
  (
    JSON.parse(readFileSync("test/fixtures/mqtt/packets.json", "utf8")) as Array<{
      name: string;
      hex: string;
    }>
  ).map(({ name, hex }) => [name, hex]),
);

const userProperties: Array<readonly [string, string]> = [
  ["a", "1"],
  ["b", "2"],
  ["b", "3"],
];

function parse(bytes: Buffer, version: Version): Packet {
  let found: Packet | undefined;
  const p = parser({ protocolVersion: version } as never);
  p.on("packet", (packet: Packet) => {
    found = packet;
  });
  p.on("error", (error: Error) => {
    throw error;
  });
  p.parse(Buffer.from(bytes));
  if (found === undefined) throw new Error("no packet");
  return found;
}

test("the server's packets of MQTT 3 are the bytes that are known", (t) => {
  for (const version of [3, 4] as const) {
    const is = (name: string, bytes: Buffer): void => {
      t.is(bytes.toString("hex"), golden.get(`${name} ${version}`)!, name);
    };
    is("SUBACK", encodeSuback(version, 7, [1, 2, 128]));
    is("UNSUBACK", encodeUnsuback(version, 8, [0, 0]));
    is("CONNACK", encodeConnack(version, version === 4, 0));
    t.is(
      encodeConnack(version, false, 5).toString("hex"),
      golden.get(`CONNACK ${version} refused`)!,
    );
    const out = Buffer.alloc(16);
    for (const [name, type] of [
      ["PUBACK", 4],
      ["PUBREC", 5],
      ["PUBREL", 6],
      ["PUBCOMP", 7],
    ] as const) {
      is(name, out.subarray(0, putAck(out, 0, type, 258, 0)));
    }
  }
});

test("the server's packets of MQTT 5 mean to mqtt-packet what they should", (t) => {
  const full: Properties = {
    sessionExpiry: 1234,
    receiveMaximum: 432,
    maximumQoS: 1,
    retainAvailable: 1,
    maximumPacketSize: 100,
    assignedClientId: "test",
    topicAliasMaximum: 456,
    reasonString: "test",
    userProperties,
    wildcardAvailable: 1,
    subscriptionIdsAvailable: 1,
    sharedAvailable: 0,
    serverKeepAlive: 1234,
    responseInfo: "test",
    serverReference: "test",
    authMethod: "test",
    authData: Buffer.from([1, 2, 3, 4]),
  };
  const same = (ours: Buffer, name: string): void => {
    const { length: _a, ...mine } = parse(ours, 5) as Packet & { length: number };
    const theirs = parse(Buffer.from(golden.get(name)!, "hex"), 5);
    const { length: _b, ...known } = theirs as Packet & { length: number };
    t.deepEqual(mine, known, name);
  };
  same(encodeConnack(5, false, 0, full), "CONNACK 5 full");
  same(encodeConnack(5, true, 0), "CONNACK 5");
  same(encodeSuback(5, 6, [0, 1, 2, 143], { reasonString: "test", userProperties }), "SUBACK 5");
  same(encodeUnsuback(5, 7, [0, 17], { reasonString: "x" }), "UNSUBACK 5");
  same(encodeDisconnect(142, { reasonString: "taken" }), "DISCONNECT 5 server");
  same(
    encodeAuth(24, { authMethod: "SCRAM-SHA-256", authData: Buffer.from([1, 2]), userProperties }),
    "AUTH 5",
  );
  for (const [name, type] of [
    ["PUBACK", 4],
    ["PUBREC", 5],
    ["PUBREL", 6],
    ["PUBCOMP", 7],
  ] as const) {
    const out = Buffer.alloc(8);
    same(out.subarray(0, putAck(out, 0, type, 2, 0)), `${name} 5`);
  }
});

test("a Variable Byte Integer has the size that was reckoned, at every border", (t) => {
  const out = Buffer.alloc(8);
  for (const value of [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455]) {
    t.is(putVarint(out, 0, value), varintSize(value), String(value));
  }
});

test("property lists of any length carry their length", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.string({ maxLength: 200 }), fc.string({ maxLength: 200 })), {
        maxLength: 60,
      }),
      (pairs) => {
        const fit = pairs.filter(([a, b]) => !`${a}${b}`.includes("\0"));
        const packet = parse(encodeDisconnect(0x98, { userProperties: fit }), 5);
        t.is(packet.cmd, "disconnect");
      },
    ),
    { numRuns: 50 },
  );
});
