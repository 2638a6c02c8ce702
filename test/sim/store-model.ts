/**
 * What a store must hold, kept as plain arrays: which message lies at which offset of which queue, which are confirmed,
 * which belong together. `recovered` compares it with what a store came back with after a crash.
 */

export interface ModelMessage {
  readonly id: number;
  readonly body: Buffer;
  /** Confirmed once the watermark is here; for a message of a batch its end. */
  position: number;
  /** 0: none. Messages of one batch are there all or none. */
  readonly batch: number;
  /** How many queues it lies in. */
  readonly places: number;
}

export interface FoundQueue {
  readonly key: string;
  readonly minOffset: number;
  readonly maxOffset: number;
  /** From minOffset on; null where the store has an entry without a readable record. */
  readonly bodies: ReadonlyArray<Buffer | null>;
}

class ModelQueue {
  readonly key: string;
  /** By offset; null for a place whose message is lost for good. */
  content: Array<ModelMessage | null> = [];
  /** Asked for by trim; a crash may bring back what lies before. */
  minOffset = 0;
  /** Owed to nobody although later ones may be: there or not, as the store likes. */
  readonly settled = new Set<number>();

  constructor(key: string) {
    this.key = key;
  }
}

export class StoreModel {
  readonly queues = new Map<string, ModelQueue>();
  /** Highest watermarks that were seen: what is confirmed at each level. */
  written = 0;
  durable = 0;
  /** Messages of the batch that is being appended. */
  #lastBatch = 0;

  queue(key: string): ModelQueue {
    let queue = this.queues.get(key);
    if (queue === undefined) {
      queue = new ModelQueue(key);
      this.queues.set(key, queue);
    }
    return queue;
  }

  /** The store was closed in order: everything is durable. */
  closed(): void {
    this.written = Number.MAX_SAFE_INTEGER;
    this.durable = Number.MAX_SAFE_INTEGER;
  }

  nextBatch(): number {
    return ++this.#lastBatch;
  }

  append(keys: readonly string[], message: ModelMessage): void {
    for (const key of keys) this.queue(key).content.push(message);
  }

  /**
   * The store is open again after a crash of this kind. Throws what does not hold, then takes over what was found:
   * whatever is there now must stay.
   */
  recovered(kind: "process" | "power", found: readonly FoundQueue[], end: number): void {
    const safe = kind === "power" ? this.durable : this.written;
    const counted = new Map<ModelMessage, number>();
    const byKey = new Map(found.map((queue) => [queue.key, queue]));
    for (const queue of found) {
      if (queue.maxOffset > 0) this.#checkQueue(this.queue(queue.key), queue, safe, counted);
    }
    for (const queue of this.queues.values()) {
      if (!byKey.has(queue.key)) {
        const none = { key: queue.key, minOffset: 0, maxOffset: 0, bodies: [] };
        this.#checkQueue(queue, none, safe, counted);
      }
    }
    this.#checkWhole(counted);
    for (const queue of this.queues.values()) {
      const now = byKey.get(queue.key);
      this.#takeOver(queue, now);
    }
    this.written = end;
    this.durable = end;
  }

