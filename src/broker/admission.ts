/**
 * What a node's policies say about a message that wants in: duplicates, full queues, newest-value-only. Plain nodes never
 * come here.
 */
import type { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import { propertyText, unescapeText } from "../model/properties.ts";
import type { RecordView } from "../model/record-view.ts";
import type { StoreQueue } from "../store/message-store.ts";
import { STATE } from "./ack-state.ts";
import type { DeathReason } from "./dead-letter.ts";
import type { Node } from "./node.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Superseded } from "./superseded.ts";
import type { Tally } from "./tally.ts";
import type { Visibility } from "./visibility.ts";

export interface AdmissionHost {
  /** Pushed out by the record that ends at `position`. */
  drop(shard: ShardProgress, offset: number, reason: DeathReason, position: number): void;
  readonly visibility: Visibility;
  readonly superseded: Superseded;
  readonly tally: Tally;
  readonly store: { readonly lastSize: number };
  /** Gives back what no group of a topic owes. True when there was something. */
  dropHistory(node: Node): boolean;
  /** What waits elsewhere for its time to come to a queue; null for nothing. */
  waitingFor(node: Node): { readonly count: number; readonly bytes: number } | null;
}

/** -1: go on; otherwise the position to answer with, and nothing is stored. Throws queue-full. */
export function admit(
  node: Node,
  draft: Draft,
  now: number,
  host: Pick<AdmissionHost, "dropHistory" | "waitingFor" | "tally">,
): number {
  if (node.duplicates !== null && draft.dedupId !== "") {
    const position = findDuplicate(node, draft, now);
    if (position >= 0) return position;
  }
  demandPlace(node, draft.end - draft.start, host);
  if (endsKey(node, draft)) draft.properties += propertyText(END_PROPERTY, "1");
  return -1;
}

/** Without a body, the newest message of a key says that there is nothing any more. */
const endsKey = (node: Node, draft: Draft): boolean =>
  node.keepsLastValues && draft.keys !== "" && (draft.isEmptyBody || draft.start === draft.end);

const END_PROPERTY = "__END";

/** Is this stored message the end of its key? */
export const isEndOfKey = (view: RecordView): boolean => view.property(END_PROPERTY) !== undefined;

/** Throws queue-full where a message is to be refused. One that waits for its time has its place already. */
export function demandPlace(
  node: Node,
  bytes: number,
  host: Pick<AdmissionHost, "dropHistory" | "waitingFor" | "tally">,
): void {
  if (node.settings.overflow !== "reject" || !isFullFor(node, bytes, 0, host)) return;
  if (makesRoom(node, host) && !isFullFor(node, bytes, 0, host)) return;
  node.counters.rejected++;
  host.tally.refused.full++;
  throw fullError(node);
}

/** With `more` others of `moreBytes` before it. */
export function isFullFor(
  node: Node,
  bytes: number,
  more: number,
  host: Pick<AdmissionHost, "waitingFor">,
): boolean {
  const waiting = host.waitingFor(node);
  return waiting === null
    ? isFull(node, bytes, more)
    : isFull(node, bytes + waiting.bytes, more + waiting.count);
}

/** Position of the message that came first with this id; -1 when this one does, which then carries it. */
export function findDuplicate(node: Node, draft: Draft, now: number): number {
  const position = node.duplicates!.find(draft.dedupId, now);
  if (position >= 0) node.counters.duplicates++;
  else draft.properties += propertyText(DEDUP_PROPERTY, draft.dedupId);
  return position;
}

export const fullError = (node: Node): BrokerError =>
  new BrokerError(
    "queue-full",
    `${node.kind} '${node.address.name}' is full (${limitText(node)}): consume from it, or raise its limit`,
    { queue: node.address.name, reason: "maxlen" },
  );

/** The message has its place: bring the node back within its limits. */
export function afterAppend(
  node: Node,
  queue: StoreQueue,
  offset: number,
  draft: Draft,
  now: number,
  position: number,
  host: AdmissionHost,
): void {
  if (node.duplicates !== null && draft.dedupId !== "") {
    host.visibility.awaitBatch(node.duplicates.add(draft.dedupId, now, position));
  }
  if (node.countsBytes) node.storedBytes += host.store.lastSize;
  if (node.lastValues !== null && draft.keys !== "") {
    replaceValue(node, queue, offset, draft.keys, (shard, older) =>
      host.superseded.add(shard, older, position),
    );
    if (endsKey(node, draft)) node.lastValues.end(draft.keys, now + node.settings.endedKeysMs);
  }
  bringWithinLimits(node, position, host);
}

/** Pushes out the oldest messages of a node that has too many; the record that ends at `position` is the newest. */
export function bringWithinLimits(node: Node, position: number, host: AdmissionHost): void {
  const { overflow } = node.settings;
  if (overflow !== "drop-head" && overflow !== "dead-letter") return;
  while (isFull(node, 0)) {
    if (makesRoom(node, host)) continue;
    const oldest = oldestReady(node);
    if (oldest === undefined) return;
    const { shard } = oldest;
    // Its turn comes when it is durable (Broker.#onVisible).
    if (overflow === "dead-letter" && !host.visibility.mayCopy(shard.queue, oldest.offset)) return;
    host.drop(shard, oldest.offset, "maxlen", position);
  }
}

/** History counts only as long as nobody needs its place. */
const makesRoom = (node: Node, host: Pick<AdmissionHost, "dropHistory">): boolean =>
  node.countsHistory && host.dropHistory(node);

/** Property that carries the id, so that the window survives a restart. */
const DEDUP_PROPERTY = "__DEDUP";

/** The id that a stored message is known by in the duplicate window, or undefined. */
export function dedupIdOf(view: RecordView): string | undefined {
  const id = view.property(DEDUP_PROPERTY);
  return id === undefined ? undefined : unescapeText(id);
}

/** `moreBytes` > 0: with another message of that size, and `more` others before it. */
export function isFull(node: Node, moreBytes: number, more = 0): boolean {
  const { maxLength, maxBytes } = node.settings;
  if (maxLength >= 0 && readyCount(node) + more >= maxLength + (moreBytes > 0 ? 0 : 1)) return true;
  const bytes = node.storedBytes - node.leavingBytes + moreBytes;
  return maxBytes >= 0 && bytes > maxBytes && readyCount(node) + more > 0;
}

const readyCount = (node: Node): number => node.groups.mostReady(node.shards);

/** The first ready message of the lowest priority. */
function oldestReady(node: Node): { shard: ShardProgress; offset: number } | undefined {
  for (const group of node.groups.values()) {
    const shards = group.levels ?? group.shards;
    for (let i = shards.length - 1; i >= 0; i--) {
      const shard = shards[i]!;
      const end = shard.queue.maxOffset;
      const offset = shard.state.findReady(shard.state.low, end);
      if (offset < end) return { shard, offset };
    }
  }
  return undefined;
}

/** Where the key's message was before: `leave` for each group that has not taken it. Who has it now gets it no more when it gives it back. */
export function replaceValue(
  node: Node,
  queue: StoreQueue,
  offset: number,
  key: string,
  leave: (shard: ShardProgress, offset: number) => void,
): void {
  const older = node.lastValues!.replace(key, node.shards.indexOf(queue), offset);
  if (older !== null) leaveOlder(node, older.shard, older.offset, leave);
}

/** There is a newer one of its key: whoever has it keeps it, nobody else gets it. */
export function leaveOlder(
  node: Node,
  index: number,
  offset: number,
  leave: (shard: ShardProgress, offset: number) => void,
): void {
  for (const group of node.groups.values()) {
    const shard = group.shards[index]!;
    if (offset < shard.state.low) continue;
    const state = shard.state.stateOf(offset);
    if (state === STATE.READY || state === STATE.READY_AGAIN) leave(shard, offset);
    else if (state !== STATE.SETTLED) shard.noteOutdated(offset);
  }
}

/** A group that comes later gets the newest message of each key, and what is history by other limits. */
export function skipSuperseded(node: Node, shard: ShardProgress): void {
  const { index, queue, state } = shard;
  const end = node.hasHistoryLimit
    ? Math.min(node.historyStarts[index] ?? queue.minOffset, queue.maxOffset)
    : queue.maxOffset;
  let at = state.low;
  for (const offset of node.lastValues!.offsets(index)) {
    if (offset >= end) break;
    if (offset < at) continue;
    if (offset > at) shard.settle(at, offset - at);
    at = offset + 1;
  }
  if (at < end) shard.settle(at, end - at);
}

function limitText(node: Node): string {
  const { maxLength, maxBytes } = node.settings;
  const parts: string[] = [];
  if (maxLength >= 0) parts.push(`at most ${maxLength} messages`);
  if (maxBytes >= 0) parts.push(`at most ${maxBytes} bytes`);
  return parts.join(", ");
}
