/** An open destination of one producer: resolved once, then one call per message. */
import type { Address } from "../model/address.ts";
import type { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import { propertyText } from "../model/properties.ts";
import type { MessageStore, StoreQueue } from "../store/message-store.ts";
import type { Turn } from "../util/turn.ts";
import {
  type AdmissionHost,
  admit,
  afterAppend,
  demandPlace,
  findDuplicate,
  fullError,
  isFull,
  isFullFor,
} from "./admission.ts";
import type { DurabilityLevel, Target as TargetFacade } from "./facade.ts";
import { DEFAULT_PRIORITY, type Node } from "./node.ts";
import { ORIGIN_PROPERTY } from "./path-filter.ts";
import type { Gate } from "./publish-gate.ts";
import {
  PROPERTIES_MAX_BYTES,
  type RecordComposer,
  type RecordTemplate,
  tooLarge,
} from "./record-composer.ts";
import type { TopicPublisher } from "./topic-publisher.ts";
import { Route, type RouteReader } from "./topic-routes.ts";

export interface TargetHost extends AdmissionHost {
  readonly store: MessageStore;
  readonly turn: Turn;
  readonly composer: RecordComposer;
  readonly maxMessageBytes: number;
  readonly isBlocked: boolean;
  /** Something was appended in this turn; `isSync` when a confirm will wait for the disk. */
  noteAppend(isSync: boolean): void;
  /** Not before `draft.deliverAt`: kept aside until then. */
  delay(target: Target, draft: Draft, expiresAt: number): number;
  shardOfPriority(node: Node, priority: number): StoreQueue;
  readonly topics: TopicPublisher;
  targetClosed(target: Target): void;
}

/** Credit that one producer is given while nothing holds it back. */
const ALLOWANCE = 1000;

export class Target implements TargetFacade {
  readonly address: Address;
  readonly node: Node;
  readonly template: RecordTemplate;
  readonly connectionId: number;
  onAllowance: (() => void) | null = null;
  isClosed = false;
  readonly #host: TargetHost;
  readonly #bornHost: Buffer;
  readonly #clientId: string;
  /** Decides about the shard of messages without an ordering key; -1 while nobody asked. */
  #home = -1;
  /** Whom messages of this path reach besides the node's groups; null for queues. */
  readonly #route: Route | null;
  hadReaders = true;
  /** Rates and quotas that hold for this producer; null for none. */
  gate: Gate | null = null;

  constructor(
    host: TargetHost,
    address: Address,
    node: Node,
    template: RecordTemplate,
    connectionId: number,
    bornHost: Buffer,
    clientId: string,
    publisher: RouteReader | null = null,
  ) {
    this.#host = host;
    this.address = address;
    this.node = node;
    this.template = template;
    this.connectionId = connectionId;
    this.#bornHost = bornHost;
    this.#clientId = clientId;
    this.#route = node.kind === "topic" ? new Route(address.namespace, address.name) : null;
    if (this.#route !== null) this.#route.publisher = publisher;
  }

  get level(): DurabilityLevel {
    return this.node.settings.level;
  }

  get wantsMessageId(): boolean {
    return this.node.duplicates !== null;
  }

  get creditAllowance(): number {
    const { node, gate } = this;
    if (this.#host.isBlocked) return 0;
    if (node.isPlain || node.settings.overflow !== "block" || !isFull(node, 1)) {
      return gate === null ? ALLOWANCE : gate.allowanceFor(this, ALLOWANCE);
    }
    node.heldTargets ??= new Set();
    node.heldTargets.add(this);
    return 0;
  }

  publish(draft: Draft): number {
    return this.#publish(draft, null);
  }

  /** Exactly once: the message also gets an entry in `received`, and is not seen before it is durable. */
  publishOnce(draft: Draft, received: StoreQueue): number {
    return this.#publish(draft, received);
  }

  #publish(draft: Draft, received: StoreQueue | null): number {
    const { node } = this;
    const host = this.#host;
    const now = host.turn.now;
    this.check(draft);
    if (this.gate !== null) this.#passGate(this.gate, draft);
    if (draft.deliverAt > now) return this.#delay(draft, now);
    limitTtl(node, draft);
    const expiresAt = expiryOf(draft, now);
    const route = this.#route;
    if (!node.isPlain && (route === null || node.isWanted)) {
      const position = admit(node, draft, now, host);
      if (position >= 0) return position;
    }
    if (node.hasNoLocal) draft.properties += propertyText(ORIGIN_PROPERTY, this.#clientId);
    const queue =
      node.kind === "queue" && draft.priority >= 0 && draft.priority !== DEFAULT_PRIORITY
        ? host.shardOfPriority(node, draft.priority)
        : this.shardFor(draft.group);
    const offset = queue.maxOffset;
    if (draft.group !== "") node.noteKey(node.shards.indexOf(queue), offset + 1);
    const { counters } = node;
    let position: number;
    if (route === null) {
      position = host.store.append(
        queue,
        host.composer.compose(this.template, draft, this.#bornHost, now, expiresAt, null),
      );
      if (host.visibility.isBatch) host.visibility.hold(queue, offset, position);
    } else {
      const { topics } = host;
      position = topics.publish(
        node,
        queue,
        this.template,
        draft,
        this.#bornHost,
        expiresAt,
        route,
        received,
      );
      this.hadReaders = topics.hadReaders;
    }
    counters.published++;
    counters.publishedBytes += draft.end - draft.start;
    // Nobody needs it in the log: it has gone to those who are there.
    if (route !== null && position === 0) return 0;
    if (expiresAt !== 0) node.noteExpiry(queue, offset, expiresAt);
    if (!node.isTouched) node.touch();
    if (!node.isPlain) afterAppend(node, queue, offset, draft, now, position, host);
    node.scheduleShard(queue);
    const isConfirmed = draft.isDurable && node.settings.level !== "memory";
    host.noteAppend(isConfirmed && node.settings.level === "fsync");
    return isConfirmed ? position : 0;
  }

  #passGate(gate: Gate, draft: Draft): void {
    const bytes = draft.end - draft.start;
    // Of a transaction, all were asked for before the first.
    if (!this.#host.visibility.isBatch) gate.demandRoom(this.node, bytes);
    gate.draw(bytes);
  }

  /** Kept aside until it is due. The node's own limit of life begins then, the publisher's began when it was sent. */
  #delay(draft: Draft, now: number): number {
    const { node } = this;
    const { duplicates } = node;
    const id = draft.dedupId;
    // A transaction has asked for all of its messages; a topic takes what is due when it has room.
    if (!node.isPlain && node.kind === "queue" && !this.#host.visibility.isBatch) {
      demandPlace(node, draft.end - draft.start, this.#host);
    }
    if (duplicates === null || id === "") {
      return this.#host.delay(this, draft, expiryOf(draft, now));
    }
    const known = findDuplicate(this.node, draft, now);
    if (known >= 0) return known;
    const position = this.#host.delay(this, draft, expiryOf(draft, now));
    this.#host.visibility.awaitBatch(duplicates.add(id, now, position));
    return position;
  }

  /** What would make a publish fail, before anything is changed. */
  check(draft: Draft): void {
    if (this.node.isDeleted) {
      throw new BrokerError(
        "resource-deleted",
        `${this.node.kind} '${this.node.address.name}' was deleted: attach again to create it anew`,
      );
    }
    const bytes = draft.end - draft.start;
    if (bytes > this.#host.maxMessageBytes) {
      this.#host.tally.refused.too_large++;
      throw new BrokerError(
        "message-too-large",
        `message of ${bytes} bytes is larger than the limit of ${this.#host.maxMessageBytes} (limits.messageBytesMax)`,
        { bytes, limit: this.#host.maxMessageBytes },
      );
    }
    const headBytes = draft.headEnd - draft.headStart;
    if (headBytes + draft.properties.length > PROPERTIES_MAX_BYTES / 3) {
      const bytes = headBytes + Buffer.byteLength(draft.properties);
      if (bytes > PROPERTIES_MAX_BYTES) {
        this.#host.tally.refused.too_large++;
        throw tooLarge(bytes);
      }
    }
    const { health } = this.#host.store;
    if (health.state === "failed") {
      this.#host.tally.refused.store++;
      throw new BrokerError("store-read-only", `the log takes no messages: ${health.reason}`);
    }
  }

  /**
   * What would make a publish of a transaction fail once the others are in the log: throws now. `before`: how many of
   * the transaction's messages go to this node first; `all`: how many go anywhere.
   */
  checkCommit(draft: Draft, before: number, bytesBefore: number, all: number, allBytes: number) {
    this.check(draft);
    this.gate?.demandRoom(this.node, draft.end - draft.start, all, allBytes);
    const { node } = this;
    if (node.settings.overflow !== "reject" || node.isPlain) return;
    if (!isFullFor(node, bytesBefore + draft.end - draft.start, before, this.#host)) return;
    throw fullError(node);
  }

  /** Same ordering key, same shard; without one, the producer's, so that its order holds. */
  shardFor(group: string): StoreQueue {
    const { node } = this;
    if (node.kind === "queue") return node.first;
    const { shards } = node;
    if (shards.length === 1) return node.first;
    if (group !== "") return shardOf(shards, keyShard(group, shards.length));
    if (this.#home < 0) this.#home = this.#homeOf();
    return shardOf(shards, this.#home % shards.length);
  }

  /** MQTT has order within a topic name (spec protocols.md §3.7), others have it for a client, also when it comes again. */
  #homeOf(): number {
    const isByName = this.#route?.publisher != null || this.connectionId === 0;
    if (isByName) return keyShard(this.address.name, HOMES);
    return this.#clientId === "" ? this.connectionId : keyShard(this.#clientId, HOMES);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.node.heldTargets?.delete(this);
    this.gate?.forget(this);
    this.node.producerCount--;
    this.#host.targetClosed(this);
  }
}

/** A node may say how long a message lives at most. */
export function limitTtl(node: Node, draft: Draft): void {
  const { ttlMs } = node.settings;
  if (ttlMs > 0 && (draft.ttlMs === 0 || draft.ttlMs > ttlMs)) draft.ttlMs = ttlMs;
}

/** The earlier of relative and absolute expiry; 0 for never. */
export function expiryOf(draft: Draft, now: number): number {
  const byTtl = draft.ttlMs > 0 ? now + draft.ttlMs : 0;
  if (byTtl === 0 || draft.expiresAt === 0) return byTtl + draft.expiresAt;
  return Math.min(byTtl, draft.expiresAt);
}

/** By its number: after a crash they may have come back in another order than they were made in. */
function shardOf(shards: readonly StoreQueue[], queueId: number): StoreQueue {
  const queue = shards[queueId]!;
  if (queue.queueId === queueId) return queue;
  return shards.find((each) => each.queueId === queueId) ?? queue;
}

const HOMES = 2 ** 31;

/** RocketMQ's SelectMessageQueueByHash: abs(hashCode) mod shards. */
export function keyShard(key: string, shards: number): number {
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(31, hash) + key.charCodeAt(i)) | 0;
  return hash === -(2 ** 31) ? 0 : Math.abs(hash) % shards;
}
