/** The authenticator over a user store, with the open loopback of a fresh start. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { BrokerError } from "../model/errors.ts";
import type { Logger } from "../telemetry/log.ts";
import { isLoopbackAddress } from "../util/network.ts";
import type { Authenticator, SaslExchange, SaslStep } from "./authenticator.ts";
import { CredentialCache } from "./credential-cache.ts";
import { LoginGate } from "./login-gate.ts";
import { GUEST, type LoopbackPolicy } from "./loopback.ts";
import { BusyError, verifyPassword } from "./password.ts";
import type { ClientCertificate, PeerInfo } from "./peer.ts";
import type { Principal } from "./principal.ts";
import {
  BearerExchange,
  KnownExchange,
  PlainExchange,
  type SaslBackend,
  ScramExchange,
} from "./sasl.ts";
import {
  decoyVerifier,
  makeVerifier,
  SCRAM_HASHES,
  type ScramHash,
  type ScramVerifier,
} from "./scram.ts";
import { looksLikeToken, type TokenVerifier } from "./token-verifier.ts";
import { credentialsOf, type UserStore } from "./users.ts";

export interface UserAuthenticatorOptions {
  readonly users: UserStore;
  readonly loopback: LoopbackPolicy;
  readonly allowPlainWithoutTls: boolean;
  /** Which part of a client certificate names the user. */
  readonly certificateName: "commonName" | "subject";
  readonly failureDelayMs: number;
  /** Logins by password of one address that are looked at at a time. */
  readonly loginsPerAddressMax?: number;
  /** Is a certificate that was verified at the handshake still good? Absent where that cannot change. */
  readonly isTrusted?: (certificate: ClientCertificate) => boolean;
  /** Access tokens are taken as passwords and by SASL; absent where none are. */
  readonly tokens?: TokenVerifier | null;
  readonly logger: Logger;
}

const BEARER_MECHANISMS: readonly string[] = ["XOAUTH2", "OAUTHBEARER"];

const LOGINS_PER_ADDRESS = 16;

/** Takes as long to check as a real one and is right for nothing; made once, of a password that nobody knows. */
const DECOY_HASH = `scrypt$ln=14,r=8,p=1$${randomBytes(16).toString("base64")}$${randomBytes(32).toString("base64")}`;

export class UserAuthenticator implements Authenticator {
  #options: UserAuthenticatorOptions;
  readonly #cache = new CredentialCache();
  readonly #gate: LoginGate;
  readonly #decoySecret = randomBytes(32);
  readonly #guestVerifiers = new Map<string, Promise<ScramVerifier>>();
  failures = 0;
  successes = 0;

  constructor(options: UserAuthenticatorOptions) {
    this.#options = options;
    this.#gate = new LoginGate(options.loginsPerAddressMax ?? LOGINS_PER_ADDRESS);
  }

  /** Logins that had to wait because of others of their address. */
  get held(): number {
    return this.#gate.held;
  }

  /** Other settings hold for logins from now on. */
  configure(options: Partial<UserAuthenticatorOptions>): void {
    this.#options = { ...this.#options, ...options };
    this.#gate.perAddressMax = this.#options.loginsPerAddressMax ?? LOGINS_PER_ADDRESS;
  }

