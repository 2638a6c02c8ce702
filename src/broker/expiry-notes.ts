/**
 * What the journal is told of expiries (expiry-entry.ts), so that they are known after a restart. About once a second, and
 * after every few MiB of log, for nodes to which something was published; a queue in which nothing expires costs 35 bytes
 * then. An entry speaks only of messages that are durable: others may come in their place after a crash.
 */
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { CatalogWriter } from "./catalog.ts";
import { EXPIRY_PAGE, type ExpiryImage, writeExpiries } from "./expiry-entry.ts";
import type { Node } from "./node.ts";

/** How far the journal has been told, of one shard. */
interface ShardNotes {
  /** Below this it has. */
  noted: number;
  /** Up to here as soon as the log is durable to `position`. */
  seen: number;
  position: number;
}

/** By shard of a node. */
export type ExpiryNotes = ShardNotes[];

export class ExpiryJournal {
  readonly #store: MessageStore;
  readonly #catalog: CatalogWriter;
  readonly #onNews: () => void;

  /** `onNews`: a turn is wanted, for what was written. */
  constructor(store: MessageStore, catalog: CatalogWriter, onNews: () => void) {
    this.#store = store;
    this.#catalog = catalog;
    this.#onNews = onNews;
  }

  /** Writes what is new. True when there is more that has to become durable first. */
  note(node: Node): boolean {
    if (node.id < 0 || node.shards[0]!.isLight) return false;
    let isMore = false;
    for (let index = 0; index < node.shards.length; index++) {
      const notes = notesOf(node, index);
      const { maxOffset } = node.shards[index]!;
      if (notes.seen > notes.noted) this.#tell(node, index, notes);
      if (notes.seen === notes.noted && maxOffset > notes.seen) {
        notes.seen = maxOffset;
        notes.position = this.#store.watermarks.appended;
        this.#tell(node, index, notes);
      }
      if (notes.seen > notes.noted) isMore = true;
    }
    return isMore;
  }

  #tell(node: Node, index: number, notes: ShardNotes): void {
    if (notes.position > this.#store.watermarks.durable) return;
    const owed = journaledOwed(node, index);
    const from = Math.max(notes.noted, owed);
    if (from < notes.seen) this.#write(node, node.shards[index]!, owed, from, notes.seen);
    notes.noted = notes.seen;
  }

  /** Somebody has looked at this page, of which nothing was known. */
  looked(node: Node, queue: StoreQueue, from: number): void {
    const index = node.shards.indexOf(queue);
    if (node.id < 0 || index < 0) return;
    const to = Math.min(from + EXPIRY_PAGE, notesOf(node, index).noted);
    if (to > from) this.#write(node, queue, journaledOwed(node, index), from, to);
  }

  #write(node: Node, queue: StoreQueue, owed: number, from: number, to: number): void {
    writeStretch(node, queue, owed, from, to, this.#catalog);
    this.#onNews();
  }
}

/** All that is known of a node: for a snapshot, which counts when the log is durable up to where it ends now. */
export function writeNodeExpiries(node: Node, catalog: CatalogWriter): void {
  if (node.shards[0]!.isLight) return;
  for (const [index, queue] of node.shards.entries()) {
    const owed = journaledOwed(node, index);
    // All that anybody is owed of an empty one is known anyway.
    if (owed < queue.maxOffset) writeStretch(node, queue, owed, owed, queue.maxOffset, catalog);
  }
}

/** Takes over what the journal knows; the rest of what is owed is unknown. */
export function restoreExpiries(node: Node, image: ExpiryImage): void {
  const known = image.get(node.id);
  for (const [index, queue] of node.shards.entries()) {
    const owed = journaledOwed(node, index);
    const shard = known?.find(({ queueId }) => queueId === queue.queueId);
    const notes = notesOf(node, index);
    if (shard === undefined || shard.from > owed) {
      notes.noted = notes.seen = Math.min(owed, queue.maxOffset);
      continue;
    }
    notes.noted = notes.seen = Math.min(Math.max(owed, shard.to), queue.maxOffset);
    for (const [page, earliest] of shard.pages ?? []) {
      const from = Math.max(owed, page * EXPIRY_PAGE);
      const to = Math.min((page + 1) * EXPIRY_PAGE, notes.noted);
      if (from >= to) continue;
      if (earliest === 0) node.expiryIndex().noteUnknown(queue, from, to);
      else node.expiryIndex().note(queue, from, earliest);
    }
  }
}

/** Whatever of a node nobody knows is to be looked at. */
export function noteUnknownExpiries(node: Node): void {
  for (const [index, queue] of node.shards.entries()) {
    const notes = notesOf(node, index);
    const from = Math.max(notes.noted, journaledOwed(node, index));
    if (from < queue.maxOffset) node.expiryIndex().noteUnknown(queue, from, queue.maxOffset);
    notes.noted = notes.seen = queue.maxOffset;
  }
  // A history is read by others too, from before what is owed.
  node.mayExpire = node.expiry !== null || node.hasHistory;
}

function notesOf(node: Node, index: number): ShardNotes {
  // Of a new shard everything is known: there is nothing.
  node.expiryNotes[index] ??= { noted: 0, seen: 0, position: 0 };
  return node.expiryNotes[index]!;
}

/** First offset that somebody will be owed after a crash. */
function journaledOwed(node: Node, index: number): number {
  const queue = node.shards[index]!;
  let owed = queue.maxOffset;
  owed = Math.min(owed, node.groups.resting?.lowest(index) ?? owed);
  for (const group of node.groups.awake()) {
    if (group.isDurable) owed = Math.min(owed, group.shards[index]!.journaledLow);
  }
  return Math.max(owed, queue.minOffset);
}

function writeStretch(
  node: Node,
  queue: StoreQueue,
  owed: number,
  from: number,
  to: number,
  catalog: CatalogWriter,
): void {
  const { expiry } = node;
  writeExpiries(
    {
      node: node.id,
      queueId: queue.queueId,
      owed,
      from,
      to,
      isClear: expiry === null,
      earliestOf: (page) => expiry!.earliestOf(queue, page),
    },
    (bytes, end) => catalog.expiries(bytes, end),
  );
}
