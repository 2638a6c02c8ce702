/**
 * The broker's own durable state as journal entries: which nodes and groups exist, and how far each group has got.
 * Encoding and decoding only: progress-journal.ts and the registries decide what to write, journal-replay.ts and node-restorer.ts
 * what to make of it.
 *
 *   entry      bytes (big-endian)
 *   NODE       01 | utf-8 JSON {id, kind, namespace, name, queueIds}
 *   NODE_GONE  02 | u32 id
 *   GROUP      03 | utf-8 JSON {journalId, node, name, progress, from, …settings}
 *   GROUP_GONE 04 | u32 journalId
 *   LOW        05 | u32 progress | f64 low               everything below is settled
 *   RUN        06 | u32 progress | f64 from | u32 count   settled above low
 *   ATTEMPTS   07 | u32 progress | f64 offset | u32 failed | u32 lost
 *   STATE      08 | u8 length, key | value                any other owner's state; the last value of a key counts, empty deletes
 *   RESTING    09 | (u16 length, key | u16 length, packed node)…   nodes at rest (packed-node.ts); only in snapshots
 *   WOKEN      0a | key                                   one of them is at rest no longer
 *   LOWS       0c | (u32 progress | f64 low)…            many of LOW in one
 *   EXPIRY     0d |                                       what is known of expiries: expiry-entry.ts
 *   BORN       0e | as RESTING                            nodes in use: what comes later may be about them
 *   RUNS       0b | u32 progress | f64 from | (gap, count)…   settled above low: each so far behind the one before, the
 *                                                         first behind `from`; varints (util/varint.ts)
 *   MASK       0f | u32 progress | f64 from | 512 bytes   settled above low: a bit for each of 4,096 offsets from `from`
 *                                                         on, a multiple of that, the first in the lowest bit
 *
 * `progress` numbers one (group, shard). A group's entries come after its GROUP entry. Entries whose
 * offsets lie beyond the recovered log are clamped: the log is the truth.
 */
import type { OwnerJournal } from "../store/message-store.ts";
import { putUint32 } from "../util/big-endian.ts";
import { VARINT_MAX, VarintReader, writeVarint } from "../util/varint.ts";
import { AckState } from "./ack-state.ts";
import { applyExpiries, EXPIRY_ENTRY, type ExpiryImage } from "./expiry-entry.ts";
import type { SubscriptionIdentity } from "./facade.ts";
import { nodeKey } from "./node-key.ts";
import { MASK_BYTES } from "./settled-mask.ts";
import { PAGE_SIZE } from "./state-pages.ts";

export const ENTRY = {
  NODE: 1,
  NODE_GONE: 2,
  GROUP: 3,
  GROUP_GONE: 4,
  LOW: 5,
  RUN: 6,
  ATTEMPTS: 7,
  STATE: 8,
  RESTING: 9,
  WOKEN: 10,
  RUNS: 11,
  LOWS: 12,
  EXPIRY: EXPIRY_ENTRY,
  BORN: 14,
  MASK: 15,
} as const;

export interface NodeEntry {
  readonly id: number;
  readonly kind: "queue" | "topic";
  readonly namespace: string;
  readonly name: string;
  /** RocketMQ queue ids of its shards. */
  readonly queueIds: readonly number[];
  /** Entries only, its records live elsewhere: a session's or share's index. Not an address for anybody. */
  readonly isLight?: boolean;
}

export interface GroupEntry {
  readonly journalId: number;
  readonly node: number;
  readonly name: string;
  /** Its progress numbers, one per shard of the node; the first is `journalId`. */
  readonly progress: readonly number[];
  /** Where each shard of a new group begins. */
  readonly from: readonly number[];
  readonly isOrdered: boolean;
  readonly tags: string;
  readonly selector: string;
  readonly noLocal: boolean;
  readonly path: string;
  readonly identity: SubscriptionIdentity | null;
}

