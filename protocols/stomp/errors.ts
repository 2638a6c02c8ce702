/**
 * What may go wrong on a STOMP connection, and how it is told: `StompError` carries the short `message` header and the
 * longer body of the ERROR frame. A BrokerError becomes one by the table below. Every error ends the connection, except
 * where `isFatal` is false and the listener allows it (see options.ts, `strictErrors`).
 */
import type { BrokerError, ErrorCode } from "../../src/model/errors.ts";

export class StompError extends Error {
  /** Body of the ERROR frame: what was expected, what to do. */
  readonly detail: string;
  readonly isFatal: boolean;
  /** Extra headers of the ERROR frame, `name:value\n` lines. */
  readonly headers: string;

  constructor(message: string, detail = "", options: { isFatal?: boolean; headers?: string } = {}) {
    super(message);
    this.name = "StompError";
    this.detail = detail;
    this.isFatal = options.isFatal ?? true;
    this.headers = options.headers ?? "";
  }
}

/** The `message` header for each broker code, and whether a connection must end for it. */
const BROKER_ERRORS: Readonly<Record<ErrorCode, readonly [message: string, isFatal: boolean]>> = {
  "not-found": ["not found", false],
  "already-exists": ["already exists", false],
  "invalid-address": ["Invalid destination", false],
  "invalid-argument": ["Invalid argument", false],
  "precondition-failed": ["precondition failed", false],
  "not-implemented": ["not offered", false],
  unauthorized: ["access refused", false],
  "authentication-failed": ["Bad CONNECT", true],
  "login-expired": ["login expired", true],
  "resource-locked": ["resource locked", false],
  "resource-deleted": ["resource deleted", false],
  "queue-full": ["destination is full", false],
  "message-too-large": ["message too large", false],
  "properties-too-large": ["headers too large", false],
  "limit-exceeded": ["limit exceeded", false],
  blocked: ["publishing is blocked", false],
  "store-read-only": ["the store takes no messages", false],
  "link-stolen": ["subscription taken over", true],
  "connection-forced": ["connection closed by the broker", true],
  "shutting-down": ["the broker is shutting down", true],
  "unknown-transaction": ["Invalid transaction id", true],
  "transaction-rollback": ["transaction rolled back", true],
  internal: ["internal error", true],
};

export function fromBrokerError(error: BrokerError): StompError {
  const [message, isFatal] = BROKER_ERRORS[error.code];
  return new StompError(message, error.message, { isFatal });
}
