import { readFileSync } from "node:fs";
import test from "ava";
import fc from "fast-check";
import { generate, type Packet } from "mqtt-packet";
import type { Version } from "../../../protocols/mqtt/codec/constants.ts";
import { ProtocolError } from "../../../protocols/mqtt/codec/protocol-error.ts";
import { isMqttUtf8 } from "../../../protocols/mqtt/codec/utf8.ts";
import { decodeClient } from "../../support/mqtt-decode.ts";

interface Golden {
  readonly name: string;
  readonly version: Version;
  readonly from: "client" | "server" | "both";
  readonly hex: string;
}
const golden: Golden[] = JSON.parse(readFileSync("test/fixtures/mqtt/packets.json", "utf8"));
const fromClients = golden.filter(({ from }) => from !== "server");

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(" ", ""), "hex");
const refused = (hex: string, version: Version = 5): ProtocolError => {
  try {
    decodeClient(bytes(hex), version);
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
  throw new Error(`accepted: ${hex}`);
};

test("every packet a client may send is read, from bytes that are known", (t) => {
  for (const { name, version, hex } of fromClients) {
    const packet = decodeClient(bytes(hex), version);
    t.is(packet?.["name"], name.split(" ")[0], name);
  }
});

test("a packet that ends too early is incomplete or malformed, never accepted", (t) => {
  for (const { name, version, hex } of fromClients) {
    const whole = bytes(hex);
    for (let cut = 0; cut < whole.length; cut++) {
      t.is(decodeClient(whole.subarray(0, cut), version), null, `${name} cut at ${cut}`);
    }
    // The same with a length that claims to be right.
    if (whole[1]! > 100) continue;
    for (let cut = 2; cut < whole.length; cut++) {
      const short = Buffer.from(whole.subarray(0, cut));
      short[1] = cut - 2;
      try {
        const packet = decodeClient(short, version);
        const isOpenEnded = /PUBLISH|SUBSCRIBE|DISCONNECT|PUBACK|PUBREC|PUBREL|PUBCOMP/.test(name);
        t.true(isOpenEnded && packet !== null, `${name} shortened to ${cut} was accepted`);
      } catch (error) {
        t.true(error instanceof ProtocolError, `${name} shortened to ${cut}: ${String(error)}`);
      }
    }
  }
});

test("bytes behind the end of a packet's content are malformed", (t) => {
  for (const { name, version, hex } of fromClients) {
    if (/PUBLISH|SUBSCRIBE/.test(name)) continue;
    const whole = bytes(hex);
    if (whole[1]! > 100) continue;
    const long = Buffer.concat([whole, Buffer.from([0])]);
    long[1] = long[1]! + 1;
    // One more byte behind an acknowledgement or DISCONNECT of MQTT 5 is its reason code.
    if (version === 5 && /^(PUB|DISC)\S+ 5( reason)?$/.test(name)) continue;
    t.throws(() => decodeClient(long, version), { instanceOf: ProtocolError }, name);
  }
});

test("CONNECT of MQTT 5 with everything reads as what it says", (t) => {
  const { hex } = golden.find(({ name }) => name === "CONNECT 5 full")!;
  const packet = decodeClient(bytes(hex), 5)!;
  t.like(packet, {
    version: 5,
    clientId: "c5",
    isCleanStart: true,
    keepAliveSeconds: 30,
    user: "u",
    properties: {
      sessionExpiry: 0xffffffff,
      receiveMaximum: 432,
      maximumPacketSize: 100,
      topicAliasMaximum: 456,
      requestResponseInfo: 1,
      requestProblemInfo: 0,
      authMethod: "SCRAM-SHA-256",
      userProperties: [
        ["a", "1"],
        ["b", "2"],
        ["b", "3"],
      ],
    },
    will: {
      topic: "t",
      qos: 1,
      isRetained: true,
      properties: { willDelay: 1234, messageExpiry: 4321, contentType: "text/plain" },
    },
  });
  t.deepEqual(packet["password"], Buffer.from([0, 255]));
});

const text = fc
  .string({ unit: "grapheme", maxLength: 20 })
  .filter((s) => !s.includes("\0") && Buffer.from(s).toString() === s);
const topicName = text.filter((s) => s.length > 0 && !/[+#]/.test(s));

test("what mqtt-packet writes as PUBLISH we read as the same message", (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(3, 4, 5),
      topicName,
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom(0, 1, 2),
      fc.integer({ min: 1, max: 65535 }),
      fc.boolean(),
      fc.option(fc.integer({ min: 0, max: 0xffffffff })),
      (version, topic, payload, qos, messageId, retain, expiry) => {
        const packet = {
          cmd: "publish",
          topic,
          payload: Buffer.from(payload),
          qos,
          retain,
          dup: qos > 0 && retain,
          messageId: qos === 0 ? undefined : messageId,
          properties:
            version === 5 && expiry !== null ? { messageExpiryInterval: expiry } : undefined,
        } as Packet;
        const read = decodeClient(
          generate(packet, { protocolVersion: version }),
          version as Version,
        );
        t.like(read, {
          topic,
          payload: Buffer.from(payload).toString("latin1"),
          qos,
          isRetained: retain,
          isDup: qos > 0 && retain,
          packetId: qos === 0 ? 0 : messageId,
          messageExpiry: version === 5 && expiry !== null ? expiry : -1,
        });
      },
    ),
    { numRuns: 300 },
  );
});

test("what mqtt-packet writes as SUBSCRIBE we read as the same filters", (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(4, 5),
      fc.array(
        fc.tuple(topicName, fc.constantFrom(0, 1, 2), fc.boolean(), fc.constantFrom(0, 1, 2)),
        {
          minLength: 1,
          maxLength: 5,
        },
      ),
      (version, entries) => {
        const isV5 = version === 5;
        const packet = {
          cmd: "subscribe",
          messageId: 5,
          subscriptions: entries.map(([topic, qos, flag, rh]) =>
            isV5 ? { topic, qos, nl: flag, rap: !flag, rh } : { topic, qos },
          ),
        } as Packet;
        const read = decodeClient(
          generate(packet, { protocolVersion: version }),
          version as Version,
        );
        t.deepEqual(
          read?.["entries"],
          entries.map(([filter, qos, flag, rh]) => ({
            filter,
            qos,
            isNoLocal: isV5 && flag,
            isRetainAsPublished: isV5 && !flag,
            retainHandling: isV5 ? rh : 0,
          })),
        );
      },
    ),
    { numRuns: 200 },
  );
});

