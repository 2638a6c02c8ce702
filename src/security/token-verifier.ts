/**
 * Access tokens (JWT, RFC 9068) of an identity provider: checks signature, issuer, audience and time against the
 * provider's key set, which is fetched when it is needed and kept. Loaded with the first token.
 */
import { readFile } from "node:fs/promises";
import type * as jose from "jose";
import { BrokerError } from "../model/errors.ts";

export interface TokenOptions {
  /** URL of the issuer's key set (JWKS), or a file. */
  readonly keys: string;
  readonly issuer: string;
  readonly audience: string;
  /** The claim that names the user. */
  readonly userClaim: string;
}

export interface VerifiedToken {
  readonly name: string;
  /** ms since the epoch. */
  readonly expiresAt: number;
}

/** Signatures that only the issuer can make: no shared secrets, and never "none". */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
];
const CLOCK_TOLERANCE_SECONDS = 5;
const TOKEN = /^ey[\w-]+\.[\w-]+\.[\w-]+$/;

/** Could this password be a token? */
export const looksLikeToken = (password: string): boolean => TOKEN.test(password);

export class TokenVerifier {
  readonly #options: TokenOptions;
  #keys: Promise<jose.JWTVerifyGetKey> | undefined;

  constructor(options: TokenOptions) {
    this.#options = options;
  }

  /** undefined: not a token for us. Rejects with BrokerError (retriable) when the keys cannot be fetched. */
  async verify(token: string): Promise<VerifiedToken | undefined> {
    const { jwtVerify, errors } = await import("jose");
    const { issuer, audience, userClaim } = this.#options;
    try {
      const { payload } = await jwtVerify(token, await this.#keySet(), {
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_TOLERANCE_SECONDS,
        requiredClaims: ["exp"],
        ...(issuer === "" ? {} : { issuer }),
        ...(audience === "" ? {} : { audience }),
      });
      const name = payload[userClaim];
      if (typeof name !== "string" || name === "") return undefined;
      return { name, expiresAt: (payload.exp ?? 0) * 1000 };
    } catch (error) {
      if (error instanceof errors.JWKSTimeout || !(error instanceof errors.JOSEError)) {
        throw new BrokerError(
          "internal",
          "the keys for tokens cannot be fetched: try again",
          {},
          {
            cause: error,
          },
        );
      }
      return undefined;
    }
  }

  async #keySet(): Promise<jose.JWTVerifyGetKey> {
    this.#keys ??= this.#load();
    try {
      return await this.#keys;
    } catch (error) {
      this.#keys = undefined;
      throw error;
    }
  }

  async #load(): Promise<jose.JWTVerifyGetKey> {
    const { createLocalJWKSet, createRemoteJWKSet } = await import("jose");
    const { keys } = this.#options;
    if (/^https?:/.test(keys)) return createRemoteJWKSet(new URL(keys));
    return createLocalJWKSet(JSON.parse(await readFile(keys, "utf8")) as jose.JSONWebKeySet);
  }
}
