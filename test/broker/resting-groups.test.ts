import test from "ava";
import fc from "fast-check";
import type { Broker } from "../../src/broker/broker.ts";
import { ConsumerGroup, type GroupSettings } from "../../src/broker/consumer-group.ts";
import { type BrokerConnection, OUTCOME } from "../../src/broker/facade.ts";
import { GroupSet } from "../../src/broker/group-set.ts";
import { groupNameOf } from "../../src/broker/group-settings.ts";
import { Inspection } from "../../src/broker/inspect.ts";
import { maskOwed, type Node, owedCount, owedFrom } from "../../src/broker/node.ts";
import { GroupPacker, unpackGroup } from "../../src/broker/packed-group.ts";
import { ShardProgress } from "../../src/broker/shard-progress.ts";
import { type Clock, REAL_CLOCK } from "../../src/util/turn.ts";
import { makeBroker } from "../support/log-broker.ts";
import { MemoryStore } from "../support/memory-store.ts";
import { connect, consume, draft, settle, topic } from "../support/test-client.ts";

const COUNT = 300;
const NEWS = topic("news");

/** Rounds of housekeeping are the test's own. */
const clock: Clock = {
  ...REAL_CLOCK,
  after: (ms, task) => (ms < 1000 ? REAL_CLOCK.after(ms, task) : undefined),
};

async function open(store: MemoryStore): Promise<Broker> {
  const broker = makeBroker(store, { clock });
  await broker.open();
  return broker;
}

const subscription = (i: number) => ({
  clientId: "c",
  name: `s${i}`,
  isDurable: true,
  isShared: false,
});
const only = (i: number) => ({ subscription: subscription(i) });

/** So many durable subscriptions of one topic, each made and left; of every third with a selector of its own. */
function subscribe(peer: BrokerConnection, count = COUNT): void {
  for (let i = 0; i < count; i++) {
    const selector = i % 3 === 0 ? { selector: "color = 'red'" } : {};
    consume(peer, NEWS, { ...only(i), ...selector }).consumer.close(OUTCOME.RELEASE);
  }
}

const publish = (peer: BrokerConnection, text: string, properties = ""): void => {
  const target = peer.openTarget(NEWS);
  target.publish(draft(text, properties === "" ? {} : { properties }));
  target.close();
};

function rest(broker: Broker): Node {
  for (let i = 0; i < 3; i++) broker.keepHouse();
  return broker.registry.find("topic", "/", "news")!;
}

test("groups that nobody reads are at rest, and publishing wakes none of them", async (t) => {
  const broker = await open(new MemoryStore());
  const peer = connect(broker, "c");
  subscribe(peer);
  await settle();
  const { groups } = rest(broker);
  t.deepEqual([groups.size, groups.awakeCount], [COUNT, 100]);
  for (let i = 0; i < 5; i++) publish(peer, `m${i}`);
  await settle();
  const node = rest(broker);
  t.deepEqual([node.groups.size, node.groups.awakeCount], [COUNT, 100]);
  t.is(node.backlog, COUNT * 5);
  t.is(owedFrom(node, 0), 0);
  t.is(owedCount(node, 0), 5);
  t.is(node.groups.awakeCount, 100);
  await broker.close();
});

test("a group at rest gets what came meanwhile, in order and once, over a restart too", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  subscribe(peer);
  rest(broker);
  for (const text of ["a", "b", "c"]) publish(peer, text);
  await settle();
  const first = consume(peer, NEWS, { ...only(250), credit: 2 });
  await settle();
  t.deepEqual(first.texts, ["a", "b"]);
  first.consumer.settle(0, 0, OUTCOME.ACCEPT);
  first.consumer.settle(1, 1, OUTCOME.ACCEPT);
  first.consumer.close(OUTCOME.RELEASE);
  await settle();
  const { groups } = rest(broker);
  t.is(groups.awakeCount, 100);
  t.is(peer.findSubscription(subscription(250))?.backlog, 1);
  rest(broker);
  await broker.close();

  const again = await open(store);
  const back = connect(again, "c");
  t.is(rest(again).groups.awakeCount, 100);
  const sinks = [250, 251].map((i) => consume(back, NEWS, only(i)));
  await settle();
  t.deepEqual(
    sinks.map(({ texts }) => texts),
    [["c"], ["a", "b", "c"]],
  );
  await again.close();
});

test("whoever comes back to a group at rest finds its selector, and may change it as before", async (t) => {
  const broker = await open(new MemoryStore());
  const peer = connect(broker, "c");
  subscribe(peer);
  rest(broker);
  const wish = { ...only(240), selector: "color = 'red'" };
  t.is(peer.findSubscription(subscription(240))?.selector, wish.selector);
  publish(peer, "plain");
  await settle();
  const red = consume(peer, NEWS, wish);
  await settle();
  t.deepEqual(red.texts, []);
  red.consumer.close(OUTCOME.RELEASE);
  rest(broker);
  // Without its selector it is another subscription, which begins now.
  const all = consume(peer, NEWS, only(240));
  publish(peer, "later");
  await settle();
  t.deepEqual(all.texts, ["later"]);
  t.is(rest(broker).groups.size, COUNT);
  await broker.close();
});

