import test from "ava";
import fc from "fast-check";
import { parseProxyHeader } from "../../src/transport/proxy-protocol.ts";

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");

function v2(command: number, family: number, addresses: Uint8Array): Buffer {
  const head = Buffer.from([command, family, addresses.length >> 8, addresses.length & 0xff]);
  return Buffer.concat([SIGNATURE, head, addresses]);
}
const ipv4 = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0xd9, 0x03, 0, 80]);
const ipv6 = Buffer.alloc(36);
ipv6.set([0x20, 0x01, 0x0d, 0xb8], 0);
ipv6[15] = 9;
ipv6.writeUInt16BE(4242, 32);

const parse = (bytes: Buffer) => parseProxyHeader(bytes, 0, bytes.length);

const GOOD: ReadonlyArray<[string, Buffer, { address: string; port: number } | null]> = [
  [
    "v1 IPv4",
    Buffer.from("PROXY TCP4 192.0.2.7 10.0.0.1 55555 80\r\n"),
    { address: "192.0.2.7", port: 55555 },
  ],
  [
    "v1 IPv6",
    Buffer.from("PROXY TCP6 2001:db8::9 ::1 4242 80\r\n"),
    { address: "2001:db8::9", port: 4242 },
  ],
  ["v1 unknown", Buffer.from("PROXY UNKNOWN\r\n"), null],
  ["v2 IPv4", v2(0x21, 0x11, ipv4), { address: "192.0.2.7", port: 55555 }],
  [
    "v2 IPv4 with more",
    v2(0x21, 0x11, Buffer.concat([ipv4, Buffer.from([4, 0, 1, 0])])),
    { address: "192.0.2.7", port: 55555 },
  ],
  ["v2 IPv6", v2(0x21, 0x21, ipv6), { address: "2001:db8:0:0:0:0:0:9", port: 4242 }],
  ["v2 local", v2(0x20, 0x00, Buffer.alloc(0)), null],
];

for (const [title, bytes, source] of GOOD) {
  test(`${title} names the peer, whole or in pieces`, (t) => {
    const followed = Buffer.concat([bytes, Buffer.from("AMQP")]);
    t.deepEqual(parse(followed), { kind: "header", length: bytes.length, source });
    for (let length = 1; length < bytes.length; length++) {
      t.deepEqual(parse(bytes.subarray(0, length)), { kind: "more" });
    }
  });
}

test("what is not a header is malformed", (t) => {
  for (const text of [
    "PROXY TCP4 192.0.2.7 10.0.0.1 55555\r\n",
    "PROXY TCP4 2001:db8::9 ::1 4242 80\r\n",
    "PROXY TCP4 192.0.2.7 10.0.0.1 70000 80\r\n",
    "PROXY UDP4 192.0.2.7 10.0.0.1 1 80\r\n",
    `PROXY ${"x".repeat(200)}`,
  ]) {
    t.is(parse(Buffer.from(text)).kind, "malformed", text);
  }
  t.is(parse(v2(0x11, 0x11, ipv4)).kind, "malformed");
  t.is(parse(v2(0x22, 0x11, ipv4)).kind, "malformed");
  t.is(parse(v2(0x21, 0x11, ipv4.subarray(0, 8))).kind, "malformed");
  t.is(parse(v2(0x21, 0x11, Buffer.alloc(5000))).kind, "malformed");
});

test("no bytes make it throw", (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isBinary) => {
      const begin = isBinary ? SIGNATURE : Buffer.from("PROXY ");
      const kind = parse(Buffer.concat([begin, bytes])).kind;
      t.true(["more", "malformed", "header"].includes(kind));
    }),
  );
});
