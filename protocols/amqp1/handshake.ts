/**
 * What comes before the first AMQP frame: protocol headers and the SASL layer (spec protocols.md §6.2). Ends with a
 * principal, or with the end of the connection.
 */
import type { ProtocolServices } from "../../src/broker/protocol-services.ts";
import type { Principal } from "../../src/security/principal.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { FRAME_TYPE } from "./codec/codes.ts";
import { Encoder } from "./codec/encode.ts";
import type { Value } from "./codec/value.ts";
import { type SaslAnswer, SaslServer } from "./sasl.ts";

const AMQP_HEADER = Buffer.from("AMQP\x00\x01\x00\x00", "latin1");
const SASL_HEADER = Buffer.from("AMQP\x03\x01\x00\x00", "latin1");

/** Longest SASL frame we take; tokens may be long. */
export const MAX_SASL_FRAME = 65_536;

const ENCODER = new Encoder();

/** What is expected next; "done" and "refused" are final. */
export type HandshakeState = "header" | "sasl" | "amqp-header" | "done" | "refused";

export class Handshake {
  state: HandshakeState = "header";
  principal: Principal | null = null;
  /** The hostname of sasl-init: it may name the tenant. */
  hostname = "";
  readonly #wire: Wire;
  readonly #services: ProtocolServices;
  #sasl: SaslServer | null = null;

  constructor(wire: Wire, services: ProtocolServices) {
    this.#wire = wire;
    this.#services = services;
  }

  /** The eight bytes at `at`. */
  onHeader(bytes: Buffer, at: number): void {
    const isAmqp = AMQP_HEADER.compare(bytes, at, at + 8) === 0;
    if (this.state === "amqp-header") {
      this.#wire.write(AMQP_HEADER);
      this.state = isAmqp ? "done" : "refused";
      return;
    }
    if (SASL_HEADER.compare(bytes, at, at + 8) === 0) {
      this.#wire.write(SASL_HEADER);
      this.#sasl = new SaslServer(this.#services.authenticator, this.#wire.info);
      this.state = "sasl";
      this.#send(this.#sasl.mechanisms());
      return;
    }
    if (isAmqp) {
      // No SASL layer: whoever needs no password may go on.
      const principal = this.#services.authenticator.withoutCredentials(this.#wire.info);
      if (principal !== undefined) {
        this.principal = principal;
        this.#wire.write(AMQP_HEADER);
        this.state = "done";
        return;
      }
    }
    this.#wire.write(SASL_HEADER);
    this.state = "refused";
  }

  /** A SASL frame's body. A promise when the answer takes time: no input until then. */
  onFrame(bytes: Buffer, at: number, end: number): Promise<void> | null {
    const answer = this.#sasl!.onFrame(bytes, at, end);
    if (answer instanceof Promise) return answer.then((late) => this.#answer(late));
    this.#answer(answer);
    return null;
  }

  #answer(answer: SaslAnswer): void {
    if (this.state !== "sasl") return;
    this.#send(answer.frame);
    if (answer.kind === "continue") return;
    if (answer.kind === "failed") {
      this.#services.logger.info("amqp1.authentication-failed", {
        remote: this.#wire.info.remoteAddress,
        listener: this.#wire.info.listener,
      });
      this.state = "refused";
      return;
    }
    this.principal = answer.principal;
    this.hostname = this.#sasl!.hostname;
    this.#sasl = null;
    this.state = "amqp-header";
  }

  #send(performative: Value): void {
    this.#wire.write(ENCODER.reset().frame(FRAME_TYPE.SASL, 0, performative).bytes());
  }
}
