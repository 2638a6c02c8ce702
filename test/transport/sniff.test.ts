import test from "ava";
import { sniff as sniffStomp } from "../../protocols/stomp/adapter.ts";
import { type SniffOptions, sniff } from "../../src/transport/sniff.ts";
import type { ProtocolAdapter } from "../../src/transport/wire.ts";

const never: ProtocolAdapter["open"] = () => {
  throw new Error("not opened here");
};
/** Adapters that only recognise. */
const header = (name: string, ...headers: string[]): ProtocolAdapter => ({
  name,
  subProtocols: [],
  open: never,
  sniff(bytes, start, end) {
    let isOpen = false;
    for (const text of headers) {
      const have = bytes.toString("latin1", start, Math.min(end, start + text.length));
      if (have === text) return "yes";
      if (text.startsWith(have)) isOpen = true;
    }
    return isOpen ? "more" : "no";
  },
});
const amqp1 = header("amqp1", "AMQP\x03\x01\0\0", "AMQP\0\x01\0\0");
const amqp091 = header("amqp091", "AMQP\0\0\x09\x01");
const stomp: ProtocolAdapter = { name: "stomp", subProtocols: [], open: never, sniff: sniffStomp };
const mqtt = header("mqtt", "\x10\x0c\0\x04MQTT", "\x10\x0c\0\x06MQIsdp");

const all: SniffOptions = {
  adapters: [amqp091, amqp1, stomp, mqtt],
  mayStartTls: true,
  isHttp: true,
  mayProxy: true,
};

function answer(text: string, options: Partial<SniffOptions> = {}): string {
  const bytes = Buffer.from(text, "latin1");
  const sniffed = sniff(bytes, 0, bytes.length, { ...all, ...options });
  if (sniffed.kind === "protocol") return sniffed.adapter.name;
  if (sniffed.kind === "refuse") return `refuse ${sniffed.answer.toString("hex", 4)}`;
  return sniffed.kind;
}

const SASL = "refuse 03010000";
const OLD = "refuse 00000901";
const TABLE: ReadonlyArray<[string, string, Partial<SniffOptions>?]> = [
  ["\x16\x03\x01\x02\0\x01\0", "tls"],
  ["\x16\x03\x01\x02\0\x01\0", "unknown", { mayStartTls: false }],
  ["AMQP\x03\x01\0\0", "amqp1"],
  ["AMQP\0\x01\0\0", "amqp1"],
  ["AMQP\x02\x01\0\0", "amqp-tls"],
  ["AMQP\x02\x01\0\0", SASL, { mayStartTls: false }],
  ["AMQP\0\0\x09\x01", "amqp091"],
  ["AMQP\x01\x01\x00\x0a", OLD],
  ["AMQP\x01\x01\x08\x00", OLD],
  ["AMQP\0\0\x09\0", OLD],
  ["AMQP\x03\x02\0\0", SASL],
  ["AMQP\xff\xff\xff\xff", SASL],
  ["AMQP\0\0\x09\x01", SASL, { adapters: [amqp1] }],
  ["AMQP\x03\x01\0\0", OLD, { adapters: [amqp091] }],
  ["AMQP\x03\x01\0\0", "unknown", { adapters: [mqtt] }],
  ["CONNECT\n", "stomp"],
  ["STOMP\n", "stomp"],
  ["\n\r\n\nCONNECT\n", "stomp"],
  ["\x10\x0c\0\x04MQTT\x04", "mqtt"],
  ["\x10\x0c\0\x06MQIsdp", "mqtt"],
  ["GET / HTTP/1.1\r\n", "http"],
  ["POST /x", "http"],
  ["PUT /x", "http"],
  ["HEAD /x", "http"],
  ["DELETE /x", "http"],
  ["OPTIONS *", "http"],
  ["GET / HTTP/1.1\r\n", "unknown", { isHttp: false }],
  ["PROXY TCP4 ", "proxy"],
  ["\r\n\r\n\0\r\nQUIT\n\x21", "proxy"],
  ["PROXY TCP4 ", "unknown", { mayProxy: false }],
  ["SSH-2.0-x\r\n", "unknown"],
  ["\0\0\0\0\0\0\0\0", "unknown"],
  ["AMQX", "unknown"],
];

for (const [text, expected, options] of TABLE) {
  const shown = JSON.stringify(text).replace(
    /[^\x20-\x7e]/g,
    (c) => `\\x${c.charCodeAt(0).toString(16)}`,
  );
  const where = options === undefined ? "" : `, ${JSON.stringify(options)}`;
  test(`${shown} is ${expected}${where}`, (t) => {
    t.is(answer(text, options), expected);
    // Fewer bytes never say anything else.
    for (let length = 0; length < text.length; length++) {
      t.true(
        [expected, "more"].includes(answer(text.slice(0, length), options)),
        `${length} bytes`,
      );
    }
  });
}

test("a peer that never becomes clear is given up", (t) => {
  t.is(answer("\n".repeat(100)), "more");
  t.is(answer("\n".repeat(5000)), "unknown");
});