test("UTF-8 is judged as a strict decoder judges it, and U+0000 is refused", (t) => {
  const strict = new TextDecoder("utf-8", { fatal: true });
  const isValid = (sample: Uint8Array): boolean => {
    try {
      strict.decode(sample);
      return !sample.includes(0);
    } catch {
      return false;
    }
  };
  const near = fc.array(
    fc.oneof(
      fc.constantFrom(0x00, 0x41, 0x80, 0xbf, 0xc0, 0xc2, 0xe0, 0xed, 0xa0, 0x9f, 0xef, 0xf0),
      fc.constantFrom(0x8f, 0x90, 0xf4, 0xf5, 0xff, 0xfe),
      fc.integer({ min: 0, max: 255 }),
    ),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(near, (values) => {
      const sample = Uint8Array.from(values);
      t.is(
        isMqttUtf8(sample, 0, sample.length),
        isValid(sample),
        Buffer.from(sample).toString("hex"),
      );
      // The same inside a larger buffer: no look beyond the end.
      const wide = Uint8Array.from([0x80, ...values, 0x80, 0x80, 0x80]);
      t.is(isMqttUtf8(wide, 1, 1 + values.length), isValid(sample));
    }),
    { numRuns: 3000 },
  );
});

test("lengths: the shortest form only, four bytes at most", (t) => {
  t.is(refused("c0 80 00").reason, 0x81);
  t.is(refused("c0 ff ff ff ff").reason, 0x81);
  t.is(refused("30 ff ff ff 80 01").reason, 0x81);
  t.is(decodeClient(bytes("c0 00"), 4)?.["name"], "PINGREQ");
});

test("reserved flags of every packet are checked", (t) => {
  for (const first of ["11", "41", "51", "60", "63", "71", "80", "83", "a0", "c1", "e8", "f1"]) {
    t.is(refused(`${first} 00`).reason, 0x81, first);
  }
  t.is(refused("00 00").reason, 0x81);
  t.is(refused("36 05 0001 61 0001").clause, "MQTT-3.3.1-4");
  t.is(refused("38 03 0001 61").clause, "MQTT-3.3.1-2");
  t.is(refused("f0 00", 4).reason, 0x81);
});

test("MQTT 3.1 had no reserved flags: they are not judged there", (t) => {
  t.is(decodeClient(bytes("c8 00"), 3)?.["name"], "PINGREQ");
});

