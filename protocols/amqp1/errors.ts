/**
 * Error conditions of AMQP 1.0 and the one table from the broker's codes to them (spec protocols.md §6.10).
 *
 * An error has a scope: the link, the session or the connection that it costs the peer. A description is one sentence
 * that says what to change, and goes over the wire as it is.
 */
import { BrokerError, type ErrorCode } from "../../src/model/errors.ts";

export const CONDITION = {
  INTERNAL_ERROR: "amqp:internal-error",
  NOT_FOUND: "amqp:not-found",
  UNAUTHORIZED: "amqp:unauthorized-access",
  DECODE_ERROR: "amqp:decode-error",
  RESOURCE_LIMIT: "amqp:resource-limit-exceeded",
  NOT_ALLOWED: "amqp:not-allowed",
  INVALID_FIELD: "amqp:invalid-field",
  NOT_IMPLEMENTED: "amqp:not-implemented",
  RESOURCE_LOCKED: "amqp:resource-locked",
  PRECONDITION_FAILED: "amqp:precondition-failed",
  RESOURCE_DELETED: "amqp:resource-deleted",
  ILLEGAL_STATE: "amqp:illegal-state",
  FRAME_SIZE_TOO_SMALL: "amqp:frame-size-too-small",
  CONNECTION_FORCED: "amqp:connection:forced",
  FRAMING_ERROR: "amqp:connection:framing-error",
  WINDOW_VIOLATION: "amqp:session:window-violation",
  ERRANT_LINK: "amqp:session:errant-link",
  HANDLE_IN_USE: "amqp:session:handle-in-use",
  UNATTACHED_HANDLE: "amqp:session:unattached-handle",
  DETACH_FORCED: "amqp:link:detach-forced",
  TRANSFER_LIMIT: "amqp:link:transfer-limit-exceeded",
  MESSAGE_SIZE: "amqp:link:message-size-exceeded",
  STOLEN: "amqp:link:stolen",
  UNKNOWN_TRANSACTION: "amqp:transaction:unknown-id",
  TRANSACTION_ROLLBACK: "amqp:transaction:rollback",
  TRANSACTION_TIMEOUT: "amqp:transaction:timeout",
} as const;
export type Condition = (typeof CONDITION)[keyof typeof CONDITION];

/** What goes into an error field on the wire. */
export interface ErrorInfo {
  readonly condition: Condition;
  readonly description: string;
  readonly info?: Readonly<Record<string, string | number | boolean>>;
}

/** Thrown by the codec and by the state machines; the connection closes with it. */
export class ConnectionError extends Error implements ErrorInfo {
  readonly condition: Condition;
  readonly description: string;

  constructor(condition: Condition, description: string) {
    super(description);
    this.name = "ConnectionError";
    this.condition = condition;
    this.description = description;
  }
}

/** Thrown where only the session is at fault. */
export class SessionError extends ConnectionError {
  constructor(condition: Condition, description: string) {
    super(condition, description);
    this.name = "SessionError";
  }
}

/** Thrown while a link is attached or used: only that link is refused or detached. */
export class LinkError extends ConnectionError {
  readonly info?: Readonly<Record<string, string | number | boolean>>;

  constructor(
    condition: Condition,
    description: string,
    info?: Readonly<Record<string, string | number | boolean>>,
  ) {
    super(condition, description);
    this.name = "LinkError";
    if (info !== undefined) this.info = info;
  }
}

export const decodeError = (description: string): ConnectionError =>
  new ConnectionError(CONDITION.DECODE_ERROR, description);

const BY_CODE: Readonly<Record<ErrorCode, Condition>> = {
  "not-found": CONDITION.NOT_FOUND,
  "already-exists": CONDITION.PRECONDITION_FAILED,
  "invalid-address": CONDITION.INVALID_FIELD,
  "invalid-argument": CONDITION.INVALID_FIELD,
  "precondition-failed": CONDITION.PRECONDITION_FAILED,
  "not-implemented": CONDITION.NOT_IMPLEMENTED,
  unauthorized: CONDITION.UNAUTHORIZED,
  "authentication-failed": CONDITION.UNAUTHORIZED,
  "login-expired": CONDITION.UNAUTHORIZED,
  "resource-locked": CONDITION.RESOURCE_LOCKED,
  "resource-deleted": CONDITION.RESOURCE_DELETED,
  "queue-full": CONDITION.RESOURCE_LIMIT,
  "message-too-large": CONDITION.MESSAGE_SIZE,
  "properties-too-large": CONDITION.MESSAGE_SIZE,
  "limit-exceeded": CONDITION.RESOURCE_LIMIT,
  blocked: CONDITION.RESOURCE_LIMIT,
  "store-read-only": CONDITION.INTERNAL_ERROR,
  "link-stolen": CONDITION.STOLEN,
  "connection-forced": CONDITION.CONNECTION_FORCED,
  "shutting-down": CONDITION.CONNECTION_FORCED,
  "unknown-transaction": CONDITION.UNKNOWN_TRANSACTION,
  "transaction-rollback": CONDITION.TRANSACTION_ROLLBACK,
  internal: CONDITION.INTERNAL_ERROR,
};

export function fromBrokerError(error: BrokerError): ErrorInfo {
  const condition = BY_CODE[error.code];
  return Object.keys(error.details).length > 0
    ? { condition, description: error.message, info: error.details }
    : { condition, description: error.message };
}

/** Anything caught, for the peer. What nobody expected is logged with a number that the peer is told too. */
export function errorInfo(error: unknown, reporter: BugReporter): ErrorInfo {
  if (error instanceof ConnectionError) return error;
  if (error instanceof BrokerError) return fromBrokerError(error);
  return {
    condition: CONDITION.INTERNAL_ERROR,
    description: `Something unexpected happened; the broker's log has it under number ${reporter.reportBug(error)}.`,
  };
}

export interface BugReporter {
  /** Logs it and returns its number. */
  reportBug(error: unknown): number;
}
