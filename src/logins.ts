/**
 * Who came in and may not stay: a user that is no more or has another password, a token whose time is over, a certificate
 * that was revoked or whose authority is trusted no more. The connection ends in its protocol's own words.
 */
import type { Broker } from "./broker/broker.ts";
import type { ConnectRequest } from "./broker/facade.ts";
import { BrokerError } from "./model/errors.ts";
import type { LoopbackPolicy } from "./security/loopback.ts";
import type { ClientCertificate } from "./security/peer.ts";
import { credentialsOf } from "./security/users.ts";
import type { UsersFile } from "./security/users-file.ts";
import type { Logger } from "./telemetry/log.ts";

export interface LoginsOptions {
  readonly broker: Broker;
  readonly users: UsersFile;
  readonly loopback: LoopbackPolicy;
  readonly logger: Logger;
  /** A login may take so long: it may have begun before a change and end after it. */
  readonly loginLimitMs: number;
}

export class Logins {
  readonly #options: LoginsOptions;
  #generation: number;
  /** Until then somebody may come in with what held before the last change. */
  #lateUntilMs = 0;

  constructor(options: LoginsOptions) {
    this.#options = options;
    this.#generation = options.users.generation;
  }

  /** Users or their rules changed: what they may do no more ends; who is none any more goes. */
  followUsers(nowMs: number): void {
    const { broker, users, logger, loginLimitMs } = this.#options;
    if (this.#generation !== users.generation) {
      this.#generation = users.generation;
      this.#lateUntilMs = nowMs + loginLimitMs;
      const ended = broker.recheckRights();
      if (ended > 0) logger.info("rights.taken", { links: ended });
    } else if (nowMs > this.#lateUntilMs) return;
    this.#endEach((request) => this.#problemWithUser(request));
  }

  #problemWithUser({ principal, peer }: ConnectRequest): BrokerError | undefined {
    const { name, isAnonymous, mechanism, expiresAt, credentials } = principal;
    if (isAnonymous || expiresAt !== undefined || mechanism === "EXTERNAL") return undefined;
    const user = this.#options.users.find(name);
    if (user === undefined) {
      if (peer !== undefined && this.#options.loopback.isOpenFor(principal, peer)) return undefined;
      return new BrokerError("unauthorized", `there is no user "${name}" any more`);
    }
    if (credentials === undefined || credentials === credentialsOf(user)) return undefined;
    return new BrokerError("unauthorized", `the password of "${name}" was changed: log in again`);
  }

  /** A connection lives no longer than the token it came with. */
  endExpired(nowMs: number): void {
    this.#endEach(({ principal: { name, expiresAt } }) =>
      expiresAt === undefined || expiresAt > nowMs
        ? undefined
        : new BrokerError("login-expired", `the token of "${name}" has expired: log in again`),
    );
  }

  /** `isRequired`: nobody is here without a certificate. Else only those leave whose login it was. */
  endDistrusted(isRequired: boolean, isTrusted: (certificate: ClientCertificate) => boolean): void {
    this.#endEach(({ principal, peer }) => {
      const certificate = peer?.certificate ?? null;
      if (certificate === null || isTrusted(certificate)) return undefined;
      if (!isRequired && principal.mechanism !== "EXTERNAL") return undefined;
      return new BrokerError(
        "unauthorized",
        `the certificate of "${certificate.commonName}" is not good any more`,
      );
    });
  }

  #endEach(problemOf: (request: ConnectRequest) => BrokerError | undefined): void {
    const { broker, logger } = this.#options;
    for (const connection of [...broker.connections.values()]) {
      const { request, principal } = connection;
      const problem = problemOf({ ...request, principal });
      if (problem === undefined) continue;
      logger.info("login.ended", { user: principal.name, message: problem.message });
      request.close(problem);
    }
  }
}
