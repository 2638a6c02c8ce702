/**
 * Rights that were taken away end what they had allowed: consumers are cancelled, producers are refused, MQTT
 * subscriptions go and their connection with them, since MQTT has no other way to say so. Rights given count at once.
 */
import { makeAddress } from "../model/address.ts";
import { BrokerError } from "../model/errors.ts";
import { ClientSession } from "./client-session.ts";
import type { Connection } from "./connection.ts";
import type { Consumer } from "./consumer.ts";
import type { Gate } from "./publish-gate.ts";
import type { Target } from "./target.ts";

/** Asks anew for everything that connections have open. Returns how many links ended. */
export function recheckRights(connections: Iterable<Connection>): number {
  let ended = 0;
  for (const connection of [...connections]) {
    for (const consumer of [...connection.consumers]) {
      if (mayConsume(connection, consumer)) continue;
      ended++;
      consumer.lose();
      consumer.sink.onCancel(denied(connection, consumer.isBrowser ? "browse" : "receive"));
    }
    for (const target of connection.targets) if (!recheckTarget(connection, target)) ended++;
    if (connection.session instanceof ClientSession) {
      ended += recheckSession(connection, connection.session);
    }
  }
  return ended;
}

/** Subscriptions that the session's user may have no more are dropped, with what waits for them. */
export function dropDenied(connection: Connection, session: ClientSession): number {
  const { namespace } = session;
  const lost: Array<readonly [filter: string, share: string]> = [];
  session.forEachSubscription((filter, share) => {
    const address = makeAddress("topic", filter, { namespace });
    if (!connection.permissions.allows("receive", address)) lost.push([filter, share]);
  });
  for (const [filter, share] of lost) session.revoke(filter, share);
  return lost.length;
}

function recheckSession(connection: Connection, session: ClientSession): number {
  const lost = dropDenied(connection, session);
  if (lost > 0) connection.request.close(denied(connection, "receive"));
  return lost;
}

function mayConsume(connection: Connection, consumer: Consumer): boolean {
  const { node } = consumer.group;
  const { namespace } = connection;
  const isQueue = consumer.info.kind === "queue";
  const address = isQueue
    ? node.address
    : makeAddress(node.isTemporary ? consumer.address.kind : "topic", consumer.address.name, {
        namespace: consumer.address.namespace ?? namespace,
      });
  return connection.permissions.allows(consumer.isBrowser ? "browse" : "receive", address);
}

function recheckTarget(connection: Connection, target: Target): boolean {
  const isAllowed = connection.permissions.allows("send", target.address);
  if (isAllowed) {
    if (target.gate instanceof ClosedGate) target.gate = connection.gate;
  } else if (!(target.gate instanceof ClosedGate)) {
    target.gate = new ClosedGate(denied(connection, "send"));
  }
  return isAllowed;
}

const denied = ({ principal }: Connection, action: string): BrokerError =>
  new BrokerError("unauthorized", `user '${principal.name}' may not ${action} here any more`, {
    user: principal.name,
    action,
  });

/** Lets nothing through, and says why. */
class ClosedGate implements Gate {
  readonly #reason: BrokerError;

  constructor(reason: BrokerError) {
    this.#reason = reason;
  }

  demandRoom(): void {
    throw this.#reason;
  }
  draw(): void {}
  allowanceFor(_target: Target, most: number): number {
    return most;
  }
  forget(): void {}
}
