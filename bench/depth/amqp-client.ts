/**
 * A small AMQP 1.0 client for the depth runs: one connection, one session, one link. It sends numbered messages of which a
 * coin that everybody can toss again (`isHeads`) says which half they belong to, and receives them with a selector or
 * without, checking that each comes once and in order.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Endpoint } from "../../interop/harness/broker-process.ts";
import { encodeValue } from "../../protocols/amqp1/codec/encode.ts";
import { writeDisposition, writeFlow } from "../../protocols/amqp1/codec/frames.ts";
import { attachFrame, openFrame } from "../../protocols/amqp1/codec/performatives.ts";
import {
  composite,
  described,
  map,
  NULL,
  string,
  symbol,
  type Value,
} from "../../protocols/amqp1/codec/value.ts";

const HEADER = Buffer.from("AMQP\x00\x01\x00\x00", "latin1");
const WINDOW = 0x7fffffff;
const CREDIT = 16_000;
/** Accepted with one disposition, at the latest after so many ms. */
const ACCEPT_AT = 1000;
const ACCEPT_MS = 5;
const MAX_FRAME = 1 << 20;
const IN_FLIGHT = 4000;
const BURST = 128;
const PERFORMATIVE = { TRANSFER: 0x14, DISPOSITION: 0x15, FLOW: 0x13, CLOSE: 0x18, END: 0x17 };

