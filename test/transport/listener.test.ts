import { once } from "node:events";
import * as net from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import test from "ava";
import { type Logger, SILENT } from "../../src/telemetry/log.ts";
import { HttpGateway } from "../../src/transport/http-gateway.ts";
import { ConnectionCounts, HTTP_RESERVE } from "../../src/transport/listener.ts";
import { TransportLoop } from "../../src/transport/loop.ts";
import { networkList } from "../../src/util/network.ts";
import { Turn } from "../../src/util/turn.ts";
import { frame, frameAdapter, GREETING } from "../support/frames.ts";
import { listening } from "../support/listening.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";
import { closed, until } from "../support/wait.ts";

function connect(port: number): net.Socket {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  return socket;
}

async function readBytes(socket: net.Socket, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer);
    length += (chunk as Buffer).length;
    if (length >= count) break;
  }
  return Buffer.concat(chunks);
}

test("a peer over TCP gets its frames back, however large", async (t) => {
  const adapter = frameAdapter({ echo: true, keep: false });
  const { listener, port } = await listening(t, { adapters: [adapter] });
  const socket = connect(port);
  const sent = Buffer.concat([
    frame("small"),
    frame(Buffer.alloc(3_000_000, 7)),
    ...Array.from({ length: 2000 }, (_, i) => frame(`m${i}`)),
  ]);
  socket.write(GREETING.slice(0, 1));
  socket.write(GREETING.slice(1));
  socket.write(sent);
  t.true((await readBytes(socket, sent.length)).equals(sent));
  socket.destroy();
  await until("the connection is counted out", () => listener.connections === 0);
  t.is(adapter.connections[0]!.closeCount, 1);
});

test("a Unix socket carries the same", async (t) => {
  const path = join(temporaryFolder(t), "s");
  const adapter = frameAdapter({ echo: true });
  await listening(t, { adapters: [adapter], path });
  const socket = net.connect(path);
  socket.write(Buffer.concat([Buffer.from(GREETING), frame("hello")]));
  t.true((await readBytes(socket, 9)).equals(frame("hello")));
  t.true(adapter.connections[0]!.wire.info.isLoopback);
});

test("localhost is both loopback addresses", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { port } = await listening(t, { adapters: [adapter], host: "localhost" });
  const hosts = ["127.0.0.1"];
  if (Object.values(networkInterfaces()).some((all) => all?.some((a) => a.address === "::1"))) {
    hosts.push("::1");
  }
  for (const host of hosts) {
    const socket = net.connect(port, host);
    socket.write(Buffer.concat([Buffer.from(GREETING), frame("hello")]));
    t.true((await readBytes(socket, 9)).equals(frame("hello")), host);
  }
  t.true(adapter.connections.every(({ wire }) => wire.info.isLoopback));
});

test("a peer that speaks nothing known is let go", async (t) => {
  const { listener, port } = await listening(t, { adapters: [frameAdapter()] });
  const socket = connect(port);
  socket.write("XYZ\r\n");
  await closed(socket);
  t.true(socket.destroyed);
  await until("counted out", () => listener.connections === 0);
});

test("a peer that says nothing, or not enough, is let go after the handshake time-out", async (t) => {
  const { listener, port } = await listening(t, {
    adapters: [frameAdapter()],
    handshakeTimeoutMs: 60,
  });
  const silent = connect(port);
  const slow = connect(port);
  slow.write("FR");
  await Promise.all([closed(silent), closed(slow)]);
  t.true(silent.destroyed && slow.destroyed);
  await until("counted out", () => listener.connections === 0);
});

test("an AMQP version nobody has is answered with the best one", async (t) => {
  const amqp1 = frameAdapter({ name: "amqp1" });
  const { port } = await listening(t, { adapters: [amqp1] });
  const socket = connect(port);
  socket.write("AMQP\x00\x00\x09\x01", "latin1");
  t.deepEqual(await readBytes(socket, 100), Buffer.from("AMQP\x03\x01\0\0", "latin1"));
});

test("caps cost only the peer that is too many", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { listener, port } = await listening(t, {
    adapters: [adapter],
    connectionsPerAddressMax: 2,
  });
  const open = async () => {
    const socket = connect(port);
    socket.write(Buffer.concat([Buffer.from(GREETING), frame("x")]));
    await Promise.race([once(socket, "data"), closed(socket)]);
    return socket;
  };
  const first = await open();
  const second = await open();
  t.true((await open()).destroyed);
  t.false(first.destroyed || second.destroyed);
  first.destroy();
  await until("one left", () => listener.connections === 1);
  t.false((await open()).destroyed);
});

test("a flood of refused connections is a line of the log now and then, with their number", async (t) => {
  const lines: Array<Record<string, unknown>> = [];
  const logger: Logger = {
    ...SILENT,
    warn: (event, fields) => void lines.push({ event, ...fields }),
    child: () => logger,
  };
  const loop = new TransportLoop(new Turn(), logger);
  const { listener, port } = await listening(t, { connectionsMax: 1 }, {}, loop);
  const first = connect(port);
  await until("it is in", () => listener.connections === 1);
  for (let i = 0; i < 50; i++) await closed(connect(port));
  t.true(lines.length <= 10, `${lines.length} lines`);
  t.like(lines[0], { event: "connection.refused", refused: 1, connections: 1 });
  t.regex(String(lines[0]!["message"]), /limits\.connectionsMax/);
  first.destroy();
});

