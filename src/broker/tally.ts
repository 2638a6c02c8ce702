/**
 * For the whole broker, since it came up: what was delivered, and what did not go the usual way, by reason: dropped, made a
 * dead letter, refused. How many at which queue or topic is with the node (`Node.counters`).
 */
import type { DeathReason } from "../model/deaths.ts";

const DEATHS: readonly DeathReason[] = ["rejected", "expired", "maxlen", "delivery_limit"];

/** Dropped: of a dead message, why it died, where there is no dead-letter queue for it. */
const DROP_REASONS = [
  ...DEATHS,
  /** Published to a topic that nobody reads. */
  "no_reader",
  /** As much waits for a MQTT session as may. */
  "session_full",
  /** A subscriber that ends with its link fell behind too far. */
  "slow_reader",
  /** QoS 0 for a client with too much unsent output. */
  "slow_client",
  /** The record fails its checksum. */
  "damaged",
  /** Due, and its queue is no more. */
  "no_queue",
  /** The client takes no packets of that size. */
  "too_large_for_client",
  /** No protocol of the client can carry it. */
  "unreadable",
  /** Refused to a client that cannot be told: MQTT 3, QoS 0. */
  "refused_silently",
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

const REFUSAL_REASONS = [
  "unauthorized",
  "full",
  "session_full",
  "quota",
  "too_large",
  "store",
] as const;
export type RefusalReason = (typeof REFUSAL_REASONS)[number];

type Counts<R extends string> = Record<R, number>;
type Source = () => Partial<Counts<DropReason>>;

export interface Outcomes {
  readonly dropped: Readonly<Counts<DropReason>>;
  readonly deadLettered: Readonly<Counts<DeathReason>>;
  readonly refused: Readonly<Counts<RefusalReason>>;
}

export class Tally {
  readonly dropped = zeros(DROP_REASONS);
  readonly deadLettered = zeros(DEATHS);
  readonly refused = zeros(REFUSAL_REASONS);
  readonly #sources: Source[] = [];
  /** Deliveries to consumers and sessions, and how many of them were accepted or needed no answer. */
  delivered = 0;
  accepted = 0;

  /** Others count what they drop themselves: asked when somebody looks. */
  watch(source: Source): void {
    this.#sources.push(source);
  }

  outcomes(): Outcomes {
    const dropped = { ...this.dropped };
    for (const source of this.#sources) {
      for (const [reason, count] of Object.entries(source())) {
        dropped[reason as DropReason] += count;
      }
    }
    return { dropped, deadLettered: { ...this.deadLettered }, refused: { ...this.refused } };
  }
}

function zeros<R extends string>(reasons: readonly R[]): Counts<R> {
  return Object.fromEntries(reasons.map((reason) => [reason, 0])) as Counts<R>;
}
