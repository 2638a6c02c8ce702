import test from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import { EXPIRY_PAGE } from "../../src/broker/expiry-entry.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import type { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { type LogBrokerOptions, openLogBroker } from "../support/log-broker.ts";
import { connect, consume, draft, queue, settle } from "../support/test-client.ts";

const HOUR = 3_600_000;

class Story {
  broker!: Broker;
  store!: CommitLogStore;
  disk = new MemoryStorage();
  readonly clock = new SimulatedClock();
  readonly options: LogBrokerOptions;
  /** Records looked at since the start. */
  looks = 0;

  constructor(options: LogBrokerOptions = {}) {
    this.options = { ringBytes: 1 << 22, segmentBytes: 1 << 24, ...options };
  }

  async open(): Promise<this> {
    const opened = await openLogBroker(this.disk, { ...this.options, clock: this.clock });
    this.broker = opened.broker;
    this.store = opened.store;
    this.looks = 0;
    const { view } = this.store;
    this.store.view = (...which) => {
      this.looks++;
      return view.apply(this.store, which);
    };
    return this;
  }

  /** Cut off without warning; `downMs` later another one opens what is there. */
  async crash(downMs = 0): Promise<this> {
    this.disk = this.disk.copy();
    this.clock.time += downMs;
    return await this.open();
  }

  async restart(downMs = 0): Promise<this> {
    await this.broker.close();
    this.clock.time += downMs;
    return await this.open();
  }

  send(count: number, ttlMs = 0, name = "q"): void {
    const peer = connect(this.broker);
    const target = peer.openTarget(queue(name));
    for (let i = 0; i < count; i++) {
      target.publish(draft("m", { ttlMs }));
      if (i % 1000 === 999) this.clock.run();
    }
    this.clock.run();
    peer.close();
    this.clock.run();
  }

  async seconds(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      await settle(2);
      this.clock.run();
      this.clock.advance(1000);
      this.clock.run();
    }
    await settle(2);
    this.clock.run();
  }

  node(name = "q") {
    return this.broker.registry.find("queue", "/", name)!;
  }

  get expired(): number {
    return this.node().counters.expired;
  }
}

test("after a crash nothing is looked at in a queue in which nothing expires, apart from what came last", async (t) => {
  const story = await new Story().open();
  story.send(6 * EXPIRY_PAGE);
  await story.seconds(3);
  story.send(10);
  await story.crash();
  await story.seconds(5);
  t.true(story.looks < 2 * EXPIRY_PAGE, `${story.looks} records were looked at`);
  t.is(story.node().expiry, null);
  t.false(story.node().mayExpire, "nor is every delivery checked");
  await story.broker.close();
});

for (const how of ["crash", "restart"] as const) {
  test(`a message that was over while the broker was down is buried at once, wherever it is (${how})`, async (t) => {
    const story = await new Story().open();
    story.send(3 * EXPIRY_PAGE);
    story.send(1, HOUR);
    story.send(3 * EXPIRY_PAGE);
    await story.seconds(3);
    await story[how](2 * HOUR);
    await story.seconds(2);
    t.is(story.expired, 1);
    t.is(story.node().backlog, 6 * EXPIRY_PAGE);
    t.is(story.node("DLQ.q").backlog, 1);
    t.true(story.looks < 3 * EXPIRY_PAGE, `${story.looks} records were looked at`);
    await story.broker.close();
  });
}

test("what is known lasts over several crashes, and a time that has not come stays known", async (t) => {
  const story = await new Story().open();
  story.send(2 * EXPIRY_PAGE);
  story.send(1, 10 * HOUR);
  for (let i = 0; i < 3; i++) {
    story.send(EXPIRY_PAGE);
    await story.seconds(3);
    await story.crash(HOUR);
  }
  await story.seconds(3);
  t.is(story.expired, 0);
  t.is(story.looks, 0);
  await story.crash(8 * HOUR);
  await story.seconds(3);
  t.is(story.expired, 1);
  await story.broker.close();
});

