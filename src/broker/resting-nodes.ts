/**
 * Nodes that nobody uses just now: some sixty bytes each (packed-node.ts) in place of objects, and sums over all of them.
 * They come back when they are asked for, and say so in the journal: until then they are as the last snapshot has them.
 */
import { ByteTable } from "../util/byte-table.ts";
import { applyEntry, type CatalogImage, type CatalogWriter, ENTRY, emptyImage } from "./catalog.ts";
import { COUNTER_NAMES, type Node, type NodeCounters, noCounts } from "./node.ts";
import { type NodeClass, namesOfKey, nodeKey } from "./node-key.ts";
import type { NodeAtRest } from "./node-views.ts";
import {
  factsOf,
  isUsual,
  NodePacker,
  ownLowOf,
  PACKED,
  type PackedFacts,
  readCounters,
  unpackInto,
} from "./packed-node.ts";
import { fitsRow, PackedRows } from "./packed-rows.ts";

/** Sums over nodes at rest. */
export interface RestingSums {
  nodes: number;
  groups: number;
  backlog: number;
  readonly counters: NodeCounters;
}

/** Where its number stands in a packed node. */
const ID_AT = 1;

const noSums = (): RestingSums => ({ nodes: 0, groups: 0, backlog: 0, counters: noCounts() });

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
      const { id, largestProgress } = this.#sum(value, 1);
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
    if (!fitsRow(key) || !packer.pack(node)) return false;
    this.#table.set(key, packer.bytes, packer.length);
    this.#sum(packer.bytes.subarray(0, packer.length), 1);
    return true;
  }

  /** The same while a snapshot is collected, which is told what may have come too late to be met. */
  addLate(key: string, node: Node, rows: PackedRows): boolean {
    if (!isUsual(node) || !this.add(key, node)) return false;
    this.#addRow(rows, key);
    return true;
  }

  /** What the packer holds, under this key. */
  #addRow(rows: PackedRows, key: string): void {
    const { bytes, length, bodyLength } = this.#packer;
    const writeKey = (into: Buffer, at: number): number => into.write(key, at, "utf8");
    rows.add(key.length * 3, writeKey, bytes.subarray(0, length), bodyLength);
  }

  has(key: string): boolean {
    return this.#table.find(key) >= 0;
  }

  /** Its entries as a journal has them; it stays at rest. */
  image(key: string): CatalogImage | undefined {
    const found = this.#table.find(key);
    return found < 0 ? undefined : imageOf(key, this.#table.valueOf(found));
  }

  /** The same with what it counted. */
  atRest(key: string): NodeAtRest | undefined {
    const found = this.#table.find(key);
    if (found < 0) return undefined;
    const value = this.#table.valueOf(found);
    const counters = noCounts();
    readCounters(value, counters);
    return { image: imageOf(key, value), counters };
  }

  /** Of a node with its own group only, that has settled all before it: the first offset it is owed. Else -1. */
  ownLow(key: string): number {
    const found = this.#table.find(key);
    if (found < 0) return -1;
    const value = this.#table.valueOf(found);
    return (value[0]! & PACKED.OWN) === 0 ? -1 : ownLowOf(value);
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

  #sum(value: Buffer, sign: 1 | -1): PackedFacts {
    const facts = factsOf(value);
    const { flags, groups, backlog } = facts;
    const isLight = (flags & PACKED.LIGHT) !== 0;
    const sums = this.sums[isLight ? "light" : (flags & PACKED.TOPIC) !== 0 ? "topic" : "queue"];
    sums.nodes += sign;
    sums.groups += sign * groups;
    sums.backlog += sign * backlog;
    if ((flags & PACKED.COUNTERS) === 0) return facts;
    const counters = noCounts();
    readCounters(value, counters);
    for (const name of COUNTER_NAMES) sums.counters[name] += sign * counters[name];
    return facts;
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

  /** Numbers and keys of a kind with a number above `after` whose keys begin so, the lowest `max` of them in order. */
  page(
    kind: NodeClass,
    after: number,
    max: number,
    keyStart = "",
  ): Array<readonly [id: number, key: string]> {
    const head = nodeKey(kind, "", "").charCodeAt(0);
    const start = keyStart === "" ? null : Buffer.from(keyStart, "utf8");
    let found: Array<readonly [number, number]> = [];
    let limit = Number.POSITIVE_INFINITY;
    const cut = (): void => {
      found = found.sort((a, b) => a[0] - b[0]).slice(0, max);
      if (found.length === max) limit = found.at(-1)![0];
    };
    this.#table.scan(head, ID_AT, (reference, id) => {
      if (id <= after || id > limit) return;
      if (start !== null && !this.#table.startsWith(reference, start)) return;
      found.push([id, reference]);
      if (found.length >= max * 2) cut();
    });
    cut();
    return found.map(([id, reference]) => [id, this.#table.keyOf(reference)]);
  }

  /** Makes room; a step of a few milliseconds at most. */
  tidy(): void {
    this.#table.tidy();
  }

  /** All of them, for a snapshot: an entry of many nodes a step. Nodes may be taken between two steps; those added meanwhile are left out. */
  *writeSnapshot(catalog: CatalogWriter): Generator<void> {
    const table = this.#table;
    const rows = new PackedRows(catalog, ENTRY.RESTING);
    let reference = 0;
    const writeKey = (into: Buffer, at: number): number => table.copyKey(reference, into, at);
    for (reference of table.references(table.end)) {
      const isWritten = rows.add(table.keyLengthOf(reference), writeKey, table.valueOf(reference));
      if (isWritten) yield;
    }
    rows.end();
  }

  /** A node in use as one at rest would be packed, among others. False when it is not of the usual kind. */
  addInUse(rows: PackedRows, key: string, node: Node): boolean {
    const packer = this.#packer;
    if (!fitsRow(key) || !isUsual(node) || !packer.pack(node, true)) return false;
    this.#addRow(rows, key);
    return true;
  }
}

function imageOf(key: string, value: Buffer): CatalogImage {
  const image = emptyImage();
  unpackInto(image, key, value, (entry) => applyEntry(image, entry));
  return image;
}

/** What a node that was at rest is made of. */
export const imageOfTaken = ({ key, value }: TakenNode): CatalogImage => imageOf(key, value);
