/**
 * One random life story of a store, decided by its seed alone: appends, atomic batches, journal entries, trims, reads,
 * full disks, I/O errors, crashes of the process and power cuts at any byte of any unsynced write, and restarts, which
 * may be interrupted too. After each restart the model says what must still be there.
 *
 * The real CommitLogStore runs on a simulated disk, both of its threads on this one: the seed also decides whose turn it is.
 */
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { FaultyStorage, ProcessDied } from "../support/faulty-storage.ts";
import { Random } from "../support/random.ts";
import { recordFields } from "../support/record-fields.ts";
import { SimulatedPerformance } from "./simulated-performance.ts";
import { type FoundQueue, JournalModel, type ModelMessage, StoreModel } from "./store-model.ts";

export interface SimulationReport {
  lives: number;
  messages: number;
  crashes: number;
  ioErrors: number;
  fullDisks: number;
  /** Records that were moved out of almost empty segments. */
  moved: number;
  /** Starts without any of the files that can be made from the log. */
  rebuilds: number;
}

const READ_BATCH = 16;
const MAX_STEPS = 60;

/** Runs the story of this seed. Throws, with the seed in the message, when a promise does not hold. */
export async function simulateStore(
  seed: number,
  trace: ((line: string) => void) | null = null,
): Promise<SimulationReport> {
  try {
    const simulation = new StoreSimulation(seed, trace);
    return await simulation.time.during(() => simulation.run());
  } catch (error) {
    const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw new Error(`seed ${seed}: ${reason}`, { cause: error });
  }
}

