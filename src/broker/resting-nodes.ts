/**
 * Nodes that nobody uses just now: some sixty bytes each (packed-node.ts) in place of objects, and sums over all of them.
 * They come back when they are asked for, and say so in the journal: until then they are as the last snapshot has them.
 */
import { ByteTable } from "../util/byte-table.ts";
import {
  applyEntry,
  type CatalogImage,
  type CatalogWriter,
  ENTRY,
  emptyImage,
  keyOfEntry,
  nodeOf,
} from "./catalog.ts";
import { COUNTER_NAMES, type Node, type NodeCounters, noCounts } from "./node.ts";
import { type NodeClass, namesOfKey, nodeKey } from "./node-key.ts";
import {
  bodyLengthOf,
  factsOf,
  NodePacker,
  PACKED,
  readCounters,
  unpackInto,
} from "./packed-node.ts";

/** Sums over nodes at rest. */
export interface RestingSums {
  nodes: number;
  groups: number;
  backlog: number;
  readonly counters: NodeCounters;
}

const noSums = (): RestingSums => ({ nodes: 0, groups: 0, backlog: 0, counters: noCounts() });
/** Bytes of one journal entry. */
const ENTRY_BYTES = 60_000;

/** One that was at rest: its bytes, valid until the next is taken. */
export interface TakenNode {
  readonly key: string;
  readonly value: Buffer;
  readonly flags: number;
  readonly counters: NodeCounters;
}

export class RestingNodes {
  readonly #table: ByteTable;
  readonly #packer = new NodePacker();
  readonly sums: Readonly<Record<NodeClass, RestingSums>> = {
    queue: noSums(),
    topic: noSums(),
    light: noSums(),
  };
  /** Largest numbers in use. */
  largestId = 0;
  largestProgress = 0;

  constructor(table = new ByteTable()) {
    this.#table = table;
    for (const reference of table.references()) {
      const value = table.valueOf(reference);
      this.#sum(value, 1);
      const { id, largestProgress } = factsOf(value);
      this.largestId = Math.max(this.largestId, id);
      this.largestProgress = Math.max(this.largestProgress, largestProgress);
    }
  }

  get size(): number {
    return this.#table.size;
  }
  get bytes(): number {
    return this.#table.bytes;
  }

  /** False when it cannot be packed. */
  add(key: string, node: Node): boolean {
    const packer = this.#packer;
    // It has to go into a journal entry together with its key.
    if (key.length * 3 > ENTRY_BYTES / 4 || !packer.pack(node)) return false;
    this.#table.set(key, packer.bytes, packer.length);
    this.#sum(packer.bytes.subarray(0, packer.length), 1);
    return true;
  }

  has(key: string): boolean {
    return this.#table.find(key) >= 0;
  }

