/** The broker's error codes as MQTT 5 reason codes, once for acknowledgements and once for the end of a connection. */
import { BrokerError, type ErrorCode } from "../../src/model/errors.ts";
import { REASON, RETURN_CODE, type Reason } from "./codec/constants.ts";
import { ProtocolError } from "./codec/protocol-error.ts";

const R = REASON;

/** [in PUBACK, PUBREC, SUBACK; in CONNACK and DISCONNECT]. */
const REASONS: Record<ErrorCode, readonly [ack: Reason, end: Reason]> = {
  "not-found": [R.TOPIC_NAME_INVALID, R.TOPIC_NAME_INVALID],
  "already-exists": [R.IMPLEMENTATION_SPECIFIC, R.IMPLEMENTATION_SPECIFIC],
  "invalid-address": [R.TOPIC_NAME_INVALID, R.TOPIC_NAME_INVALID],
  "invalid-argument": [R.IMPLEMENTATION_SPECIFIC, R.IMPLEMENTATION_SPECIFIC],
  "precondition-failed": [R.IMPLEMENTATION_SPECIFIC, R.IMPLEMENTATION_SPECIFIC],
  "not-implemented": [R.IMPLEMENTATION_SPECIFIC, R.IMPLEMENTATION_SPECIFIC],
  unauthorized: [R.NOT_AUTHORIZED, R.NOT_AUTHORIZED],
  "authentication-failed": [R.NOT_AUTHORIZED, R.BAD_USER_OR_PASSWORD],
  "login-expired": [R.NOT_AUTHORIZED, R.MAXIMUM_CONNECT_TIME],
  "resource-locked": [R.QUOTA_EXCEEDED, R.SERVER_BUSY],
  "resource-deleted": [R.UNSPECIFIED, R.ADMINISTRATIVE_ACTION],
  "queue-full": [R.QUOTA_EXCEEDED, R.QUOTA_EXCEEDED],
  "message-too-large": [R.QUOTA_EXCEEDED, R.PACKET_TOO_LARGE],
  "properties-too-large": [R.QUOTA_EXCEEDED, R.PACKET_TOO_LARGE],
  "limit-exceeded": [R.QUOTA_EXCEEDED, R.QUOTA_EXCEEDED],
  blocked: [R.QUOTA_EXCEEDED, R.SERVER_BUSY],
  "store-read-only": [R.UNSPECIFIED, R.SERVER_UNAVAILABLE],
  "link-stolen": [R.UNSPECIFIED, R.SESSION_TAKEN_OVER],
  "connection-forced": [R.UNSPECIFIED, R.ADMINISTRATIVE_ACTION],
  "shutting-down": [R.UNSPECIFIED, R.SERVER_SHUTTING_DOWN],
  "unknown-transaction": [R.UNSPECIFIED, R.UNSPECIFIED],
  "transaction-rollback": [R.UNSPECIFIED, R.UNSPECIFIED],
  internal: [R.UNSPECIFIED, R.UNSPECIFIED],
};

export const ackReason = (code: ErrorCode): Reason => REASONS[code][0];

/** How a thrown thing ends a connection. Anything that is neither of ours is a bug and says nothing to the peer. */
export function endReason(error: unknown): Reason {
  if (error instanceof ProtocolError) return error.reason;
  return error instanceof BrokerError ? REASONS[error.code][1] : R.UNSPECIFIED;
}

/** CONNACK return code of MQTT 3 for a MQTT 5 reason; -1: there is none, close without an answer. */
export function returnCodeOf(reason: Reason): number {
  switch (reason) {
    case R.UNSUPPORTED_VERSION:
      return RETURN_CODE.UNACCEPTABLE_VERSION;
    case R.CLIENT_ID_NOT_VALID:
      return RETURN_CODE.IDENTIFIER_REJECTED;
    case R.BAD_USER_OR_PASSWORD:
      return RETURN_CODE.BAD_USER_OR_PASSWORD;
    case R.NOT_AUTHORIZED:
    case R.BANNED:
      return RETURN_CODE.NOT_AUTHORIZED;
    case R.SERVER_UNAVAILABLE:
    case R.SERVER_BUSY:
    case R.SERVER_SHUTTING_DOWN:
    case R.QUOTA_EXCEEDED:
    case R.UNSPECIFIED:
      return RETURN_CODE.SERVER_UNAVAILABLE;
    default:
      return -1;
  }
}
