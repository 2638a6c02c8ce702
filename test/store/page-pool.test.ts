import test from "ava";
import { COMMAND, CommandRing } from "../../src/store/command-ring.ts";
import { ConsumeQueue } from "../../src/store/consume-queue.ts";
import { LIGHT_PAGE_ENTRIES, PagePool } from "../../src/store/page-pool.ts";
import { SharedControl } from "../../src/store/shared-control.ts";

/** Pages in a slab. */
const PER_SLAB = 640;

function makePool(limit: number, ownLimit = Number.POSITIVE_INFINITY) {
  const commands = new CommandRing(new SharedControl(), 1 << 16);
  const slabs = new Map<number, boolean>();
  const pool = new PagePool(LIGHT_PAGE_ENTRIES, commands, {
    limit: () => limit,
    ownLimit,
    onSlab: (index, memory) => slabs.set(index, memory !== null),
  });
  const held = (): number => [...slabs.values()].filter(Boolean).length;
  return { commands, pool, held };
}

const queueOf = (number: number): ConsumeQueue => new ConsumeQueue(`q${number}`, 0, true, number);

test("slabs of which nothing is in use are given up, and made again when they are wanted", (t) => {
  const { pool, held } = makePool(1_000_000);
  const queue = queueOf(1);
  const pages: number[] = [];
  for (let i = 0; i < PER_SLAB * 100; i++) pages.push(pool.allocate(queue, i, 0));
  t.is(held(), 100);
  const kept = pages.filter((_, i) => i % (PER_SLAB * 10) === 0);
  for (const page of pages) if (!kept.includes(page)) pool.release(page);
  pool.shrink();
  t.true(held() <= 27, `${held()} slabs for ${kept.length} pages`);
  t.is(pool.memory, held() * 256_000);
  t.is(pool.size, kept.length);
  for (const page of kept) t.is(pool.view(page).byteLength, 256_000);
  const again = new Set(kept);
  for (let i = 0; i < PER_SLAB * 90; i++) {
    const page = pool.allocate(queue, i, 0);
    t.false(again.has(page), "no page twice");
    again.add(page);
    pool.view(page).setInt32(pool.at(page, LIGHT_PAGE_ENTRIES - 1), i);
  }
  t.is(pool.size, kept.length + PER_SLAB * 90);
});

test("a pool of which nothing can be taken back is not searched again before the writer has done something", (t) => {
  const { commands, pool } = makePool(PER_SLAB);
  let asked = 0;
  for (let i = 0; i < PER_SLAB * 2; i++) {
    const queue = queueOf(i);
    queue.dropPage = () => {
      asked++;
      return commands.done > 0;
    };
    pool.allocate(queue, 0, 0);
  }
  for (let i = 0; i < 100; i++) t.true(pool.isOverfull());
  const most = PER_SLAB * 2 * 4;
  t.true(asked <= most, `${asked} pages were looked at`);
  asked = 0;
  t.true(pool.isOverfull());
  t.is(asked, 0);
  commands.push(COMMAND.BLOCK, 1, 0, 0, 0, 1, 0);
  commands.flush();
  commands.complete(1);
  t.false(pool.isOverfull());
});

test("what a deep queue took while the writer was behind it gives back when it has caught up", (t) => {
  const share = 8;
  const { commands, pool } = makePool(PER_SLAB * 2, share);
  const queue = queueOf(1);
  let next = 0;
  const fillOne = (): void => {
    const page = pool.allocate(queue, next, 0);
    queue.addPage(next, page);
    queue.maxOffset = queue.flushedOffset = ++next * LIGHT_PAGE_ENTRIES;
    pool.setCommand(page, commands.push(COMMAND.BLOCK, 1, page, 0, 0, 1, 0));
    commands.flush();
  };
  for (let i = 0; i < share * 10; i++) fillOne();
  t.is(queue.pageCount, share * 10, "nothing was written");
  commands.complete(share * 10);
  for (let i = 0; i < share * 4; i++) {
    fillOne();
    commands.complete(1);
  }
  t.true(queue.pageCount <= share, `${queue.pageCount} pages`);
  t.is(pool.size, queue.pageCount);
});