  /** Its entries as a journal has them; it stays at rest. */
  image(key: string): CatalogImage | undefined {
    const found = this.#table.find(key);
    return found < 0 ? undefined : imageOf(key, this.#table.valueOf(found));
  }

  take(key: string): TakenNode | undefined {
    const found = this.#table.find(key);
    if (found < 0) return undefined;
    const value = Buffer.from(this.#table.valueOf(found));
    this.#sum(value, -1);
    this.#table.delete(key);
    const counters = noCounts();
    readCounters(value, counters);
    return { key, value, flags: value[0]!, counters };
  }

  #sum(value: Buffer, sign: 1 | -1): void {
    const { flags, groups, backlog } = factsOf(value);
    const isLight = (flags & PACKED.LIGHT) !== 0;
    const sums = this.sums[isLight ? "light" : (flags & PACKED.TOPIC) !== 0 ? "topic" : "queue"];
    sums.nodes += sign;
    sums.groups += sign * groups;
    sums.backlog += sign * backlog;
    if ((flags & PACKED.COUNTERS) === 0) return;
    const counters = noCounts();
    readCounters(value, counters);
    for (const name of COUNTER_NAMES) sums.counters[name] += sign * counters[name];
  }

  /** Keys of a kind, as they lie. Nodes may be taken between two steps. */
  *keys(kind?: NodeClass): Generator<string> {
    const head = kind === undefined ? -1 : nodeKey(kind, "", "").charCodeAt(0);
    for (const reference of this.#table.references()) {
      if (head < 0 || this.#table.headOf(reference) === head) yield this.#table.keyOf(reference);
    }
  }

  /** Names of light nodes that begin so. */
  *lightNames(prefix: string): Generator<string> {
    const start = Buffer.from(nodeKey("light", "/", prefix), "utf8");
    for (const reference of this.#table.references()) {
      if (!this.#table.startsWith(reference, start)) continue;
      yield namesOfKey(this.#table.keyOf(reference)).name;
    }
  }

  /** Those with subscriptions or other groups, without waking them: their entries as a journal has them. */
  *withGroups(): Generator<CatalogImage> {
    for (const reference of this.#table.references()) {
      const value = this.#table.valueOf(reference);
      if ((value[0]! & (PACKED.ENTRIES | PACKED.LIGHT)) !== PACKED.ENTRIES) continue;
      yield imageOf(this.#table.keyOf(reference), value);
    }
  }

  /** Numbers and keys of a kind with a number above `after`, the lowest `max` of them in order. */
  page(kind: NodeClass, after: number, max: number): Array<readonly [id: number, key: string]> {
    const head = nodeKey(kind, "", "").charCodeAt(0);
    let found: Array<readonly [number, number]> = [];
    let limit = Number.POSITIVE_INFINITY;
    const cut = (): void => {
      found = found.sort((a, b) => a[0] - b[0]).slice(0, max);
      if (found.length === max) limit = found.at(-1)![0];
    };
    for (const reference of this.#table.references()) {
      if (this.#table.headOf(reference) !== head) continue;
      const id = this.#table.valueOf(reference).readUInt32LE(1);
      if (id <= after || id > limit) continue;
      found.push([id, reference]);
      if (found.length >= max * 2) cut();
    }
    cut();
    return found.map(([id, reference]) => [id, this.#table.keyOf(reference)]);
  }

  /** Makes room; a step of a few milliseconds at most. */
  tidy(): void {
    this.#table.tidy();
  }

  /** All of them, for a snapshot: an entry of many nodes a step. Nodes may be taken between two steps, none added. */
  *writeSnapshot(catalog: CatalogWriter): Generator<void> {
    let bytes = Buffer.allocUnsafe(ENTRY_BYTES);
    let used = 1;
    for (const reference of this.#table.references()) {
      const key = this.#table.keyOf(reference);
      const value = this.#table.valueOf(reference);
      const body = bodyLengthOf(value);
      const room = 4 + key.length * 3 + body;
      if (used > 1 && used + room > ENTRY_BYTES) {
        catalog.resting(bytes, used);
        used = 1;
        yield;
      }
      if (room > bytes.length) bytes = Buffer.allocUnsafe(room + 1);
      const keyLength = bytes.write(key, used + 2, "utf8");
      bytes.writeUInt16LE(keyLength, used);
      used += 2 + keyLength;
      used = bytes.writeUInt16LE(body, used);
      value.copy(bytes, used, 0, body);
      // Counters are this process's own.
      bytes[used]! &= ~PACKED.COUNTERS;
      used += body;
    }
    if (used > 1) catalog.resting(bytes, used);
  }
}

function imageOf(key: string, value: Buffer): CatalogImage {
  const image = emptyImage();
  unpackInto(image, key, value, (entry) => applyEntry(image, entry));
  return image;
}

/** What a node that was at rest is made of. */
export const imageOfTaken = ({ key, value }: TakenNode): CatalogImage => imageOf(key, value);

/** Applies one entry of the journal: to the image of what is in use, or to what is at rest. */
export function replayEntry(image: CatalogImage, resting: ByteTable, bytes: Buffer): void {
  if (bytes[0] === ENTRY.RESTING) {
    for (let at = 1; at < bytes.length; ) {
      const keyEnd = at + 2 + bytes.readUInt16LE(at);
      const end = keyEnd + 2 + bytes.readUInt16LE(keyEnd);
      resting.setBytes(bytes.subarray(at + 2, keyEnd), bytes.subarray(keyEnd + 2, end));
      at = end;
    }
    return;
  }
  if (bytes[0] === ENTRY.WOKEN) {
    wake(image, resting, bytes.toString("utf8", 1));
    return;
  }
  // Something happens to a node that should have been woken before, but for an entry that is lost: not to two of it.
  if (bytes[0] === ENTRY.NODE && resting.size > 0) wake(image, resting, keyOfEntry(nodeOf(bytes)));
  applyEntry(image, bytes);
}

function wake(image: CatalogImage, resting: ByteTable, key: string): void {
  const found = resting.find(key);
  if (found < 0) return;
  unpackInto(image, key, resting.valueOf(found), (entry) => applyEntry(image, entry));
  resting.delete(key);
}
