import test from "ava";
import fc from "fast-check";
import {
  applyExpiries,
  EXPIRY_PAGE,
  type ExpiryImage,
  writeExpiries,
} from "../../src/broker/expiry-entry.ts";

/** Earliest expiry by page, as a page of a shard has it; written as stretches that follow each other. */
function written(earliest: readonly number[], cuts: readonly number[], owed = 0): ExpiryImage {
  const image: ExpiryImage = new Map();
  const ends = [...new Set([...cuts, earliest.length * EXPIRY_PAGE])].sort((a, b) => a - b);
  let from = 0;
  for (const to of ends) {
    writeExpiries(
      {
        node: 7,
        queueId: 3,
        owed,
        from,
        to,
        isClear: false,
        earliestOf: (page) => earliest[page]!,
      },
      (bytes, end) => applyExpiries(image, Buffer.from(bytes.subarray(0, end))),
    );
    from = to;
  }
  return image;
}

const NEVER = Number.POSITIVE_INFINITY;
const time = fc.oneof(fc.constant(NEVER), fc.constant(0), fc.integer({ min: 1, max: 2 ** 52 }));

test("what was written of a shard is read again, in whatever stretches", (t) => {
  fc.assert(
    fc.property(
      fc.array(time, { minLength: 1, maxLength: 40 }),
      fc.array(fc.nat({ max: 40 * EXPIRY_PAGE }), { maxLength: 5 }),
      (earliest, cuts) => {
        const end = earliest.length * EXPIRY_PAGE;
        const image = written(
          earliest,
          cuts.filter((cut) => cut > 0 && cut < end),
        );
        const [shard] = image.get(7)!;
        t.is(shard!.queueId, 3);
        t.is(shard!.to, end);
        for (const [page, value] of earliest.entries()) {
          t.is(shard!.pages?.get(page) ?? NEVER, value);
        }
      },
    ),
  );
});

test("more pages than go into an entry make several", (t) => {
  const earliest = Array.from({ length: 20_000 }, (_, page) => 1_700_000_000_000 + page);
  const [shard] = written(earliest, []).get(7)!;
  t.is(shard!.pages!.size, earliest.length);
  t.is(shard!.pages!.get(19_999), 1_700_000_019_999);
  t.is(shard!.to, earliest.length * EXPIRY_PAGE);
});

test("a stretch of which the entry is lost is not known", (t) => {
  const image = written([NEVER, NEVER], []);
  const stretch = { node: 7, queueId: 3, owed: 0, isClear: true, earliestOf: () => NEVER };
  writeExpiries({ ...stretch, from: 4 * EXPIRY_PAGE, to: 5 * EXPIRY_PAGE }, (bytes, end) =>
    applyExpiries(image, bytes.subarray(0, end)),
  );
  const { pages, to } = image.get(7)![0]!;
  t.deepEqual(
    [...pages!],
    [
      [2, 0],
      [3, 0],
    ],
  );
  t.is(to, 5 * EXPIRY_PAGE);
});

test("of what nobody is owed any more nothing is kept, however long the queue has gone on", (t) => {
  const image: ExpiryImage = new Map();
  for (let page = 0; page < 10_000; page++) {
    const from = page * EXPIRY_PAGE;
    writeExpiries(
      {
        node: 1,
        queueId: 0,
        owed: Math.max(0, from - 2 * EXPIRY_PAGE),
        from,
        to: from + EXPIRY_PAGE,
        isClear: false,
        earliestOf: () => 5,
      },
      (bytes, end) => applyExpiries(image, bytes.subarray(0, end)),
    );
  }
  const { pages, from } = image.get(1)![0]!;
  t.true(pages!.size <= 4);
  t.is(from, 9_997 * EXPIRY_PAGE);
});

test("an entry from before a snapshot came to its node, and behind it in the journal, hides nothing (troubled seed 2079)", (t) => {
  const image: ExpiryImage = new Map();
  const apply = (to: number, earliest: number): void =>
    writeExpiries(
      { node: 1, queueId: 0, owed: 0, from: 0, to, isClear: false, earliestOf: () => earliest },
      (bytes, end) => applyExpiries(image, Buffer.from(bytes.subarray(0, end))),
    );
  apply(10, 500);
  apply(4, NEVER);
  t.deepEqual([...image.get(1)![0]!.pages!], [[0, 500]]);
  apply(4, 700);
  t.deepEqual([...image.get(1)![0]!.pages!], [[0, 500]]);
  apply(12, 900);
  t.deepEqual([...image.get(1)![0]!.pages!], [[0, 900]]);
});
