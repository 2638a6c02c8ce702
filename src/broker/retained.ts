/**
 * Retained messages: the newest message of each topic that was published to be kept. A message is one record in the log,
 * at home in its topic, with one more entry in a light queue; what is unsettled there is what is retained. An empty message
 * that takes one away has an entry too: once it is durable, so is what it did, whether or not its settlement is. In
 * memory: the tree of topics (retained-trie.ts), never a body.
 */
import { entryBatch } from "../model/entry-batch.ts";
import { homeOf, pathOfRecord } from "../model/record-fields.ts";
import { RecordView } from "../model/record-view.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import { STATE } from "./ack-state.ts";
import type { Node } from "./node.ts";
import { mayCome, readOne } from "./read-one.ts";
import { RetainedTrie } from "./retained-trie.ts";
import type { RetainedCursor } from "./session-facade.ts";
import type { ShardProgress } from "./shard-progress.ts";
import type { Superseded } from "./superseded.ts";

export interface RetainedHost {
  readonly store: MessageStore;
  readonly turn: Turn;
  lightNode(name: string): Node;
  ownLightNode(name: string): Node | undefined;
  readonly superseded: Superseded;
  /** Appends the record once more, for these light queues only. */
  appendCopy(record: RecordView, path: string, namespace: string, queues: StoreQueue[]): number;
}

const NODE_NAME = "retained";
/** The index, and the log behind it, are tidied when they are this many times longer than what they hold. */
const SLACK_FACTOR = 4;
const SLACK_MIN = 10_000;
const READ_AGAIN_MS = 60_000;
/** So much of the log may be kept for the sake of old retained messages, whatever they amount to. */
const PINNED_MIN = 256 * 1024 * 1024;
const ROOM = 1024 * 1024;
/** Entries read in one go after recovery. */
const BATCH = 1024;
/** Old messages written anew in one go. */
const TIDY_BATCH = 256;

export class RetainedMessages {
  readonly #host: RetainedHost;
  readonly #tries = new Map<string, RetainedTrie>();
  readonly #view = new RecordView();
  readonly #entry = entryBatch();
  #progress: ShardProgress | null = null;
  /** Offsets that the disk did not give at the start. */
  #unread: number[] = [];
  #readAgainAt = 0;
  /** Meanwhile: topics whose message was taken away, and the offset of the record that did it. */
  readonly #emptied = new Map<string, number>();
  slackMin = SLACK_MIN;

  constructor(host: RetainedHost) {
    this.#host = host;
  }

  get count(): number {
    let count = 0;
    for (const trie of this.#tries.values()) count += trie.count;
    return count;
  }

  /** The light queue that a retained message gets an entry in. */
  get queue(): StoreQueue {
    return this.#open().queue;
  }

  #open(): ShardProgress {
    this.#progress ??= this.#host.lightNode(NODE_NAME).ownGroup.shards[0]!;
    return this.#progress;
  }

