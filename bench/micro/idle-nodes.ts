/**
 * What an idle queue, group or light queue costs above the store, and how fast they are made.
 * `node --expose-gc dist/bench/micro/idle-nodes.js [count]`: bytes of heap each (the test's store is among them, as is the
 * map by name), made per second, ms for a whole snapshot (the broker takes it in slices).
 *
 *   50,000 on a busy two-core machine     bytes (store: 294)   per second   snapshot
 *   queues                                             1,765       26,000    1,570 ms
 *   topics without groups                              1,130       39,000      620 ms
 *   light queues                                       1,715       19,000    1,290 ms
 */
import { DEFAULT_SETTINGS } from "../../src/broker/policy.ts";
import { makeBroker } from "../../test/support/log-broker.ts";
import { MemoryStore } from "../../test/support/memory-store.ts";

const count = Number(process.argv[2] ?? 100_000);
const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
const say = (line: string): void => void process.stdout.write(`${line}\n`);

class QuietStore extends MemoryStore {
  /** Store objects alone, to be taken off. */
  override publish(): void {}
}

async function measure(
  name: string,
  make: (broker: ReturnType<typeof makeBroker>, i: number) => void,
) {
  const store = new QuietStore();
  const broker = makeBroker(store, { settings: DEFAULT_SETTINGS });
  await broker.open();
  store.journal.append = () => 0;
  collect();
  const before = process.memoryUsage().heapUsed;
  const began = performance.now();
  for (let i = 0; i < count; i++) make(broker, i);
  const seconds = (performance.now() - began) / 1000;
  collect();
  const bytes = (process.memoryUsage().heapUsed - before) / count;
  const at = performance.now();
  broker.snapshot();
  const ms = performance.now() - at;
  say(
    `${name}: ${Math.round(bytes)} bytes each, ${Math.round(count / seconds)} per second, snapshot ${Math.round(ms)} ms`,
  );
  await broker.close();
}

const bare = new MemoryStore();
collect();
const before = process.memoryUsage().heapUsed;
for (let i = 0; i < count; i++) bare.queue(`Q-queue${i}`, 0);
collect();
say(
  `the test's store alone: ${Math.round((process.memoryUsage().heapUsed - before) / count)} bytes each`,
);
await measure("queues", (broker, i) => {
  broker.registry.create("queue", "/", `queue${i}`, false);
});
await measure("topics", (broker, i) => {
  broker.registry.create("topic", "/", `topic${i}`, false);
});
await measure("light queues", (broker, i) => {
  broker.registry.lightNode(`s${i}`);
});
