/** The server's side of the SASL mechanisms (RFC 4422, 4505, 4616, 5802, 7677) over whoever checks the credentials. */
import type { SaslExchange, SaslStep } from "./authenticator.ts";
import type { Principal } from "./principal.ts";
import { parseClientFirst, type ScramHash, ScramServer, type ScramVerifier } from "./scram.ts";

/** Longer responses are nobody's credentials. */
const RESPONSE_BYTES_MAX = 16_384;
const EMPTY = Buffer.alloc(0);
const FAILURE: SaslStep = { kind: "failure", isTemporary: false };

/** What the mechanisms ask. */
export interface SaslBackend {
  checkPassword(user: string, password: string, mechanism: string): Promise<Principal | undefined>;
  /** The user's verifier, or a decoy that never matches. */
  verifierOf(user: string, mechanism: string, hash: ScramHash): Promise<ScramVerifier>;
  /** Is the proof right? Asked in turn; a wrong one has taken as long as a refusal takes, and is counted. */
  prove(user: string, mechanism: string, check: () => boolean): Promise<boolean>;
  /** Waits as long as a refusal takes. */
  refuse(user: string, mechanism: string): Promise<SaslStep>;
  principal(user: string, mechanism: string): Principal;
  isBusy(error: unknown): boolean;
  checkToken(token: string, mechanism: string): Promise<Principal | undefined>;
}

/** ANONYMOUS and EXTERNAL: who the peer is stands already; an authorization identity must not say otherwise. */
export class KnownExchange implements SaslExchange {
  readonly #principal: Principal;
  readonly #isExternal: boolean;

  constructor(principal: Principal, isExternal: boolean) {
    this.#principal = principal;
    this.#isExternal = isExternal;
  }

  step(response: Buffer): SaslStep {
    const claimed = response.toString("utf8");
    // ANONYMOUS carries a trace word for the log, EXTERNAL an identity that may be empty.
    if (this.#isExternal && claimed !== "" && claimed !== this.#principal.name) return FAILURE;
    return { kind: "success", principal: this.#principal };
  }
}

export class PlainExchange implements SaslExchange {
  readonly #backend: SaslBackend;
  #isChallenged = false;

  constructor(backend: SaslBackend) {
    this.#backend = backend;
  }

  step(response: Buffer): SaslStep | Promise<SaslStep> {
    if (response.length === 0 && !this.#isChallenged) {
      this.#isChallenged = true;
      return { kind: "challenge", data: EMPTY };
    }
    if (response.length > RESPONSE_BYTES_MAX) return this.#backend.refuse("", "PLAIN");
    const parts = response.toString("utf8").split("\0");
    const [authorization = "", user = "", password = ""] = parts;
    if (parts.length !== 3 || user === "" || (authorization !== "" && authorization !== user)) {
      return this.#backend.refuse(user, "PLAIN");
    }
    return this.#check(user, password);
  }

  async #check(user: string, password: string): Promise<SaslStep> {
    try {
      const principal = await this.#backend.checkPassword(user, password, "PLAIN");
      return principal === undefined ? FAILURE : { kind: "success", principal };
    } catch (error) {
      if (this.#backend.isBusy(error)) return { kind: "failure", isTemporary: true };
      throw error;
    }
  }
}

export class ScramExchange implements SaslExchange {
  readonly #backend: SaslBackend;
  readonly #mechanism: string;
  readonly #hash: ScramHash;
  readonly #serverNonce: string | undefined;
  #user = "";
  #server: ScramServer | undefined;
  #isVerified = false;
  #isChallenged = false;

  constructor(backend: SaslBackend, mechanism: string, hash: ScramHash, serverNonce?: string) {
    this.#backend = backend;
    this.#mechanism = mechanism;
    this.#hash = hash;
    this.#serverNonce = serverNonce;
  }

  step(response: Buffer): SaslStep | Promise<SaslStep> {
    if (this.#isVerified) {
      const principal = this.#backend.principal(this.#user, this.#mechanism);
      return { kind: "success", principal };
    }
    if (response.length > RESPONSE_BYTES_MAX) return this.#refuse();
    const message = response.toString("utf8");
    if (this.#server !== undefined) return this.#finish(this.#server, message);
    if (response.length === 0 && !this.#isChallenged) {
      this.#isChallenged = true;
      return { kind: "challenge", data: EMPTY };
    }
    return this.#begin(message);
  }

  async #finish(server: ScramServer, message: string): Promise<SaslStep> {
    let final: string | undefined;
    try {
      await this.#backend.prove(this.#user, this.#mechanism, () => {
        final = server.finish(message);
        return final !== undefined;
      });
    } catch (error) {
      if (this.#backend.isBusy(error)) return { kind: "failure", isTemporary: true };
      throw error;
    }
    if (final === undefined) return FAILURE;
    this.#isVerified = true;
    // As a challenge, which the client answers emptily: every client library copes with that.
    return { kind: "challenge", data: Buffer.from(final), isLast: true };
  }

  async #begin(message: string): Promise<SaslStep> {
    const first = parseClientFirst(message);
    if (first === undefined) return this.#refuse();
    this.#user = first.user;
    if (first.authorization !== "" && first.authorization !== first.user) return this.#refuse();
    const verifier = await this.#backend.verifierOf(first.user, this.#mechanism, this.#hash);
    this.#server = new ScramServer(this.#hash, first, verifier, this.#serverNonce);
    return { kind: "challenge", data: Buffer.from(this.#server.challenge) };
  }

  #refuse(): Promise<SaslStep> {
    return this.#backend.refuse(this.#user, this.#mechanism);
  }
}

/** XOAUTH2 and OAUTHBEARER (RFC 7628): key=value pairs between 0x01, of which one is the token. */
export class BearerExchange implements SaslExchange {
  readonly #backend: SaslBackend;
  readonly #mechanism: string;
  #isChallenged = false;
  #isRefused = false;

  constructor(backend: SaslBackend, mechanism: string) {
    this.#backend = backend;
    this.#mechanism = mechanism;
  }

  step(response: Buffer): SaslStep | Promise<SaslStep> {
    // The client has read why, and says so by an empty or dummy response.
    if (this.#isRefused) return FAILURE;
    if (response.length === 0 && !this.#isChallenged) {
      this.#isChallenged = true;
      return { kind: "challenge", data: EMPTY };
    }
    if (response.length > RESPONSE_BYTES_MAX) return this.#backend.refuse("", this.#mechanism);
    const pairs = response.toString("latin1").split("\u0001");
    const pair = pairs.find((text) => /^auth=Bearer /i.test(text));
    return this.#check(pair?.slice("auth=Bearer ".length) ?? "");
  }

  async #check(token: string): Promise<SaslStep> {
    try {
      const principal = await this.#backend.checkToken(token, this.#mechanism);
      if (principal !== undefined) return { kind: "success", principal };
    } catch (error) {
      if (this.#backend.isBusy(error)) return { kind: "failure", isTemporary: true };
      throw error;
    }
    this.#isRefused = true;
    return { kind: "challenge", data: Buffer.from('{"status":"invalid_token"}') };
  }
}
