/** A toy protocol for transport tests: "FRM" once, then frames of a 4-byte length and a body, echoed or counted. */
import type { ProtocolAdapter, ProtocolConnection, Wire } from "../../src/transport/wire.ts";

export interface FrameConnection extends ProtocolConnection {
  readonly wire: Wire;
  readonly frames: string[];
  readonly calls: string[];
  closeCount: number;
  /** Stop after so many frames, with input paused. */
  pauseAfter: number;
}

export interface FrameAdapter extends ProtocolAdapter {
  readonly connections: FrameConnection[];
}

export const GREETING = "FRM";

export function frame(body: string | Uint8Array): Buffer {
  const bytes = Buffer.from(body as string);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  return Buffer.concat([head, bytes]);
}

export function frameAdapter(
  options: {
    echo?: boolean;
    keep?: boolean;
    name?: string;
    onFrame?: (c: FrameConnection, body: Buffer) => void;
  } = {},
): FrameAdapter {
  const adapter: FrameAdapter = {
    name: options.name ?? "frames",
    subProtocols: ["frames"],
    connections: [],
    sniff(bytes, start, end) {
      for (let i = 0; i < 3; i++) {
        if (start + i >= end) return "more";
        if (bytes[start + i] !== GREETING.charCodeAt(i)) return "no";
      }
      return "yes";
    },
    open(wire) {
      let isGreeted = false;
      let wanted = 0;
      const connection: FrameConnection = {
        wire,
        frames: [],
        calls: [],
        closeCount: 0,
        pauseAfter: Number.POSITIVE_INFINITY,
        onData(bytes, start, end) {
          let at = start;
          wanted = 0;
          if (!isGreeted) {
            if (end - at < 3) {
              wanted = 3;
              return at;
            }
            isGreeted = true;
            at += 3;
          }
          while (end - at >= 4) {
            const length = bytes.readUInt32BE(at);
            if (end - at < 4 + length) {
              wanted = 4 + length;
              return at;
            }
            const body = bytes.subarray(at + 4, at + 4 + length);
            if (options.keep !== false) connection.frames.push(body.toString("latin1"));
            options.onFrame?.(connection, body);
            if (options.echo) wire.write(bytes, at, at + 4 + length);
            at += 4 + length;
            if (connection.frames.length >= connection.pauseAfter) {
              connection.pauseAfter = Number.POSITIVE_INFINITY;
              wire.pauseInput();
              return at;
            }
          }
          return at;
        },
        wantedBytes: () => wanted,
        onClose(error) {
          connection.closeCount++;
          connection.calls.push(error === null ? "close" : `close ${error.message}`);
        },
        onDrain: () => void connection.calls.push("drain"),
        onTick: () => void connection.calls.push("tick"),
        onShutdown() {
          connection.calls.push("shutdown");
          wire.end();
        },
      };
      adapter.connections.push(connection);
      return connection;
    },
  };
  return adapter;
}
