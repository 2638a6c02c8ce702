/** A listener on a free port of this machine, closed with the test. */
import type { ExecutionContext } from "ava";
import { SILENT } from "../../src/telemetry/log.ts";
import { ConnectionCounts, Listener, type ListenerOptions } from "../../src/transport/listener.ts";
import { DEFAULT_LOOP_LIMITS, type LoopLimits, TransportLoop } from "../../src/transport/loop.ts";
import { Turn } from "../../src/util/turn.ts";

export async function listening(
  t: ExecutionContext,
  options: Partial<ListenerOptions>,
  limits: Partial<LoopLimits> = {},
  loop = new TransportLoop(new Turn(), SILENT, { ...DEFAULT_LOOP_LIMITS, ...limits }),
  counts = new ConnectionCounts(),
) {
  const standard = {
    name: "test",
    host: "127.0.0.1",
    port: 0,
    adapters: [],
    handshakeTimeoutMs: 10_000,
    connectionsMax: 1000,
    connectionsPerAddressMax: 1000,
  };
  const listener = new Listener(loop, { ...standard, ...options }, counts);
  await listener.listen();
  t.teardown(() => {
    listener.close();
    for (const wire of [...loop.wires]) wire.destroy();
    loop.stop();
  });
  return { loop, listener, port: listener.port };
}
