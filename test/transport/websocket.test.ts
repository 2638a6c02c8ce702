import { get } from "node:http";
import * as net from "node:net";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { WebSocket } from "ws";
import { SILENT } from "../../src/telemetry/log.ts";
import { HttpGateway, type HttpGatewayOptions } from "../../src/transport/http-gateway.ts";
import { DEFAULT_LOOP_LIMITS, type LoopLimits, TransportLoop } from "../../src/transport/loop.ts";
import { OPCODE } from "../../src/transport/websocket-frames.ts";
import type { ProtocolAdapter } from "../../src/transport/wire.ts";
import { Turn } from "../../src/util/turn.ts";
import { frame, frameAdapter, GREETING } from "../support/frames.ts";
import { listening } from "../support/listening.ts";
import { closed, until } from "../support/wait.ts";
import { clientFrame } from "../support/websocket.ts";

async function serving(
  t: ExecutionContext,
  adapters: readonly ProtocolAdapter[],
  options: Partial<HttpGatewayOptions> = {},
  limits: Partial<LoopLimits> = {},
) {
  const loop = new TransportLoop(new Turn(), SILENT, { ...DEFAULT_LOOP_LIMITS, ...limits });
  const gateway = new HttpGateway(loop, {
    handler: (request, response) => response.end(`path ${request.url}`),
    messageBytesMax: 10_000_000,
    allowedOrigins: [],
    ...options,
  });
  t.teardown(() => gateway.close());
  return listening(t, { adapters, http: async () => gateway }, {}, loop);
}

/** The close code; errors on the way are part of it. */
const closeOf = (socket: WebSocket): Promise<[number]> =>
  new Promise((resolve) => socket.once("close", (code) => resolve([code])));

interface Peer {
  readonly socket: WebSocket;
  received: Buffer;
  readonly kinds: boolean[];
  status: number;
}

