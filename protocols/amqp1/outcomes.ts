/** Delivery states on the wire and the broker's outcomes (spec protocols.md §5), both ways. */
import { OUTCOME, type Outcome } from "../../src/broker/facade.ts";
import { CODE, DELIVERY_STATE } from "./codec/codes.ts";
import { decodeValue, descriptorNumber } from "./codec/decode.ts";
import { encodeValue } from "./codec/encode.ts";
import { ABSENT } from "./codec/frames.ts";
import { errorValue, Fields } from "./codec/performatives.ts";
import { binary, bool, composite, NULL, type Value } from "./codec/value.ts";
import { decodeError, type ErrorInfo } from "./errors.ts";

/** Settled without a state: the source's default outcome decides. Never handed to the broker. */
export const DEFAULT_OUTCOME = -2 as Outcome;

export type PeerState =
  | { readonly kind: "outcome"; readonly outcome: Outcome }
  /** Progress of a delivery that is not over. */
  | { readonly kind: "received" }
  | {
      readonly kind: "transactional";
      /** As latin1 text: a map key. */
      readonly txnId: string;
      readonly outcome: Outcome | undefined;
      /** The state as it came, for the answer. */
      readonly echo: Buffer;
    };

/** accepted and released without fields, in the usual encoding; ABSENT for everything else. */
export function simpleOutcome(bytes: Buffer, at: number, end: number): Outcome | typeof ABSENT {
  if (end - at !== 4 || bytes[at] !== 0 || bytes[at + 1] !== CODE.SMALL_ULONG) return ABSENT;
  if (bytes[at + 3] !== CODE.LIST0) return ABSENT;
  if (bytes[at + 2] === DELIVERY_STATE.ACCEPTED) return OUTCOME.ACCEPT;
  return bytes[at + 2] === DELIVERY_STATE.RELEASED ? OUTCOME.RELEASE : ABSENT;
}

/** The state read last and its bytes: peers say the same again and again. */
let lastBytes = Buffer.alloc(0);
let lastState: PeerState = { kind: "received" };
/** Longer ones are not kept. */
const KEEP_BYTES = 256;

export function readState(bytes: Buffer, at: number, end: number): PeerState {
  if (lastBytes.length === end - at && lastBytes.compare(bytes, at, end) === 0) return lastState;
  const state = decodeState(bytes, at, end);
  if (end - at <= KEEP_BYTES) {
    lastBytes = Buffer.from(bytes.subarray(at, end));
    lastState = state;
  }
  return state;
}

function decodeState(bytes: Buffer, at: number, end: number): PeerState {
  const value = decodeValue(bytes, at, end);
  if (value.type !== "described") throw decodeError("A delivery state is not a described list.");
  const number = descriptorNumber(value.descriptor);
  if (number === DELIVERY_STATE.RECEIVED) return { kind: "received" };
  if (number !== DELIVERY_STATE.TRANSACTIONAL)
    return { kind: "outcome", outcome: outcomeOf(value) };
  const fields = new Fields("transactional-state", value.value);
  const txnId = fields.required(fields.binary(0, "txn-id"), "txn-id");
  const outcome = fields.get(1);
  return {
    kind: "transactional",
    txnId: txnId.toString("latin1"),
    outcome: outcome === undefined ? undefined : outcomeOf(outcome),
    echo: Buffer.from(bytes.subarray(at, end)),
  };
}

/** The broker's word for an outcome value. */
export function outcomeOf(value: Value): Outcome {
  if (value.type !== "described") throw decodeError("An outcome is not a described list.");
  switch (descriptorNumber(value.descriptor)) {
    case DELIVERY_STATE.ACCEPTED:
      return OUTCOME.ACCEPT;
    case DELIVERY_STATE.REJECTED:
      return OUTCOME.REJECT;
    case DELIVERY_STATE.RELEASED:
      return OUTCOME.RELEASE;
    case DELIVERY_STATE.MODIFIED: {
      const fields = new Fields("modified", value.value);
      const isFailed = fields.boolean(0, "delivery-failed") ?? false;
      const isElsewhere = fields.boolean(1, "undeliverable-here") ?? false;
      if (isElsewhere) return isFailed ? OUTCOME.REJECT : OUTCOME.FAIL_ELSEWHERE;
      return isFailed ? OUTCOME.FAIL : OUTCOME.RELEASE;
    }
    default:
      throw decodeError("A delivery state is none of those of AMQP 1.0.");
  }
}

// ── what we send ──────────────────────────────────────────────────────────────────────────────────────────────────

const ACCEPTED = composite(DELIVERY_STATE.ACCEPTED, []);

export const rejected = (error: ErrorInfo): Value =>
  composite(DELIVERY_STATE.REJECTED, [errorValue(error)]);

export const modified = (isFailed: boolean, isElsewhere: boolean): Value =>
  composite(DELIVERY_STATE.MODIFIED, [bool(isFailed), bool(isElsewhere), NULL]);

export const rejectedState = (error: ErrorInfo): Buffer => encodeValue(rejected(error));
export const modifiedState = (): Buffer => encodeValue(modified(true, false));

export const declaredState = (txnId: Buffer): Buffer =>
  encodeValue(composite(DELIVERY_STATE.DECLARED, [binary(txnId)]));

export const transactionalState = (txnId: Buffer, outcome: Value = ACCEPTED): Buffer =>
  encodeValue(composite(DELIVERY_STATE.TRANSACTIONAL, [binary(txnId), outcome]));
