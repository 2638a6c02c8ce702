/**
 * How fast one connection may publish, and whether its namespace still has room. A connection that is too fast is not
 * read from, and gets no credit, until its rates have caught up; nothing it sent is refused for that.
 */
import type { TokenBucket } from "../util/token-bucket.ts";
import type { Turn } from "../util/turn.ts";
import type { NamespaceUsage } from "./namespace-usage.ts";
import type { Node } from "./node.ts";
import type { Target } from "./target.ts";

/** What a producer passes with each message. */
export interface Gate {
  /** Throws when the message may not go in; `before`: messages and bytes that are as good as in. */
  demandRoom(node: Node, bytes: number, before?: number, bytesBefore?: number): void;
  /** A message is taken. */
  draw(bytes: number): void;
  /** Credit for a target, at most `most`; 0: it hears of it when there is some again. */
  allowanceFor(target: Target, most: number): number;
  /** The target is gone. */
  forget(target: Target): void;
}

/** Waking more often than this for a message or two would cost more than it gives. */
const STEP_MS = 10;
const LONGEST_MS = 60_000;

export class PublishGate implements Gate {
  readonly #turn: Turn;
  readonly #messages: readonly TokenBucket[];
  readonly #bytes: readonly TokenBucket[];
  readonly #usage: NamespaceUsage | null;
  readonly #noteWait: () => void;
  /** Who keeps input until it is open. */
  #waiters: Array<() => void> = [];
  /** Targets that got no credit. */
  readonly #targets = new Set<Target>();
  #timer: unknown = null;

  constructor(
    turn: Turn,
    messages: readonly TokenBucket[],
    bytes: readonly TokenBucket[],
    usage: NamespaceUsage | null,
    noteWait: () => void,
  ) {
    this.#turn = turn;
    this.#messages = messages;
    this.#bytes = bytes;
    this.#usage = usage;
    this.#noteWait = noteWait;
  }

  get isWaiting(): boolean {
    return this.#timer !== null;
  }

  /** May a message be taken now? */
  isOpen(): boolean {
    return this.#waitMs() === 0;
  }

  /** Once, when it is open; whoever asks has just found it closed. */
  onOpen(callback: () => void): void {
    this.#waiters.push(callback);
    this.#arm();
  }

  allowanceFor(target: Target, most: number): number {
    const now = this.#turn.now;
    let allowance = most;
    for (const bucket of this.#messages) allowance = Math.min(allowance, bucket.level(now));
    for (const bucket of this.#bytes) if (bucket.waitMs(now) > 0) allowance = 0;
    if (allowance >= 1) return Math.floor(allowance);
    this.#targets.add(target);
    this.#arm();
    return 0;
  }

  forget(target: Target): void {
    this.#targets.delete(target);
  }

  demandRoom(node: Node, bytes: number, before = 0, bytesBefore = 0): void {
    this.#usage?.demand(node, bytes, before, bytesBefore);
  }

  /** A message is taken. */
  draw(bytes: number): void {
    for (let i = 0; i < this.#messages.length; i++) this.#messages[i]!.draw(1);
    for (let i = 0; i < this.#bytes.length; i++) this.#bytes[i]!.draw(bytes);
    this.#usage?.add(bytes);
  }

  /** Whoever waits goes on at once: other rules hold from now on, or the connection is over. */
  close(): void {
    this.#turn.clock.cancel(this.#timer);
    this.#timer = null;
    this.#wake();
  }

  #waitMs(): number {
    const { now } = this.#turn;
    let wait = 0;
    for (let i = 0; i < this.#messages.length; i++) {
      wait = Math.max(wait, this.#messages[i]!.waitMs(now));
    }
    for (let i = 0; i < this.#bytes.length; i++) {
      wait = Math.max(wait, this.#bytes[i]!.waitMs(now));
    }
    return wait;
  }

  #arm(): void {
    if (this.#timer !== null) return;
    this.#noteWait();
    const wait = Math.min(Math.max(STEP_MS, this.#waitMs()), LONGEST_MS);
    this.#timer = this.#turn.clock.after(wait, () => {
      this.#timer = null;
      this.#turn.touch();
      if (this.#waitMs() > 0) this.#arm();
      else this.#wake();
    });
  }

  #wake(): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    const targets = [...this.#targets];
    this.#targets.clear();
    for (const waiter of waiters) waiter();
    for (const target of targets) if (!target.isClosed) target.onAllowance?.();
  }
}