  #checkQueue(
    queue: ModelQueue,
    found: FoundQueue,
    safe: number,
    counted: Map<ModelMessage, number>,
  ): void {
    const { key, content } = queue;
    const where = (offset: number): string => `queue ${key} offset ${offset}`;
    if (found.maxOffset > content.length) {
      throw new Error(`invented: ${where(found.maxOffset - 1)}, ${content.length} were appended`);
    }
    for (let offset = queue.minOffset; offset < content.length; offset++) {
      const message = content[offset]!;
      const body =
        offset < found.maxOffset ? (found.bodies[offset - found.minOffset] ?? null) : null;
      if (body === null) {
        if (message !== null && message.position <= safe && !queue.settled.has(offset)) {
          throw new Error(`lost: ${where(offset)}, message ${message.id} was confirmed`);
        }
        continue;
      }
      if (message === null) throw new Error(`came back: ${where(offset)} was lost before`);
      if (!body.equals(message.body)) {
        throw new Error(`wrong: ${where(offset)} is not message ${message.id}`);
      }
      if (queue.settled.has(offset)) continue;
      counted.set(message, (counted.get(message) ?? 0) + 1);
    }
  }

  /** A message is in all its queues or in none, a batch is there with all its messages or with none. */
  #checkWhole(counted: ReadonlyMap<ModelMessage, number>): void {
    const expected = new Map<ModelMessage, number>();
    const batches = new Map<number, ModelMessage[]>();
    for (const queue of this.queues.values()) {
      for (let offset = queue.minOffset; offset < queue.content.length; offset++) {
        const message = queue.content[offset]!;
        if (message === null || queue.settled.has(offset)) continue;
        if (!expected.has(message) && message.batch !== 0) {
          const batch = batches.get(message.batch) ?? [];
          batches.set(message.batch, batch);
          batch.push(message);
        }
        expected.set(message, (expected.get(message) ?? 0) + 1);
      }
    }
    for (const [message, places] of expected) {
      const found = counted.get(message) ?? 0;
      if (found !== 0 && found !== places) {
        throw new Error(`torn: message ${message.id} is in ${found} of ${places} queues`);
      }
    }
    for (const [batch, messages] of batches) {
      const found = messages.filter((message) => counted.has(message)).length;
      if (found !== 0 && found !== messages.length) {
        throw new Error(`torn: batch ${batch} has ${found} of ${messages.length} messages`);
      }
    }
  }

  #takeOver(queue: ModelQueue, found: FoundQueue | undefined): void {
    queue.content.length = Math.min(queue.content.length, found?.maxOffset ?? 0);
    for (let offset = 0; offset < queue.content.length; offset++) {
      const body = found?.bodies[offset - found.minOffset] ?? null;
      // What nobody is owed may come back when the queues are made from the log again.
      if (body !== null || queue.settled.has(offset) || offset < queue.minOffset) continue;
      queue.content[offset] = null;
    }
    for (const offset of queue.settled) {
      if (offset >= queue.content.length) queue.settled.delete(offset);
    }
    queue.minOffset = Math.max(
      found?.minOffset ?? 0,
      Math.min(queue.minOffset, queue.content.length),
    );
  }
}

interface JournalEntry {
  readonly id: number;
  /** 0: known to be durable. */
  readonly position: number;
}

/**
 * The owner's journal. A snapshot stands for everything before it, so a replay may begin with any snapshot, or with the
 * beginning, and goes on with what was appended after that, in order, up to a place that is behind all that is safe.
 */
export class JournalModel {
  /** What a replay may be: the newest beginning last. */
  #stories: JournalEntry[][] = [[]];
  written = 0;
  durable = 0;
  #lastId = 0;

  nextId(): number {
    return ++this.#lastId;
  }

  closed(): void {
    this.written = Number.MAX_SAFE_INTEGER;
    this.durable = Number.MAX_SAFE_INTEGER;
  }

  append(id: number, position: number): void {
    for (const story of this.#stories) story.push({ id, position });
  }

  /** What the owner would put into a snapshot, some of it. */
  get ids(): number[] {
    return this.#stories.at(-1)!.map((entry) => entry.id);
  }

  snapshot(ids: readonly number[]): void {
    this.#stories.push(ids.map((id) => ({ id, position: 0 })));
  }

  recovered(kind: "process" | "power", found: readonly number[]): void {
    const safe = kind === "power" ? this.durable : this.written;
    const faults = this.#stories.map((story) => journalFault(story, found, safe));
    if (!faults.includes(null)) {
      const what = found.join(" ") || "nothing";
      throw new Error(`journal: ${faults.at(-1)} (replayed ${what}; safe to ${safe})`);
    }
    this.#stories = [found.map((id) => ({ id, position: 0 }))];
    this.written = 0;
    this.durable = 0;
  }
}

function journalFault(
  story: readonly JournalEntry[],
  found: readonly number[],
  safe: number,
): string | null {
  if (found.length > story.length) return `${found.length} entries, ${story.length} written`;
  for (const [i, id] of found.entries()) {
    if (story[i]!.id !== id) return `entry ${i} is ${id}, expected ${story[i]!.id}`;
  }
  const lost = story.slice(found.length).find(({ position }) => position <= safe);
  return lost === undefined ? null : `entry ${lost.id} was confirmed and is lost`;
}
