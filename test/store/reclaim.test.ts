/** Records that are still owed are moved out of segments of which little else is, and the segments go. */
import test, { type ExecutionContext } from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { exportStore } from "../../src/store/export.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { segmentsToEmpty } from "../../src/store/reclaim-plan.ts";
import { FaultyStorage, ProcessDied } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { recordFields } from "../support/record-fields.ts";
import { until } from "../support/wait.ts";

const SEGMENT = 16_384;
const DERIVED = ["consumequeue", "queues", "index", "checkpoint"];

/** A store whose owner has settled what is in `settled`: "topic/queue offset". */
class Owned {
  readonly disk: FaultyStorage;
  readonly settled = new Set<string>();
  store!: CommitLogStore;
  readonly view = new RecordView();
  readonly #entry = entryBatch();
  /** When it is looked what may be moved. */
  reclaim = { surveyMs: 0, patienceMs: 0, restMs: 0 };

  constructor(disk = new FaultyStorage(new Random(1))) {
    this.disk = disk;
  }

  async open(): Promise<void> {
    const { disk } = this;
    const { life } = disk;
    // Nothing of a past life happens in the next one.
    const later = (task: () => void): void => {
      setImmediate(() => {
        if (disk.life === life && !disk.isDead) runUntilDeath(task);
      });
    };
    this.store = new CommitLogStore({
      directory: "/data",
      segmentBytes: SEGMENT,
      ringBytes: 65_536,
      minFreeBytes: 0,
      tickMs: 0,
      reclaim: this.reclaim,
      inlineOn: this.disk,
      inlineSchedule: { writer: later, loop: later, later },
    });
    await this.store.open({
      onWatermark() {},
      onRoom() {},
      onHealth() {},
      onReadable() {},
      owed: (queue, from, count, into) => {
        let owed = 0;
        for (let i = 0; i < count; i++) {
          owed += into[i] = this.settled.has(`${nameOf(queue)} ${from + i}`) ? 0 : 1;
        }
        return owed;
      },
    });
  }

  settle(queue: StoreQueue, from: number, to: number): void {
    for (let offset = from; offset < to; offset++) this.settled.add(`${nameOf(queue)} ${offset}`);
    const note = Buffer.from("settled");
    this.store.journal.append(note, 0, note.length);
  }

  /** Some KiB of messages of one queue. */
  fill(queue: StoreQueue, messages: number, bytes = 500): void {
    for (let i = 0; i < messages; i++) {
      this.store.append(
        queue,
        recordFields({
          body: Buffer.alloc(bytes, `${queue.maxOffset} `),
          tag: "t",
          keys: `k${queue.maxOffset}`,
        }),
      );
      if (i % 10 === 9) this.store.publish(true);
    }
    this.store.publish(true);
  }

  async tick(times = 40): Promise<void> {
    for (let i = 0; i < times; i++) {
      this.store.tick(true);
      await new Promise(setImmediate);
    }
  }

  async sync(): Promise<void> {
    while (this.store.watermarks.durable < this.store.watermarks.appended) {
      await new Promise(setImmediate);
    }
  }

