import test from "ava";
import { openTestBroker } from "../support/test-broker.ts";
import { connect, consume, draft, settle, topic } from "../support/test-client.ts";

test("what comes in the middle of a fan-out that takes several turns reaches everybody as well", async (t) => {
  const tasks: Array<() => void> = [];
  const { broker, close } = await openTestBroker({
    clock: {
      now: Date.now,
      uptime: Date.now,
      soon: (task) => void tasks.push(task),
      after: () => null,
      cancel: () => {},
    },
  });
  const runAll = async (): Promise<void> => {
    do {
      while (tasks.length > 0) tasks.shift()!();
      await settle();
    } while (tasks.length > 0);
  };
  const peer = connect(broker);
  const readers = Array.from({ length: 50 }, () => consume(peer, topic("news"), { credit: 2000 }));
  const target = peer.openTarget(topic("news"));
  await runAll();
  for (let i = 0; i < 500; i++) target.publish(draft(`${i}`));
  while (broker.hasRoom(1)) tasks.shift()!();
  t.is(readers[0]!.received.length, 500, "some were served");
  t.is(readers[49]!.received.length, 0, "others not yet");
  target.publish(draft("late"));
  await runAll();
  t.true(broker.hasRoom(1), "publishers go on");
  for (const reader of readers) {
    t.is(reader.received.length, 501);
    t.is(reader.received.at(-1)!.text, "late");
  }
  await close();
});
