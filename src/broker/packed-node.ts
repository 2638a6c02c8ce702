/**
 * A node at rest as bytes: what a snapshot would say of it, shorter for the usual kind. The key tells what it is called.
 *
 *   key    "q", "t" or "l" for a queue, a topic, a light node; NUL, namespace, NUL, name
 *
 *   at  size  value, little-endian
 *    0     1  flags
 *    1     4  node number
 *    5        OWN: 4 progress number, 8 low      one group, one shard, everything below `low` settled, nothing else
 *             ENTRIES: 4 groups, 4 largest progress number, 2 count; then each: 2 length, journal entry (catalog.ts)
 *             BACKLOG: 8 messages owed by the group that owes most; may be 0
 *             COUNTERS: varints (util/varint.ts), in memory only
 */
import { VarintReader, writeVarint } from "../util/varint.ts";
import { AckState } from "./ack-state.ts";
import { type CatalogImage, CatalogWriter, setNode } from "./catalog.ts";
import { COUNTER_NAMES, type Node, type NodeCounters } from "./node.ts";
import { writeNode } from "./node-entries.ts";
import { namesOfKey } from "./node-key.ts";

export const PACKED = {
  TOPIC: 1,
  LIGHT: 2,
  OWN: 4,
  MAY_EXPIRE: 8,
  MAY_HAVE_KEYS: 16,
  ENTRIES: 32,
  BACKLOG: 64,
  COUNTERS: 128,
} as const;

const HEADER = 5;
const OWN_BYTES = 12;
const ENTRIES_HEADER = 10;
const MAX_BYTES = 32_000;
/** More than these are not tried: they hardly fit. */
const MAX_GROUPS = 128;

