/** Which pages of a queue are in memory, wherever they lie. */
import test from "ava";
import fc from "fast-check";
import { ConsumeQueue } from "../../src/store/consume-queue.ts";
import { type PagePool, TOPIC_PAGE_ENTRIES } from "../../src/store/page-pool.ts";

/** Near each other, and so far that an array from the first to the last would be all gaps. */
const place = fc.oneof(fc.nat(100), fc.integer({ min: 900, max: 1100 }), fc.nat(1_000_000));

const step = fc.oneof(
  fc.record({ verb: fc.constant("add" as const), page: place }),
  fc.record({ verb: fc.constant("drop" as const), page: place }),
  fc.record({ verb: fc.constant("dropOldest" as const), page: fc.constant(0) }),
  fc.record({ verb: fc.constant("release" as const), page: place }),
);

function releasing(queue: ConsumeQueue, end: number): number[] {
  const released: number[] = [];
  const pool = { release: (page: number) => void released.push(page) };
  queue.releasePages(pool as unknown as PagePool, end);
  return released;
}

test("pages come and go in any order and at any distance, and each is found as long as it is there", (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
      const queue = new ConsumeQueue("q", 0, false, 1);
      queue.restore(0, 1_000_001 * TOPIC_PAGE_ENTRIES);
      const known = new Map<number, number>();
      let next = 0;
      for (const { verb, page } of steps) {
        if (verb === "add") {
          queue.addOldPage(page, next);
          known.set(page, next++);
        } else if (verb === "drop") {
          const value = known.get(page);
          if (value === undefined) continue;
          t.true(queue.dropPage(value, page), "kept, though all of it is in the file");
          known.delete(page);
        } else if (verb === "dropOldest") {
          const [value] = queue.oldestPages(1);
          const found = [...known].find(([, one]) => one === value);
          t.is(found === undefined, known.size === 0, `oldest: ${value}`);
          if (found === undefined) continue;
          queue.dropPage(value!, found[0]);
          known.delete(found[0]);
        } else {
          const wanted = [...known].filter(([at]) => at < page).sort(([a], [b]) => a - b);
          t.deepEqual(
            releasing(queue, page),
            wanted.map(([, value]) => value),
          );
          for (const [at] of wanted) known.delete(at);
        }
        t.is(queue.pageCount, known.size);
        const asked = [page, ...known.keys()];
        t.deepEqual(
          asked.map((one) => queue.page(one)),
          asked.map((one) => known.get(one) ?? -1),
        );
      }
    }),
    { numRuns: 500 },
  );
});

test("a queue that is read far from its end keeps no room for all that lies between", (t) => {
  const queue = new ConsumeQueue("q", 0, false, 1);
  queue.restore(0, 1e9);
  queue.addOldPage(4_000_000, 1);
  for (let page = 0; page < 2000; page++) {
    queue.addOldPage(page, page + 2);
    t.deepEqual(queue.oldestPages(1), [page + 2]);
    t.true(queue.dropPage(page + 2, page));
  }
  t.is(queue.page(4_000_000), 1);
  t.is(queue.pageCount, 1);
});
