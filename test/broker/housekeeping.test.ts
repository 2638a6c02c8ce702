import test from "ava";
import type { Expirer } from "../../src/broker/expirer.ts";
import { Housekeeping } from "../../src/broker/housekeeping.ts";
import { Node } from "../../src/broker/node.ts";
import { DEFAULT_SETTINGS } from "../../src/broker/policy.ts";
import { makeAddress } from "../../src/model/address.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { Turn } from "../../src/util/turn.ts";
import { MemoryStore } from "../support/memory-store.ts";

const MIB = 1 << 20;

/** Housekeeping over a store that notes what it hears, as it hears it. */
function open(nodeCount: number) {
  const store = new MemoryStore();
  const told: string[] = [];
  const reviewed: number[] = [];
  Object.assign(store, {
    owes: (queue: StoreQueue) => void told.push(queue.topic),
    owesReviewed: (position: number) => void reviewed.push(position),
  });
  const housekeeping = new Housekeeping({
    store,
    turn: new Turn(),
    expirer: null as unknown as Expirer,
    noteExpiries: () => false,
    isHeld: () => false,
    limit() {},
    restWork: () => [][Symbol.iterator](),
    snapshotWork: () => null,
    keepHouse() {},
  });
  const nodes = Array.from({ length: nodeCount }, (_, i) => {
    const address = makeAddress("queue", `q${i}`);
    const queue = store.queue(`q${i}`, 0);
    const node = new Node(i, address, "queue", false, DEFAULT_SETTINGS, [queue]);
    node.host = housekeeping;
    return node;
  });
  /** The log has grown to this. */
  const grow = (appended: number): void => {
    store.watermarks.appended = appended;
    housekeeping.keepPace();
  };
  return { store, housekeeping, nodes, told, reviewed, grow };
}

test("ten thousand busy nodes are looked after in their order while 160 MiB are written, a few each turn", (t) => {
  const { nodes, told, reviewed, grow } = open(10_000);
  for (const node of nodes) node.touch();
  let most = 0;
  for (let appended = 0; appended <= 160 * MIB; appended += MIB / 4) {
    const before = told.length;
    grow(appended);
    most = Math.max(most, told.length - before);
  }
  t.deepEqual(
    told,
    nodes.map((node) => node.shards[0]!.topic),
  );
  t.true(most <= 64, `${most} in one turn`);
  t.is(reviewed[0], 16 * MIB);
  t.false(nodes.some((node) => node.isTouched));
});

test("a node that is touched while others are looked after has its turn with the next 16 MiB", (t) => {
  const { nodes, told, reviewed, grow } = open(3);
  nodes[0]!.touch();
  nodes[1]!.touch();
  grow(16 * MIB);
  t.deepEqual(told, ["q0"]);
  nodes[0]!.touch();
  nodes[2]!.touch();
  grow(24 * MIB);
  t.deepEqual(told, ["q0", "q1"]);
  t.deepEqual(reviewed, [16 * MIB]);
  grow(31 * MIB);
  t.is(told.length, 2);
  grow(32 * MIB);
  grow(48 * MIB);
  t.deepEqual(told, ["q0", "q1", "q0", "q2"]);
  t.deepEqual(reviewed, [16 * MIB, 32 * MIB]);
});

test("a round of the clock looks after what waits for its turn as well", (t) => {
  const { store, housekeeping, nodes, told, reviewed, grow } = open(100);
  for (const node of nodes) node.touch();
  grow(16 * MIB);
  t.true(told.length < 10);
  nodes[0]!.touch();
  t.is(housekeeping.touchedCount, 100);
  store.watermarks.appended = 17 * MIB;
  housekeeping.finish();
  t.is(housekeeping.touchedCount, 0);
  t.is(told.length, 101);
  t.deepEqual(reviewed, [16 * MIB, 17 * MIB]);
});