  read(queue: StoreQueue, offset: number): string | null {
    if (offset < queue.minOffset || offset >= queue.maxOffset) return null;
    if (this.store.read(queue, offset, 1, this.#entry) !== 1) return null;
    const { physicalOffset, size } = this.#entry;
    if (!this.store.view(physicalOffset[0]!, size[0]!, this.view)) return null;
    return this.view.buffer.toString("utf8", this.view.bodyStart, this.view.bodyEnd);
  }

  get firstSegment(): string {
    return this.disk
      .list("/data/commitlog")
      .map(({ name }) => name)
      .sort()[0]!;
  }

  removeDerived(): void {
    for (const name of DERIVED) this.disk.removeTree(`/data/${name}`);
  }
}

function runUntilDeath(task: () => void): void {
  try {
    task();
  } catch (error) {
    if (!(error instanceof ProcessDied)) throw error;
  }
}

const nameOf = (queue: StoreQueue): string =>
  queue.isLight ? `~${queue.topic}` : `${queue.topic}/${queue.queueId}`;
const bodyOf = (offset: number, bytes = 500): string =>
  Buffer.alloc(bytes, `${offset} `).toString();

async function soundStore(t: ExecutionContext, disk: FaultyStorage): Promise<void> {
  const report = await checkStore({ directory: "/data", storage: disk });
  // A journal of which a power cut has left nothing is for others to test.
  const files = report.files.filter(({ kind, state }) => kind !== "journal" && state !== "sound");
  t.deepEqual(files, []);
}

/** One old message of "old" is owed, everything else is settled; several segments were written since. */
async function withStraggler(): Promise<{ owned: Owned; queue: StoreQueue }> {
  const owned = new Owned();
  await owned.open();
  const queue = owned.store.queue("old", 0);
  owned.fill(queue, 300);
  owned.settle(queue, 0, 7);
  owned.settle(queue, 8, 299);
  await owned.sync();
  return { owned, queue };
}

test("one old message does not keep the log behind it", async (t) => {
  const { owned, queue } = await withStraggler();
  const { disk } = owned;
  const before = disk.list("/data/commitlog").length;
  t.true(before > 8);
  await owned.tick();
  t.true(disk.list("/data/commitlog").length <= 3);
  t.not(owned.firstSegment, "0".repeat(20));
  t.is(owned.read(queue, 7), bodyOf(7));
  t.is(owned.read(queue, 299), bodyOf(299));
  const { movedRecords } = owned.store.reclaimed;
  t.true(movedRecords >= 1 && movedRecords < 8, `${movedRecords} moved`);
  await owned.store.close();
  await soundStore(t, disk);
});

test("what stands still from now on is moved, although it was looked at for long while it did not", async (t) => {
  const owned = new Owned();
  owned.reclaim = { surveyMs: 5, patienceMs: 50, restMs: 50 };
  await owned.open();
  const queue = owned.store.queue("q", 0);
  const surveysFor = (more: number) => {
    const wanted = owned.store.reclaimed.surveys + more;
    return until("surveys", () => {
      owned.store.tick(true);
      return owned.store.reclaimed.surveys >= wanted;
    });
  };
  owned.fill(queue, 200);
  await owned.sync();
  const began = performance.now();
  while (performance.now() - began < 300) {
    owned.fill(queue, 20);
    await owned.sync();
    await surveysFor(1);
  }
  t.is(owned.store.reclaimed.movedRecords, 0);
  for (let offset = 0; offset < queue.maxOffset; offset += 2)
    owned.settle(queue, offset, offset + 1);
  owned.store.publish(true);
  await until("what is left is moved", () => {
    owned.store.tick(true);
    return owned.store.reclaimed.movedRecords > 0;
  });
  await owned.store.close();
});

test("a moved message is the same message: place in its queue, times, properties, and where it was first stored", async (t) => {
  const { owned, queue } = await withStraggler();
  t.is(owned.read(queue, 7), bodyOf(7));
  const { view } = owned;
  const facts = () => [
    view.queueOffset,
    view.queueId,
    view.topic,
    view.flag,
    view.bornTimestamp,
    view.storeTimestamp,
    view.reconsumeTimes,
    view.property("TAGS"),
    view.property("KEYS"),
    view.firstOffset,
  ];
  const before = facts();
  const place = view.physicalOffset;
  await owned.tick();
  t.is(owned.read(queue, 7), bodyOf(7));
  t.not(view.physicalOffset, place);
  t.deepEqual(facts(), before);
  t.is(view.firstOffset, place);
  const found = owned.store.searchByKey("old", "k7", 10, 0, Number.MAX_SAFE_INTEGER);
  t.true(found.includes(view.physicalOffset), "found by its key at its new place");
  await owned.store.close();
});

test("a message that is moved again and again keeps its first place, and is exported once", async (t) => {
  const { owned, queue } = await withStraggler();
  t.is(owned.read(queue, 7), bodyOf(7));
  const first = owned.view.physicalOffset;
  for (let round = 0; round < 4; round++) {
    await owned.tick();
    owned.fill(queue, 200);
    owned.settle(queue, 8, queue.maxOffset - 1);
  }
  await owned.tick();
  t.true(owned.store.reclaimed.movedRecords >= 3);
  t.is(owned.read(queue, 7), bodyOf(7));
  t.is(owned.view.firstOffset, first);
  await owned.store.close();
  const lines: string[] = [];
  await exportStore({ directory: "/data", storage: owned.disk }, (line) => lines.push(line));
  const told = lines.map((line) => (JSON.parse(line) as { queueOffset: number }).queueOffset);
  t.is(told.filter((offset) => offset === 7).length, 1);
  t.is(new Set(told).size, told.length);
});

test("without any derived file the queue is the same: same offsets, nothing more, and it goes on behind its end", async (t) => {
  for (const isKilled of [false, true]) {
    const { owned, queue } = await withStraggler();
    owned.settle(queue, 299, 300);
    await owned.tick();
    const end = queue.maxOffset;
    if (isKilled) owned.disk.restart("process");
    else await owned.store.close();
    owned.removeDerived();
    await owned.open();
    const again = owned.store.queue("old", 0);
    t.is(owned.read(again, 7), bodyOf(7));
    t.is(again.minOffset, 7);
    t.is(again.maxOffset, end);
    const readable = [];
    for (let offset = 0; offset < end; offset++) {
      if (owned.read(again, offset) !== null) readable.push(offset);
    }
    for (const offset of readable) t.is(owned.read(again, offset), bodyOf(offset));
    owned.fill(again, 1);
    t.is(owned.read(again, end), bodyOf(end));
    await owned.store.close();
    await soundStore(t, owned.disk);
  }
});

test("light queues that owe a record keep it, whoever else is done with it; one that was dropped stays dropped", async (t) => {
  const owned = new Owned();
  await owned.open();
  const { store } = owned;
  const home = store.queue("home", 0);
  const [first, second, third] = ["first", "second", "third"].map((name) => store.lightQueue(name));
  store.append(home, recordFields({ body: "shared", dispatch: [first!, second!, third!] }));
  store.publish(true);
  owned.fill(home, 300);
  owned.settle(home, 0, home.maxOffset);
  owned.settle(second!, 0, 1);
  store.dropQueue(third!);
  store.trim(home, home.maxOffset - 1);
  await owned.tick();
  t.is(owned.read(first!, 0), "shared");
  t.not(owned.firstSegment, "0".repeat(20));
  // A younger queue of that name must not find the message of the older one.
  const younger = store.lightQueue("third");
  store.append(home, recordFields({ body: "for the younger", dispatch: [younger] }));
  store.publish(true);
  await store.close();
  for (const isRebuilt of [false, true]) {
    if (isRebuilt) owned.removeDerived();
    await owned.open();
    t.is(owned.read(owned.store.lightQueue("first"), 0), "shared");
    t.is(owned.read(owned.store.lightQueue("third"), 0), "for the younger");
    t.is(owned.store.lightQueue("third").maxOffset, 1);
    await owned.store.close();
  }
  await soundStore(t, owned.disk);
});

test("an atomic batch of which one message is left over is whole after a rebuild", async (t) => {
  const owned = new Owned();
  await owned.open();
  const { store } = owned;
  const queue = store.queue("batch", 0);
  store.beginAtomic();
  for (let i = 0; i < 5; i++) store.append(queue, recordFields({ body: `part ${i}` }));
  store.endAtomic();
  store.publish(true);
  owned.fill(store.queue("other", 0), 200);
  owned.settle(store.queue("other", 0), 0, 200);
  owned.settle(queue, 0, 2);
  owned.settle(queue, 3, 5);
  await owned.tick();
  t.not(owned.firstSegment, "0".repeat(20));
  t.is(owned.read(queue, 2), "part 2");
  await store.close();
  owned.removeDerived();
  await owned.open();
  t.is(owned.read(owned.store.queue("batch", 0), 2), "part 2");
  t.is(owned.store.queue("batch", 0).maxOffset, 5);
  await owned.store.close();
});

test("wherever a crash comes while records are moved, each is there once, in its place", async (t) => {
  let died = 0;
  for (const kind of ["process", "power"] as const) {
    for (let mutations = 1; mutations < 130; mutations += kind === "power" ? 2 : 3) {
      const owned = new Owned(new FaultyStorage(new Random(mutations)));
      await owned.open();
      const queue = owned.store.queue("old", 0);
      owned.fill(queue, 120, 900);
      const kept = [3, 4, 40, 41, 77, 119];
      for (let offset = 0; offset < 120; offset++) {
        if (!kept.includes(offset)) owned.settle(queue, offset, offset + 1);
      }
      owned.store.publish(true);
      await owned.sync();
      owned.disk.dieAfter(mutations);
      try {
        await owned.tick(30);
      } catch (error) {
        if (!(error instanceof ProcessDied)) throw error;
      }
      if (owned.disk.isDead) died++;
      await new Promise(setImmediate);
      owned.disk.restart(kind);
      if (mutations % 4 === 1) owned.removeDerived();
      await owned.open();
      const again = owned.store.queue("old", 0);
      const check = (): void => {
        t.is(again.maxOffset, 120, `${kind} after ${mutations}`);
        for (const offset of kept) {
          t.is(
            owned.read(again, offset),
            bodyOf(offset, 900),
            `${kind} after ${mutations}: ${offset}`,
          );
        }
      };
      check();
      await owned.tick(30);
      check();
      await owned.store.close();
      await soundStore(t, owned.disk);
    }
  }
  t.true(died > 20, `${died} crashes`);
});

test("what empties itself is left alone; what stands still is moved, the emptier the sooner", (t) => {
  const rules = { patienceMs: 60_000, restMs: 30_000 };
  const at = (ms: number, ...live: number[]) => ({
    base: 0,
    live: Float64Array.from(live),
    at: ms,
  });
  const count = (now: ReturnType<typeof at>, ...history: Array<ReturnType<typeof at>>) =>
    segmentsToEmpty(now, history, 100, rules);
  t.is(count(at(0, 2, 0, 0)), 3, "hardly anything is owed of the three together");
  t.is(count(at(0, 15)), 0, "seen for the first time");
  t.is(count(at(10_000, 15), at(0, 15)), 1, "it stands still");
  t.is(count(at(10_000, 15), at(0, 60)), 0, "it will be empty in a moment");
  t.is(count(at(10_000, 50, 50), at(0, 50, 50)), 0, "half of it is owed: not yet");
  t.is(count(at(40_000, 50, 50), at(0, 50, 50)), 2, "it has stood still for long enough");
  t.is(count(at(40_000, 100, 100), at(0, 100, 100)), 0, "all of it is owed");
  t.is(
    count(at(40_000, 0, 0, 50, 50), at(0, 50, 50, 50, 50)),
    4,
    "the first two were emptied meanwhile, the others stand still",
  );
  t.is(
    count(at(40_000, 100, 0, 0, 0, 0, 100), at(0, 100, 0, 0, 0, 0, 100)),
    5,
    "the full one keeps four empty ones",
  );
});
