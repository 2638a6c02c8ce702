/**
 * Messages and bytes of a namespace against its quota. What is published is added up; what was settled meanwhile is found
 * out by counting anew, and only when the sum says the namespace is full: far below its quota it costs two additions.
 */
import { performance } from "node:perf_hooks";
import { BrokerError } from "../model/errors.ts";
import type { DelayedCount } from "./delay-scheduler.ts";
import type { Node } from "./node.ts";
import type { Tally } from "./tally.ts";

export interface UsageSource {
  readonly tally: Tally;
  nodesIn(namespace: string): Iterable<Node>;
  delayedCounts(): Iterable<DelayedCount>;
  /** What waits in indexes, each message once. Counting ends beyond `most`. */
  indexedIn(namespace: string, most?: UsageLimits): { messages: number; bytes: number };
  /** Gives back what no group of a topic owes. True when there was something. */
  dropHistory(node: Node): boolean;
}

export interface UsageLimits {
  readonly messages: number;
  readonly bytes: number;
}

/** One that was found full is counted again and again, for at most one part in so many of the time. */
const COUNT_SHARE = 20;

export class NamespaceUsage {
  readonly #namespace: string;
  readonly #limits: UsageLimits;
  readonly #source: UsageSource;
  readonly #refusals: { messages: number; bytes: number };
  #messages = Number.POSITIVE_INFINITY;
  #bytes = Number.POSITIVE_INFINITY;
  #nextCount = 0;

  constructor(
    namespace: string,
    limits: UsageLimits,
    source: UsageSource,
    refusals: { messages: number; bytes: number },
  ) {
    this.#namespace = namespace;
    this.#limits = limits;
    this.#source = source;
    this.#refusals = refusals;
  }

  /** Throws limit-exceeded unless there is room for one more message of `bytes`. */
  demand(node: Node, bytes: number, before: number, bytesBefore: number): void {
    if (this.#fits(1 + before, bytes + bytesBefore)) return;
    const began = performance.now();
    if (began >= this.#nextCount) {
      this.#count(this.#limits);
      if (this.#fits(1 + before, bytes + bytesBefore)) return;
      // History counts only as long as nobody needs its place.
      let isSome = false;
      for (const other of this.#source.nodesIn(this.#namespace)) {
        if (other.countsHistory && this.#source.dropHistory(other)) isSome = true;
      }
      if (isSome) {
        this.#count(this.#limits);
        if (this.#fits(1 + before, bytes + bytesBefore)) return;
      }
      const now = performance.now();
      this.#nextCount = now + (now - began) * COUNT_SHARE;
    }
    node.counters.rejected++;
    this.#source.tally.refused.quota++;
    throw this.#full(1 + before);
  }

  add(bytes: number): void {
    this.#messages++;
    this.#bytes += bytes;
  }

  /** Counted anew. */
  now(): { readonly messages: number; readonly bytes: number } {
    this.#count();
    return { messages: this.#messages, bytes: this.#bytes };
  }

  #fits(messages: number, bytes: number): boolean {
    const { messages: most, bytes: mostBytes } = this.#limits;
    if (most > 0 && this.#messages + messages > most) return false;
    return mostBytes === 0 || this.#bytes + bytes <= mostBytes;
  }

  #count(most?: UsageLimits): void {
    const indexed = this.#source.indexedIn(this.#namespace, most);
    let { messages, bytes } = indexed;
    for (const node of this.#source.nodesIn(this.#namespace)) {
      messages += owedMessages(node);
      bytes += node.storedBytes;
    }
    for (const delayed of this.#source.delayedCounts()) {
      if (delayed.namespace !== this.#namespace) continue;
      messages += delayed.count;
      bytes += delayed.bytes;
    }
    this.#messages = messages;
    this.#bytes = bytes;
  }

  #full(messages: number): BrokerError {
    const isByNumber =
      this.#limits.messages > 0 && this.#messages + messages > this.#limits.messages;
    if (isByNumber) this.#refusals.messages++;
    else this.#refusals.bytes++;
    const what = isByNumber
      ? `${this.#messages} of ${this.#limits.messages} messages`
      : `${this.#bytes} of ${this.#limits.bytes} bytes`;
    return new BrokerError(
      "limit-exceeded",
      `namespace '${this.#namespace}' holds ${what} of its quota: consume from it, or raise the quota`,
      { quota: isByNumber ? "messages" : "bytes" },
    );
  }
}

/** Of a topic, what the group that owes most owes: a message is stored once. */
const owedMessages = (node: Node): number => node.groups.mostOwed(node.shards);