test("one that is deleted while at rest is gone, and the topic with all of them", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  subscribe(peer);
  const { groups } = rest(broker);
  peer.deleteSubscription(subscription(280));
  t.is(groups.size, COUNT - 1);
  t.is(peer.findSubscription(subscription(280)), undefined);
  await broker.close();
  const again = await open(store);
  const node = rest(again);
  t.is(node.groups.size, COUNT - 1);
  again.directory.delete(node);
  await again.close();
  const third = await open(store);
  t.is(third.registry.find("topic", "/", "news"), undefined);
  await third.close();
});

test("lists and sums say the same of groups at rest and awake, and wake none", async (t) => {
  const broker = await open(new MemoryStore());
  const peer = connect(broker, "c");
  subscribe(peer);
  for (let i = 0; i < 7; i++) publish(peer, `m${i}`);
  await settle();
  const inspection = new Inspection(broker);
  const node = broker.registry.find("topic", "/", "news")!;
  const look = () => {
    const views = inspection.groupsOf("topic", "/", "news");
    return {
      groups: views.sort((a, b) => (a.name < b.name ? -1 : 1)),
      node: inspection.nodes("topic").items.map(({ groups, ...facts }) => ({
        ...facts,
        groups: [...groups].sort(),
      })),
      count: inspection.overview().groups,
      backlog: node.backlog,
    };
  };
  const awake = look();
  t.is(awake.groups.length, COUNT);
  rest(broker);
  t.is(node.groups.awakeCount, 100);
  t.deepEqual(look(), awake);
  t.is(node.groups.awakeCount, 100);
  await broker.close();
});

test("a snapshot in steps holds every group, whichever wake while it is written", async (t) => {
  const store = new MemoryStore();
  const broker = await open(store);
  const peer = connect(broker, "c");
  subscribe(peer);
  for (const text of ["a", "b"]) publish(peer, text);
  await settle();
  rest(broker);
  const steps = broker.snapshotSteps();
  let taken = 0;
  for (let i = 0; steps.next().done !== true; i++) {
    // From both ends: some that are written already, some that are not.
    const number = i % 2 === 0 ? 100 + i / 2 : COUNT - (i + 1) / 2;
    if (number % 3 === 0 || number < 100 || number >= COUNT) continue;
    const sink = consume(peer, NEWS, { ...only(number), credit: 1 });
    await settle(1);
    if (sink.received.length === 0) await settle();
    t.deepEqual(sink.texts, ["a"], `${number}`);
    sink.consumer.settle(0, 0, OUTCOME.ACCEPT);
    sink.consumer.close(OUTCOME.RELEASE);
    taken++;
    if (taken === 40) break;
  }
  while (steps.next().done !== true);
  t.is(taken, 40);
  await settle();
  const before = new Inspection(broker).groupsOf("topic", "/", "news");
  await broker.close();
  const again = await open(store);
  const after = new Inspection(again).groupsOf("topic", "/", "news");
  const lows = (views: typeof before) =>
    Object.fromEntries(views.map(({ name, shards }) => [name, shards[0]!.low]));
  t.deepEqual(lows(after), lows(before));
  t.is(after.filter(({ backlog }) => backlog === 1).length, 40);
  await again.close();
});

const HOST = { schedule() {}, markDirty() {}, outdated() {} };

/** A topic's worth of a node. */
function makeNode(ends: readonly number[]): Node {
  const shards = ends.map((maxOffset, queueId) => ({ queueId, maxOffset, minOffset: 0 }));
  return { kind: "topic", shards, groups: new GroupSet(), duplicates: null } as unknown as Node;
}

function makeGroup(node: Node, settings: GroupSettings, lows: readonly number[]): ConsumerGroup {
  const group = new ConsumerGroup(node, settings, HOST);
  for (const [index, low] of lows.entries()) {
    const number = 100 + index;
    group.addShard(new ShardProgress(number, group, node.shards[index]!, index, low));
  }
  group.journalId = 100;
  return group;
}

test("what is packed of a group is what comes back", (t) => {
  const text = fc.string({ unit: "grapheme", maxLength: 12 });
  const identity = fc.record({
    clientId: text,
    name: text,
    isShared: fc.boolean(),
    isDurable: fc.constant(true),
  });
  const settings = fc.record({
    name: text,
    isDurable: fc.constant(true),
    isOrdered: fc.boolean(),
    isVolatile: fc.constant(false),
    identity: fc.option(identity),
    tags: text,
    selector: text,
    noLocal: fc.constant(false),
    path: text,
    filter: fc.constant(null),
  });
  const lows = fc.array(fc.nat({ max: 2 ** 40 }), { minLength: 1, maxLength: 9 });
  const packer = new GroupPacker();
  fc.assert(
    fc.property(settings, lows, (drawn, starts) => {
      const name = drawn.identity === null ? drawn.name : groupNameOf(drawn.identity);
      const { filter: _, ...wanted } = { ...drawn, name };
      const group = makeGroup(makeNode(starts), { ...drawn, name }, starts);
      const length = packer.pack(group);
      const unpacked = unpackGroup(name, packer.bytes.subarray(0, length));
      t.deepEqual(unpacked.settings, wanted);
      t.deepEqual(unpacked.lows, starts);
      t.deepEqual(
        unpacked.progress,
        starts.map((_, index) => 100 + index),
      );
    }),
  );
});

