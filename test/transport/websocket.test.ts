import { get } from "node:http";
import * as net from "node:net";
import test, { type ExecutionContext } from "ava";
import fc from "fast-check";
import { WebSocket } from "ws";
import { SILENT } from "../../src/telemetry/log.ts";
import { HttpGateway, type HttpGatewayOptions } from "../../src/transport/http-gateway.ts";
import { DEFAULT_LOOP_LIMITS, type LoopLimits, TransportLoop } from "../../src/transport/loop.ts";
import type { ProtocolAdapter } from "../../src/transport/wire.ts";
import { Turn } from "../../src/util/turn.ts";
import { frame, frameAdapter, GREETING } from "../support/frames.ts";
import { listening } from "../support/listening.ts";
import { closed, until } from "../support/wait.ts";

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
