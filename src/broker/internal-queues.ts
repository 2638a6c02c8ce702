/**
 * Queues of the broker's own: what waits for its time, wills. Their names begin with `~`, which no client may use for a
 * queue; only temporaries begin so too. An operator may look into them, nobody changes them from outside.
 */
import { TEMPORARY_PREFIX } from "../model/address-dialects.ts";
import { BrokerError } from "../model/errors.ts";

const TEMPORARIES = Object.values(TEMPORARY_PREFIX);

export const isInternalQueue = (kind: "queue" | "topic", name: string): boolean =>
  kind === "queue" &&
  name.startsWith("~") &&
  !TEMPORARIES.some((prefix) => name.startsWith(prefix));

/** Throws unauthorized for a queue of the broker's own, whoever asks. */
export function refuseInternal(kind: "queue" | "topic", name: string): void {
  if (!isInternalQueue(kind, name)) return;
  throw new BrokerError(
    "unauthorized",
    `queue '${name}' is the broker's own: names of queues that begin with ~ are reserved`,
    { queue: name },
  );
}