async function open(
  t: ExecutionContext,
  port: number,
  protocols: string[] = [],
  headers: Record<string, string> = {},
): Promise<Peer> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/any/path`, protocols, { headers });
  t.teardown(() => socket.terminate());
  const peer: Peer = { socket, received: Buffer.alloc(0), kinds: [], status: 0 };
  socket.on("message", (data: Buffer, isBinary) => {
    peer.received = Buffer.concat([peer.received, data]);
    peer.kinds.push(isBinary);
  });
  socket.on("error", () => {});
  socket.on("unexpected-response", (_, response) => {
    peer.status = response.statusCode ?? 0;
    socket.terminate();
  });
  await new Promise((resolve) => socket.once("open", resolve).once("close", resolve));
  return peer;
}

test("frames may span messages and messages hold many frames, both ways", async (t) => {
  const adapter = frameAdapter({ echo: true, keep: false });
  const { port } = await serving(t, [adapter]);
  const peer = await open(t, port, ["other", "frames"]);
  t.is(peer.socket.protocol, "frames");
  peer.socket.send(Buffer.from(GREETING));
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(400), { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 900 }),
      async (lengths, pieceBytes) => {
        peer.received = Buffer.alloc(0);
        const sent = Buffer.concat(lengths.map((length) => frame("z".repeat(length))));
        for (let at = 0; at < sent.length; at += pieceBytes) {
          peer.socket.send(sent.subarray(at, at + pieceBytes));
        }
        await until("echo", () => peer.received.length >= sent.length);
        t.true(peer.received.equals(sent));
      },
    ),
    { numRuns: 25 },
  );
  t.true(peer.kinds.every((isBinary) => isBinary));
  t.true(adapter.connections[0]!.wire.info.isWebSocket);
});

test("without a sub-protocol the first bytes decide, in as many messages as it takes", async (t) => {
  const one = frameAdapter({ name: "one" });
  const other = frameAdapter({ echo: true });
  const stranger: ProtocolAdapter = { ...one, sniff: () => "no" };
  const { port } = await serving(t, [stranger, other]);
  const peer = await open(t, port);
  t.is(peer.socket.protocol, "");
  for (const byte of GREETING) peer.socket.send(Buffer.from(byte));
  peer.socket.send(frame("hello"));
  await until("echo", () => peer.received.length === 9);
  t.deepEqual(other.connections[0]!.frames, ["hello"]);
});

test("who opens a WebSocket and never says what it speaks is let go after the handshake time-out", async (t) => {
  const [one, other] = [frameAdapter({ name: "one" }), frameAdapter({ name: "other" })];
  const { port } = await serving(t, [one, other], { headerTimeoutMs: 300 });
  const silent = await open(t, port);
  t.is(silent.socket.readyState, WebSocket.OPEN);
  await until("it is let go", () => silent.socket.readyState === WebSocket.CLOSED);
});

test("nobody answers to sub-protocols that nobody knows, or to foreign pages", async (t) => {
  const { port } = await serving(t, [frameAdapter()]);
  t.is((await open(t, port, ["chat"])).status, 400);
  t.is((await open(t, port, ["frames"], { Origin: "https://evil.example" })).status, 403);
  const local = await open(t, port, ["frames"], { Origin: "http://localhost:3000" });
  t.is(local.socket.readyState, WebSocket.OPEN);
  const named = await serving(t, [frameAdapter()], { allowedOrigins: ["https://good.example"] });
  const good = await open(t, named.port, ["frames"], { Origin: "https://good.example" });
  t.is(good.socket.readyState, WebSocket.OPEN);
});

test("STOMP that comes as text goes back as text while it is UTF-8; other protocols are binary only", async (t) => {
  const stomp = frameAdapter({ echo: true, name: "stomp" });
  const { port } = await serving(t, [stomp]);
  const peer = await open(t, port, ["frames"]);
  peer.socket.send(GREETING);
  peer.socket.send(`\0\0\0\x04h\u00e9y`);
  await until("echo", () => peer.received.length === 8);
  peer.socket.send(frame(Buffer.from([0xff, 0xfe])));
  await until("echo", () => peer.received.length === 14);
  t.deepEqual(peer.kinds, [false, true]);
  const mqtt = await serving(t, [frameAdapter({ name: "mqtt" })]);
  const wrong = await open(t, mqtt.port, ["frames"]);
  wrong.socket.send(GREETING);
  const [code] = await closeOf(wrong.socket);
  t.is(code, 1003);
});

test("a message above the limit closes that connection only", async (t) => {
  const { port } = await serving(t, [frameAdapter({ echo: true })], { messageBytesMax: 1000 });
  const big = await open(t, port, ["frames"]);
  const other = await open(t, port, ["frames"]);
  big.socket.send(Buffer.alloc(1001));
  const [code] = await closeOf(big.socket);
  t.is(code, 1009);
  other.socket.send(Buffer.from(GREETING));
  other.socket.send(frame("still here"));
  await until("echo", () => other.received.length === 14);
});

test("a reader that stops costs bounded memory and is not read from", async (t) => {
  const adapter = frameAdapter({ echo: true, keep: false });
  const { port } = await serving(t, [adapter], {}, { outputHighBytes: 1 << 16 });
  const peer = await open(t, port, ["frames"]);
  peer.socket.send(Buffer.from(GREETING));
  peer.socket.pause();
  const body = frame(Buffer.alloc(100_000));
  const count = 300;
  for (let i = 0; i < count; i++) peer.socket.send(body);
  const { wire } = adapter.connections[0]!;
  await until("backed up", () => wire.isBackedUp);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.true(wire.pendingBytes < 1 << 20, `${wire.pendingBytes} bytes wait`);
  let received = 0;
  peer.socket.removeAllListeners("message");
  peer.socket.on("message", (data: Buffer) => (received += data.length));
  peer.socket.resume();
  await until("all echoed", () => received === count * body.length, 40_000);
});

test("the end of either side is told once", async (t) => {
  const adapter = frameAdapter();
  const { port, listener } = await serving(t, [adapter]);
  const leaver = await open(t, port, ["frames"]);
  leaver.socket.close();
  await until("told", () => adapter.connections[0]!.closeCount === 1);
  const kicked = await open(t, port, ["frames"]);
  adapter.connections[1]!.wire.end();
  const [code] = await closeOf(kicked.socket);
  t.is(code, 1000);
  await until("told", () => adapter.connections[1]!.closeCount === 1);
  await until("counted out", () => listener.connections === 0);
});

test("a request whose head never ends is given up", async (t) => {
  const { port, listener } = await serving(t, [frameAdapter()], { headerTimeoutMs: 100 });
  const socket = net.connect(port, "127.0.0.1");
  let answer = "";
  socket.on("data", (chunk) => {
    answer += chunk;
  });
  socket.write("GET / HTTP/1.1\r\nHost: x\r\n");
  const drip = setInterval(() => socket.write("x: y\r\n"), 20);
  t.teardown(() => clearInterval(drip));
  socket.on("error", () => {});
  await closed(socket);
  t.regex(answer, /^HTTP\/1\.1 408/);
  await until("counted out", () => listener.connections === 0);
});

test("ordinary requests on the same port reach the handler", async (t) => {
  const { port } = await serving(t, [frameAdapter()]);
  const text = await new Promise<string>((resolve, reject) => {
    get({ port, host: "127.0.0.1", path: "/metrics", agent: false }, (response) => {
      response.on("data", (chunk) => resolve(String(chunk)));
    }).on("error", reject);
  });
  t.is(text, "path /metrics");
});

const REQUEST = [
  "GET /mqtt HTTP/1.1",
  "Host: 127.0.0.1",
  "Upgrade: WebSocket",
  "Connection: keep-alive, Upgrade",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  "Sec-WebSocket-Version: 13",
  "\r\n",
].join("\r\n");

interface RawPeer {
  readonly socket: net.Socket;
  received: Buffer;
  /** What came after the answer to the handshake. */
  readonly frames: () => Buffer;
  isEnded: boolean;
}

/** A client that is nothing but its bytes. */
function raw(t: ExecutionContext, port: number): RawPeer {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  t.teardown(() => socket.destroy());
  const peer: RawPeer = {
    socket,
    received: Buffer.alloc(0),
    frames: () => peer.received.subarray(peer.received.indexOf("\r\n\r\n") + 4),
    isEnded: false,
  };
  socket.on("data", (chunk) => {
    peer.received = Buffer.concat([peer.received, chunk]);
  });
  socket.on("end", () => {
    peer.isEnded = true;
  });
  socket.on("error", () => {});
  return peer;
}

async function upgraded(t: ExecutionContext, port: number): Promise<RawPeer> {
  const peer = raw(t, port);
  peer.socket.write(REQUEST);
  await until("upgraded", () => peer.received.includes("\r\n\r\n"));
  return peer;
}

const say = (text: string): Buffer => clientFrame(OPCODE.BINARY, Buffer.from(text, "latin1"));

test("the handshake answers the key (§1.3), however the request is cut and whatever comes right behind it", async (t) => {
  const { port } = await serving(t, [frameAdapter({ echo: true })]);
  const bytes = Buffer.concat([Buffer.from(REQUEST), say(GREETING), say("\0\0\0\x02yo")]);
  for (const cut of [bytes.length, 1, 40, REQUEST.length - 1, REQUEST.length, REQUEST.length + 3]) {
    const peer = raw(t, port);
    peer.socket.setNoDelay(true);
    for (let at = 0; at < bytes.length; at += cut) {
      peer.socket.write(bytes.subarray(at, at + cut));
      // So that it is read by itself.
      if (cut > 1) await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await until("echo", () => peer.received.includes("yo"));
    t.regex(peer.received.toString("latin1"), /^HTTP\/1\.1 101 /);
    t.true(peer.received.includes("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    t.deepEqual([...peer.frames()], [0x82, 6, 0, 0, 0, 2, 0x79, 0x6f]);
  }
});

test("a request that is no proper handshake is refused with its status (§4.2, §4.4)", async (t) => {
  const { port } = await serving(t, [frameAdapter()]);
  const wrong: Array<[RegExp, string]> = [
    [/^HTTP\/1\.1 405 [\s\S]*Allow: GET/, REQUEST.replace("GET", "POST")],
    [/^HTTP\/1\.1 400 /, REQUEST.replace("Upgrade: WebSocket", "Upgrade: h2c")],
    [
      /^HTTP\/1\.1 426 [\s\S]*Sec-WebSocket-Version: 13/,
      REQUEST.replace("Version: 13", "Version: 7"),
    ],
    [/^HTTP\/1\.1 400 /, REQUEST.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")],
    [/^HTTP\/1\.1 400 /, REQUEST.replace(/Sec-WebSocket-Key.*\r\n/, "")],
  ];
  for (const [answer, request] of wrong) {
    const peer = raw(t, port);
    peer.socket.write(request);
    await until("refused", () => peer.isEnded);
    t.regex(peer.received.toString("latin1"), answer);
  }
});

test("a ping is answered with its payload, between messages, also by who has nothing else to say (§5.5.2)", async (t) => {
  const { port } = await serving(t, [frameAdapter({ echo: true })]);
  const peer = await upgraded(t, port);
  peer.socket.write(clientFrame(OPCODE.PING, Buffer.alloc(0)));
  await until("pong", () => peer.frames().length === 2);
  t.deepEqual([...peer.frames()], [0x8a, 0]);
  peer.socket.write(
    Buffer.concat([
      say(GREETING),
      say("\0\0\0\x01a"),
      clientFrame(OPCODE.PING, Buffer.from("are you?")),
    ]),
  );
  await until("pong", () => peer.received.includes("are you?"));
  t.is(peer.frames().toString("latin1", 2), "\x82\x05\0\0\0\x01a\x8a\x08are you?");
});

test("a close frame is answered with its code, behind what is owed, and the connection ends (§5.5.1)", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port } = await serving(t, [adapter]);
  for (const [sent, answered] of [
    [[], [0x88, 0]],
    [
      [3, 0xe9],
      [0x88, 2, 3, 0xe9],
    ],
  ] as const) {
    const peer = await upgraded(t, port);
    const close = clientFrame(OPCODE.CLOSE, Buffer.from(sent));
    peer.socket.write(Buffer.concat([say(GREETING), say("\0\0\0\x01a"), close, say("more")]));
    await until("ended", () => peer.isEnded);
    t.deepEqual([...peer.frames()], [0x82, 5, 0, 0, 0, 1, 0x61, ...answered]);
    peer.socket.end();
  }
  await until("told", () => adapter.connections.every(({ closeCount }) => closeCount === 1));
  for (const { calls } of adapter.connections) t.is(calls.at(-1), "close");
});

test("our own goodbye waits for the peer's, and what the peer still says is dropped (§7.1.2)", async (t) => {
  const adapter = frameAdapter();
  const { port } = await serving(t, [adapter]);
  const peer = await upgraded(t, port);
  peer.socket.write(say(GREETING));
  await until("opened", () => adapter.connections.length === 1);
  adapter.connections[0]!.wire.end(5000);
  await until("close frame", () => peer.frames().length === 4);
  t.deepEqual([...peer.frames()], [0x88, 2, 3, 0xe8]);
  peer.socket.write(say("\0\0\0\x01a"));
  t.false(peer.isEnded);
  peer.socket.write(clientFrame(OPCODE.CLOSE, Buffer.from([3, 0xe8])));
  await until("ended", () => peer.isEnded);
  peer.socket.end();
  await until("told", () => adapter.connections[0]!.closeCount === 1);
  t.deepEqual(adapter.connections[0]!.frames, []);
});

test("nonsense is answered with a close code and costs its sender the connection only (§7.1.7)", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port, listener } = await serving(t, [adapter]);
  const other = await open(t, port, ["frames"]);
  const wrong = await upgraded(t, port);
  const unmasked = Buffer.from([0x82, 1, 65]);
  wrong.socket.write(Buffer.concat([say(GREETING), say("\0\0\0\x01a"), unmasked, say("more")]));
  await until("ended", () => wrong.isEnded);
  const frames = wrong.frames().toString("latin1");
  t.true(frames.startsWith("\x82\x05\0\0\0\x01a\x88"));
  t.is(frames.slice(9, 11), "\x03\xea");
  t.regex(frames, /not masked/);
  wrong.socket.end();
  const greeted = adapter.connections.find(({ frames }) => frames[0] === "a")!;
  await until("told", () => greeted.closeCount === 1);
  t.regex(greeted.calls.at(-1)!, /^close WebSocket: .*not masked/);
  other.socket.send(Buffer.from(GREETING));
  other.socket.send(frame("still here"));
  await until("echo", () => other.received.length === 14);
  await until("counted out", () => listener.connections === 1);
});

test("messages of any size and in any number of fragments, as a client library makes them, both ways", async (t) => {
  const { port } = await serving(t, [frameAdapter({ echo: true, keep: false })]);
  const peer = await open(t, port, ["frames"]);
  peer.socket.send(Buffer.from(GREETING));
  for (const length of [0, 1, 117, 118, 121, 122, 65_527, 65_528, 65_532, 300_000, 3_000_000]) {
    peer.received = Buffer.alloc(0);
    const sent = frame(Buffer.alloc(length, `${length},`));
    const third = Math.ceil(sent.length / 3);
    peer.socket.send(sent.subarray(0, third), { fin: false });
    peer.socket.ping("between");
    peer.socket.send(sent.subarray(third, 2 * third), { fin: false });
    peer.socket.send(sent.subarray(2 * third), { fin: true });
    await until(`echo of ${length}`, () => peer.received.length >= sent.length);
    t.true(peer.received.equals(sent));
  }
});

test("a client whose connection just ends, in the middle of a frame too, is told of once", async (t) => {
  const adapter = frameAdapter();
  const { port, listener } = await serving(t, [adapter]);
  const peer = await upgraded(t, port);
  peer.socket.write(Buffer.concat([say(GREETING), say("\0\0\0\x01a").subarray(0, 8)]));
  await until("opened", () => adapter.connections.length === 1);
  peer.socket.end();
  await until("ended", () => peer.isEnded);
  t.deepEqual([...peer.frames()], [0x88, 2, 3, 0xe8]);
  await until("told", () => adapter.connections[0]!.closeCount === 1);
  await until("counted out", () => listener.connections === 0);
});

test("who says nothing for half a minute is asked, and goes when there is no answer either", async (t) => {
  const { port, loop } = await serving(t, [frameAdapter()]);
  const peer = await upgraded(t, port);
  await until("open", () => loop.wires.size === 1);
  const [wire] = loop.wires;
  const now = loop.turn.now;
  wire!.tick(now + 29_000);
  wire!.tick(now + 30_000);
  await until("ping", () => peer.frames().length === 2);
  t.deepEqual([...peer.frames()], [0x89, 0]);
  wire!.tick(now + 59_000);
  t.is(loop.wires.size, 1);
  wire!.tick(now + 60_001);
  await until("gone", () => loop.wires.size === 0);
});