  mechanismsFor(peer: PeerInfo): readonly string[] {
    const { users, loopback } = this.#options;
    const mechanisms: string[] = [];
    if (users.size > 0 || loopback.isGuestHere(peer)) {
      mechanisms.push(...Object.keys(SCRAM_HASHES));
      if (this.#mayUsePlain(peer)) mechanisms.push("PLAIN");
    }
    const { tokens } = this.#options;
    if (tokens && this.#mayUsePlain(peer)) {
      if (!mechanisms.includes("PLAIN")) mechanisms.push("PLAIN");
      mechanisms.push(...BEARER_MECHANISMS);
    }
    if (this.#certified(peer) !== undefined) mechanisms.push("EXTERNAL");
    if (loopback.mayBeAnonymous(peer)) mechanisms.push("ANONYMOUS");
    return mechanisms;
  }

  startSasl(mechanism: string, peer: PeerInfo): SaslExchange | undefined {
    if (!this.mechanismsFor(peer).includes(mechanism)) return undefined;
    if (mechanism === "ANONYMOUS") {
      return new KnownExchange(this.#options.loopback.anonymous(), false);
    }
    if (mechanism === "EXTERNAL") {
      const certified = this.#certified(peer);
      return certified === undefined ? undefined : new KnownExchange(certified, true);
    }
    const backend = new PeerBackend(this, peer);
    if (mechanism === "PLAIN") return new PlainExchange(backend);
    if (BEARER_MECHANISMS.includes(mechanism)) return new BearerExchange(backend, mechanism);
    return new ScramExchange(backend, mechanism, SCRAM_HASHES[mechanism]!);
  }

  async checkPassword(
    user: string,
    password: string,
    peer: PeerInfo,
    mechanism = "password",
  ): Promise<Principal | undefined> {
    if (!this.#mayUsePlain(peer)) {
      this.#options.logger.warn("auth.plain-refused", {
        listener: peer.listener,
        remote: peer.remoteAddress,
        message:
          "a password came unencrypted from another machine: use TLS, or set security.allowPlainWithoutTls",
      });
      await this.refuse(user, mechanism, peer);
      return undefined;
    }
    if (this.#options.tokens && looksLikeToken(password)) {
      return this.checkToken(password, "token", peer);
    }
    // Before the check, during which the password may be changed.
    const credentials = this.#credentialsOf(user);
    const isRight = await this.#isRight(user, password, peer);
    if (!isRight) {
      this.#noteFailure(user, mechanism, peer);
      return undefined;
    }
    this.successes++;
    return { name: user, isAnonymous: false, mechanism, ...credentials };
  }

  async checkToken(
    token: string,
    mechanism: string,
    peer: PeerInfo,
  ): Promise<Principal | undefined> {
    const { tokens, logger } = this.#options;
    try {
      const verified = looksLikeToken(token) ? await tokens?.verify(token) : undefined;
      if (verified !== undefined) {
        this.successes++;
        return { ...verified, isAnonymous: false, mechanism };
      }
    } catch (error) {
      logger.error("auth.token-keys", { error: error as Error });
      throw error;
    }
    await this.refuse("", mechanism, peer);
    return undefined;
  }

  withoutCredentials(peer: PeerInfo): Principal | undefined {
    const certified = this.#certified(peer);
    if (certified !== undefined) return certified;
    const { loopback } = this.#options;
    return loopback.mayBeAnonymous(peer) ? loopback.anonymous() : undefined;
  }

  /** Counts and logs a failed login, and takes its time. */
  async refuse(user: string, mechanism: string, peer: PeerInfo): Promise<SaslStep> {
    this.#noteFailure(user, mechanism, peer);
    await sleep(this.#options.failureDelayMs);
    return { kind: "failure", isTemporary: false };
  }

  #noteFailure(user: string, mechanism: string, peer: PeerInfo): void {
    this.failures++;
    this.#options.logger.warn("auth.failed", {
      user,
      mechanism,
      listener: peer.listener,
      remote: peer.remoteAddress,
    });
  }

  /** One guess: in turn with others of its address, and a wrong one takes the time of a refusal. */
  async #guess(peer: PeerInfo, check: () => Promise<boolean> | boolean): Promise<boolean> {
    return this.#gate.run(peer.remoteAddress, async () => {
      const isRight = await check();
      if (!isRight) await sleep(this.#options.failureDelayMs);
      return isRight;
    });
  }

  /** The proof of a SASL exchange, checked as any guess; a wrong one is counted and logged. */
  async prove(
    user: string,
    mechanism: string,
    peer: PeerInfo,
    check: () => boolean,
  ): Promise<boolean> {
    const isRight = await this.#guess(peer, check).catch(busy);
    if (!isRight) this.#noteFailure(user, mechanism, peer);
    return isRight;
  }

  async verifierOf(
    user: string,
    mechanism: string,
    hash: ScramHash,
    peer: PeerInfo,
  ): Promise<ScramVerifier> {
    const known = this.#options.users.find(user)?.scram[mechanism];
    if (known !== undefined) return known;
    if (user === GUEST && this.#options.loopback.isGuestHere(peer)) {
      let verifier = this.#guestVerifiers.get(mechanism);
      if (verifier === undefined) {
        verifier = makeVerifier(hash, GUEST, randomBytes(16), 4096);
        this.#guestVerifiers.set(mechanism, verifier);
      }
      return verifier;
    }
    return decoyVerifier(hash, this.#decoySecret, user);
  }

  #credentialsOf(user: string): { credentials?: string } {
    const record = this.#options.users.find(user);
    return record === undefined ? {} : { credentials: credentialsOf(record) };
  }

  /** For a SCRAM exchange: the verifier and whose password it stands for. */
  async knownBy(
    user: string,
    mechanism: string,
    hash: ScramHash,
    peer: PeerInfo,
  ): Promise<{ verifier: ScramVerifier; credentials?: string }> {
    const credentials = this.#credentialsOf(user);
    return { verifier: await this.verifierOf(user, mechanism, hash, peer), ...credentials };
  }

  async #isRight(user: string, password: string, peer: PeerInfo): Promise<boolean> {
    const { users, loopback } = this.#options;
    if (user === GUEST && loopback.isGuestHere(peer)) {
      return sameText(password, GUEST) || this.#guess(peer, () => false).catch(busy);
    }
    const record = users.find(user);
    const stored = record?.password ?? "";
    try {
      if (stored === "") {
        await this.#guess(peer, () => verifyPassword(password, DECOY_HASH));
        return false;
      }
      return await this.#cache.check(user, password, users.generation, () =>
        this.#guess(peer, () => verifyPassword(password, stored)),
      );
    } catch (error) {
      if (error instanceof BusyError) busy(error);
      this.#options.logger.error("auth.unusable-hash", { user, error: error as Error });
      return false;
    }
  }

  #mayUsePlain(peer: PeerInfo): boolean {
    return (
      peer.isTls ||
      peer.isLoopback ||
      isLoopbackAddress(peer.remoteAddress) ||
      this.#options.allowPlainWithoutTls
    );
  }

  #certified(peer: PeerInfo): Principal | undefined {
    const { certificate } = peer;
    if (certificate === null || this.#options.isTrusted?.(certificate) === false) return undefined;
    const name =
      this.#options.certificateName === "subject" ? certificate.subject : certificate.commonName;
    return name === "" ? undefined : { name, isAnonymous: false, mechanism: "EXTERNAL" };
  }
}

