import test from "ava";
import fc from "fast-check";
import { SILENT } from "../../src/telemetry/log.ts";
import { DEFAULT_LOOP_LIMITS, TransportLoop } from "../../src/transport/loop.ts";
import { MemoryWire } from "../../src/transport/memory-wire.ts";
import { Turn } from "../../src/util/turn.ts";
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

test("a peer that does not read stops deliveries at the high mark, and is not read from at four times that", async (t) => {
  const adapter = frameAdapter({ echo: true, keep: false });
  const wire = MemoryWire.open(adapter, { limits: { outputHighBytes: 10_000 } });
  const connection = adapter.connections[0]!;
  wire.isPeerReading = false;
  wire.send(GREETING);
  const seen: boolean[] = [];
  for (let i = 0; i < 60 && wire.isReading; i++) {
    wire.send(frame("x".repeat(996)));
    wire.flush();
    seen.push(wire.isBackedUp);
  }
  t.is(seen.indexOf(true), 9);
  t.is(seen.length, 41);
  t.is(wire.pendingBytes, 41_000);
  wire.drainOutput();
  t.is(wire.takeOutput().length, 41_000);
  await until("it is read again", () => wire.isReading);
  t.deepEqual(connection.calls, ["drain"]);
});

test("a protocol that throws ends its own connection, and is told once", async (t) => {
  const adapter = frameAdapter({
    onFrame: () => {
      throw new Error("a bug");
    },
  });
  const wire = MemoryWire.open(adapter);
  wire.send(Buffer.concat([Buffer.from(GREETING), frame("x"), frame("y")]));
  await until("told", () => adapter.connections[0]!.closeCount > 0);
  t.deepEqual(adapter.connections[0]!.calls, ["close a bug"]);
  wire.send(frame("z"));
  t.is(adapter.connections[0]!.closeCount, 1);
});

test("after end, what was queued goes out and nothing comes in", async (t) => {
  const adapter = frameAdapter();
  const wire = MemoryWire.open(adapter);
  const connection = adapter.connections[0]!;
  wire.send(GREETING);
  wire.write(Buffer.from("bye"));
  wire.end();
  wire.write(Buffer.from("too late"));
  wire.send(frame("x"));
  await until("told", () => connection.closeCount > 0);
  t.is(wire.takeOutput().toString(), "bye");
  t.deepEqual(connection.frames, []);
});

test("large frames share one budget: one goes on, the others wait, all complete", async (t) => {
  const limits = { ...DEFAULT_LOOP_LIMITS, inputBudgetBytes: 150_000 };
  const loop = new TransportLoop(new Turn(), SILENT, limits);
  const adapter = frameAdapter({ keep: false, onFrame: () => void frames++ });
  let frames = 0;
  const wires = Array.from({ length: 4 }, () => MemoryWire.open(adapter, { loop }));
  const whole = Buffer.concat([Buffer.from(GREETING), frame(Buffer.alloc(60_000, 1))]);
  for (const wire of wires) wire.send(whole.subarray(0, 30_000));
  t.is(wires.filter((wire) => wire.isReading).length, 4 - 1);
  for (const wire of wires) wire.send(whole.subarray(30_000));
  await until("all frames", () => frames === 4);
  await until("all are read", () => wires.every((wire) => wire.isReading));
  t.is(loop.budget.usedBytes, 0);
  t.is(loop.pool.takenBytes, 0);
});

test("a peer that begins a large frame far over the budget is let go, the others go on", async (t) => {
  const limits = { ...DEFAULT_LOOP_LIMITS, inputBudgetBytes: 50_000 };
  const loop = new TransportLoop(new Turn(), SILENT, limits);
  const adapter = frameAdapter({ keep: false, onFrame: () => void frames++ });
  let frames = 0;
  const wires = Array.from({ length: 12 }, () => MemoryWire.open(adapter, { loop }));
  const head = Buffer.concat([Buffer.from(GREETING), frame(Buffer.alloc(15_000))]);
  for (const wire of wires) wire.send(head.subarray(0, 10_000));
  t.true(loop.budget.usedBytes <= 150_000);
  const left = wires.filter((wire) => !wire.isOver);
  t.true(left.length > 0 && left.length < 12);
  for (const wire of left) wire.send(head.subarray(10_000));
  await until("the rest completes", () => frames === left.length);
  t.is(loop.budget.usedBytes, 0);
});

test("a connection without work owns no buffers", async (t) => {
  const loop = new TransportLoop(new Turn(), SILENT);
  const adapter = frameAdapter({ echo: true });
  const wires = Array.from({ length: 50 }, () => MemoryWire.open(adapter, { loop }));
  for (const wire of wires)
    wire.send(Buffer.concat([Buffer.from(GREETING), frame("a"), frame("b")]), 3);
  await until("all answered", () => wires.every((wire) => wire.sentBytes === 10));
  t.is(loop.pool.takenBytes, 0);
  t.is(loop.collectedBytes, 0);
});

test("output of one turn goes out in one piece, in order", async (t) => {
  const pieces: Buffer[] = [];
  const wire = new MemoryWire({ onOutput: (bytes) => void pieces.push(bytes) });
  const expected: Buffer[] = [];
  for (let i = 0; i < 300; i++) {
    const bytes = Buffer.from(`${i};`.repeat(i % 7 === 0 ? 900 : 1));
    expected.push(bytes);
    if (i % 2 === 0) {
      wire.write(bytes);
    } else {
      wire.reserve(bytes.length);
      bytes.copy(wire.out, wire.outAt);
      wire.outAt += bytes.length;
    }
  }
  t.is(pieces.length, 0);
  await until("written", () => pieces.length > 0);
  t.is(pieces.length, 1);
  t.true(pieces[0]!.equals(Buffer.concat(expected)));
});

test("output far beyond one chunk is bounded by writing early", async (t) => {
  const pieces: Buffer[] = [];
  const wire = new MemoryWire({ onOutput: (bytes) => void pieces.push(bytes) });
  const large = Buffer.alloc(3_000_000, "abc");
  wire.write(Buffer.from("head"));
  wire.write(large, 5, 2_900_000);
  await until("written", () => wire.pendingBytes === 0);
  const expected = Buffer.concat([Buffer.from("head"), large.subarray(5, 2_900_000)]);
  t.true(Buffer.concat(pieces).equals(expected));
  t.true(Math.max(...pieces.map((piece) => piece.length)) <= 1 << 20);
});
