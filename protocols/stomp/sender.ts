/**
 * SEND → Draft (send-headers.ts) → Target. The body stays where it came in. A frame that repeats the one before in all but
 * body and receipt is published without a look at its headers (repeated-send.ts).
 *
 * Targets stay open for the life of the connection, up to a bound; one that is used again and again is found by comparing
 * the destination's bytes with the last one's.
 */
import type { BrokerConnection, Target, Transaction } from "../../src/broker/facade.ts";
import type { Address } from "../../src/model/address.ts";
import type { Draft } from "../../src/model/draft.ts";
import { hasWildcard } from "../../src/model/topic-path.ts";
import { KnownBytes } from "../../src/util/known-bytes.ts";
import type { FrameParser } from "./codec/frame-parser.ts";
import { HEADER } from "./codec/header-names.ts";
import { StompError } from "./errors.ts";
import { missingDestination } from "./missing-header.ts";
import type { StompOptions } from "./options.ts";
import type { ReceiptQueue } from "./receipts.ts";
import { RepeatedSend } from "./repeated-send.ts";
import { SendHeaders, type SendHeadersContext } from "./send-headers.ts";

/** Record bytes beyond headers and body, for `hasRoom`. */
export const RECORD_OVERHEAD = 512;

const LF = 0x0a;

/** The open targets of one destination header. */
interface Route {
  readonly targets: Target[];
  /** What `persistent` means when it is missing. */
  readonly isDurableByDefault: boolean;
}

export interface SenderContext extends SendHeadersContext {
  readonly connection: BrokerConnection;
  readonly receipts: ReceiptQueue;
  readonly options: StompOptions;
}

export class Sender {
  readonly #context: SenderContext;
  readonly #headers: SendHeaders;
  readonly #routes = new Map<string, Route>();
  // The destination of the SEND before, as it came.
  readonly #lastName = new KnownBytes();
  #lastRoute: Route | null = null;
  /** The SEND before, when another one with its headers means the same. */
  readonly #last = new RepeatedSend();
  /** Why the frame at which `sendAlike` stopped was refused. */
  #refusal: unknown = null;

  constructor(context: SenderContext) {
    this.#context = context;
    this.#headers = new SendHeaders(context);
  }

  /** The frame is the one the parser stands on. Throws StompError and BrokerError; nothing was published then, unless a list of destinations broke in the middle. */
  send(parser: FrameParser, bytes: Buffer, transaction: Transaction | null): void {
    const refusal = this.#refusal;
    if (refusal !== null) {
      this.#refusal = null;
      throw refusal;
    }
    const route = this.#routeOf(parser, bytes);
    const headers = this.#headers;
    const draft = headers.read(parser, bytes, route.isDurableByDefault);
    const { targets } = route;
    if (transaction !== null || draft.deliverAt > 0 || targets.length > 1 || headers.repeats > 0) {
      headers.keepText();
      this.#publishMany(targets, draft, transaction);
      return;
    }
    const target = targets[0]!;
    if (headers.isRepeatable && this.#last.wantsPattern()) {
      headers.keepText();
      // Before it is published: that may change the draft.
      this.#last.learn(parser, bytes, headers, target);
    } else headers.keepBytes();
    this.#publish(target, draft, null);
  }

  /**
   * Publishes the frames from `at` on that repeat the last SEND but for body and receipt. Returns where others begin, or one
   * that cannot be taken now; one that was refused is left to `send`, which throws the reason.
   */
  sendAlike(bytes: Buffer, at: number, end: number): number {
    const { connection, receipts } = this.#context;
    const last = this.#last;
    const { draft } = this.#headers;
    const { target } = last;
    this.#refusal = null;
    if (target === null) return at;
    for (;;) {
      const next = last.read(bytes, at, end);
      if (next === 0 || receipts.isFull || target.creditAllowance === 0) return at;
      if (!connection.hasRoom(last.bodyEnd - at + RECORD_OVERHEAD)) return at;
      last.fill(draft, bytes);
      try {
        receipts.published(target.level, target.publish(draft));
      } catch (error) {
        this.#refusal = error;
        return at;
      }
      if (last.hasReceipt) receipts.request(bytes, last.receiptStart, last.receiptEnd, false);
      at = next;
      // Many clients write a line end after each frame.
      while (at < end && bytes[at] === LF) at++;
    }
  }