/** Writes nodes into one buffer, which the next one overwrites. */
export class NodePacker {
  readonly bytes = Buffer.alloc(MAX_BYTES);
  /** Length without the counters. */
  bodyLength = 0;
  length = 0;
  #fits = true;
  #entries = 0;
  readonly #catalog = new CatalogWriter({
    append: (bytes, start, end) => {
      this.#append(bytes, start, end);
      return 0;
    },
  });

  /** False when it is too large to be packed. `hasBacklog`: with room for one, which it may get where it lies. */
  pack(node: Node, hasBacklog = node.backlog > 0): boolean {
    if (node.groups.size > MAX_GROUPS) return false;
    const { bytes } = this;
    const own = isSimple(node) ? node.ownGroup.shards[0]! : null;
    const { backlog } = node;
    const isBare = own === null && node.groups.size === 0 && hasOneShard(node);
    bytes[0] =
      (node.kind === "topic" ? PACKED.TOPIC : 0) |
      (node.shards[0]!.isLight ? PACKED.LIGHT : 0) |
      (own !== null ? PACKED.OWN : isBare ? 0 : PACKED.ENTRIES) |
      (node.mayExpire ? PACKED.MAY_EXPIRE : 0) |
      (node.mayHaveKeys ? PACKED.MAY_HAVE_KEYS : 0) |
      (hasBacklog ? PACKED.BACKLOG : 0);
    bytes.writeUInt32LE(node.id, 1);
    this.length = HEADER;
    this.#fits = true;
    if (own !== null) {
      bytes.writeUInt32LE(own.journalId, HEADER);
      bytes.writeDoubleLE(own.state.low, HEADER + 4);
      this.length += OWN_BYTES;
    } else if (!isBare) this.#packEntries(node);
    if (!this.#fits || this.length + 256 > bytes.length) return false;
    if (hasBacklog) this.length = bytes.writeDoubleLE(backlog, this.length);
    this.bodyLength = this.length;
    for (const name of COUNTER_NAMES) {
      if (node.counters[name] !== 0) bytes[0]! |= PACKED.COUNTERS;
    }
    if ((bytes[0]! & PACKED.COUNTERS) !== 0) {
      for (const name of COUNTER_NAMES) {
        this.length = writeVarint(bytes, this.length, node.counters[name]);
      }
    }
    return true;
  }

  #packEntries(node: Node): void {
    const { bytes } = this;
    let largest = 0;
    for (const group of node.groups.looks()) {
      for (const { journalId } of group.shards) largest = Math.max(largest, journalId);
    }
    bytes.writeUInt32LE(node.groups.size, HEADER);
    bytes.writeUInt32LE(largest, HEADER + 4);
    this.length = HEADER + ENTRIES_HEADER;
    this.#entries = 0;
    for (const _ of writeNode(node, this.#catalog)) if (!this.#fits) return;
    bytes.writeUInt16LE(this.#entries, HEADER + 8);
  }

  #append(entry: Uint8Array, start: number, end: number): void {
    if (this.length + 2 + end - start > this.bytes.length || this.#entries === 0xffff) {
      this.#fits = false;
      return;
    }
    this.length = this.bytes.writeUInt16LE(end - start, this.length);
    this.bytes.set(entry.subarray(start, end), this.length);
    this.length += end - start;
    this.#entries++;
  }
}

/** A packed node, as far as one need not unpack it. */
export interface PackedFacts {
  readonly flags: number;
  readonly id: number;
  readonly groups: number;
  readonly largestProgress: number;
  readonly backlog: number;
}

export function factsOf(value: Buffer): PackedFacts {
  const flags = value[0]!;
  const isOwn = (flags & PACKED.OWN) !== 0;
  const hasEntries = (flags & PACKED.ENTRIES) !== 0;
  return {
    flags,
    id: value.readUInt32LE(1),
    groups: isOwn ? 1 : hasEntries ? value.readUInt32LE(HEADER) : 0,
    largestProgress: isOwn
      ? value.readUInt32LE(HEADER)
      : hasEntries
        ? value.readUInt32LE(HEADER + 4)
        : 0,
    backlog: (flags & PACKED.BACKLOG) === 0 ? 0 : value.readDoubleLE(backlogAt(value, flags)),
  };
}

export const idOf = (value: Buffer): number => value.readUInt32LE(1);
/** Of one with its own group only. */
export const ownProgressOf = (value: Buffer): number => value.readUInt32LE(HEADER);
export const ownLowOf = (value: Buffer): number => value.readDoubleLE(HEADER + 4);

/** Its own group has settled everything below `low`: changed where it lies, never back. */
export function raiseOwnLow(value: Buffer, low: number): void {
  const before = ownLowOf(value);
  if (low <= before) return;
  value.writeDoubleLE(low, HEADER + 4);
  if ((value[0]! & PACKED.BACKLOG) === 0) return;
  const at = HEADER + OWN_BYTES;
  value.writeDoubleLE(Math.max(0, value.readDoubleLE(at) - (low - before)), at);
}

/** What its own group owes of `[min, max)`, changed where it lies. False when there is no room for it. */
export function setOwnRange(value: Buffer, min: number, max: number): boolean {
  const low = Math.min(Math.max(ownLowOf(value), min), max);
  const hasRoom = (value[0]! & PACKED.BACKLOG) !== 0;
  if (!hasRoom && low < max) return false;
  value.writeDoubleLE(low, HEADER + 4);
  if (hasRoom) value.writeDoubleLE(max - low, HEADER + OWN_BYTES);
  return true;
}

/** Where what lies between header and backlog ends. */
function backlogAt(value: Buffer, flags: number): number {
  if ((flags & PACKED.OWN) !== 0) return HEADER + OWN_BYTES;
  if ((flags & PACKED.ENTRIES) === 0) return HEADER;
  let at = HEADER + ENTRIES_HEADER;
  for (let i = value.readUInt16LE(HEADER + 8); i > 0; i--) at += 2 + value.readUInt16LE(at);
  return at;
}

/** Length of what goes into a snapshot. */
export function bodyLengthOf(value: Buffer): number {
  const flags = value[0]!;
  return backlogAt(value, flags) + ((flags & PACKED.BACKLOG) === 0 ? 0 : 8);
}

function* entriesOf(value: Buffer): Generator<Buffer> {
  let at = HEADER + ENTRIES_HEADER;
  for (let i = value.readUInt16LE(HEADER + 8); i > 0; i--) {
    const end = at + 2 + value.readUInt16LE(at);
    yield value.subarray(at + 2, end);
    at = end;
  }
}

export function readCounters(value: Buffer, into: NodeCounters): void {
  if ((value[0]! & PACKED.COUNTERS) === 0) return;
  const reader = new VarintReader(value, bodyLengthOf(value), value.length);
  for (const name of COUNTER_NAMES) into[name] = reader.next();
}

/** Puts what was packed among the entries of a journal that is being replayed. `apply` takes one entry. */
export function unpackInto(
  image: CatalogImage,
  key: string,
  value: Buffer,
  apply: (entry: Buffer) => void,
): void {
  const { flags, id, backlog } = factsOf(value);
  if ((flags & PACKED.ENTRIES) !== 0) {
    for (const entry of entriesOf(value)) apply(entry);
    return;
  }
  const { namespace, name } = namesOfKey(key);
  const kind = (flags & PACKED.TOPIC) === 0 ? "queue" : "topic";
  const node = { id, kind, namespace, name, queueIds: [0] } as const;
  setNode(image, (flags & PACKED.LIGHT) === 0 ? node : { ...node, isLight: true });
  if ((flags & PACKED.OWN) === 0) return;
  const progress = ownProgressOf(value);
  image.groups.set(progress, {
    journalId: progress,
    node: id,
    name: "",
    progress: [progress],
    from: [ownLowOf(value)],
    isOrdered: false,
    tags: "",
    selector: "",
    noLocal: false,
    path: "",
    identity: null,
  });
  image.progress.set(progress, { state: new AckState(ownLowOf(value)), attempts: new Map() });
  // The journal may have told more of them since.
  if ((flags & PACKED.MAY_EXPIRE) !== 0 || image.expiry.has(id)) return;
  // Nothing expires there: it would not be at rest.
  const low = ownLowOf(value);
  image.expiry.set(id, [{ queueId: 0, from: low, to: low + backlog, pages: null }]);
}

/**
 * Do a few bytes tell all of a node in use, without entries of a journal among them? Of what expires in a queue they tell
 * nothing.
 */
export function isUsual(node: Node): boolean {
  if (node.kind === "topic") return node.groups.size === 0 && hasOneShard(node);
  return isSimple(node) && (node.shards[0]!.isLight || node.backlog === 0);
}

const hasOneShard = (node: Node): boolean =>
  node.shards.length === 1 && node.shards[0]!.queueId === 0;

/** A queue or light node whose one group has nothing out of the ordinary. */
function isSimple(node: Node): boolean {
  if (node.kind !== "queue" || node.groups.size !== 1 || !hasOneShard(node)) return false;
  const { settings, shards } = node.ownGroup;
  const { state, attempts, journalId } = shards[0]!;
  return (
    settings.name === "" &&
    settings.path === "" &&
    settings.filter === null &&
    !settings.isOrdered &&
    node.ownGroup.journalId === journalId &&
    attempts.size === 0 &&
    state.frontier === state.low
  );
}
