import test from "ava";
import { PageCacheAdvice } from "../../src/store/page-cache-advice.ts";

const MIB = 1 << 20;

/** What is told while `appended` MiB come one after the other, all of it consumed but for the last `held`. */
function told(usedQueues: number, appended: number, held: number): Array<[number, number]> {
  const ranges: Array<[number, number]> = [];
  let end = 0;
  const advice = new PageCacheAdvice(
    {
      usedQueues,
      unusedBelow: (limit, least) => {
        const free = Math.min(limit, end - held * MIB);
        return free < least ? 0 : free;
      },
    },
    (from, to) => void ranges.push([from / MIB, to / MIB]),
  );
  for (let i = 0; i < appended; i++) {
    end += MIB;
    advice.look(end, end);
  }
  return ranges;
}

test("what was consumed is told to the kernel once, in order, without a gap", (t) => {
  t.deepEqual(told(1, 70, 4), [
    [0, 12],
    [12, 28],
    [28, 44],
    [44, 60],
  ]);
});

test("with ten thousand queues it is told as well, after fewer looks at all of them", (t) => {
  t.deepEqual(told(10_240, 250, 10), [
    [0, 70],
    [70, 150],
    [150, 230],
  ]);
});

test("while somebody is owed all of it nothing is told", (t) => {
  t.deepEqual(told(10_240, 250, 250), []);
});
