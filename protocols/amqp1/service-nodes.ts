/**
 * Addresses that clients know as services of other brokers: management and claims-based security. None of them is served
 * here, and none may come into being as a queue: whoever sends a request there would wait for its answer for ever.
 */
import { CONDITION, LinkError } from "./errors.ts";

const SERVICES: ReadonlySet<string> = new Set(["$management", "/management", "$cbs"]);

/** Throws not-found for the address of a service. */
export function refuseService(address: string): void {
  if (!SERVICES.has(address)) return;
  throw new LinkError(
    CONDITION.NOT_FOUND,
    address === "$cbs"
      ? "There is no node $cbs here: log in by SASL."
      : `There is no node ${address} here: the broker is managed over HTTP (docs/operations.md).`,
  );
}