/** The coin of a message: about half of them are heads. */
export function isHeads(number: number): boolean {
  let hash = Math.imul(number ^ (number >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return ((hash ^ (hash >>> 16)) & 1) === 1;
}

function frame(value: Value): Buffer {
  const body = encodeValue(value);
  const bytes = Buffer.alloc(8 + body.length);
  bytes.writeUInt32BE(bytes.length, 0);
  bytes[4] = 2;
  body.copy(bytes, 8);
  return bytes;
}

class Link {
  readonly socket: Socket;
  #rest = Buffer.alloc(0);
  onFrame: (code: number, bytes: Buffer, start: number, end: number) => void = () => {};

  private constructor(socket: Socket) {
    this.socket = socket;
  }

  static async open(endpoint: Endpoint, link: Value): Promise<Link> {
    const socket = connect({ host: endpoint.host, port: endpoint.port, noDelay: true });
    await once(socket, "connect");
    const own = new Link(socket);
    socket.on("data", (chunk: Buffer) => own.#onData(chunk));
    const open = openFrame({
      containerId: `depth-${process.pid}-${Math.random()}`,
      maxFrameSize: MAX_FRAME,
      channelMax: 0,
      idleTimeoutMs: 0,
      offeredCapabilities: [],
      properties: [],
    });
    const begin = composite(0x11, [
      NULL,
      { type: "uint", value: 0 },
      { type: "uint", value: WINDOW },
      { type: "uint", value: WINDOW },
    ]);
    socket.write(Buffer.concat([HEADER, frame(open), frame(begin), frame(link)]));
    return own;
  }

  #onData(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    if (bytes.length >= 8 && bytes.toString("latin1", 0, 4) === "AMQP") at = 8;
    while (at + 8 <= bytes.length) {
      const size = bytes.readUInt32BE(at);
      if (at + size > bytes.length) break;
      if (size > 8) this.#frame(bytes, at + bytes[at + 4]! * 4, at + size);
      at += size;
    }
    this.#rest = at === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at));
  }

  #frame(bytes: Buffer, start: number, end: number): void {
    const code = bytes[start + 2]!;
    if (code === PERFORMATIVE.CLOSE || code === PERFORMATIVE.END) {
      throw new Error(`broker: ${bytes.toString("latin1", start, end)}`);
    }
    this.onFrame(code, bytes, start, end);
  }

  close(): void {
    this.socket.destroy();
  }
}

const source = (address: string, selector: string): Value => {
  const filters: Array<readonly [Value, Value]> = [];
  if (selector !== "") {
    filters.push([symbol("selector"), described(0x468c00000004, string(selector))]);
  }
  return composite(0x28, [
    string(address),
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    filters.length === 0 ? NULL : map(filters),
  ]);
};
const target = (address: string): Value => composite(0x29, [string(address)]);

/** A durable message: its number and its coin among the properties, a body of so many bytes that begins with the number. */
class Message {
  readonly bytes: Buffer;
  readonly #id: number;
  readonly #coin: number;
  readonly #number: number;

  constructor(bodyBytes: number) {
    const tag = Buffer.alloc(4);
    const transfer = frame(
      composite(0x14, [
        { type: "uint", value: 0 },
        { type: "uint", value: 0x7fffffff },
        { type: "binary", value: tag },
        { type: "uint", value: 0 },
        { type: "boolean", value: false },
      ]),
    );
    const header = encodeValue(composite(0x70, [{ type: "boolean", value: true }]));
    const properties = encodeValue(described(0x74, map([[string("coin"), string("heads")]])));
    const body = encodeValue(described(0x75, { type: "binary", value: Buffer.alloc(bodyBytes) }));
    this.bytes = Buffer.concat([transfer, header, properties, body]);
    this.bytes.writeUInt32BE(this.bytes.length, 0);
    this.#id = this.bytes.indexOf(Buffer.from([0x7f, 0xff, 0xff, 0xff]));
    this.#coin = this.bytes.indexOf("heads");
    this.#number = this.bytes.length - bodyBytes;
  }

  write(into: Buffer, at: number, number: number): void {
    this.bytes.copy(into, at);
    into.writeUInt32BE(number, at + this.#id);
    into.write(isHeads(number) ? "heads" : "tails", at + this.#coin, "latin1");
    into.writeUInt32BE(number, at + this.#number);
  }
}

/** Sends messages `[from, to)`; resolves when all are confirmed. */
export async function fill(
  endpoint: Endpoint,
  queue: string,
  from: number,
  to: number,
  bodyBytes: number,
  onProgress: (confirmed: number) => void = () => {},
): Promise<number> {
  const link = await Link.open(
    endpoint,
    attachFrame({
      name: "fill",
      handle: 0,
      isReceiver: false,
      sndSettleMode: 0,
      rcvSettleMode: 0,
      source: source("", ""),
      target: target(queue),
      initialDeliveryCount: 0,
      maxMessageSize: 0,
      offeredCapabilities: [],
    }),
  );
  const message = new Message(bodyBytes);
  const size = message.bytes.length;
  let credit = 0;
  let next = from;
  let confirmed = from;
  const began = performance.now();
  await new Promise<void>((resolve, reject) => {
    const send = (): void => {
      while (next < to && credit > 0 && next - confirmed < IN_FLIGHT) {
        const count = Math.min(BURST, to - next, credit, IN_FLIGHT - (next - confirmed));
        const burst = Buffer.allocUnsafe(count * size);
        for (let i = 0; i < count; i++) message.write(burst, i * size, next + i);
        next += count;
        credit -= count;
        if (!link.socket.write(burst)) return;
      }
    };
    link.socket.on("drain", send);
    link.socket.on("close", () => reject(new Error("the broker closed the connection")));
    link.onFrame = (code, bytes, start, end) => {
      const fields = numbers(bytes, start, end);
      // deliveryCount (5) + linkCredit (6); the links begin at 0.
      if (code === PERFORMATIVE.FLOW && fields[6] !== undefined) {
        credit = Math.max(0, (fields[5] ?? 0) + fields[6] - (next - from));
      }
      if (code === PERFORMATIVE.DISPOSITION) {
        const last = fields[2] ?? fields[1] ?? 0;
        const first = fields[1] ?? 0;
        confirmed += last - first + 1;
        onProgress(confirmed);
        if (confirmed >= to) resolve();
      }
      send();
    };
  });
  link.close();
  return (to - from) / ((performance.now() - began) / 1000);
}

/** The leading fields of a performative's list, where they are numbers. */
function numbers(bytes: Buffer, start: number, end: number): Array<number | undefined> {
  let at = start + 3;
  const code = bytes[at]!;
  let count: number;
  if (code === 0x45) return [];
  if (code === 0xc0) {
    count = bytes[at + 2]!;
    at += 3;
  } else {
    count = bytes.readUInt32BE(at + 5);
    at += 9;
  }
  const fields: Array<number | undefined> = [];
  for (let i = 0; i < count && at < end && i < 8; i++) {
    const type = bytes[at++]!;
    if (type === 0x43) fields.push(0);
    else if (type === 0x52 || type === 0x53) fields.push(bytes[at++]!);
    else if (type === 0x70) {
      fields.push(bytes.readUInt32BE(at));
      at += 4;
    } else if (type === 0xa0) {
      fields.push(undefined);
      at += 1 + bytes[at]!;
    } else if (type === 0x41 || type === 0x42 || type === 0x40) fields.push(undefined);
    else if (type === 0x56) {
      fields.push(undefined);
      at++;
    } else break;
  }
  return fields;
}

/** Receives and accepts `count` messages that the selector selects. `check` is told each number, in order of arrival. */
export async function drain(
  endpoint: Endpoint,
  queue: string,
  count: number,
  bodyBytes: number,
  selector: string,
  check: (number: number) => void,
): Promise<number> {
  const link = await Link.open(
    endpoint,
    attachFrame({
      name: "drain",
      handle: 0,
      isReceiver: true,
      sndSettleMode: 0,
      rcvSettleMode: 0,
      source: source(queue, selector),
      target: target(""),
      initialDeliveryCount: undefined,
      maxMessageSize: 0,
      offeredCapabilities: [],
    }),
  );
  let received = 0;
  let granted = 0;
  const out = Buffer.alloc(256);
  const grant = (): void => {
    granted = received + CREDIT;
    const length = writeFlow(
      out,
      0,
      0,
      received,
      WINDOW,
      0,
      WINDOW,
      0,
      received,
      CREDIT,
      -1,
      false,
      false,
    );
    link.socket.write(Buffer.from(out.subarray(0, length)));
  };
  let began = 0;
  await new Promise<void>((resolve, reject) => {
    link.socket.on("close", () => reject(new Error(`the broker closed after ${received}`)));
    let first = -1;
    let timer: NodeJS.Timeout | undefined;
    const settle = (): void => {
      clearTimeout(timer);
      timer = undefined;
      if (first < 0) return;
      const length = writeDisposition(out, 0, 0, true, first, received - 1, true, 0x24, null);
      link.socket.write(Buffer.from(out.subarray(0, length)));
      first = -1;
      if (granted - received < CREDIT / 2) grant();
      if (received >= count) setTimeout(resolve, 200);
    };
    link.onFrame = (code, bytes, _start, end) => {
      if (code === 0x12) {
        began = performance.now();
        grant();
      }
      if (code !== PERFORMATIVE.TRANSFER) return;
      check(bytes.readUInt32BE(end - bodyBytes));
      if (first < 0) first = received;
      received++;
      if (received - first >= ACCEPT_AT || received >= count) settle();
      else timer ??= setTimeout(settle, ACCEPT_MS);
    };
  });
  const seconds = (performance.now() - began - 200) / 1000;
  link.close();
  return received / seconds;
}
