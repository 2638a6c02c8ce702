/**
 * The one class of expected failures and the one table of their codes.
 *
 * A protocol maps each code once, in `protocols/<name>/errors.ts`. The message names the thing, what was expected
 * and what to do; it goes to the peer as it is, so it never carries internals.
 */

/** code → [meaning, may the same request succeed later without a change]. */
const ERROR_CODES = {
  "not-found": ["the named node does not exist and may not be created", false],
  "already-exists": ["the name is taken by something with other properties", false],
  "invalid-address": ["the address cannot be parsed", false],
  "invalid-argument": ["a property, filter or option has a value that is not allowed", false],
  "precondition-failed": [
    "the node is of another kind, or not in the state the request needs",
    false,
  ],
  "not-implemented": ["the standard allows it, this broker does not offer it", false],
  unauthorized: ["this user may not do that", false],
  "authentication-failed": ["the credentials are wrong", false],
  "login-expired": ["what the peer logged in with has ended: log in with a new one", false],
  "resource-locked": ["somebody else holds it exclusively", true],
  "resource-deleted": ["the node was deleted while in use", false],
  "queue-full": ["the destination is at its limit and its policy is to reject", true],
  "message-too-large": ["the message is larger than the limit", false],
  "properties-too-large": ["the message's headers do not fit into a record (32,767 bytes)", false],
  "limit-exceeded": ["a quota of connections, sessions, links or subscriptions is used up", true],
  blocked: ["publishing is held back: disk or memory is at its watermark", true],
  "store-read-only": ["the store takes no writes since a disk error", true],
  "link-stolen": ["the same subscription was opened by another connection", false],
  "connection-forced": ["an operator or a newer connection closed this one", true],
  "shutting-down": ["the broker is stopping", true],
  "unknown-transaction": ["no such transaction", false],
  "transaction-rollback": ["the transaction cannot be committed", false],
  internal: ["unexpected; see the log", true],
} as const satisfies Record<string, readonly [string, boolean]>;

export type ErrorCode = keyof typeof ERROR_CODES;

export class BrokerError extends Error {
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, string | number>>;

  constructor(
    code: ErrorCode,
    message: string,
    details: Record<string, string | number> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = "BrokerError";
    this.code = code;
    this.details = details;
  }

  get isRetriable(): boolean {
    return ERROR_CODES[this.code][1];
  }
}