test("messages published just before a crash are looked at: what the journal was not told is not taken for nothing", async (t) => {
  const story = await new Story().open();
  story.send(EXPIRY_PAGE);
  await story.seconds(3);
  // Nobody has told the journal of these.
  story.send(5, HOUR);
  await story.crash(2 * HOUR);
  await story.seconds(3);
  t.is(story.expired, 5);
  await story.broker.close();
});

test("a message that was being buried when the broker crashed is buried again", async (t) => {
  const story = await new Story().open();
  story.send(EXPIRY_PAGE);
  story.send(3, HOUR);
  await story.seconds(3);
  const before = story.disk.copy();
  story.clock.time += 2 * HOUR;
  await story.seconds(3);
  t.is(story.expired, 3);
  // As if the journal had the notes of that, and none of its settlements.
  story.disk = before;
  await story.open();
  await story.seconds(3);
  t.is(story.expired, 3);
  await story.crash();
  await story.seconds(40);
  t.is(story.node().backlog, EXPIRY_PAGE);
  t.is(story.node().expiry, null, "and then nothing is left to look at");
  await story.broker.close();
});

test("without its notes a queue is looked at as a whole, and then they are there", async (t) => {
  const story = await new Story().open();
  story.send(4 * EXPIRY_PAGE);
  story.send(1, HOUR);
  await story.seconds(3);
  story.disk = story.disk.copy();
  story.disk.removeTree("/data/journal");
  await story.open();
  t.true(story.node().mayExpire);
  await story.seconds(10);
  t.true(story.looks >= 4 * EXPIRY_PAGE);
  t.is(story.node().expiry!.unknownPages, 0);
  await story.crash();
  await story.seconds(5);
  t.is(story.looks, 0);
  await story.crash(2 * HOUR);
  await story.seconds(3);
  t.is(story.expired, 1);
  await story.broker.close();
});

test("queues at rest know after a crash that nothing expires in them, and of what came since", async (t) => {
  const story = await new Story({ keepAwake: 0 }).open();
  for (const name of ["a", "b"]) story.send(100, 0, name);
  await story.seconds(5);
  t.is(story.broker.registry.awakeCount, 0);
  await story.restart();
  t.is(story.broker.registry.awakeCount, 0);
  story.send(1, HOUR, "a");
  await story.crash(2 * HOUR);
  await story.seconds(3);
  t.is(story.node("a").counters.expired, 1);
  t.is(story.node("a").backlog, 100);
  t.is(story.node("b").backlog, 100);
  t.true(story.looks <= 250, `${story.looks} records were looked at`);
  await story.broker.close();
});

test("a queue deleted and made again inherits nothing", async (t) => {
  const story = await new Story().open();
  story.send(EXPIRY_PAGE);
  await story.seconds(3);
  story.broker.deleteNode(story.node());
  story.clock.run();
  story.send(5, HOUR);
  await story.crash(2 * HOUR);
  await story.seconds(3);
  t.is(story.expired, 5);
  await story.broker.close();
});

test("what was consumed before the crash costs no look, and what is left of a page does", async (t) => {
  const story = await new Story().open();
  story.send(2 * EXPIRY_PAGE, HOUR);
  story.send(EXPIRY_PAGE);
  const peer = connect(story.broker);
  const sink = consume(peer, queue("q"), { credit: 2 * EXPIRY_PAGE - 10 });
  await story.seconds(1);
  t.is(sink.received.length, 2 * EXPIRY_PAGE - 10);
  sink.consumer.settle(0, 2 * EXPIRY_PAGE - 11, OUTCOME.ACCEPT);
  story.clock.run();
  await story.seconds(3);
  await story.crash(2 * HOUR);
  await story.seconds(3);
  t.is(story.expired, 10);
  t.is(story.node().backlog, EXPIRY_PAGE);
  t.true(story.looks <= 3 * EXPIRY_PAGE, `${story.looks} records were looked at`);
  await story.broker.close();
});
