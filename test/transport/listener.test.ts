import { once } from "node:events";
import * as net from "node:net";
import test from "ava";
import { SILENT } from "../../src/telemetry/log.ts";
import { Listener, type ListenerOptions } from "../../src/transport/listener.ts";
import { TransportLoop } from "../../src/transport/loop.ts";
import { Turn } from "../../src/util/turn.ts";
import { frame, frameAdapter, GREETING } from "../support/frames.ts";
import { until } from "../support/wait.ts";

async function listening(options: Partial<ListenerOptions>) {
  const loop = new TransportLoop(new Turn(), SILENT);
  const listener = new Listener(loop, {
    name: "test",
    host: "127.0.0.1",
    port: 0,
    adapters: [],
    handshakeTimeoutMs: 10_000,
    connectionsMax: 1000,
    connectionsPerAddressMax: 1000,
    ...options,
  });
  await listener.listen();
  return { loop, listener };
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
  const { listener } = await listening({ adapters: [adapter] });
  const socket = net.connect(listener.port, "127.0.0.1");
  const sent = Buffer.concat([
    frame("small"),
    frame(Buffer.alloc(3_000_000, 7)),
    ...Array.from({ length: 2000 }, (_, i) => frame(`m${i}`)),
  ]);
  socket.write(GREETING.slice(0, 1));
  socket.write(GREETING.slice(1));
  socket.write(sent);
  const received = await readBytes(socket, sent.length);
  t.true(received.equals(sent));
  socket.destroy();
  await until("the connection is counted out", () => listener.connections === 0);
  t.deepEqual(adapter.connections[0]!.closeCount, 1);
  listener.close();
});

test("a peer that speaks nothing known is let go", async (t) => {
  const { listener } = await listening({ adapters: [frameAdapter()] });
  const socket = net.connect(listener.port, "127.0.0.1");
  socket.write("XYZ\r\n");
  await once(socket, "close");
  t.is(listener.connections, 0);
  listener.close();
});