test("health checks get through to a listener with HTTP alone when there is room for nobody else, up to its reserve", async (t) => {
  const loop = new TransportLoop(new Turn(), SILENT);
  const gateway = new HttpGateway(loop, {
    handler: (_, response) => response.end("ok"),
    messageBytesMax: 1000,
    allowedOrigins: [],
  });
  const http = async () => gateway;
  const counts = new ConnectionCounts();
  const full = { connectionsMax: 1, connectionsPerAddressMax: 1 };
  const { listener, port } = await listening(
    t,
    { adapters: [frameAdapter()], ...full },
    {},
    loop,
    counts,
  );
  const operators = await listening(t, { http, ...full }, {}, loop, counts);
  const mixed = await listening(t, { http, adapters: [frameAdapter()], ...full }, {}, loop, counts);
  const client = connect(port);
  await until("the broker is full", () => listener.connections === 1);
  const ask = async (to: number): Promise<string> =>
    (await fetch(`http://127.0.0.1:${to}/healthz`, { headers: { connection: "close" } })).text();
  t.is(await ask(operators.port), "ok");
  await t.throwsAsync(ask(mixed.port));
  await until("the check is over", () => operators.listener.connections === 0);
  const idle = Array.from({ length: HTTP_RESERVE }, () => connect(operators.port));
  await until("the reserve is taken", () => operators.listener.connections === HTTP_RESERVE);
  await t.throwsAsync(ask(operators.port));
  idle[0]!.destroy();
  await until("one left", () => operators.listener.connections < HTTP_RESERVE);
  t.is(await ask(operators.port), "ok");
  for (const socket of [client, ...idle]) socket.destroy();
});

test("a trusted proxy names the real peer, which is then not of this machine", async (t) => {
  const adapter = frameAdapter({ echo: true });
  const { listener, port } = await listening(t, {
    adapters: [adapter],
    isTrustedProxy: networkList(["127.0.0.0/8"]),
    connectionsPerAddressMax: 1,
  });
  const proxied = (address: string) => {
    const socket = connect(port);
    const header = `PROXY TCP4 ${address} 10.0.0.1 5555 1\r\n`;
    for (const byte of header + GREETING) socket.write(byte);
    socket.write(frame("x"));
    return socket;
  };
  const first = proxied("192.0.2.7");
  await once(first, "data");
  t.like(adapter.connections[0]!.wire.info, {
    remoteAddress: "192.0.2.7",
    remotePort: 5555,
    isLoopback: false,
  });
  await closed(proxied("192.0.2.7"));
  const other = proxied("192.0.2.8");
  await once(other, "data");
  first.destroy();
  other.destroy();
  await until("counted out", () => listener.connections === 0);
});

test("a PROXY header of anybody else is no protocol", async (t) => {
  const adapter = frameAdapter();
  const { port } = await listening(t, { adapters: [adapter] });
  const socket = connect(port);
  socket.write("PROXY TCP4 192.0.2.7 10.0.0.1 5555 1\r\n");
  await closed(socket);
  t.true(socket.destroyed);
  t.is(adapter.connections.length, 0);
});

test("a peer that asks and never reads is not read any more, and costs bounded memory", async (t) => {
  const adapter = frameAdapter({ echo: true, keep: false });
  const { port } = await listening(t, { adapters: [adapter] }, { outputHighBytes: 1 << 16 });
  const socket = connect(port);
  socket.pause();
  socket.write(GREETING);
  const body = frame(Buffer.alloc(100_000));
  const count = 900;
  for (let i = 0; i < count; i++) socket.write(body);
  await until("backed up", () => adapter.connections[0]?.wire.isBackedUp === true);
  const { wire } = adapter.connections[0]!;
  // The kernel's buffers take tens of megabytes; after that nothing moves.
  let seen = -1;
  while (seen !== socket.bytesWritten - socket.writableLength) {
    seen = socket.bytesWritten - socket.writableLength;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.true(socket.writableLength > 0, "the peer was stopped");
  t.true(wire.pendingBytes < (1 << 18) + 600_000, `${wire.pendingBytes} bytes wait`);
  let received = 0;
  socket.on("data", (chunk) => (received += chunk.length));
  socket.resume();
  await until("the rest came", () => received >= count * body.length, 40_000);
  await until("drained", () => adapter.connections[0]!.calls.includes("drain"));
});

test("a busy connection does not keep another one waiting", async (t) => {
  const busy = frameAdapter({
    keep: false,
    onFrame() {
      const until = performance.now() + 0.02;
      while (performance.now() < until);
    },
  });
  const { port } = await listening(t, { adapters: [busy] });
  const flood = connect(port);
  flood.write(GREETING);
  const chunk = Buffer.concat(Array.from({ length: 5000 }, () => frame("0123456789")));
  let isFlooding = true;
  const pour = (): void => {
    while (isFlooding && flood.write(chunk));
  };
  flood.on("drain", pour);
  pour();
  const quiet = connect(port);
  quiet.write(GREETING);
  await until("the quiet peer is there", () => busy.connections.length === 2);
  t.false(flood.destroyed, "it came while the other one was at work");
  isFlooding = false;
  flood.destroy();
});
