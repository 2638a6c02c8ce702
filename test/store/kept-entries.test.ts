import test from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CatalogBatch, KEPT_MAX, readCatalog, textOf } from "../../src/store/catalog.ts";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { StoreEvents, StoreQueue } from "../../src/store/message-store.ts";
import { ENTRY_SIZE } from "../../src/store/page-pool.ts";
import { Random } from "../support/random.ts";
import { recordFields } from "../support/record-fields.ts";

const ROOT = "/data";
const ARENA = `${ROOT}/queues/arena`;
const SILENT: StoreEvents = {
  onWatermark() {},
  onRoom() {},
  onHealth() {},
  onReadable() {},
  owed: (_queue, _from, count, into) => {
    into.fill(1, 0, count);
    return count;
  },
};

async function opened(disk: MemoryStorage, queuePages = 64): Promise<CommitLogStore> {
  const store = new CommitLogStore({
    ...{ directory: ROOT, segmentBytes: 1 << 20, ringBytes: 1 << 20, minFreeBytes: 0, tickMs: 0 },
    ...{ queuePages, inlineOn: disk, reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 } },
  });
  await store.open(SILENT);
  return store;
}

const nameOf = (i: number): string => `session-${i}`;
const publish = (store: CommitLogStore, body: string, dispatch: readonly StoreQueue[]): number =>
  store.append(store.queue("news", 0), recordFields({ body, dispatch }));

const entry = entryBatch();
function bodyAt(store: CommitLogStore, queue: StoreQueue, offset: number): string | null {
  const view = new RecordView();
  if (store.read(queue, offset, 1, entry) !== 1) return null;
  if (!store.view(entry.physicalOffset[0]!, entry.size[0]!, view)) return null;
  return view.buffer.toString("latin1", view.bodyStart, view.bodyEnd);
}

const findings = async (disk: MemoryStorage): Promise<string[]> =>
  (await checkStore({ directory: ROOT, storage: disk })).files
    .filter(({ kind, state }) => kind !== "index" && state === "damaged")
    .flatMap(({ path, findings: found }) => found.map((finding) => `${path}: ${finding}`));

test("light queues with a few messages each take no block of a file, and have them after a stop and a crash", async (t) => {
  const disk = new MemoryStorage();
  let store = await opened(disk);
  for (let i = 0; i < 500; i++) publish(store, `m${i}`, [store.lightQueue(nameOf(i))]);
  for (let i = 0; i < 500; i++) store.rest(store.lightQueue(nameOf(i)));
  store.tick(true);
  store.publish(true);
  const crashed = disk.copy();
  await store.close();
  for (const each of [disk, crashed]) {
    t.is(each.stat(ARENA)?.size ?? 0, 0);
    store = await opened(each);
    for (let i = 0; i < 500; i++) {
      const queue = store.lightQueue(nameOf(i));
      t.is(bodyAt(store, queue, 0), `m${i}`);
      t.is(queue.maxOffset, 1);
    }
    await store.close();
    t.deepEqual(await findings(each), []);
  }
});

test("a light queue gets a block with the first message beyond those few, and is without one again when it is empty", async (t) => {
  const disk = new MemoryStorage();
  const arenaBytes = (): number => disk.stat(ARENA)?.size ?? 0;
  const during = async (task: (store: CommitLogStore, queue: StoreQueue) => void) => {
    const store = await opened(disk);
    task(store, store.lightQueue("s"));
    await store.close();
    t.deepEqual(await findings(disk), []);
  };
  await during((store, queue) => {
    for (let i = 0; i < KEPT_MAX; i++) publish(store, `m${i}`, [queue]);
  });
  t.is(arenaBytes(), 0);
  await during((store, queue) => void publish(store, `m${KEPT_MAX}`, [queue]));
  t.true(arenaBytes() > 0);
  await during((store, queue) => {
    for (let i = 0; i <= KEPT_MAX; i++) t.is(bodyAt(store, queue, i), `m${i}`);
    store.trim(queue, KEPT_MAX + 1);
    publish(store, "again", [queue]);
  });
  disk.remove(ARENA);
  await during((store, queue) => {
    t.deepEqual([queue.minOffset, queue.maxOffset], [KEPT_MAX + 1, KEPT_MAX + 2]);
    t.is(bodyAt(store, queue, KEPT_MAX + 1), "again");
  });
});

