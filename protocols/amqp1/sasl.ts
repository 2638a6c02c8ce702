/**
 * The SASL layer of one connection: frames to and from an exchange of the authenticator. Bounded to ROUNDS_MAX rounds;
 * the exchange itself delays refusals.
 */
import type { Authenticator, SaslExchange, SaslStep } from "../../src/security/authenticator.ts";
import type { PeerInfo } from "../../src/security/peer.ts";
import type { Principal } from "../../src/security/principal.ts";
import { SASL, SASL_CODE } from "./codec/codes.ts";
import { Decoder, descriptorNumber } from "./codec/decode.ts";
import { Fields } from "./codec/performatives.ts";
import { binary, composite, NULL, symbols, ubyte, type Value } from "./codec/value.ts";
import { CONDITION, ConnectionError, decodeError } from "./errors.ts";

export type SaslAnswer =
  | { readonly kind: "continue"; readonly frame: Value }
  | { readonly kind: "failed"; readonly frame: Value }
  | { readonly kind: "done"; readonly frame: Value; readonly principal: Principal };

const ROUNDS_MAX = 10;
const NOTHING = Buffer.alloc(0);

export class SaslServer {
  readonly #authenticator: Authenticator;
  readonly #peer: PeerInfo;
  #exchange: SaslExchange | null = null;
  #rounds = 0;
  /** A mechanism's last word was sent as a challenge; the peer's empty answer ends the exchange. */
  #accepted: Principal | null = null;
  hostname = "";

  constructor(authenticator: Authenticator, peer: PeerInfo) {
    this.#authenticator = authenticator;
    this.#peer = peer;
  }

  mechanisms(): Value {
    return composite(SASL.MECHANISMS, [symbols(this.#authenticator.mechanismsFor(this.#peer))]);
  }

  onFrame(bytes: Buffer, at: number, end: number): SaslAnswer | Promise<SaslAnswer> {
    const decoder = new Decoder(bytes, at, end);
    const frame = decoder.value();
    if (frame.type !== "described") throw decodeError("A SASL frame is not a described list.");
    switch (descriptorNumber(frame.descriptor)) {
      case SASL.INIT:
        return this.#init(new Fields("sasl-init", frame.value));
      case SASL.RESPONSE:
        return this.#response(new Fields("sasl-response", frame.value));
      default:
        throw new ConnectionError(
          CONDITION.NOT_ALLOWED,
          "Only sasl-init and sasl-response may come from a client.",
        );
    }
  }

  #init(fields: Fields): SaslAnswer | Promise<SaslAnswer> {
    if (this.#exchange !== null || this.#rounds > 0) {
      throw new ConnectionError(CONDITION.NOT_ALLOWED, "A second sasl-init came.");
    }
    const mechanism = fields.required(fields.text(0, "mechanism"), "mechanism");
    const response = fields.binary(1, "initial-response") ?? NOTHING;
    this.hostname = fields.text(2, "hostname") ?? "";
    this.#rounds = 1;
    const exchange = this.#authenticator.startSasl(mechanism, this.#peer, this.hostname);
    if (exchange === undefined) return failed(SASL_CODE.AUTH);
    this.#exchange = exchange;
    return this.#step(response);
  }

  #response(fields: Fields): SaslAnswer | Promise<SaslAnswer> {
    const response = fields.required(fields.binary(0, "response"), "response");
    if (this.#accepted !== null) return done(this.#accepted);
    if (this.#exchange === null) {
      throw new ConnectionError(CONDITION.NOT_ALLOWED, "A sasl-response came before sasl-init.");
    }
    if (++this.#rounds > ROUNDS_MAX) return failed(SASL_CODE.AUTH);
    return this.#step(response);
  }

  #step(response: Buffer): SaslAnswer | Promise<SaslAnswer> {
    const step = this.#exchange!.step(response);
    return step instanceof Promise
      ? step.then(
          (late) => this.#answer(late),
          () => failed(SASL_CODE.SYS_TEMP),
        )
      : this.#answer(step);
  }

  #answer(step: SaslStep): SaslAnswer {
    switch (step.kind) {
      case "challenge":
        return { kind: "continue", frame: challenge(step.data) };
      case "success":
        this.#exchange = null;
        if (step.data === undefined || step.data.length === 0) return done(step.principal);
        // As a challenge rather than with the outcome: every client reads it there (spec protocols.md §6.2).
        this.#accepted = step.principal;
        return { kind: "continue", frame: challenge(step.data) };
      case "failure":
        this.#exchange = null;
        return failed(step.isTemporary ? SASL_CODE.SYS_TEMP : SASL_CODE.AUTH);
      default: {
        const never: never = step;
        throw new Error(`unknown step ${String(never)}`);
      }
    }
  }
}

const challenge = (data: Buffer): Value => composite(SASL.CHALLENGE, [binary(data)]);
const outcome = (code: number): Value => composite(SASL.OUTCOME, [ubyte(code), NULL]);
const failed = (code: number): SaslAnswer => ({ kind: "failed", frame: outcome(code) });
const done = (principal: Principal): SaslAnswer => ({
  kind: "done",
  frame: outcome(SASL_CODE.OK),
  principal,
});
