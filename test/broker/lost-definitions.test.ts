/** The journal has lost some of what defines queues, topics and groups: the broker opens with what is left. */
import test, { type ExecutionContext } from "ava";
import type { Broker } from "../../src/broker/broker.ts";
import { CatalogWriter, ENTRY } from "../../src/broker/catalog.ts";
import { OUTCOME } from "../../src/broker/facade.ts";
import { nodeKey } from "../../src/broker/node-key.ts";
import { Operations } from "../../src/broker/operations.ts";
import { RestingNodes } from "../../src/broker/resting-nodes.ts";
import { makeBroker } from "../support/log-broker.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { connect, consume, draft, queue, settle, topic } from "../support/test-client.ts";

const SUBSCRIPTION = { clientId: "c", name: "s", isDurable: true, isShared: false };

/** A store whose snapshots never get to the disk; `entries` is what the journal holds at the next start. */
function storeWithoutSnapshots() {
  const store = new MemoryStore();
  const { journal } = store;
  const append = journal.append.bind(journal);
  let entries: Buffer[] = [];
  Object.assign(journal, {
    append(bytes: Uint8Array, start: number, end: number): number {
      entries.push(Buffer.from(bytes.subarray(start, end)));
      return append(bytes, start, end);
    },
    replay(entry: (bytes: Buffer) => void): void {
      for (const bytes of entries) entry(bytes);
    },
    snapshot(): void {},
  });
  const lose = (isLost: (entry: Buffer) => boolean): number => {
    const before = entries.length;
    entries = entries.filter((entry) => !isLost(entry));
    return before - entries.length;
  };
  return { store, lose };
}

/** Opens what the last one, cut off without a word, has left. */
async function start(t: ExecutionContext, store: MemoryStore): Promise<Broker> {
  const broker = makeBroker(store);
  await broker.open();
  t.teardown(() => broker.close());
  return broker;
}

test("a queue whose definition a crash took comes back, also when further crashes take what the next starts made of it", async (t) => {
  const { store, lose } = storeWithoutSnapshots();
  const first = await start(t, store);
  connect(first)
    .openTarget(queue("q"))
    .publish(draft("urgent", { priority: 9 }));
  await settle();
  t.true(lose(() => true) > 0);
  await start(t, store);
  const third = await start(t, store);
  connect(third)
    .openTarget(queue("q"))
    .publish(draft("less so", { priority: 0 }));
  await settle();
  const fourth = await start(t, store);
  const reader = consume(connect(fourth), queue("q"));
  await settle();
  t.deepEqual(reader.texts, ["urgent", "less so"]);
});

test("a subscription that was ended and made again is there once when damage took the end of the first", async (t) => {
  const { store, lose } = storeWithoutSnapshots();
  const peer = connect(await start(t, store), "c");
  const open = () => consume(peer, topic("t"), { subscription: SUBSCRIPTION });
  const target = peer.openTarget(topic("t"));
  open().consumer.close(OUTCOME.RELEASE);
  target.publish(draft("for the first"));
  await settle();
  peer.deleteSubscription(SUBSCRIPTION);
  open().consumer.close(OUTCOME.RELEASE);
  target.publish(draft("for the second"));
  await settle();
  t.is(
    lose((entry) => entry[0] === ENTRY.GROUP_GONE),
    1,
  );
  const again = connect(await start(t, store), "c");
  const reader = consume(again, topic("t"), { subscription: SUBSCRIPTION });
  await settle();
  t.deepEqual(reader.texts, ["for the second"]);
});

test("a subscription whose topic is lost does not become one of what is made next", async (t) => {
  const { store, lose } = storeWithoutSnapshots();
  const peer = connect(await start(t, store), "c");
  consume(peer, topic("t"), { subscription: SUBSCRIPTION }).consumer.close(OUTCOME.RELEASE);
  await settle();
  t.is(
    lose((entry) => entry[0] === ENTRY.BORN),
    1,
  );
  for (const shard of [...store.queues()]) store.dropQueue(shard);
  const second = await start(t, store);
  connect(second).openTarget(queue("q")).publish(draft("m"));
  await settle();
  const third = await start(t, store);
  t.deepEqual([...third.registry.find("queue", "/", "q")!.groups.keys()], [""]);
});

for (const wasAtRest of [false, true]) {
  const kind = wasAtRest ? "at rest" : "in use";
  test(`a queue that was deleted and made again is there once when a crash took the end of the first (${kind})`, async (t) => {
    const { store, lose } = storeWithoutSnapshots();
    const first = await start(t, store);
    connect(first).openTarget(queue("q")).publish(draft("of the first"));
    if (wasAtRest) {
      connect(first).openTarget(queue("q")).close();
      await settle();
      // As a snapshot has it: nodes at rest, in one entry.
      lose(() => true);
      const { registry } = first;
      const packed = new RestingNodes();
      t.true(packed.add(nodeKey("queue", "/", "q"), registry.find("queue", "/", "q")!));
      const writer = new CatalogWriter(store.journal);
      for (const _ of packed.writeSnapshot(writer));
    }
    const other = wasAtRest ? await start(t, store) : first;
    new Operations(other).delete({ kind: "queue", namespace: "/", name: "q" });
    await settle();
    const peer = connect(other);
    consume(peer, queue("q"), { credit: 0 });
    peer.openTarget(queue("q")).publish(draft("of the second"));
    await settle();
    const lost = [ENTRY.NODE_GONE, ENTRY.GROUP_GONE, ENTRY.WOKEN] as number[];
    t.is(
      lose((entry) => lost.includes(entry[0]!)),
      wasAtRest ? 3 : 2,
    );
    const second = await start(t, store);
    t.is(second.registry.countIn("/"), other.registry.countIn("/"));
    const reader = consume(connect(second), queue("q"));
    await settle();
    t.deepEqual(reader.texts, ["of the second"]);
    reader.consumer.settle(0, 0, OUTCOME.ACCEPT);
    reader.consumer.close(OUTCOME.RELEASE);
    await settle();
    // Gone is gone, also after the next start.
    new Operations(second).delete({ kind: "queue", namespace: "/", name: "q" });
    await settle();
    const third = await start(t, store);
    t.is(third.registry.find("queue", "/", "q"), undefined);
    t.is(third.registry.countIn("/"), second.registry.countIn("/"));
  });
}
