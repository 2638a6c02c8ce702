/**
 * Who the peer is: a user name and password, nothing at all, or (MQTT 5) a SASL exchange in AUTH packets, which the peer
 * may repeat while connected. Input waits while an answer is being worked out.
 */
import { BrokerError } from "../../src/model/errors.ts";
import type { SaslExchange, SaslStep } from "../../src/security/authenticator.ts";
import type { Principal } from "../../src/security/principal.ts";
import type { Wire } from "../../src/transport/wire.ts";
import { REASON } from "./codec/constants.ts";
import { encodeAuth, type ReasonPacket } from "./codec/control.ts";
import type { Properties } from "./codec/properties.ts";
import { ProtocolError, protocolError } from "./codec/protocol-error.ts";
import type { Login } from "./login.ts";
import type { MqttServer } from "./server.ts";

export interface AuthenticationHost {
  readonly wire: Wire;
  readonly server: MqttServer;
  hold(): void;
  release(): void;
  onAuthenticated(principal: Principal, data: Buffer | undefined): void;
  /** The same user, once more. */
  onRenewed(principal: Principal): void;
  onRefused(error: unknown): void;
}

const NOTHING = Buffer.alloc(0);

export class Authentication {
  readonly #host: AuthenticationHost;
  #login: Login | null = null;
  #exchange: SaslExchange | null = null;
  #principal: Principal | null = null;
  #isCancelled = false;
  #lastWord: Buffer | undefined;

  constructor(host: AuthenticationHost) {
    this.#host = host;
  }

  begin(login: Login): void {
    this.#login = login;
    const { authenticator } = this.#host.server.services;
    const { info } = this.#host.wire;
    if (login.authMethod !== "") {
      this.#exchange = this.#start(login.authMethod);
      this.#run(this.#exchange.step(login.authData));
      return;
    }
    if (login.user === null && login.password === "") {
      const principal = authenticator.withoutCredentials(info);
      if (principal === undefined)
        throw new ProtocolError(REASON.NOT_AUTHORIZED, "a user name and password are needed here");
      this.#succeed(principal, undefined);
      return;
    }
    this.#wait(authenticator.checkPassword(login.user ?? "", login.password, info), (principal) => {
      if (principal === undefined)
        throw new ProtocolError(REASON.BAD_USER_OR_PASSWORD, "wrong user name or password");
      this.#succeed(principal, undefined);
    });
  }

  #start(method: string): SaslExchange {
    const { wire, server } = this.#host;
    const exchange = server.services.authenticator.startSasl(method, wire.info);
    if (exchange === undefined)
      throw new ProtocolError(
        REASON.BAD_AUTHENTICATION_METHOD,
        `authentication method '${method}' is not offered here`,
        "MQTT-4.12.0-1",
      );
    return exchange;
  }

  /** AUTH from the client: the next response, or the start of a re-authentication. */
  onAuth({ reason, properties }: ReasonPacket): void {
    const login = this.#login!;
    // MQTT-4.12.0-5: the method never changes.
    if (login.authMethod === "" || properties.authMethod !== login.authMethod)
      throw protocolError("AUTH with another method than CONNECT", "MQTT-4.12.0-5");
    if (reason === REASON.RE_AUTHENTICATE) {
      if (this.#exchange !== null || this.#principal === null)
        throw protocolError("re-authentication inside an authentication", "MQTT-4.12.1-1");
      this.#exchange = this.#start(login.authMethod);
      this.#lastWord = undefined;
    } else if (this.#exchange === null) {
      throw protocolError("AUTH without an authentication under way");
    }
    this.#run(this.#exchange.step(properties.authData ?? Buffer.alloc(0)));
  }

  #run(step: SaslStep | Promise<SaslStep>): void {
    if (step instanceof Promise) this.#wait(step, (done) => this.#onStep(done));
    else this.#onStep(step);
  }

  #onStep(step: SaslStep): void {
    switch (step.kind) {
      case "challenge":
        if (step.isLast === true && this.#exchange !== null) {
          // MQTT 5 §4.12: the server's last word goes with the success.
          this.#lastWord = step.data;
          this.#run(this.#exchange.step(NOTHING));
          return;
        }
        this.#send(REASON.CONTINUE_AUTHENTICATION, step.data);
        return;
      case "success":
        this.#succeed(step.principal, step.data ?? this.#lastWord);
        return;
      default:
        this.#exchange = null;
        if (step.isTemporary)
          throw new ProtocolError(REASON.SERVER_UNAVAILABLE, "the user store cannot answer now");
        throw new ProtocolError(REASON.NOT_AUTHORIZED, "authentication failed");
    }
  }

  #succeed(principal: Principal, data: Buffer | undefined): void {
    this.#exchange = null;
    const known = this.#principal;
    this.#principal = principal;
    if (known === null) {
      this.#host.onAuthenticated(principal, data);
      return;
    }
    // Whoever re-authenticates must still be who they were: rights and session belong to that user.
    if (known.name !== principal.name)
      throw new ProtocolError(REASON.NOT_AUTHORIZED, "re-authentication as somebody else");
    this.#host.onRenewed(principal);
    this.#send(REASON.SUCCESS, data);
  }

  #send(reason: number, data: Buffer | undefined): void {
    const properties: Properties = { authMethod: this.#login!.authMethod };
    if (data !== undefined) properties.authData = data;
    this.#host.wire.write(encodeAuth(reason, properties));
  }

  /** Input waits for `promise`. */
  #wait<T>(promise: Promise<T>, then: (value: T) => void): void {
    this.#host.hold();
    const goOn = (): void => {
      this.#host.server.services.broker.turn.touch();
      this.#host.release();
    };
    promise.then(
      (value) => {
        if (this.#isCancelled) return;
        goOn();
        try {
          then(value);
        } catch (error) {
          this.#host.onRefused(error);
        }
      },
      (error: unknown) => {
        if (this.#isCancelled) return;
        goOn();
        this.#host.onRefused(
          error instanceof BrokerError
            ? error
            : new ProtocolError(REASON.SERVER_UNAVAILABLE, "the user store cannot answer now"),
        );
      },
    );
  }

  cancel(): void {
    this.#isCancelled = true;
  }
}
