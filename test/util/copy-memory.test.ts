/** Promises of src/util/copy-memory.ts: copies are right wherever the bytes lie, and never go beyond a buffer. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { crc32 as nativeCrc32 } from "node:zlib";
import test from "ava";
import fc from "fast-check";
import { CopyMemory, copyBytes, moveMasked, sumBytes } from "../../src/util/copy-memory.ts";
import { crc32 } from "../../src/util/crc32.ts";

const SIZE = 4096;

test.serial("bytes arrive unchanged and nothing else changes, between all kinds of memory", (t) => {
  const memory = CopyMemory.open(8 * SIZE)!;
  t.truthy(memory, "this Node has WebAssembly");
  const buffers = [
    memory.takeBuffer(SIZE)!,
    memory.takeBuffer(SIZE)!,
    Buffer.alloc(SIZE),
    Buffer.from(new SharedArrayBuffer(SIZE + 3), 3),
  ];
  const place = fc.nat(SIZE - 1);
  fc.assert(
    fc.property(place, place, place, fc.nat(3), fc.nat(3), (start, at, length, i, j) => {
      const from = buffers[i]!;
      const to = buffers[j]!;
      for (let n = 0; n < SIZE; n++) {
        from[n] = n * 7;
        if (to !== from) to[n] = n * 13 + 1;
      }
      const count = Math.min(length, SIZE - start, SIZE - at);
      const expected = Buffer.from(to);
      Buffer.from(from).copy(expected, at, start, start + count);
      t.is(copyBytes(from, start, start + count, to, at), at + count);
      t.true(expected.equals(to));
    }),
  );
  memory.close();
});

test.serial("a range that does not lie in its buffer is refused, whoever lies behind it", (t) => {
  const memory = CopyMemory.open(4 * SIZE)!;
  const first = memory.takeBuffer(SIZE)!;
  const second = memory.takeBuffer(SIZE)!;
  memory.takeBuffer(SIZE);
  for (const [start, end, at] of [
    [0, SIZE + 1, 0],
    [-1, 10, 0],
    [10, 9, 0],
    [0, 10, SIZE - 9],
    [0, 10, -1],
  ] as const) {
    t.throws(() => copyBytes(first, start, end, second, at), { instanceOf: RangeError });
  }
  t.is(copyBytes(first, SIZE - 10, SIZE, second, SIZE - 10), SIZE);
  memory.close();
});

test.serial("pieces do not overlap, and end where the memory does", (t) => {
  const memory = CopyMemory.open(65_536)!;
  const starts = [memory.take(1), memory.take(5000), memory.take(0), memory.take(4096)];
  const first = starts[0]!;
  t.deepEqual(starts, [first, first + 64, first + 5120, first + 5120]);
  const left = memory.memory.byteLength - first - 9216;
  t.is(memory.take(left + 1), -1);
  t.is(memory.takeBuffer(left + 1), null);
  t.is(memory.takeBuffer(left)!.length, left);
  t.is(memory.take(1), -1);
  memory.close();
});

test.serial("what was fast before works on when another memory was opened, or none is", (t) => {
  const one = CopyMemory.open(SIZE)!;
  const piece = one.takeBuffer(100)!;
  piece.fill(1);
  const out = Buffer.alloc(100);
  copyBytes(piece, 0, 100, out, 0);
  const other = CopyMemory.open(SIZE)!;
  const there = other.takeBuffer(100)!;
  copyBytes(piece, 0, 100, there, 0);
  t.true(there.equals(piece));
  one.close();
  there.fill(2);
  copyBytes(there, 0, 50, piece, 10);
  other.close();
  copyBytes(piece, 10, 60, out, 0);
  t.is(out[0], 2);
  t.is(out[49], 2);
  t.is(out[50], 1);
});

test.serial(
  "sums of what lies there are those of zlib, whatever the length and place, also on another thread",
  async (t) => {
    const memory = CopyMemory.open(1 << 20)!;
    const piece = memory.takeBuffer(SIZE * 4)!;
    for (let i = 0; i < piece.length; i++) piece[i] = (i * 2_654_435_761) >>> 11;
    fc.assert(
      fc.property(fc.nat(SIZE), fc.nat(SIZE), fc.nat(0xffffffff), (start, length, seed) => {
        const end = start + length;
        const expected = nativeCrc32(piece.subarray(start, end), seed);
        t.is(sumBytes(piece, start, end, seed), expected);
        t.is(crc32(piece, start, end, seed), expected);
      }),
    );
    for (let length = 0; length < 300; length++) {
      const expected = nativeCrc32(piece.subarray(length, 2 * length), length);
      t.is(sumBytes(piece, length, 2 * length, length), expected);
    }
    t.is(sumBytes(Buffer.alloc(10), 0, 10, 0), -1);
    const url = new URL("../../src/util/copy-memory.js", import.meta.url).href;
    const worker = new Worker(
      `import(${JSON.stringify(url)}).then(({ CopyMemory, sumBytes }) => {
      const { workerData, parentPort } = require("node:worker_threads");
      CopyMemory.join(workerData.handle);
      const bytes = Buffer.from(workerData.handle.buffer, workerData.start, workerData.length);
      parentPort.postMessage(sumBytes(bytes, 1, 1000, 7));
    });`,
      { eval: true, workerData: { handle: memory.handle, start: piece.byteOffset, length: SIZE } },
    );
    const [sum] = await once(worker, "message");
    t.is(sum, nativeCrc32(piece.subarray(1, 1000), 7));
    await worker.terminate();
    memory.close();
  },
);

test.serial(
  "bytes moved down and unmasked are those that were masked, in all kinds of memory",
  (t) => {
    const memory = CopyMemory.open(2 * SIZE)!;
    const buffers = [memory.takeBuffer(SIZE)!, Buffer.alloc(SIZE)];
    const place = fc.nat(SIZE);
    fc.assert(
      fc.property(place, place, fc.nat(40), fc.integer(), fc.nat(1), (a, b, down, key, which) => {
        const bytes = buffers[which]!;
        const from = Math.min(a, b);
        const end = Math.max(a, b);
        const to = Math.max(0, from - down);
        for (let i = 0; i < SIZE; i++) bytes[i] = i * 11;
        const expected = Buffer.from(bytes);
        for (let i = from; i < end; i++) {
          expected[to + i - from] = bytes[i]! ^ (key >>> (((i - from) & 3) * 8));
        }
        moveMasked(bytes, from, end, to, key);
        t.true(bytes.equals(expected));
      }),
    );
    memory.close();
  },
);

test.serial("more than this process can have is refused, not thrown", (t) => {
  t.is(CopyMemory.open(2 ** 40), null);
});
