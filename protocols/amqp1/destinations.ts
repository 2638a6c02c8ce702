/** Where the messages of a link go: one node, or the node that each message names. */
import type { Target } from "../../src/broker/facade.ts";
import type { AddressKind } from "../../src/model/address.ts";
import { parseAddress } from "../../src/model/address-dialects.ts";
import { ANNOTATION, type MessageScan, PROPERTY } from "./codec/sections.ts";
import type { AmqpConnection } from "./connection.ts";
import { CONDITION, LinkError } from "./errors.ts";
import type { Destination } from "./receiver-link.ts";
import { refuseService } from "./service-nodes.ts";

export class FixedDestination implements Destination {
  readonly #target: Target;
  readonly #onClosed: () => void;

  constructor(target: Target, onAllowance: () => void, onClosed: () => void) {
    this.#target = target;
    this.#onClosed = onClosed;
    target.onAllowance = onAllowance;
  }

  targetFor(_scan: MessageScan): Target {
    return this.#target;
  }

  get allowance(): number {
    return this.#target.creditAllowance;
  }

  close(): void {
    this.#target.onAllowance = null;
    this.#target.close();
    this.#onClosed();
  }
}

/** Targets that an anonymous link keeps open, the least recently used goes first. */
const MAX_TARGETS = 256;

/** JMS: what kind of destination `x-opt-jms-dest` says. */
const JMS_KINDS: readonly AddressKind[] = ["queue", "topic", "temp-queue", "temp-topic"];

/** The anonymous terminus: every message says in `properties.to` where it wants to go. */
export class AnonymousDestination implements Destination {
  readonly #connection: AmqpConnection;
  readonly #targets = new Map<string, Target>();
  readonly #stopListening: () => void;
  #lastKey = "";
  #lastTarget: Target | null = null;

  constructor(connection: AmqpConnection, onAllowance: () => void) {
    this.#connection = connection;
    this.#stopListening = connection.services.broker.onBlocked((blocked) => {
      if (blocked === null) onAllowance();
    });
  }

  targetFor(scan: MessageScan): Target {
    const at = scan.property(PROPERTY.TO);
    const to = at >= 0 ? scan.textAt(at) : undefined;
    if (to === undefined || to === "") {
      throw new LinkError(
        CONDITION.PRECONDITION_FAILED,
        "A message on a link without an address must name its destination in properties.to.",
      );
    }
    const destAt = scan.annotation(ANNOTATION.JMS_DEST);
    const dest = destAt >= 0 ? scan.integerAt(destAt) : -1;
    const key = `${dest}${to}`;
    if (key === this.#lastKey && this.#lastTarget !== null) return this.#lastTarget;
    const target = this.#lookUp(key, to, JMS_KINDS[dest]);
    this.#lastKey = key;
    this.#lastTarget = target;
    return target;
  }

  #lookUp(key: string, to: string, kind: AddressKind | undefined): Target {
    let target = this.#targets.get(key);
    if (target === undefined) {
      if (kind === undefined) refuseService(to);
      const { broker } = this.#connection;
      target = broker.openTarget(
        parseAddress(to, "amqp1", {
          namespace: broker.namespace,
          ...(kind === undefined ? {} : { kind }),
        }),
      );
    } else {
      this.#targets.delete(key);
    }
    this.#targets.set(key, target);
    if (this.#targets.size > MAX_TARGETS) {
      for (const [oldest, held] of this.#targets) {
        this.#targets.delete(oldest);
        held.close();
        break;
      }
    }
    return target;
  }

  /** Held back by the same state as links with an address. */
  get allowance(): number {
    return this.#connection.services.broker.blocked === null ? Number.POSITIVE_INFINITY : 0;
  }

  close(): void {
    this.#stopListening();
    for (const target of this.#targets.values()) target.close();
    this.#targets.clear();
    this.#lastTarget = null;
  }
}
