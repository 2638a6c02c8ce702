/** The duplicate window outlives what it speaks of: messages that were consumed, their segments, the process. */
import test from "ava";
import { OUTCOME } from "../../src/broker/facade.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { openLogBroker } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { connect, consume, draft, queue, settle } from "../support/test-client.ts";

const WINDOW_MS = 60_000;
const OPTIONS = {
  ringBytes: 1 << 14,
  segmentBytes: 1 << 16,
  policies: [{ match: "q", settings: { dedupWindowMs: WINDOW_MS } }],
};
const COUNT = 300;

for (const end of ["crash", "stop"] as const) {
  test(`ids of consumed messages are known after a ${end}, and forgotten with their space when the window is over`, async (t) => {
    const disk = new FaultyStorage(new Random(1));
    const clock = new SimulatedClock();
    // The log has the machine's time.
    clock.time = Date.now();
    const open = async () => {
      const opened = await openLogBroker(disk, { ...OPTIONS, clock });
      const run = async (): Promise<void> => {
        for (let i = 0; i < 5; i++) {
          clock.run();
          await settle();
        }
      };
      const keepHouse = async (): Promise<void> => {
        for (let i = 0; i < 12; i++) {
          opened.broker.keepHouse();
          await run();
          opened.store.tick(true);
          await run();
        }
      };
      return { ...opened, run, keepHouse };
    };
    const first = await open();
    const target = connect(first.broker).openTarget(queue("q"));
    for (let i = 0; i < COUNT; i++) {
      target.publish(draft("x".repeat(1000), { dedupId: `id ${i}` }));
      if (i % 10 === 9) await first.run();
    }
    const reader = consume(connect(first.broker), queue("q"), { credit: COUNT });
    for (let i = 0; i < 20 && reader.texts.length < COUNT; i++) await first.run();
    reader.consumer.settle(0, COUNT, OUTCOME.ACCEPT);
    await first.keepHouse();
    t.is(disk.list("/data/commitlog").length, 6, "the messages are there");
    if (end === "stop") await first.broker.close();
    else disk.restart("process");
    const second = await open();
    const again = connect(second.broker).openTarget(queue("q"));
    for (const i of [0, 150, COUNT - 1]) again.publish(draft("again", { dedupId: `id ${i}` }));
    await second.run();
    const node = second.broker.registry.find("queue", "/", "q")!;
    t.is(node.counters.duplicates, 3);
    t.is(node.backlog, 0);
    clock.advance(2 * WINDOW_MS);
    const segments = (): number => disk.list("/data/commitlog").length;
    for (let i = 0; i < 10 && segments() > 2; i++) await second.keepHouse();
    t.true(segments() <= 2, `the space is given back: ${segments()}`);
    again.publish(draft("anew", { dedupId: "id 0" }));
    await second.run();
    t.is(node.backlog, 1);
    await second.broker.close();
  });
}
