import test from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import {
  NEVER_EXPIRES,
  type Session,
  type SessionRequest,
} from "../../src/broker/session-facade.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { SimulatedClock } from "../sim/simulated-clock.ts";
import { crash, openLogBroker } from "../support/log-broker.ts";
import { SESSION_SINK } from "../support/session-sink.ts";
import { Collector, connect, draft, queue, settle, topic } from "../support/test-client.ts";

const open = (broker: Broker, clientId: string, more: Partial<SessionRequest> = {}): Session =>
  broker.sessions.open(
    connect(broker, clientId),
    { clientId, isCleanStart: false, expirySeconds: 10, will: null, ...more },
    SESSION_SINK,
  );

test("a session ends when the clock of the turns says so, a far one in steps, one without end never", async (t) => {
  const clock = new SimulatedClock();
  const { broker } = await openLogBroker(new MemoryStorage(), { clock });
  const lives = { short: 10, long: 3_000_000, endless: NEVER_EXPIRES };
  for (const [name, expirySeconds] of Object.entries(lives)) {
    open(broker, name, { expirySeconds }).detach(true, []);
  }
  clock.advance(9_999);
  t.is(broker.sessions.stats.sessions, 3);
  clock.advance(1);
  t.deepEqual(
    [...broker.sessions.sessions()].map(({ clientId }) => clientId),
    ["long", "endless"],
  );
  clock.advance(3_000_000_000 - 10_001);
  t.is(broker.sessions.stats.sessions, 2);
  clock.advance(1);
  t.deepEqual(
    [...broker.sessions.sessions()].map(({ clientId }) => clientId),
    ["endless"],
  );
  await crash(broker);
});

test("who comes back in time has the session, and its old end no longer counts", async (t) => {
  const clock = new SimulatedClock();
  const { broker } = await openLogBroker(new MemoryStorage(), { clock });
  open(broker, "a").detach(true, []);
  clock.advance(9_000);
  const again = open(broker, "a");
  t.true(again.isPresent);
  clock.advance(60_000);
  t.is(broker.sessions.stats.sessions, 1);
  again.detach(true, []);
  clock.advance(9_999);
  t.true(open(broker, "a").isPresent);
  await crash(broker);
});

test("a delayed will goes out at its time by the same clock", async (t) => {
  const clock = new SimulatedClock();
  const { broker } = await openLogBroker(new MemoryStorage(), { clock });
  const watcher = new Collector();
  watcher.consumer = connect(broker, "watcher").openConsumer(
    { address: topic("last-words"), mode: "consume", preSettled: true, onLost: 0 },
    watcher,
  );
  watcher.consumer.setCredit(10);
  const will = { topic: "last-words", draft: draft("bye"), delaySeconds: 4 };
  open(broker, "a", { will }).detach(false, []);
  clock.advance(3_999);
  t.deepEqual(watcher.texts, []);
  clock.advance(1);
  for (let i = 0; i < 5; i++) {
    await settle();
    clock.run();
  }
  t.deepEqual(watcher.texts, ["bye"]);
  t.is(broker.sessions.stats.sessions, 1, "the session outlives it");
  await crash(broker);
});

test("after a start the clock goes on where it is: what ended meanwhile is not resumed", async (t) => {
  const disk = new MemoryStorage();
  const clock = new SimulatedClock();
  const first = await openLogBroker(disk, { clock });
  open(first.broker, "gone").detach(true, []);
  clock.advance(5_000);
  open(first.broker, "there").detach(true, []);
  open(first.broker, "connected");
  connect(first.broker, "p").openTarget(queue("q")).publish(draft("x"));
  clock.run();
  await first.broker.close();
  clock.forget();
  clock.time += 6_000;
  const { broker } = await openLogBroker(disk, { clock });
  // Before any timer had its turn.
  t.false(open(broker, "gone").isPresent);
  t.true(open(broker, "there").isPresent);
  clock.advance(9_999);
  t.is(broker.sessions.stats.sessions, 3, "the connection of the third was lost by the stop");
  clock.advance(1);
  t.is(broker.sessions.stats.sessions, 2);
  await crash(broker);
});
