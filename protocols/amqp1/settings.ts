/** What the configuration may set for AMQP 1.0, and the defaults (spec protocols.md §11). */
export interface Amqp1Settings {
  /** Largest frame we take, bytes. */
  readonly maxFrameBytes: number;
  /** A peer that is silent longer is dropped; half of it is announced. 0 for never. */
  readonly idleTimeoutMs: number;
  /** From the first byte to `open`. */
  readonly handshakeTimeoutMs: number;
  /** Credit of a producer; refilled when half is used. */
  readonly producerCredit: number;
  /** Frames a session may send before our next flow. */
  readonly incomingWindow: number;
  /** Links of all sessions of one connection. */
  readonly maxLinks: number;
  /** Unfinished large messages of all peers, bytes: no new one begins above it, none goes on above twice of it. */
  readonly partialBudgetBytes: number;
  /** A transaction untouched for longer can only be rolled back. */
  readonly transactionTimeoutMs: number;
  /** Undischarged transactions of one connection. */
  readonly maxTransactions: number;
}

export const DEFAULT_SETTINGS: Amqp1Settings = {
  maxFrameBytes: 131_072,
  idleTimeoutMs: 60_000,
  handshakeTimeoutMs: 10_000,
  producerCredit: 1_000,
  incomingWindow: 2_048,
  maxLinks: 16_384,
  partialBudgetBytes: 268_435_456,
  transactionTimeoutMs: 300_000,
  maxTransactions: 100,
};