const scratch = Buffer.alloc(32);
const LOW_BYTES = 12;
const LOWS_BYTES = 1 + 256 * LOW_BYTES;
const RUNS_HEADER = 13;
const RUNS_BYTES = 4096;
const MASK_HEADER = 13;
const LONGEST_RUN = 2 * VARINT_MAX;

export class CatalogWriter {
  readonly #journal: Pick<OwnerJournal, "append">;
  /** The row of runs that is being written; made with the first. */
  #runs: Buffer | null = null;
  #runsAt = 0;
  /** Where the last of them ends. */
  #runsEnd = 0;
  readonly #lows = Buffer.alloc(LOWS_BYTES);
  #lowsAt = 1;

  constructor(journal: Pick<OwnerJournal, "append">) {
    this.#journal = journal;
  }

  node(entry: NodeEntry): void {
    this.#json(ENTRY.NODE, entry);
  }
  nodeGone(id: number): void {
    this.#number(ENTRY.NODE_GONE, id);
  }
  group(entry: GroupEntry): void {
    this.#json(ENTRY.GROUP, entry);
  }
  /** `bytes`: room for the type, then keys and packed nodes. */
  packed(type: typeof ENTRY.RESTING | typeof ENTRY.BORN, bytes: Buffer, end: number): void {
    bytes[0] = type;
    this.#journal.append(bytes, 0, end);
  }
  woken(key: string): void {
    const bytes = Buffer.from(`\0${key}`, "utf8");
    bytes[0] = ENTRY.WOKEN;
    this.#journal.append(bytes, 0, bytes.length);
  }
  /** `bytes`: a whole entry. */
  expiries(bytes: Buffer, end: number): void {
    this.#journal.append(bytes, 0, end);
  }
  groupGone(journalId: number): void {
    this.#number(ENTRY.GROUP_GONE, journalId);
  }
  /** Adds one to a row; `endLows` writes what is left of it. */
  low(progress: number, low: number): void {
    if (this.#lowsAt > LOWS_BYTES - LOW_BYTES) this.endLows();
    const at = this.#lowsAt;
    writeLow(this.#lows, at, progress, low);
    this.#lowsAt = at + LOW_BYTES;
  }
  endLows(): void {
    const end = this.#lowsAt;
    if (end === 1) return;
    this.#lows[0] = end === 1 + LOW_BYTES ? ENTRY.LOW : ENTRY.LOWS;
    this.#journal.append(this.#lows, 0, end);
    this.#lowsAt = 1;
  }
  /** Adds a run to a row; `endRuns` writes what is left of it. All of a row belong to one progress. */
  run(progress: number, from: number, count: number): void {
    this.#runs ??= Buffer.allocUnsafeSlow(RUNS_BYTES);
    const bytes = this.#runs;
    if (this.#runsAt > RUNS_BYTES - LONGEST_RUN || from < this.#runsEnd) this.endRuns();
    if (this.#runsAt === 0) {
      bytes[0] = ENTRY.RUNS;
      bytes.writeUInt32BE(progress, 1);
      bytes.writeDoubleBE(from, 5);
      this.#runsAt = RUNS_HEADER;
      this.#runsEnd = from;
    }
    this.#runsAt = writeVarint(bytes, this.#runsAt, from - this.#runsEnd);
    this.#runsAt = writeVarint(bytes, this.#runsAt, count);
    this.#runsEnd = from + count;
  }
  endRuns(): void {
    if (this.#runsAt > 0) this.#journal.append(this.#runs!, 0, this.#runsAt);
    this.#runsAt = 0;
    this.#runsEnd = 0;
  }
  /** What is settled of a whole page (ack-state.ts): where it is strewn this is shorter than its runs, and read faster. */
  mask(progress: number, page: number, mask: Uint8Array): void {
    const bytes = Buffer.allocUnsafe(MASK_HEADER + MASK_BYTES);
    bytes[0] = ENTRY.MASK;
    bytes.writeUInt32BE(progress, 1);
    bytes.writeDoubleBE(page * PAGE_SIZE, 5);
    bytes.set(mask, MASK_HEADER);
    this.#journal.append(bytes, 0, bytes.length);
  }
  attempts(progress: number, offset: number, failed: number, lost: number): number {
    scratch[0] = ENTRY.ATTEMPTS;
    scratch.writeUInt32BE(progress, 1);
    scratch.writeDoubleBE(offset, 5);
    scratch.writeUInt32BE(failed, 13);
    scratch.writeUInt32BE(lost, 17);
    return this.#journal.append(scratch, 0, 21);
  }
  state(key: string, value: Buffer): number {
    const name = Buffer.from(key, "utf8");
    const bytes = Buffer.concat([Buffer.from([ENTRY.STATE, name.length]), name, value]);
    return this.#journal.append(bytes, 0, bytes.length);
  }

  #json(type: number, value: unknown): void {
    const bytes = Buffer.concat([Buffer.from([type]), Buffer.from(JSON.stringify(value), "utf8")]);
    this.#journal.append(bytes, 0, bytes.length);
  }
  #number(type: number, value: number): void {
    scratch[0] = type;
    scratch.writeUInt32BE(value, 1);
    this.#journal.append(scratch, 0, 5);
  }
}

/** What the journal holds, once replayed: plain data. */
export interface CatalogImage {
  readonly nodes: Map<number, NodeEntry>;
  /** Numbers of the nodes, by name. */
  readonly ids: Map<string, number>;
  readonly groups: Map<number, GroupEntry>;
  readonly progress: Map<number, ProgressImage>;
  readonly state: Map<string, Buffer>;
  readonly expiry: ExpiryImage;
}

export interface ProgressImage {
  readonly state: AckState;
  readonly attempts: Map<number, { failed: number; lost: number }>;
}

export function emptyImage(): CatalogImage {
  return {
    nodes: new Map(),
    ids: new Map(),
    groups: new Map(),
    progress: new Map(),
    state: new Map(),
    expiry: new Map(),
  };
}

/** Applies one entry. Throws on an entry that cannot be read: the journal's CRC has vouched for it, so it is a bug. */
export function applyEntry(image: CatalogImage, bytes: Buffer): void {
  switch (bytes[0]) {
    case ENTRY.NODE:
      setNode(image, nodeOf(bytes));
      return;
    case ENTRY.NODE_GONE: {
      const id = bytes.readUInt32BE(1);
      const node = image.nodes.get(id);
      if (node !== undefined) image.ids.delete(keyOfEntry(node));
      image.nodes.delete(id);
      image.expiry.delete(id);
      return;
    }
    case ENTRY.GROUP:
      setGroup(image, groupOf(bytes));
      return;
    case ENTRY.GROUP_GONE:
      forgetGroup(image, bytes.readUInt32BE(1));
      return;
    case ENTRY.LOW:
    case ENTRY.LOWS:
      forEachLow(bytes, (number, low) => image.progress.get(number)?.state.settleBelow(low));
      return;
    case ENTRY.RUN: {
      const progress = image.progress.get(bytes.readUInt32BE(1));
      progress?.state.settle(bytes.readDoubleBE(5), bytes.readUInt32BE(13));
      return;
    }
    case ENTRY.RUNS: {
      const progress = image.progress.get(bytes.readUInt32BE(1));
      if (progress !== undefined) settleRuns(progress.state, bytes);
      return;
    }
    case ENTRY.MASK: {
      const progress = image.progress.get(bytes.readUInt32BE(1));
      if (progress !== undefined) settleMask(progress.state, bytes);
      return;
    }
    case ENTRY.ATTEMPTS: {
      const progress = image.progress.get(bytes.readUInt32BE(1));
      progress?.attempts.set(bytes.readDoubleBE(5), {
        failed: bytes.readUInt32BE(13),
        lost: bytes.readUInt32BE(17),
      });
      return;
    }
    case ENTRY.STATE: {
      const end = 2 + bytes[1]!;
      const key = bytes.toString("utf8", 2, end);
      if (end === bytes.length) image.state.delete(key);
      else image.state.set(key, Buffer.from(bytes.subarray(end)));
      return;
    }
    case ENTRY.EXPIRY:
      applyExpiries(image.expiry, bytes);
      return;
    default:
      throw new Error(
        `journal entry of unknown type ${bytes[0]}: was it written by a newer version?`,
      );
  }
}

/** Of LOW and LOWS. */
export function forEachLow(bytes: Buffer, apply: (progress: number, low: number) => void): void {
  for (let at = 1; at < bytes.length; at += LOW_BYTES) {
    apply(bytes.readUInt32BE(at), bytes.readDoubleBE(at + 4));
  }
}

export function setNode(image: CatalogImage, node: NodeEntry): void {
  const key = keyOfEntry(node);
  forgetNamed(image, key, node.id);
  image.ids.set(key, node.id);
  image.nodes.set(node.id, node);
}

export function setGroup(image: CatalogImage, group: GroupEntry): void {
  image.groups.set(group.journalId, group);
  // A group is written again when its node gets another shard: what is known already stays.
  group.progress.forEach((number, shard) => {
    if (image.progress.has(number)) return;
    const state = new AckState(group.from[shard] ?? 0);
    image.progress.set(number, { state, attempts: new Map() });
  });
}

/** Of the one that had the name before, the end is lost. */
export function forgetNamed(image: CatalogImage, key: string, except: number): void {
  const older = image.ids.get(key);
  if (older !== undefined && older !== except) forgetNode(image, older);
}

function forgetNode(image: CatalogImage, id: number): void {
  image.nodes.delete(id);
  image.expiry.delete(id);
  for (const group of [...image.groups.values()]) {
    if (group.node === id) forgetGroup(image, group.journalId);
  }
}

function forgetGroup(image: CatalogImage, journalId: number): void {
  const group = image.groups.get(journalId);
  image.groups.delete(journalId);
  for (const number of group?.progress ?? []) image.progress.delete(number);
}

export const keyOfEntry = ({ kind, namespace, name, isLight }: NodeEntry): string =>
  nodeKey(isLight === true ? "light" : kind, namespace, name);

export const nodeOf = (bytes: Buffer): NodeEntry => parse<NodeEntry>(bytes);
export const groupOf = (bytes: Buffer): GroupEntry => parse<GroupEntry>(bytes);

function parse<T>(bytes: Buffer): T {
  return JSON.parse(bytes.toString("utf8", 1)) as T;
}

const words = new Uint32Array(2);
const double = new Float64Array(words.buffer);
/** Of a double's two words, the one with sign and exponent. */
const HIGH = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1 ? 1 : 0;

function writeLow(bytes: Buffer, at: number, progress: number, low: number): void {
  double[0] = low;
  putUint32(bytes, at, progress);
  putUint32(bytes, at + 4, words[HIGH]!);
  putUint32(bytes, at + 8, words[1 - HIGH]!);
}

function settleRuns(state: AckState, bytes: Buffer): void {
  const reader = new VarintReader(bytes, RUNS_HEADER, bytes.length);
  let from = bytes.readDoubleBE(5);
  while (reader.at < bytes.length) {
    from += reader.next();
    const count = reader.next();
    if (reader.isBroken) throw new Error("journal entry of settled runs ends within a run");
    state.settle(from, count);
    from += count;
  }
}

function settleMask(state: AckState, bytes: Buffer): void {
  const from = bytes.readDoubleBE(5);
  if (bytes.length !== MASK_HEADER + MASK_BYTES || from % PAGE_SIZE !== 0) {
    throw new Error(
      `journal entry of a settled page has ${bytes.length} bytes from ${from} on, expected ${MASK_HEADER + MASK_BYTES} at a multiple of ${PAGE_SIZE}`,
    );
  }
  state.settleMask(from / PAGE_SIZE, bytes, MASK_HEADER);
}