class StoreSimulation {
  readonly #random: Random;
  readonly time: SimulatedPerformance;
  readonly #disk: FaultyStorage;
  readonly #model = new StoreModel();
  readonly #journal = new JournalModel();
  readonly #trace: ((line: string) => void) | null;
  readonly #report: SimulationReport = {
    lives: 0,
    messages: 0,
    crashes: 0,
    ioErrors: 0,
    fullDisks: 0,
    moved: 0,
    rebuilds: 0,
  };
  readonly #fanAbove: number;
  readonly #shape: { segmentBytes: number; ringBytes: number; sideBytes: number };
  readonly #topics: readonly string[];
  readonly #lightNames: readonly string[];
  readonly #view = new RecordView();
  readonly #batch = entryBatch(READ_BATCH);
  #store!: CommitLogStore;
  #tasks: Array<{ isWriter: boolean; task: () => void }> = [];
  #lastId = 0;
  #lastEnd: "process" | "power" = "process";
  #hasIoError = false;
  /** Was the store's state compared with the model in this life? */
  #wasSeen = false;

  constructor(seed: number, trace: ((line: string) => void) | null) {
    this.#random = new Random(seed);
    // Of their own, so that a story is what it was before there were long dispatch lists, where it has none.
    const fans = new Random(seed + 2_000_000);
    this.#fanAbove = fans.pick([0, 1, 2, 32]);
    const isMany = fans.chance(30);
    this.#lightNames = isMany
      ? Array.from({ length: fans.between(4, 60) }, (_, i) => `light ${"x".repeat(i % 7)}${i}`)
      : ["one", "two", "three"];
    this.time = new SimulatedPerformance(new Random(seed + 1_000_000));
    this.#disk = new FaultyStorage(this.#random);
    this.#disk.tellsUsage = this.#random.chance(50);
    this.#trace = trace;
    this.#shape = {
      segmentBytes: this.#random.pick([8192, 16_384, 65_536, 1 << 20]),
      ringBytes: this.#random.pick([4096, 16_384, 65_536]),
      sideBytes: 1 << 20,
    };
    this.#topics = ["A", "B", "C", "D"].slice(0, this.#random.between(1, 4));
  }

  async run(): Promise<SimulationReport> {
    for (let lives = this.#random.between(2, 6); lives > 0; lives--) await this.#live();
    this.#disk.dieAfter(Number.POSITIVE_INFINITY);
    // However the last life ended: everything that must be there is, and stays through two orderly stops.
    for (let i = 0; i < 2; i++) {
      await this.#open();
      this.#verify();
      if (i === 0) this.#appendSome();
      await this.#close();
    }
    return this.#report;
  }

  async #live(): Promise<void> {
    const random = this.#random;
    this.#report.lives++;
    this.#hasIoError = false;
    if (random.chance(70)) {
      // Often early, so that recovery itself is hit.
      this.#disk.dieAfter(random.chance(30) ? random.below(12) : random.below(250));
    }
    try {
      await this.#open();
      this.#verify();
      const steps = random.between(5, MAX_STEPS);
      for (let i = 0; i < steps && !this.#hasIoError; i++) await this.#step();
      if (random.chance(50) && !this.#hasIoError) {
        this.#disk.heal();
        await this.#close();
        return;
      }
    } catch (error) {
      if (!(error instanceof ProcessDied) && !this.#disk.isDead) throw error;
    }
    this.#crash();
    if (this.#random.chance(15)) this.#removeDerived();
  }

  #removeDerived(): void {
    this.#note("derived files are removed");
    this.#report.rebuilds++;
    for (const name of ["consumequeue", "queues", "index", "checkpoint"]) {
      this.#disk.removeTree(`/data/${name}`);
    }
    if (this.#disk.stat("/data") !== undefined) this.#disk.syncDirectory("/data");
  }

  #crash(): void {
    // After a failed sync nobody knows what the kernel still shows of the lost pages: only a reboot is defined.
    const kind = this.#hasIoError || this.#random.chance(65) ? "power" : "process";
    this.#note(
      `--- ${kind} crash; written ${this.#model.written} durable ${this.#model.durable} journal ${this.#journal.written} ${this.#journal.durable}`,
    );
    this.#tasks = [];
    this.#disk.heal();
    this.#disk.restart(kind);
    // Until the state has been looked at, the worst end since counts.
    this.#lastEnd = this.#wasSeen ? kind : this.#lastEnd === "power" ? "power" : kind;
    this.#wasSeen = false;
    this.#report.crashes++;
    if (this.#random.chance(12)) this.#harmDerived();
  }

  /** Somebody removes or cuts what can be built again from the log. */
  #harmDerived(): void {
    const disk = this.#disk;
    const path = `/data/${this.#random.pick(["consumequeue", "queues", "index", "queues/arena", "queues/checkpoint"])}`;
    const stat = disk.stat(path);
    if (stat === undefined) return;
    this.#note(`harm to ${path}`);
    // Entries cut off the end of the last block of the arena are seen by the check only.
    if (stat.isDirectory || path.endsWith("arena") || this.#random.chance(50)) {
      disk.removeTree(path);
      return;
    }
    const file = disk.open(path, "write");
    // Both of its slots, of which the first 128 bytes count: an older one alone is no checkpoint that a crash may leave behind.
    file.truncate(this.#random.below(128));
    file.close();
  }

  async #open(): Promise<void> {
    this.#tasks = [];
    this.#store = new CommitLogStore({
      directory: "/data",
      ...this.#shape,
      fanAbove: this.#fanAbove,
      minFreeBytes: 0,
      journalRingBytes: 1 << 16,
      indexShape: { slots: 512, entries: 4096 },
      queuePages: this.#random.pick([2, 8, 4096]),
      syncedQueues: this.#random.pick([0, 2, 256]),
      tickMs: 0,
      reclaim: { surveyMs: 0, patienceMs: 0, restMs: 0 },
      inlineOn: this.#disk,
      inlineSchedule: {
        writer: (task) => void this.#tasks.push({ isWriter: true, task }),
        loop: (task) => void this.#tasks.push({ isWriter: false, task }),
        later: (task) => void this.#tasks.push({ isWriter: true, task }),
      },
    });
    const report = await this.#store.open({
      onWatermark: () => this.#observe(),
      onRoom() {},
      onHealth: (health) => {
        this.#note(`health ${health.state} ${"reason" in health ? health.reason : ""}`);
        if (health.state === "failed") this.#hasIoError = true;
      },
      onReadable() {},
      owed: (queue, from, count, into) => {
        const { settled } = this.#model.queue(keyOf(queue));
        let owed = 0;
        for (let i = 0; i < count; i++) owed += into[i] = settled.has(from + i) ? 0 : 1;
        return owed;
      },
      onMoved: (queue, offset, physicalOffset) => {
        this.#report.moved++;
        this.#note(`moved ${keyOf(queue)} offset ${offset} to ${physicalOffset}`);
      },
    });
    this.#note(`open: end ${this.#store.watermarks.appended} ${JSON.stringify(report)}`);
  }

  #observe(): void {
    const { written, durable } = this.#store.watermarks;
    if (durable > written) throw new Error(`durable ${durable} is ahead of written ${written}`);
    this.#model.written = Math.max(this.#model.written, written);
    this.#model.durable = Math.max(this.#model.durable, durable);
    const { journal } = this.#store;
    this.#journal.written = Math.max(this.#journal.written, journal.written);
    this.#journal.durable = Math.max(this.#journal.durable, journal.durable);
  }

  #verify(): void {
    const found: FoundQueue[] = [];
    const keyed = new Map<string, number[]>();
    for (const queue of this.#store.queues()) {
      const { minOffset, maxOffset } = queue;
      const bodies: Array<Buffer | null> = [];
      for (let offset = minOffset; offset < maxOffset; offset++) {
        const body = this.#bodyAt(queue, offset);
        bodies.push(body);
        const key = body === null || queue.isLight ? undefined : this.#view.property("KEYS");
        if (key === undefined) continue;
        const places = keyed.get(`${queue.topic} ${key}`) ?? [];
        keyed.set(`${queue.topic} ${key}`, places);
        places.push(this.#view.physicalOffset);
      }
      found.push({ key: keyOf(queue), minOffset, maxOffset, bodies });
    }
    this.#verifyKeys(keyed);
    this.#model.recovered(this.#lastEnd, found, this.#store.watermarks.appended);
    const ids: number[] = [];
    this.#store.journal.replay((bytes) => void ids.push(bytes.readUInt32BE(0)));
    this.#journal.recovered(this.#lastEnd, ids);
    this.#wasSeen = true;
  }

  /** Every record that has a key is found by it, the newest first. */
  #verifyKeys(keyed: ReadonlyMap<string, number[]>): void {
    for (const [name, places] of keyed) {
      const [topic, key] = name.split(" ") as [string, string];
      const newest = places.sort((a, b) => b - a).slice(0, 20);
      // More than asked for: hashes of other keys may be the same.
      const found = this.#store.searchByKey(topic, key, 1000, 0, Number.MAX_SAFE_INTEGER);
      const missing = newest.find((place) => !found.includes(place));
      if (missing !== undefined) throw new Error(`index: ${name} does not find ${missing}`);
    }
  }

  /** The body of the record at this offset; null when the store has none for it. */
  #bodyAt(queue: StoreQueue, offset: number): Buffer | null {
    const batch = this.#batch;
    if (this.#store.read(queue, offset, 1, batch) !== 1) return null;
    if (!this.#store.view(batch.physicalOffset[0]!, batch.size[0]!, this.#view)) return null;
    const view = this.#view;
    return Buffer.from(view.buffer.subarray(view.bodyStart, view.bodyEnd));
  }

  async #step(): Promise<void> {
    const random = this.#random;
    const choice = random.below(100);
    if (choice < 40) this.#appendSome();
    else if (choice < 60) this.#pump(random.between(1, 4));
    else if (choice < 68) this.#journalSome();
    else if (choice < 71) this.#snapshot();
    else if (choice < 81) this.#readSome();
    else if (choice < 83) this.#trim();
    else if (choice < 84) this.#settleMost();
    else if (choice < 85) this.#rest();
    else if (choice < 88) this.#fillDisk();
    else if (choice < 92) this.#freeDisk();
    else if (choice < 93) this.#breakDisk();
    else if (choice < 97) this.#tick();
    else this.#pump(20);
    // Lets the store's own later turns happen.
    if (random.chance(10)) await new Promise(setImmediate);
  }

  #appendSome(): void {
    const random = this.#random;
    const store = this.#store;
    const count = random.between(1, 12);
    const isAtomic = count > 1 && random.chance(25);
    // Some do not fit into the ring, a few fill a segment.
    const largest = Math.min(this.#shape.segmentBytes - 900, random.chance(10) ? 200_000 : 20_000);
    const maxBody = random.chance(10) ? largest : random.pick([50, 300, 1500]);
    const sizes = Array.from({ length: count }, () => random.below(maxBody));
    const total = sizes.reduce((sum, size) => sum + size + 800, 0);
    if (!store.hasRoom(total)) {
      this.#note(`no room for ${total}`);
      this.#pump(3);
      return;
    }
    const batch = isAtomic ? this.#model.nextBatch() : 0;
    const messages: ModelMessage[] = [];
    if (isAtomic) store.beginAtomic();
    for (const size of sizes) messages.push(this.#append(size, batch));
    if (isAtomic) {
      const end = store.endAtomic();
      for (const message of messages) message.position = end;
    }
    const isSync = random.chance(60);
    store.publish(isSync);
    this.#note(
      `appended ${messages[0]!.id}..${this.#lastId}${isAtomic ? ` as batch ${batch}` : ""} to ${store.watermarks.appended}${isSync ? ", sync" : ""}`,
    );
  }

  #append(size: number, batch: number): ModelMessage {
    const random = this.#random;
    const store = this.#store;
    const id = ++this.#lastId;
    const body = random.bytes(size + 4);
    body.writeUInt32BE(id, 0);
    const queue = store.queue(random.pick(this.#topics), random.below(2));
    const keys = [keyOf(queue)];
    const lights: StoreQueue[] = [];
    if (random.chance(20)) {
      for (const name of this.#lightNames.slice(0, random.between(1, this.#lightNames.length))) {
        lights.push(store.lightQueue(name));
        keys.push(keyOf(lights.at(-1)!));
      }
    }
    for (const [i, each] of [queue, ...lights].entries()) {
      const expected = this.#model.queue(keys[i]!).content.length;
      if (each.maxOffset !== expected) {
        throw new Error(`${keys[i]}: next offset is ${each.maxOffset}, expected ${expected}`);
      }
    }
    const position = store.append(
      queue,
      recordFields({
        body,
        ...(random.chance(30) ? { tag: `t${random.below(3)}` } : {}),
        ...(random.chance(20) ? { keys: `k${random.below(5)}` } : {}),
        ...(lights.length > 0 ? { dispatch: lights } : {}),
      }),
    );
    this.#report.messages++;
    const message = { id, body, position, batch, places: keys.length };
    this.#model.append(keys, message);
    return message;
  }

  #journalSome(): void {
    const { journal } = this.#store;
    let last = 0;
    for (let i = this.#random.between(1, 8); i > 0; i--) {
      const id = this.#journal.nextId();
      const bytes = Buffer.alloc(this.#random.between(4, 60), id);
      bytes.writeUInt32BE(id, 0);
      last = journal.append(bytes, 0, bytes.length);
      this.#journal.append(id, last);
    }
    const isSync = this.#random.chance(50);
    if (isSync) journal.requestSync();
    this.#note(`journal ..${this.#journal.ids.at(-1)} to ${last}${isSync ? ", sync" : ""}`);
    this.#store.publish(false);
  }

  #snapshot(): void {
    const ids = this.#journal.ids.filter(() => this.#random.chance(50));
    this.#note(`snapshot of ${ids.length}`);
    this.#journal.snapshot(ids);
    this.#store.journal.snapshot(
      ids.map((id) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32BE(id, 0);
        return bytes;
      }),
    );
    this.#store.publish(false);
  }

  #readSome(): void {
    const queues = [...this.#store.queues()];
    if (queues.length === 0) return;
    const queue = this.#random.pick(queues);
    const { content } = this.#model.queue(keyOf(queue));
    if (queue.maxOffset !== content.length) {
      throw new Error(`${keyOf(queue)}: ends at ${queue.maxOffset}, expected ${content.length}`);
    }
    if (queue.minOffset === queue.maxOffset) return;
    const from = this.#random.between(queue.minOffset, queue.maxOffset - 1);
    for (let offset = from; offset < Math.min(from + 10, content.length); offset++) {
      const message = content[offset]!;
      const body = this.#bodyAt(queue, offset);
      if (body === null) {
        // Large messages can be read once they are written.
        const { settled, minOffset } = this.#model.queue(keyOf(queue));
        const isOwed = offset >= minOffset && !settled.has(offset);
        if (isOwed && message !== null && message.position <= this.#store.watermarks.written) {
          throw new Error(`${keyOf(queue)} offset ${offset}: message ${message.id} cannot be read`);
        }
      } else if (message === null || !body.equals(message.body)) {
        throw new Error(`${keyOf(queue)} offset ${offset}: not message ${message?.id}`);
      }
    }
  }

  #trim(): void {
    const queues = [...this.#store.queues()];
    if (queues.length === 0) return;
    const queue = this.#random.pick(queues);
    const to = this.#random.between(queue.minOffset, queue.maxOffset);
    this.#model.queue(keyOf(queue)).minOffset = Math.max(
      this.#model.queue(keyOf(queue)).minOffset,
      to,
    );
    this.#store.trim(this.#byName(queue), to);
    this.#note(`trim ${keyOf(queue)} to ${to}`);
  }

  #byName({ topic, queueId, isLight }: StoreQueue): StoreQueue {
    return isLight ? this.#store.lightQueue(topic) : this.#store.queue(topic, queueId);
  }

  /** Lets go of some queues: they are asked for by name whenever they are used. */
  #rest(): void {
    for (const queue of [...this.#store.queues()]) {
      if (this.#random.chance(70)) this.#store.rest(this.#byName(queue));
    }
    this.#note("rest");
  }

  /** Of a queue, or of all, only a few messages are still owed to somebody. */
  #settleMost(): void {
    const random = this.#random;
    const queues = [...this.#store.queues()];
    if (queues.length === 0) return;
    const percent = random.pick([50, 90, 97, 100]);
    for (const queue of random.chance(60) ? queues : [random.pick(queues)]) {
      const { settled } = this.#model.queue(keyOf(queue));
      for (let offset = queue.minOffset; offset < queue.maxOffset; offset++) {
        if (random.chance(percent)) settled.add(offset);
      }
    }
    this.#note(`settled ${percent} %`);
    this.#journalSome();
    for (let i = random.between(0, 6); i > 0; i--) this.#tick();
  }

  /** What the clock does about every second: checkpoints, removal of segments that nobody needs. */
  #tick(): void {
    const isSynced = this.#random.chance(40);
    this.#note(`tick${isSynced ? ", synced checkpoint" : ""}`);
    this.#store.tick(isSynced);
    if (this.#random.chance(50)) this.#pump(20);
  }

  #fillDisk(): void {
    this.#disk.capacityBytes = this.#disk.usedBytes + this.#random.below(20_000);
    this.#disk.fullCode = this.#random.chance(50) ? "ENOSPC" : "EDQUOT";
    this.#report.fullDisks++;
    this.#note("disk is full");
  }

  #freeDisk(): void {
    this.#disk.capacityBytes = Number.POSITIVE_INFINITY;
    this.#pump(10);
  }

  #breakDisk(): void {
    this.#report.ioErrors++;
    this.#hasIoError = true;
    this.#note("I/O error ahead");
    this.#disk.fail({
      operation: this.#random.pick(["write", "sync"] as const),
      code: "EIO",
      partialBytes: this.#random.below(5000),
    });
    // Nothing may be confirmed that the disk does not have.
    this.#appendSome();
    this.#pump(20);
  }

  /** Runs what waits, the writer and the loop in any order, each its own tasks in order. */
  #pump(times: number): void {
    for (let i = 0; i < times && this.#tasks.length > 0; i++) {
      const isWriter = this.#random.chance(50);
      let index = this.#tasks.findIndex((entry) => entry.isWriter === isWriter);
      if (index < 0) index = 0;
      const [entry] = this.#tasks.splice(index, 1);
      this.time.pass();
      entry!.task();
    }
  }

  async #close(): Promise<void> {
    let isClosed = false;
    let failure: unknown = null;
    void this.#store
      .close()
      .catch((error: unknown) => {
        failure = error;
      })
      .then(() => {
        isClosed = true;
      });
    for (let i = 0; !isClosed; i++) {
      if (i > 10_000) throw new Error("close does not come to an end");
      this.#pump(10);
      await new Promise(setImmediate);
    }
    if (failure !== null) throw failure;
    this.#model.closed();
    this.#journal.closed();
    this.#lastEnd = "process";
    this.#note("closed");
  }

  #note(line: string): void {
    this.#trace?.(line);
  }
}

const keyOf = (queue: StoreQueue): string =>
  queue.isLight ? `~${queue.topic}` : `${queue.topic}/${queue.queueId}`;
