/**
 * The one way a codec says no. It carries the MQTT 5 reason code, which a 3.x connection turns into a closed socket,
 * and the clause of the standard that was broken, for the log.
 */
import { REASON, type Reason } from "./constants.ts";

export class ProtocolError extends Error {
  readonly reason: Reason;
  /** "MQTT-3.3.1-4" and the like; "" where the standard gives the rule no number. */
  readonly clause: string;

  constructor(reason: Reason, message: string, clause = "") {
    super(message);
    this.name = "ProtocolError";
    this.reason = reason;
    this.clause = clause;
  }
}

/** Bytes that no MQTT packet may consist of. */
export const malformed = (message: string, clause = ""): ProtocolError =>
  new ProtocolError(REASON.MALFORMED_PACKET, message, clause);

/** A well-formed packet that may not be sent, or not now. */
export const protocolError = (message: string, clause = ""): ProtocolError =>
  new ProtocolError(REASON.PROTOCOL_ERROR, message, clause);
