import test from "ava";
import fc from "fast-check";
import { MemoryWire } from "../../src/transport/memory-wire.ts";
import { frame, frameAdapter, GREETING } from "../support/frames.ts";
import { until } from "../support/wait.ts";

const bodies = ["", "a", "hello", "x".repeat(300), "y".repeat(5000), "", "end"];
const stream = Buffer.concat([Buffer.from(GREETING), ...bodies.map(frame)]);

test("a stream cut after any byte gives the same frames", (t) => {
  for (let cut = 0; cut <= stream.length; cut += cut > 400 && cut < 5200 ? 97 : 1) {
    const adapter = frameAdapter();
    const wire = MemoryWire.open(adapter);
    wire.send(stream.subarray(0, cut));
    wire.send(stream.subarray(cut));
    t.deepEqual(adapter.connections[0]!.frames, bodies);
  }
});

test("a stream in pieces of any size gives the same frames, paused anywhere or not", async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(6000), { maxLength: 12 }),
      fc.integer({ min: 1, max: 7000 }),
      fc.nat(12),
      async (lengths, pieceBytes, pauseAfter) => {
        const sent = lengths.map((length, i) => String.fromCharCode(97 + i).repeat(length));
        const adapter = frameAdapter({ echo: true });
        const wire = MemoryWire.open(adapter);
        const connection = adapter.connections[0]!;
        connection.pauseAfter = pauseAfter;
        wire.send(Buffer.concat([Buffer.from(GREETING), ...sent.map(frame)]), pieceBytes);
        if (connection.frames.length < sent.length) {
          t.is(connection.frames.length, Math.max(pauseAfter, 1));
          wire.resumeInput();
          await until("all frames seen", () => connection.frames.length === sent.length);
        }
        t.deepEqual(connection.frames, sent);
        t.deepEqual(wire.takeOutput(), Buffer.concat(sent.map(frame)));
      },
    ),
    { numRuns: 60 },
  );
});
