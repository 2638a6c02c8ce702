/** Progress as the journal keeps it comes back as it was, whatever is settled. */
import test from "ava";
import { AckState } from "../../src/broker/ack-state.ts";
import { applyEntry, CatalogWriter, emptyImage } from "../../src/broker/catalog.ts";
import { Random } from "../support/random.ts";

test("runs settled anywhere come back from few bytes, in any order, to offsets beyond 2^32", (t) => {
  for (const base of [0, 2 ** 40]) {
    const entries: Buffer[] = [];
    const writer = new CatalogWriter({
      append(bytes, start, end) {
        entries.push(Buffer.from(bytes.subarray(start, end)));
        return 0;
      },
    });
    const random = new Random(7);
    const expected = new AckState(base);
    const image = emptyImage();
    image.progress.set(3, { state: new AckState(base), attempts: new Map() });
    let written = 0;
    for (let from = base + 1; from < base + 60_000; from += random.between(2, 9)) {
      const count = random.between(1, 3);
      expected.settle(from, count);
      writer.run(3, from, count);
      from += count;
      written++;
    }
    writer.endRuns();
    // Backwards, as consumers settle.
    for (let from = base + 70_000; from > base + 65_000; from -= 7) {
      expected.settle(from, 1);
      writer.run(3, from, 1);
    }
    writer.endRuns();
    const bytes = entries.slice(0, 20).reduce((sum, entry) => sum + entry.length, 0);
    t.true(bytes < written * 3, `${bytes} bytes for ${written} runs`);
    for (const entry of entries) applyEntry(image, entry);
    const { state } = image.progress.get(3)!;
    for (let at = base; at < base + 70_010; at++) {
      if (state.stateOf(at) !== expected.stateOf(at)) t.fail(`offset ${at}`);
    }
    t.is(state.backlog(base + 100_000), expected.backlog(base + 100_000));
  }
});

test("an entry of runs that ends within a run is refused, not read for ever", (t) => {
  const entries: Buffer[] = [];
  const writer = new CatalogWriter({
    append(bytes, start, end) {
      entries.push(Buffer.from(bytes.subarray(start, end)));
      return 0;
    },
  });
  writer.run(3, 10, 300);
  writer.endRuns();
  const whole = entries[0]!;
  for (const end of [whole.length - 1, whole.length - 2]) {
    const image = emptyImage();
    image.progress.set(3, { state: new AckState(0), attempts: new Map() });
    t.throws(() => applyEntry(image, whole.subarray(0, end)), { message: /ends within a run/ });
  }
});
