import test from "ava";
import type { ConsumeQueue } from "../../src/store/consume-queue.ts";
import { QueueNames } from "../../src/store/queue-names.ts";
import { Random } from "../support/random.ts";

/** Everything is in the files at once. */
const HOLDER = { release() {}, isInFiles: () => true, fold() {}, unfold() {}, forget() {} };
const COUNT = 400;

test("queues that rest and wake while all are told for a new catalog are told all the same", (t) => {
  for (let seed = 0; seed < 20; seed++) {
    const random = new Random(seed);
    const names = new QueueNames(HOLDER);
    const queueOf = (i: number): ConsumeQueue =>
      i % 3 === 0 ? names.queue(`topic-${i % 20}`, i) : names.lightQueue(`light-${i}`);
    for (let i = 0; i < COUNT; i++) {
      const queue = queueOf(i);
      queue.isDefined = true;
      if (i % 2 === 0) names.rest(queue);
    }
    const told = new Set<number>();
    for (const queue of names.describing()) {
      told.add(queue.number);
      for (let i = 0; i < 4; i++) {
        const other = queueOf(random.below(COUNT));
        if (random.chance(60)) names.rest(other);
      }
    }
    const all = Array.from({ length: COUNT }, (_, i) => queueOf(i).number);
    t.deepEqual(
      all.filter((number) => !told.has(number)),
      [],
    );
  }
});