  #trie(namespace: string): RetainedTrie {
    let trie = this.#tries.get(namespace);
    if (trie === undefined) {
      trie = new RetainedTrie();
      this.#tries.set(namespace, trie);
    }
    return trie;
  }

  /** The record just appended, with its entry at `offset` of the queue, is the topic's message now. */
  set(namespace: string, path: string, offset: number, physicalOffset: number, size: number): void {
    const before = this.#trie(namespace).set(path, physicalOffset, size, offset);
    if (before >= 0) this.#host.superseded.add(this.#open(), before, physicalOffset + size);
  }

  has(namespace: string, path: string): boolean {
    const trie = this.#tries.get(namespace);
    // One that could not be read may be of any topic.
    return this.#unread.length > 0 || (trie !== undefined && trie.find(path) >= 0);
  }

  /** The store has moved a record (message-store.ts StoreEvents). */
  moved(queue: StoreQueue, offset: number, physicalOffset: number, size: number): void {
    if (this.#progress === null || queue !== this.#progress.queue) return;
    if (!this.#host.store.view(physicalOffset, size, this.#view)) return;
    const trie = this.#tries.get(homeOf(this.#view).namespace);
    const node = trie?.find(pathOfRecord(this.#view)) ?? -1;
    if (node >= 0 && trie!.offsetOf(node) === offset)
      trie!.move(node, physicalOffset, size, offset);
  }

  delete(namespace: string, path: string): void {
    const before = this.#tries.get(namespace)?.delete(path) ?? -1;
    if (before >= 0) this.#open().settle(before, 1);
  }

  /** The empty record just appended, with its entry at `offset` of the queue, took the topic's message away. */
  empty(namespace: string, path: string, offset: number, position: number): void {
    const { superseded } = this.#host;
    const progress = this.#open();
    const before = this.#tries.get(namespace)?.delete(path) ?? -1;
    if (before >= 0) superseded.add(progress, before, position);
    // Not before that one: as long as it can come back, this record says that it is gone.
    if (this.#unread.length === 0) superseded.add(progress, offset, position);
    else this.#emptied.set(`${namespace}\x00${path}`, offset);
  }

  cursor(namespace: string, filter: string): RetainedCursor {
    const trie = this.#tries.get(namespace);
    if (trie === undefined || trie.count === 0) return NOTHING;
    return new Cursor(this.#host, trie, filter, this.#open().queue.maxOffset, (path) =>
      this.delete(namespace, path),
    );
  }

  /** After recovery. */
  restore(): void {
    const node = this.#host.ownLightNode(NODE_NAME);
    if (node === undefined) return;
    this.#progress = node.ownGroup.shards[0]!;
    const { state, queue } = this.#progress;
    const end = queue.maxOffset;
    const { store } = this.#host;
    const batch = entryBatch(BATCH);
    const view = this.#view;
    for (let at = state.findReady(state.low, end); at < end; at = state.findReady(at, end)) {
      const count = store.read(queue, at, Math.min(state.readyRun(at, BATCH), end - at), batch);
      if (count === 0) return;
      for (let i = 0; i < count; i++, at++) {
        const physicalOffset = batch.physicalOffset[i]!;
        const size = batch.size[i]!;
        if (store.view(physicalOffset, size, view)) this.#take(at, physicalOffset, size);
        else if (store.isUnreadable(physicalOffset)) this.#unread.push(at);
      }
    }
  }

  /** The record in the view was found at `offset`. It may have been unreadable when younger ones were found. */
  #take(offset: number, physicalOffset: number, size: number): void {
    const view = this.#view;
    const { namespace } = homeOf(view);
    const path = pathOfRecord(view);
    const trie = this.#trie(namespace);
    const node = trie.find(path);
    const newer = node >= 0 ? trie.offsetOf(node) : this.#emptied.get(`${namespace}\x00${path}`);
    if (newer !== undefined && newer > offset) this.#open().settle(offset, 1);
    else if (view.bodyLength === 0) this.empty(namespace, path, offset, physicalOffset + size);
    else this.set(namespace, path, offset, physicalOffset, size);
  }

  /** Asks again for what the disk did not give at the start. */
  #readAgain(): void {
    const { turn, store } = this.#host;
    if (this.#unread.length === 0 || turn.now < this.#readAgainAt) return;
    this.#readAgainAt = turn.now + READ_AGAIN_MS;
    const { state } = this.#open();
    const unread = this.#unread;
    this.#unread = [];
    for (const offset of unread) {
      if (state.stateOf(offset) === STATE.SETTLED) continue;
      const physicalOffset = this.#entry.physicalOffset;
      if (this.#read(offset)) this.#take(offset, physicalOffset[0]!, this.#entry.size[0]!);
      else if (mayCome(store, this.#entry)) this.#unread.push(offset);
    }
    if (this.#unread.length > 0) return;
    for (const offset of this.#emptied.values()) this.#open().settle(offset, 1);
    this.#emptied.clear();
  }

  #read(offset: number): boolean {
    const { store } = this.#host;
    return readOne(store, store, this.#open().queue, offset, this.#entry, this.#view);
  }

  /**
   * Now and then: messages that stood still while much was published are stored again at the end of the log, so that
   * what lies between can be forgotten.
   */
  tidy(): void {
    const progress = this.#progress;
    if (progress === null) return;
    this.#readAgain();
    const { state, queue } = progress;
    const { store } = this.#host;
    for (let done = 0; done < TIDY_BATCH; done++) {
      const at = state.findReady(state.low, queue.maxOffset);
      if (at >= queue.maxOffset || store.read(queue, at, 1, this.#entry) !== 1) return;
      const physicalOffset = this.#entry.physicalOffset[0]!;
      const span = queue.maxOffset - at;
      const isLong = span >= this.slackMin && span >= this.count * SLACK_FACTOR;
      const pinned = store.watermarks.appended - physicalOffset;
      if (!isLong && pinned < Math.max(PINNED_MIN, this.#bytes() * SLACK_FACTOR)) return;
      if (!store.hasRoom(ROOM)) return;
      if (this.#read(at)) this.#renew(at);
      else if (mayCome(store, this.#entry)) return;
      else progress.settle(at, 1);
    }
  }

  #bytes(): number {
    let bytes = 0;
    for (const trie of this.#tries.values()) bytes += trie.bytes;
    return bytes;
  }

  #renew(offset: number): void {
    const path = pathOfRecord(this.#view);
    const { namespace } = homeOf(this.#view);
    const progress = this.#open();
    const { queue } = progress;
    const trie = this.#trie(namespace);
    const node = trie.find(path);
    // A leftover that no topic points to.
    if (node < 0 || trie.offsetOf(node) !== offset) {
      progress.settle(offset, 1);
      return;
    }
    const next = queue.maxOffset;
    const position = this.#host.appendCopy(this.#view, path, namespace, [queue]);
    const size = this.#host.store.lastSize;
    trie.move(node, position - size, size, next);
    this.#host.superseded.add(progress, offset, position);
  }
}

class Cursor implements RetainedCursor {
  path = "";
  readonly #host: RetainedHost;
  readonly #trie: RetainedTrie;
  #nodes: Int32Array;
  /** What came later reaches the subscriber as an ordinary message. */
  readonly #mark: number;
  #at = 0;

  readonly #onExpired: (path: string) => void;

  constructor(
    host: RetainedHost,
    trie: RetainedTrie,
    filter: string,
    mark: number,
    onExpired: (path: string) => void,
  ) {
    this.#onExpired = onExpired;
    this.#host = host;
    this.#trie = trie;
    this.#mark = mark;
    this.#nodes = trie.match(filter);
  }

  next(view: RecordView): boolean {
    const trie = this.#trie;
    const { store, turn } = this.#host;
    while (this.#at < this.#nodes.length) {
      const node = this.#nodes[this.#at++]!;
      // It came after the mark: replaced meanwhile, or the node serves another topic now.
      if (!(trie.stampOf(node) < this.#mark)) continue;
      if (!store.view(trie.physicalOffsetOf(node), trie.sizeOf(node), view)) continue;
      const { expiresAt } = view;
      const path = trie.pathOf(node);
      if (expiresAt !== 0 && expiresAt <= turn.now) {
        const end = trie.physicalOffsetOf(node) + trie.sizeOf(node);
        // As long as a crash can take it, the one before could come back: who takes that away has to be heard.
        if (end <= store.watermarks.durable) this.#onExpired(path);
        continue;
      }
      this.path = path;
      return true;
    }
    return false;
  }

  close(): void {
    this.#nodes = new Int32Array(0);
  }
}

const NOTHING: RetainedCursor = { path: "", next: () => false, close: () => {} };