  /**
   * Would a message for this frame's destination be held back now (its queue is full and its policy is to wait)? Then
   * `release` is called once that changes. A destination not used before is found out by `send`.
   */
  isHeldBack(parser: FrameParser, bytes: Buffer, release: () => void): boolean {
    const route = this.#knownRoute(parser, bytes);
    if (route === null) return false;
    const { targets } = route;
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i]!;
      if (target.creditAllowance > 0) continue;
      target.onAllowance = () => {
        target.onAllowance = null;
        release();
      };
      return true;
    }
    return false;
  }

  close(): void {
    for (const route of this.#routes.values()) closeRoute(route);
    this.#routes.clear();
    this.#lastRoute = null;
    this.#last.forget();
  }

  #publish(target: Target, draft: Draft, transaction: Transaction | null): void {
    if (transaction !== null) transaction.publish(target, draft);
    else this.#context.receipts.published(target.level, target.publish(draft));
  }

  /** Several destinations, or again and again. Publishing may change the draft, by the rules of one destination. */
  #publishMany(targets: readonly Target[], draft: Draft, transaction: Transaction | null): void {
    const { ttlMs, expiresAt, properties, deliverAt, dedupId } = draft;
    const { repeats, periodMs } = this.#headers;
    const first = deliverAt === 0 ? this.#context.now() : deliverAt;
    for (let i = 0; i <= repeats; i++) {
      for (const target of targets) {
        draft.ttlMs = ttlMs;
        draft.expiresAt = expiresAt;
        draft.properties = properties;
        draft.deliverAt = i === 0 ? deliverAt : first + i * periodMs;
        // The repetitions were asked for.
        draft.dedupId = i === 0 ? dedupId : "";
        this.#publish(target, draft, transaction);
      }
    }
  }

  #routeOf(parser: FrameParser, bytes: Buffer): Route {
    const index = parser.indexOf(HEADER.DESTINATION);
    if (index < 0) throw missingDestination(parser, bytes);
    const known = this.#knownRoute(parser, bytes);
    if (known !== null) return known;
    const type = parser.text(bytes, HEADER.DESTINATION_TYPE);
    const route = this.#open(parser.valueAt(bytes, index), type);
    if (type === undefined) this.#remember(parser, bytes, index, route);
    return route;
  }

  /** The open route of this frame's destination, or null. */
  #knownRoute(parser: FrameParser, bytes: Buffer): Route | null {
    const index = parser.indexOf(HEADER.DESTINATION);
    if (index < 0) return null;
    const type = parser.text(bytes, HEADER.DESTINATION_TYPE);
    if (type !== undefined) {
      return this.#routes.get(keyOf(parser.valueAt(bytes, index), type)) ?? null;
    }
    const start = parser.base + parser.table[index * 4 + 2]!;
    const length = parser.base + parser.table[index * 4 + 3]! - start;
    const last = this.#lastName;
    if (this.#lastRoute !== null && last.length === length && last.isAt(bytes, start)) {
      return this.#lastRoute;
    }
    const route = this.#routes.get(parser.valueAt(bytes, index));
    if (route === undefined) return null;
    this.#remember(parser, bytes, index, route);
    return route;
  }

  #remember(parser: FrameParser, bytes: Buffer, index: number, route: Route): void {
    const start = parser.base + parser.table[index * 4 + 2]!;
    const end = parser.base + parser.table[index * 4 + 3]!;
    this.#lastName.learn(bytes, start, end);
    this.#lastRoute = route;
  }

  #open(text: string, type: string | undefined): Route {
    const { connection, destinations, options } = this.#context;
    const targets: Target[] = [];
    try {
      for (const address of destinations.resolveAll(text, type)) {
        demandOne(address, text);
        targets.push(connection.openTarget(address));
      }
    } catch (error) {
      for (const target of targets) target.close();
      throw error;
    }
    const isTopic = targets.every((target) => target.address.kind.endsWith("topic"));
    const route: Route = {
      targets,
      isDurableByDefault: isTopic ? options.persistentTopics : options.persistentQueues,
    };
    if (this.#routes.size >= options.maxTargets) this.#forgetOldest();
    this.#routes.set(keyOf(text, type), route);
    return route;
  }

  #forgetOldest(): void {
    for (const [key, route] of this.#routes) {
      this.#routes.delete(key);
      closeRoute(route);
      this.#last.forget();
      if (route === this.#lastRoute) this.#lastRoute = null;
      return;
    }
  }
}

/** A wildcard is told in the spelling of the peer, not in the broker's. */
function demandOne({ kind, name }: Address, text: string): void {
  if (!kind.endsWith("topic") || !hasWildcard(name)) return;
  throw new StompError(
    "Invalid destination",
    `"${text.slice(0, 80)}" has wildcards, which are for SUBSCRIBE: a message goes to one topic.`,
    { isFatal: false },
  );
}

const keyOf = (text: string, type: string | undefined): string =>
  type === undefined ? text : `${type}\n${text}`;

function closeRoute(route: Route): void {
  for (const target of route.targets) target.close();
}
