/**
 * Deliveries of producers whose target is durable that are in the log and that the producer may not know of yet (AMQP 1.0
 * part 2, 2.6.13). When its connection breaks it attaches the link again with the tags it is in doubt about: it is told which
 * of these were accepted, and what it sends once more all the same is not stored again.
 *
 * A tag is forgotten as soon as the delivery is settled at our end: with the disposition that says so, in mode second with the
 * producer's own. It may stand for another message from then on.
 *
 * In memory, for links of one user, container and name: bounded in number and time. What is not here (any more) the producer
 * sends again, as every producer does without this.
 */
import { DELIVERY_STATE } from "./codec/codes.ts";
import { binary, composite, map, uint, ulong, type Value } from "./codec/value.ts";

const LINKS_MAX = 10_000;
/** More than a producer has in doubt: what its credit allows, and what waited for the disk before. */
const TAGS_MAX = 8_192;
/** So long after its last attach or end a link may come back. */
const KEPT_MS = 3_600_000;
/** Of a frame, beside the tags; and a tag of 32 bytes with its state. */
const ATTACH_ROOM = 4_096;
const TAG_ROOM = 48;

export interface Answer {
  readonly unsettled: Value;
  /** It had no room for all. */
  readonly isIncomplete: boolean;
}

export class Receipts {
  /** By tag, in latin1: how far the log has to be durable for it. */
  readonly #positions = new Map<string, number>();
  touchedAt = 0;
  /** The link that is attached; null while it is suspended. */
  owner: object | null = null;

  get size(): number {
    return this.#positions.size;
  }

  /** Of a delivery that is stored already; undefined for a new one. */
  positionOf(tag: string): number | undefined {
    return this.#positions.get(tag);
  }

  note(tag: string, position: number): void {
    const positions = this.#positions;
    positions.delete(tag);
    positions.set(tag, position);
    if (positions.size <= TAGS_MAX) return;
    for (const oldest of positions.keys()) {
      positions.delete(oldest);
      return;
    }
  }

  forget(tag: string): void {
    this.#positions.delete(tag);
  }

  /** The producer begins anew: it is in doubt about nothing. */
  clear(): void {
    this.#positions.clear();
  }

  /** Of everything that the producer does not name it knows, unless it had no room for all. */
  retain(asked: Value, isIncomplete: boolean): void {
    if (isIncomplete || asked.type !== "map") return;
    const tags = new Set(
      asked.value.map(([tag]) => (tag.type === "binary" ? tag.value.toString("latin1") : "")),
    );
    for (const tag of [...this.#positions.keys()]) if (!tags.has(tag)) this.#positions.delete(tag);
  }

  /** Our side's map: accepted, or, while the disk has not got it, begun to be received: sent again, it is recognised. */
  answer(durableTo: number, frameBytes: number): Answer {
    const entries: Array<readonly [Value, Value]> = [];
    const room = Math.max(0, Math.floor((frameBytes - ATTACH_ROOM) / TAG_ROOM));
    for (const [tag, position] of this.#positions) {
      if (entries.length === room) return { unsettled: map(entries), isIncomplete: true };
      const state =
        position <= durableTo
          ? composite(DELIVERY_STATE.ACCEPTED, [])
          : composite(DELIVERY_STATE.RECEIVED, [uint(0), ulong(0)]);
      entries.push([binary(Buffer.from(tag, "latin1")), state]);
    }
    return { unsettled: map(entries), isIncomplete: false };
  }
}

export class LinkReceipts {
  readonly #links = new Map<string, Receipts>();

  /** Of this link: kept from before, or new. */
  of(key: string, nowMs: number): Receipts {
    const kept = this.#links.get(key);
    const isKept = kept !== undefined && nowMs - kept.touchedAt <= KEPT_MS;
    const receipts = isKept ? kept : new Receipts();
    receipts.touchedAt = nowMs;
    // The one used last comes last.
    this.#links.delete(key);
    this.#links.set(key, receipts);
    for (const [oldest, { touchedAt }] of this.#links) {
      if (this.#links.size <= LINKS_MAX && nowMs - touchedAt <= KEPT_MS) break;
      this.#links.delete(oldest);
    }
    return receipts;
  }
}
