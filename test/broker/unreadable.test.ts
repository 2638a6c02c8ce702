/** The disk refuses to give what it has: that waits, and nothing else does. */
import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { connect, consume, draft, queue, settle } from "../support/test-client.ts";

const RING = { ringBytes: 1 << 14, segmentBytes: 1 << 16 };

async function storyOf() {
  const disk = new FaultyStorage(new Random(1));
  const clock = new SimulatedClock();
  const opened = await openLogBroker(disk, { ...RING, clock });
  const run = async (): Promise<void> => {
    for (let i = 0; i < 5; i++) {
      clock.run();
      await settle();
    }
  };
  return { disk, clock, run, ...opened };
}

/** The first of so many are in the file only: the ring holds no more than the last. */
const COUNT = 12;
const numbersIn = (texts: readonly string[]): number[] =>
  texts.map((text) => Number.parseInt(text, 10));

test("a record that cannot be read is passed over, kept, and delivered when it can be", async (t) => {
  const { disk, clock, run, broker } = await storyOf();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  for (let i = 0; i < COUNT; i++) {
    target.publish(draft(`${i} `.padEnd(3000, "x")));
    await run();
  }
  // Both tries: with what follows, and without.
  disk.fail({ operation: "read", path: /commitlog/, code: "EIO", times: 2 });
  const reader = consume(peer, queue("q"));
  await run();
  const others = Array.from({ length: COUNT - 1 }, (_, i) => i + 1);
  t.deepEqual(numbersIn(reader.texts), others);
  t.is(broker.registry.find("queue", "/", "q")!.counters.dropped, 0);
  reader.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
  await run();
  t.is(broker.registry.find("queue", "/", "q")!.backlog, 1, "it is owed");
  clock.advance(61_000);
  await run();
  t.deepEqual(numbersIn(reader.texts), [...others, 0]);
});

test("a message that is rejected while its record cannot be read goes to the dead letters later", async (t) => {
  const { disk, clock, run, broker } = await storyOf();
  const peer = connect(broker);
  const target = peer.openTarget(queue("q"));
  const reader = consume(peer, queue("q"), { credit: 1 });
  for (let i = 0; i < COUNT; i++) {
    target.publish(draft(`${i} `.padEnd(3000, "x")));
    await run();
  }
  t.deepEqual(numbersIn(reader.texts), [0]);
  disk.fail({ operation: "read", path: /commitlog/, code: "EIO", times: 2 });
  reader.consumer.settle(0, 0, OUTCOME.REJECT);
  await run();
  t.is(broker.registry.find("queue", "/", "DLQ.q"), undefined);
  clock.advance(61_000);
  reader.consumer.setCredit(1);
  await run();
  reader.consumer.settle(1, 1, OUTCOME.REJECT);
  await run();
  const dead = consume(peer, queue("DLQ.q"));
  await run();
  t.deepEqual(numbersIn(dead.texts), [0]);
});
