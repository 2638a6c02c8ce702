/**
 * How a session wants a message: the options of all its filters that match, taken together (one copy at the highest QoS,
 * with every Subscription Identifier).
 */
import type { Grant, SubscriptionOptions } from "./session-facade.ts";

const NO_IDENTIFIERS: readonly number[] = [];

export class MergedGrant implements Grant {
  qos: 0 | 1 | 2;
  isRetainAsPublished: boolean;
  identifiers: readonly number[];

  constructor(options: SubscriptionOptions) {
    this.qos = options.qos;
    this.isRetainAsPublished = options.isRetainAsPublished;
    this.identifiers = options.identifier === 0 ? NO_IDENTIFIERS : [options.identifier];
  }

  add(options: SubscriptionOptions): void {
    if (options.qos > this.qos) this.qos = options.qos;
    if (options.isRetainAsPublished) this.isRetainAsPublished = true;
    if (options.identifier !== 0 && !this.identifiers.includes(options.identifier)) {
      this.identifiers = [...this.identifiers, options.identifier];
    }
  }
}
