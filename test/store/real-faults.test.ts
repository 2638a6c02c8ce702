/**
 * The store on file systems that really are full, read-only, or somebody else's. Skipped where this user may not mount.
 */
import { execFile } from "node:child_process";
import { chmodSync, closeSync, openSync, rmSync, statfsSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import test, { type ExecutionContext } from "ava";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreHealth } from "../../src/store/message-store.ts";
import { readBodies, SILENT } from "../support/built-store.ts";
import { canMount, makeReadOnly, makeWritable, smallFileSystem } from "../support/own-mount.ts";
import { recordFields } from "../support/record-fields.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const onMount = canMount ? test.serial : test.serial.skip;
const MIB = 2 ** 20;

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited 20 s for: ${what}`);
    await turn();
  }
}

/** Takes all but `freeBytes` of the space away. Returns how to give it back. */
function fill(mount: string, freeBytes: number): () => void {
  const path = join(mount, "ballast");
  const ballast = openSync(path, "w");
  const chunk = Buffer.alloc(MIB, 1);
  const free = (): number => {
    const found = statfsSync(mount);
    return found.bavail * found.bsize;
  };
  while (free() > freeBytes) {
    writeSync(ballast, chunk, 0, Math.max(1, Math.min(MIB, free() - freeBytes)));
  }
  closeSync(ballast);
  return () => rmSync(path);
}

class Producer {
  readonly bodies: Buffer[] = [];
  readonly positions: number[] = [];
  readonly store: CommitLogStore;

  constructor(store: CommitLogStore) {
    this.store = store;
  }

  /** Appends while there is room, at most so many. Returns how many. */
  async produce(max: number): Promise<number> {
    const queue = this.store.queue("T", 0);
    let count = 0;
    while (count < max && this.store.hasRoom(20 * 2200)) {
      for (let i = 0; i < 20; i++, count++) {
        const body = Buffer.alloc(1000 + (this.bodies.length % 1000), this.bodies.length);
        this.positions.push(this.store.append(queue, recordFields({ body })));
        this.bodies.push(body);
      }
      this.store.publish(true);
      await turn();
    }
    return count;
  }

  async produceUntil(condition: () => boolean, what: string): Promise<void> {
    const deadline = Date.now() + 20_000;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`produced for 20 s, but not until: ${what}`);
      await this.produce(200);
      await turn();
    }
  }

  get isDurable(): boolean {
    return this.store.watermarks.durable === this.store.watermarks.appended;
  }
}

async function fillAndResume(t: ExecutionContext, minFreeBytes: number | undefined): Promise<void> {
  const mount = smallFileSystem(t, 64);
  const directory = join(mount, "data");
  const options = {
    directory,
    segmentBytes: 8 * MIB,
    ringBytes: MIB,
    tickMs: 50,
    ...(minFreeBytes === undefined ? {} : { minFreeBytes }),
  };
  const store = new CommitLogStore(options);
  const states: StoreHealth["state"][] = [];
  await store.open({ ...SILENT, onHealth: (health) => void states.push(health.state) });
  t.teardown(() => store.close());
  const producer = new Producer(store);
  await producer.produce(2000);
  await until(() => producer.isDurable, "everything durable");
  const giveBack = fill(mount, 12 * MIB);
  // Until it is held back; then it has to stay up, and confirm nothing that is not on the disk.
  await producer.produceUntil(() => states.at(-1) === "full", "the disk is full");
  const durable = store.watermarks.durable;
  for (let i = 0; i < 50; i++) {
    await producer.produce(20);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  t.is(store.health.state, "full");
  t.regex("reason" in store.health ? store.health.reason : "", /disk|space/);
  t.true(store.watermarks.durable >= durable);
  giveBack();
  await until(() => store.health.state === "ok" && store.hasRoom(50_000), "resumed by itself");
  t.true((await producer.produce(1000)) > 0);
  await until(() => producer.isDurable, "everything durable again");
  await store.close();
  const { bodies } = await readBodies(new CommitLogStore(options));
  t.is(bodies.size, producer.bodies.length);
  for (const [offset, body] of producer.bodies.entries()) {
    if (!bodies.get(`T/0@${offset}`)!.equals(body)) t.fail(`wrong body at ${offset}`);
  }
  t.is((await checkStore({ directory })).state, "sound");
}

onMount(
  "a disk below its limit holds producers back, and lets them go on when space is freed",
  (t) => fillAndResume(t, undefined),
);

onMount(
  "a disk that is full to the last byte loses nothing that was confirmed, and resumes by itself",
  (t) => fillAndResume(t, 0),
);

onMount(
  "a store that ended on a full disk says so when it cannot open, and has everything that was confirmed once there is space",
  async (t) => {
    const mount = smallFileSystem(t, 64);
    const directory = join(mount, "data");
    const options = { directory, segmentBytes: 8 * MIB, ringBytes: MIB, minFreeBytes: 0 };
    const store = new CommitLogStore(options);
    await store.open(SILENT);
    t.teardown(() => store.close());
    const producer = new Producer(store);
    await producer.produce(1000);
    await until(() => producer.isDurable, "everything durable");
    const giveBack = fill(mount, 2 * MIB);
    await producer.produceUntil(() => store.health.state === "full", "the disk is full");
    const confirmed = producer.positions.filter((at) => at <= store.watermarks.durable).length;
    // As after a kill: the folder is looked at by the next process while this one's memory is gone.
    await store.close();
    const isIntact = (bodies: Map<string, Buffer>): boolean =>
      producer.bodies
        .slice(0, confirmed)
        .every((body, offset) => bodies.get(`T/0@${offset}`)?.equals(body));
    try {
      t.true(isIntact((await readBodies(new CommitLogStore(options))).bodies));
    } catch (error) {
      // Not a byte to write what is missing into the queues' files: it has to say so, and where.
      t.regex((error as Error).message, /no space left/);
      t.true((error as Error).message.includes(directory), (error as Error).message);
    }
    giveBack();
    t.true(isIntact((await readBodies(new CommitLogStore(options))).bodies));
  },
);

onMount(
  "a read-only file system is refused with a sentence; check and export work on it",
  async (t) => {
    const mount = smallFileSystem(t, 64);
    const directory = join(mount, "data");
    const options = { directory, segmentBytes: 8 * MIB };
    const store = new CommitLogStore(options);
    await store.open(SILENT);
    t.teardown(() => store.close());
    const producer = new Producer(store);
    await producer.produce(100);
    await until(() => producer.isDurable, "everything durable");
    await store.close();
    makeReadOnly(mount);
    const error = await t.throwsAsync(new CommitLogStore(options).open(SILENT));
    t.true(error!.message.includes(directory), error!.message);
    t.regex(error!.message, /read-only|EROFS/i);
    t.is((await checkStore({ directory })).state, "sound");
    makeWritable(mount);
    const { bodies } = await readBodies(new CommitLogStore(options));
    t.is(bodies.size, producer.bodies.length);
  },
);

const asNobody =
  process.getuid?.() === 0 && process.platform === "linux" ? test.serial : test.serial.skip;

asNobody("somebody else's folder is refused with a sentence that names it", async (t) => {
  const directory = temporaryFolder(t);
  const store = new CommitLogStore({ directory, segmentBytes: MIB });
  await store.open(SILENT);
  await store.close();
  chmodSync(directory, 0o700);
  const script = `
    process.setgid(65534); process.setuid(65534);
    const { CommitLogStore } = await import(${JSON.stringify(new URL("../../src/store/commit-log-store.js", import.meta.url).href)});
    const store = new CommitLogStore({ directory: ${JSON.stringify(directory)} });
    try {
      await store.open({ onWatermark() {}, onRoom() {}, onHealth() {}, onReadable() {} });
      console.log("opened");
    } catch (error) { console.log(error.name + ": " + error.message); }`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    "--input-type=module",
    "-e",
    script,
  ]);
  t.regex(stdout, /permission|EACCES/i);
  t.true(stdout.includes(directory), stdout);
});