test("what bytes do not tell stays an object", (t) => {
  const packer = new GroupPacker();
  const plain: GroupSettings = {
    name: "g",
    isDurable: true,
    isOrdered: false,
    isVolatile: false,
    identity: null,
    tags: "",
    selector: "",
    noLocal: false,
    path: "news",
    filter: null,
  };
  const pack = (settings: Partial<GroupSettings>, change: (group: ConsumerGroup) => void) => {
    const group = makeGroup(makeNode([10]), { ...plain, ...settings }, [2]);
    change(group);
    return packer.pack(group);
  };
  const nothing = () => {};
  t.true(pack({}, nothing) > 0);
  t.is(pack({ noLocal: true }, nothing), 0);
  t.is(pack({ selector: "s".repeat(6000) }, nothing), 0);
  t.is(
    pack({}, (group) => group.shards[0]!.noteAttempts(3, { failed: 1, lost: 0 })),
    0,
  );
  t.is(
    pack({}, (group) => void group.shards[0]!.state.settle(4, 1)),
    0,
  );
  t.is(
    pack({}, (group) => group.shards[0]!.state.acquire(2, 1)),
    0,
  );
});

test("where groups at rest stand is what each of them says, whichever wake and rest", (t) => {
  const ends = [50, 60];
  const low = fc.tuple(fc.nat({ max: 50 }), fc.nat({ max: 60 }));
  const step = fc.tuple(fc.nat({ max: 15 }), low, fc.boolean());
  const packer = new GroupPacker();
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const node = makeNode(ends);
      const { groups } = node;
      const model = new Map<string, readonly number[]>();
      const settings = (name: string): GroupSettings => ({
        ...{ name, isDurable: true, isOrdered: false, isVolatile: false, identity: null },
        ...{ tags: "", selector: "", noLocal: false, path: "news", filter: null },
      });
      const unpack = (name: string, value: Buffer) =>
        makeGroup(node, settings(name), unpackGroup(name, value).lows);
      for (const [number, lows, isRest] of steps) {
        const name = `g${number}`;
        const known = groups.get(name);
        if (known !== undefined && !isRest) {
          groups.delete(name);
          model.delete(name);
          continue;
        }
        const group = makeGroup(node, settings(name), lows);
        groups.set(name, group);
        model.set(name, lows);
        t.true(groups.rest(group, packer, unpack));
      }
      const all = [...model.values()];
      t.is(groups.size, model.size);
      t.deepEqual(groups.keys().sort(), [...model.keys()].sort());
      const owed = all.map(([a, b]) => ends[0]! - a! + ends[1]! - b!);
      const sum = owed.reduce((total, each) => total + each, 0);
      t.is(groups.backlog(node.shards), sum);
      t.is(groups.mostOwed(node.shards), Math.max(0, ...owed));
      for (const shard of [0, 1]) {
        const lowest = Math.min(ends[shard]!, ...all.map((lows) => lows[shard]!));
        t.is(groups.owedFrom(shard, ends[shard]!), lowest);
        const mask = new Uint8Array(20);
        const isOwed = Array.from({ length: 20 }, (_, i) => (10 + i >= lowest ? 1 : 0));
        const isAny = all.length > 0;
        t.is(
          maskOwed(node, node.shards[shard]!, 10, 20, mask),
          isAny ? isOwed.filter((each) => each === 1).length : 0,
        );
        t.deepEqual([...mask], isAny ? isOwed : isOwed.map(() => 0));
      }
      const looks = [...groups.looks()].map(({ name }) => name);
      t.deepEqual(looks.sort(), [...model.keys()].sort());
      t.deepEqual([...groups.values()].map(({ name }) => name).sort(), looks);
      t.is(groups.restingCount, 0);
    }),
  );
});

test("fifty thousand groups at rest take fewer than a hundred bytes each", (t) => {
  const node = makeNode([10]);
  const packer = new GroupPacker();
  for (let i = 0; i < 50_000; i++) {
    const identity = { clientId: "scale", name: `subscription-${i}` } as const;
    const settings: GroupSettings = {
      ...{ name: `scale/subscription-${i}`, isDurable: true, isOrdered: false, isVolatile: false },
      ...{ identity: { ...identity, isDurable: true, isShared: false }, tags: "", selector: "" },
      ...{ noLocal: false, path: "news", filter: null },
    };
    const group = makeGroup(node, settings, [i % 10]);
    node.groups.set(group.name, group);
    node.groups.rest(group, packer, () => group);
  }
  t.deepEqual([node.groups.awakeCount, node.groups.restingCount], [0, 50_000]);
  const { bytes } = node.groups.resting!;
  t.true(bytes < 50_000 * 100, `${bytes} bytes`);
});
