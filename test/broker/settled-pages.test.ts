/** What is settled out of order is told to the journal in few bytes, and comes back as it was. */
import test from "ava";
import { AckState, STATE } from "../../src/broker/ack-state.ts";
import type { Broker } from "../../src/broker/broker.ts";
import { applyEntry, CatalogWriter, ENTRY, emptyImage } from "../../src/broker/catalog.ts";
import { writeSettled } from "../../src/broker/settled-pages.ts";
import { PAGE_SIZE } from "../../src/broker/state-pages.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import { crash, openLogBroker } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { connect, draft, queue, settle } from "../support/test-client.ts";

const PROGRESS = 3;

/** A writer that keeps what it is given. */
function writerInto(entries: Buffer[]): CatalogWriter {
  return new CatalogWriter({
    append(bytes, start, end) {
      entries.push(Buffer.from(bytes.subarray(start, end)));
      return 0;
    },
  });
}

function told(state: AckState, between: () => void = () => {}): Buffer[] {
  const entries: Buffer[] = [];
  for (const _ of writeSettled(PROGRESS, state, writerInto(entries))) between();
  return entries;
}

function read(entries: readonly Buffer[], into: AckState): AckState {
  const image = emptyImage();
  image.progress.set(PROGRESS, { state: into, attempts: new Map() });
  for (const entry of entries) applyEntry(image, entry);
  return into;
}

/** Which offsets of [from, to) are settled, as text of 0 and 1: compared at once. */
function settledOf(state: AckState, from: number, to: number): string {
  const found = Buffer.alloc(to - from, "0");
  for (let at = from; at < to; at++)
    if (state.stateOf(at) === STATE.SETTLED) found[at - from] = 0x31;
  return found.toString("latin1");
}

for (const base of [0, 1000, 2 ** 40 + 77]) {
  test(`whatever is settled from ${base} on, sparse, strewn or whole pages, comes back`, (t) => {
    const random = new Random(base + 5);
    const state = new AckState(base);
    const end = base + 150 * PAGE_SIZE;
    for (let from = base + 1; from < end; ) {
      const part = Math.floor((from - base) / (10 * PAGE_SIZE)) % 4;
      if (part === 0) {
        state.settle(from, 1);
        from += random.between(2, 4);
      } else if (part === 1) {
        state.settle(from, random.between(1, 90));
        from += random.between(100, 900);
      } else if (part === 2) {
        state.settle(from, 3 * PAGE_SIZE);
        from += 3 * PAGE_SIZE + (random.chance(50) ? 1 : 0);
      } else {
        from += random.between(1, 3 * PAGE_SIZE);
      }
    }
    const entries = told(state);
    t.true(entries.some((entry) => entry[0] === ENTRY.MASK));
    t.true(entries.some((entry) => entry[0] === ENTRY.RUNS));
    const again = read(entries, new AckState(base));
    const expected = settledOf(state, base, end + 4 * PAGE_SIZE);
    t.true(settledOf(again, base, end + 4 * PAGE_SIZE) === expected);
    t.is(again.low, state.low);
    t.is(again.frontier, state.frontier);
    t.is(again.backlog(end * 2), state.backlog(end * 2));
    // Told again, or by somebody who knew less, nothing changes; what is held meanwhile is settled after all.
    again.acquire(base, 1);
    read(entries, again);
    t.is(again.backlog(end * 2), state.backlog(end * 2));
    t.is(again.heldCount, 1);
    const ahead = new AckState(base);
    ahead.acquire(base, end - base);
    ahead.release(base, PAGE_SIZE);
    read(entries, ahead);
    t.true(settledOf(ahead, base, end + 4 * PAGE_SIZE) === expected);
    t.is(ahead.backlog(end * 2), state.backlog(end * 2));
    // It goes on as the original does.
    for (let at = base; at < end; at += 700) {
      state.settle(at, 700);
      again.settle(at, 700);
    }
    t.is(again.low, state.low);
    t.is(again.heldCount, 0);
    t.is(again.ownBytes, state.ownBytes);
  });
}

test("a random half of a million takes an eighth of a byte each", (t) => {
  const random = new Random(11);
  const state = new AckState(0);
  for (let at = 1; at < 1_000_000; at++) if (random.chance(50)) state.settle(at, 1);
  const bytes = told(state).reduce((sum, entry) => sum + entry.length, 0);
  t.true(bytes < 1_000_000 / 7, `${bytes} bytes`);
});

test("all but one of a million take some bytes", (t) => {
  const state = new AckState(10);
  state.settle(11, 1_000_000);
  const bytes = told(state).reduce((sum, entry) => sum + entry.length, 0);
  t.true(bytes < 100, `${bytes} bytes`);
});

test("what is settled while it is told may be told or not, and nothing else is", (t) => {
  const random = new Random(3);
  const state = new AckState(0);
  const end = 400 * PAGE_SIZE;
  for (let at = 5; at < end; at += random.between(2, 3)) state.settle(at, 1);
  const before = settledOf(state, 0, end);
  let steps = 0;
  const entries = told(state, () => {
    steps++;
    // Its beginning, its end, and some of what was told already, or will be.
    state.settle(state.low, 900);
    for (let i = 0; i < 50; i++) state.settle(random.between(state.low, end), 2);
  });
  t.true(steps > 4, `${steps} steps`);
  const again = read(entries, new AckState(0));
  for (let at = 0; at < end; at++) {
    const isSettled = again.stateOf(at) === STATE.SETTLED;
    if (isSettled && state.stateOf(at) !== STATE.SETTLED) t.fail(`${at} is not settled`);
    if (!isSettled && before[at] === "1" && at >= state.low) t.fail(`${at} was settled before`);
  }
  // The low-water mark is told by itself.
  again.settleBelow(state.low);
  t.is(again.stateOf(state.low), STATE.READY);
});

test("a mask of another length, or one that begins within a page, is refused", (t) => {
  const state = new AckState(0);
  for (let at = 1; at < PAGE_SIZE; at += 2) state.settle(at, 1);
  const [mask] = told(state);
  t.is(mask![0], ENTRY.MASK);
  t.throws(() => read([mask!.subarray(0, 100)], new AckState(0)), { message: /100 bytes/ });
  const moved = Buffer.from(mask!);
  moved.writeDoubleBE(8, 5);
  t.throws(() => read([moved], new AckState(0)), { message: /from 8 on/ });
});

test("a deep queue of which every other message was taken is the same after a stop, a start, and a crash", async (t) => {
  const disk = new MemoryStorage();
  const count = 3 * PAGE_SIZE;
  const first = await openLogBroker(disk);
  const target = connect(first.broker).openTarget(queue("deep"));
  for (let i = 0; i < count; i++) {
    target.publish(draft("m"));
    if (i % 500 === 499) await settle();
  }
  await settle();
  const shardOf = (broker: Broker) =>
    broker.registry.find("queue", "/", "deep")!.ownGroup.shards[0]!;
  for (let at = 1; at < count; at += 2) shardOf(first.broker).settle(at, 1);
  await settle();
  const expected = settledOf(shardOf(first.broker).state, 0, count);
  await first.broker.close();
  for (const end of ["crash", "stop"]) {
    const { broker } = await openLogBroker(disk);
    t.true(settledOf(shardOf(broker).state, 0, count) === expected, `before the ${end}`);
    t.is(shardOf(broker).group.backlog, count / 2);
    if (end === "stop") await broker.close();
    else await crash(broker);
  }
  const { broker } = await openLogBroker(disk);
  t.true(settledOf(shardOf(broker).state, 0, count) === expected);
  await broker.close();
});