/** What one peer's SASL exchange sees of the authenticator. */
class PeerBackend implements SaslBackend {
  readonly #authenticator: UserAuthenticator;
  readonly #peer: PeerInfo;
  #credentials: string | undefined;

  constructor(authenticator: UserAuthenticator, peer: PeerInfo) {
    this.#authenticator = authenticator;
    this.#peer = peer;
  }

  checkPassword(user: string, password: string, mechanism: string): Promise<Principal | undefined> {
    return this.#authenticator.checkPassword(user, password, this.#peer, mechanism);
  }
  async verifierOf(user: string, mechanism: string, hash: ScramHash): Promise<ScramVerifier> {
    const known = await this.#authenticator.knownBy(user, mechanism, hash, this.#peer);
    this.#credentials = known.credentials;
    return known.verifier;
  }
  prove(user: string, mechanism: string, check: () => boolean): Promise<boolean> {
    return this.#authenticator.prove(user, mechanism, this.#peer, check);
  }
  refuse(user: string, mechanism: string): Promise<SaslStep> {
    return this.#authenticator.refuse(user, mechanism, this.#peer);
  }
  checkToken(token: string, mechanism: string): Promise<Principal | undefined> {
    return this.#authenticator.checkToken(token, mechanism, this.#peer);
  }
  principal(user: string, mechanism: string): Principal {
    this.#authenticator.successes++;
    const credentials = this.#credentials;
    return {
      name: user,
      isAnonymous: false,
      mechanism,
      ...(credentials === undefined ? {} : { credentials }),
    };
  }
  isBusy(error: unknown): boolean {
    return error instanceof BrokerError && error.isRetriable;
  }
}

/** What a client that may come again is told. */
function busy(error: unknown): never {
  if (!(error instanceof BusyError)) throw error;
  throw new BrokerError("limit-exceeded", "too many logins at once: try again shortly");
}

/** Equal, in a time that does not tell where they differ. */
function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