test("entries that the catalog keeps are checked as those in blocks are", async (t) => {
  const disk = new MemoryStorage();
  const store = await opened(disk);
  publish(store, "one", [store.lightQueue("a")]);
  publish(store, "two", [store.lightQueue("b")]);
  await store.close();
  t.deepEqual(await findings(disk), []);
  const folder = `${ROOT}/queues`;
  const [name] = disk
    .list(folder)
    .flatMap((each) => (/^catalog-/.test(each.name) ? each.name : []));
  const file = disk.open(`${folder}/${name}`, "write");
  const bytes = Buffer.alloc(file.size());
  file.readInto(bytes, 0, bytes.length, 0);
  // Of both the first entry; each is told of once.
  const batch = new CatalogBatch();
  const kept: Buffer[] = [];
  const names = new Map<number, string>();
  readCatalog(bytes, {
    define: (number, text, queueId, isLight) => {
      names.set(number, textOf(text));
      batch.define(number, textOf(text), queueId, isLight);
    },
    state: (number, min, max) => batch.state(number, min, max),
    tail: (number, min, from, first, entries) =>
      batch.put(
        entries,
        0,
        entries.length,
        batch.tail(number, min, from, first, entries.length / ENTRY_SIZE),
      ),
    kept: (_number, _min, from, at, count) =>
      void kept.push(from.subarray(at, at + count * ENTRY_SIZE)),
    dropped: (number) => batch.drop(number),
    block: (number, page, block) => batch.block(number, page, block),
    free: (number, page) => batch.free(number, page),
    moved: (number, offset) => batch.moved(number, offset),
  });
  t.is(kept.length, 2);
  const lights = [...names].filter(([, text]) => text === "a" || text === "b");
  // Exchanged.
  for (const [i, [number]] of lights.entries()) {
    batch.put(kept[1 - i]!, 0, ENTRY_SIZE, batch.kept(number, 0, 1));
  }
  const forged = new Uint8Array(batch.take());
  t.is(forged.length, bytes.length);
  file.write(forged, 0, forged.length, 0);
  file.close();
  t.regex((await findings(disk)).join("\n"), /light queue a: entry of offset 0 .*not dispatched/);
});

interface Model {
  min: number;
  readonly bodies: string[];
}

/** Whatever happens to them: what is owed is there, in its place. */
async function story(seed: number, fail: (why: string) => void): Promise<void> {
  const random = new Random(seed);
  let disk = new MemoryStorage();
  const pages = random.chance(50) ? 1 : 64;
  let store = await opened(disk, pages);
  const models = new Map<number, Model>();
  const compare = (isAfterCrash: boolean): void => {
    for (const [i, model] of models) {
      const queue = store.lightQueue(nameOf(i));
      if (queue.maxOffset !== model.bodies.length)
        fail(`${i}: ends at ${queue.maxOffset}, not at ${model.bodies.length}`);
      // What a crash makes forget is how far a queue was trimmed.
      if (queue.minOffset > model.min || (!isAfterCrash && queue.minOffset < model.min))
        fail(`${i}: begins at ${queue.minOffset}, not at ${model.min}`);
      for (let at = model.min; at < model.bodies.length; at++) {
        const found = bodyAt(store, queue, at);
        if (found !== model.bodies[at]) fail(`${i}: ${found} at ${at}, not ${model.bodies[at]}`);
      }
      if (random.chance(70)) store.rest(queue);
    }
  };
  for (let step = 0; step < 150; step++) {
    const i = random.below(60);
    switch (random.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const to = Array.from({ length: 60 }, (_, at) => at).filter(() => random.chance(15));
        if (to.length === 0) to.push(i);
        const body = `body ${step} ${"x".repeat(random.below(200))}`;
        for (const each of to) {
          if (!models.has(each)) models.set(each, { min: 0, bodies: [] });
          models.get(each)!.bodies.push(body);
        }
        publish(
          store,
          body,
          to.map((each) => store.lightQueue(nameOf(each))),
        );
        break;
      }
      case 4:
      case 5: {
        const model = models.get(i);
        if (model === undefined) break;
        const queue = store.lightQueue(nameOf(i));
        const left = model.bodies.length - model.min;
        model.min += random.chance(50) ? left : random.below(left + 1);
        store.trim(queue, model.min);
        break;
      }
      case 6:
        for (let each = 0; each < 60; each++)
          if (random.chance(40)) store.rest(store.lightQueue(nameOf(each)));
        break;
      case 7:
        store.tick(true);
        break;
      case 8:
        if (random.chance(30)) {
          store.dropQueue(store.lightQueue(nameOf(i)));
          models.delete(i);
        } else compare(false);
        break;
      default:
        store.publish(true);
        if (!random.chance(40)) break;
        if (random.chance(50)) {
          const before = disk.copy();
          await store.close();
          disk = before;
          store = await opened(disk, pages);
          compare(true);
          for (const [each, model] of models) model.min = store.lightQueue(nameOf(each)).minOffset;
        } else {
          await store.close();
          const found = await findings(disk);
          if (found.length > 0) fail(found.join("\n"));
          store = await opened(disk, pages);
          compare(false);
        }
    }
  }
  compare(false);
  await store.close();
  const found = await findings(disk);
  if (found.length > 0) fail(found.join("\n"));
}

test("light queues that grow, are emptied, rest and wake keep every message in its place, over stops and crashes", async (t) => {
  for (let seed = 0; seed < 60; seed++) {
    await story(seed, (why) => t.fail(`seed ${seed}: ${why}`));
    if (!t.passed && seed > 0) break;
  }
  t.pass();
});