test("packets that only servers send are refused", (t) => {
  for (const first of ["20", "90", "b0", "d0"]) t.is(refused(`${first} 02 0000`).reason, 0x81);
});

test("a property that does not belong, is given twice or has a bad value is refused", (t) => {
  const publish = (list: string): ProtocolError => {
    const size = list.replaceAll(" ", "").length / 2;
    const hex = (n: number): string => n.toString(16).padStart(2, "0");
    return refused(`30 ${hex(4 + size)} 0001 61 ${hex(size)} ${list}`);
  };
  t.is(publish("01 02").reason, 0x82); // payload format 2
  t.is(publish("01 00 01 00").reason, 0x82); // twice
  t.is(publish("02 00000001 02 00000001").reason, 0x82);
  t.is(publish("0b 01").clause, "MQTT-3.3.4-6"); // subscription identifier from a client
  t.is(publish("11 00000001").reason, 0x81); // session expiry in PUBLISH
  t.is(publish("ff 00").reason, 0x81);
  t.is(publish("03 0005 61").reason, 0x81); // text longer than the list
  t.is(publish("26 0001 61 0002 c328").reason, 0x81); // bad UTF-8
  t.is(publish("23 0001 23 0002").reason, 0x82);
  t.is(publish("02 0000").reason, 0x81); // list ends inside
});

test("a property list longer than its packet is malformed", (t) => {
  t.is(refused("30 05 0001 61 10 01").reason, 0x81);
  t.is(refused("30 04 0001 61 80").reason, 0x81);
});

test("CONNECT: what its flags must not say", (t) => {
  const connect = (flags: string, rest: string, level = "04"): ProtocolError => {
    const body = `0004 4d515454 ${level} ${flags} 0000 ${level === "05" ? "00" : ""} ${rest}`;
    const size = body.replaceAll(" ", "").length / 2;
    return refused(`10 ${size.toString(16).padStart(2, "0")} ${body}`);
  };
  t.is(connect("03", "0000").clause, "MQTT-3.1.2-3");
  t.is(connect("0a", "0000").clause, "MQTT-3.1.2-11");
  t.is(connect("22", "0000").clause, "MQTT-3.1.2-13");
  t.is(connect("1e", "0000 0001 61 0000").clause, "MQTT-3.1.2-12");
  t.is(connect("42", "0000 0001 61").clause, "MQTT-3.1.2-22");
  t.is(connect("02", "0000", "06").reason, 0x84);
  t.is(connect("02", "0000", "03").reason, 0x84);
});

test("SUBSCRIBE and UNSUBSCRIBE need an identifier, a filter and options that exist", (t) => {
  t.is(refused("82 06 0000 0001 61 00", 4).clause, "MQTT-2.2.1-3");
  t.is(refused("82 02 0001", 4).clause, "MQTT-3.8.3-2");
  t.is(refused("82 06 0001 0001 61 03", 4).reason, 0x82);
  t.is(refused("82 06 0001 0001 61 04", 4).clause, "MQTT-3.8.3-5");
  t.is(refused("82 07 0001 00 0001 61 40").clause, "MQTT-3.8.3-5");
  t.is(refused("82 07 0001 00 0001 61 30").reason, 0x82);
  t.is(refused("82 09 0001 02 0b00 0001 61 00").reason, 0x82);
  t.is(refused("a2 02 0001", 4).clause, "MQTT-3.10.3-2");
  t.is(refused("a2 05 0000 0001 61", 4).clause, "MQTT-2.2.1-3");
});

test("acknowledgements: identifier 0, unknown reasons and trailing bytes are refused", (t) => {
  t.is(refused("40 02 0000").clause, "MQTT-2.2.1-3");
  t.is(refused("40 03 0001 01").reason, 0x82);
  t.is(refused("62 03 0001 10").reason, 0x82);
  t.is(refused("40 03 0001 00", 4).reason, 0x81);
  t.is(refused("40 01 00").reason, 0x81);
});

test("AUTH and DISCONNECT: only what a client may say", (t) => {
  t.is(refused("f0 00").reason, 0x82);
  t.is(refused("f0 02 00 00").reason, 0x82);
  t.is(refused("f0 02 18 00").reason, 0x82); // no method
  t.is(refused("e0 01 8e").reason, 0x82); // "session taken over" is for servers
  t.is(refused("e0 01 00", 4).reason, 0x81);
});
