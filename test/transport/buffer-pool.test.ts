/** Promises of src/transport/buffer-pool.ts. */
import test from "ava";
import { BufferPool, LARGEST_CHUNK, PIECES_BYTES } from "../../src/transport/buffer-pool.ts";
import { CopyMemory } from "../../src/util/copy-memory.ts";

test.serial("chunks are pieces of the copy memory first, and are used again", (t) => {
  const memory = CopyMemory.open(PIECES_BYTES)!;
  const pool = new BufferPool(memory);
  const chunk = pool.take(1000);
  t.is(chunk.length, 1024);
  t.is(chunk.buffer as unknown, memory.memory);
  pool.release(chunk);
  t.is(pool.take(10), chunk);
  memory.close();
});

test.serial(
  "more chunks than the copy memory has are ordinary memory, of which few are kept",
  (t) => {
    const memory = CopyMemory.open(PIECES_BYTES)!;
    const pool = new BufferPool(memory);
    const chunks = Array.from({ length: 60 }, () => pool.take(LARGEST_CHUNK));
    const isPiece = (chunk: Buffer): boolean => (chunk.buffer as unknown) === memory.memory;
    const pieces = chunks.filter(isPiece).length;
    t.true(pieces > 0 && pieces < 60, `${pieces} of 60`);
    t.is(pool.takenBytes, 60 * LARGEST_CHUNK);
    for (const chunk of chunks) pool.release(chunk);
    t.is(pool.takenBytes, 0);
    const again = Array.from({ length: 60 }, () => pool.take(LARGEST_CHUNK));
    t.is(again.filter(isPiece).length, pieces, "no piece is lost");
    t.true(again.filter((chunk) => chunks.includes(chunk)).length < 60);
    memory.close();
  },
);

test.serial("a piece that somebody may still read comes back after two ticks, not before", (t) => {
  const memory = CopyMemory.open(PIECES_BYTES)!;
  const pool = new BufferPool(memory);
  const chunk = pool.take(1);
  pool.forget(chunk);
  t.not(pool.take(1), chunk);
  pool.tick();
  t.not(pool.take(1), chunk);
  pool.tick();
  t.is(pool.take(1), chunk);
  memory.close();
});

test.serial("shrinking gives up ordinary chunks and keeps pieces", (t) => {
  const memory = CopyMemory.open(1)!;
  const pool = new BufferPool(memory);
  const chunks = Array.from({ length: 80 }, () => pool.take(1));
  for (const chunk of chunks) pool.release(chunk);
  pool.shrink();
  const kept = Array.from({ length: 80 }, () => pool.take(1)).filter((c) => chunks.includes(c));
  t.true(kept.length >= 40 && kept.length < 80, `${kept.length}: those of one page, and a few`);
  memory.close();
});
