/**
 * SCRAM (RFC 5802, RFC 7677): the server proves that it knows the user's verifier, the client that it knows the
 * password, and neither ever sends it. Without channel binding.
 *
 * A verifier as text: `SCRAM-SHA-256$<iterations>:<salt>$<storedKey>:<serverKey>`, base64 (as PostgreSQL writes it).
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { preparePassword } from "./password.ts";

export type ScramHash = "sha1" | "sha256" | "sha512";

export interface ScramVerifier {
  readonly iterations: number;
  readonly salt: Buffer;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export const SCRAM_HASHES: Readonly<Record<string, ScramHash>> = {
  "SCRAM-SHA-512": "sha512",
  "SCRAM-SHA-256": "sha256",
};

/** The client computes them too, at every login: enough to slow a thief down, not a small device. */
const ITERATIONS = 16_384;
const HASH_BYTES: Readonly<Record<ScramHash, number>> = { sha1: 20, sha256: 32, sha512: 64 };

export async function makeVerifier(
  hash: ScramHash,
  password: string,
  salt: Buffer = randomBytes(16),
  iterations = ITERATIONS,
): Promise<ScramVerifier> {
  const salted = await new Promise<Buffer>((resolve, reject) =>
    pbkdf2(preparePassword(password), salt, iterations, HASH_BYTES[hash], hash, (error, key) =>
      error === null ? resolve(key) : reject(error),
    ),
  );
  const clientKey = hmac(hash, salted, "Client Key");
  return {
    iterations,
    salt,
    storedKey: createHash(hash).update(clientKey).digest(),
    serverKey: hmac(hash, salted, "Server Key"),
  };
}

export function printVerifier(mechanism: string, verifier: ScramVerifier): string {
  const { iterations, salt, storedKey, serverKey } = verifier;
  return `${mechanism}$${iterations}:${salt.toString("base64")}$${storedKey.toString("base64")}:${serverKey.toString("base64")}`;
}

export function parseVerifier(text: string): ScramVerifier | undefined {
  const parts = /^SCRAM-SHA-\d+\$(\d+):([\w+/=]+)\$([\w+/=]+):([\w+/=]+)$/.exec(text);
  if (parts === null) return undefined;
  return {
    iterations: Number(parts[1]),
    salt: Buffer.from(parts[2]!, "base64"),
    storedKey: Buffer.from(parts[3]!, "base64"),
    serverKey: Buffer.from(parts[4]!, "base64"),
  };
}

/**
 * What an unknown user gets, so that it looks like a known one up to the last step: always the same salt for the same
 * name, and keys that no password has.
 */
export function decoyVerifier(hash: ScramHash, secret: Buffer, user: string): ScramVerifier {
  return {
    iterations: ITERATIONS,
    salt: hmac("sha256", secret, user).subarray(0, 16),
    storedKey: randomBytes(HASH_BYTES[hash]),
    serverKey: randomBytes(HASH_BYTES[hash]),
  };
}

/** What the client said first, or undefined when it is malformed or asks for what we do not do. */
export interface ClientFirst {
  readonly user: string;
  readonly authorization: string;
  readonly nonce: string;
  readonly gs2Header: string;
  readonly bare: string;
}

export function parseClientFirst(message: string): ClientFirst | undefined {
  // p=… wants channel binding, which we never offer; m=… is a mandatory extension that nobody defined.
  const parts = /^([ny]),(a=[^,]*)?,(n=([^,]*),r=([\x21-\x2b\x2d-\x7e]+)(,.*)?)$/s.exec(message);
  if (parts === null) return undefined;
  const user = unescapeName(parts[4]!);
  const authorization = unescapeName(parts[2]?.slice(2) ?? "");
  if (user === undefined || authorization === undefined || user === "") return undefined;
  const gs2Header = `${parts[1]},${parts[2] ?? ""},`;
  return { user, authorization, nonce: parts[5]!, gs2Header, bare: parts[3]! };
}

/** One exchange after the client's first message: the challenge, then the check of the proof. */
export class ScramServer {
  readonly #hash: ScramHash;
  readonly #first: ClientFirst;
  readonly #verifier: ScramVerifier;
  readonly #nonce: string;
  readonly challenge: string;

  constructor(
    hash: ScramHash,
    first: ClientFirst,
    verifier: ScramVerifier,
    serverNonce = randomBytes(18).toString("base64"),
  ) {
    this.#hash = hash;
    this.#first = first;
    this.#verifier = verifier;
    this.#nonce = first.nonce + serverNonce;
    this.challenge = `r=${this.#nonce},s=${verifier.salt.toString("base64")},i=${verifier.iterations}`;
  }

  /** The server's final message when the proof is right, else undefined. */
  finish(clientFinal: string): string | undefined {
    const parts = /^(c=([\w+/=]+),r=([^,]+)(?:,[^p][^,]*)*),p=([\w+/=]+)$/.exec(clientFinal);
    if (parts === null) return undefined;
    const binding = Buffer.from(parts[2]!, "base64").toString("latin1");
    if (binding !== this.#first.gs2Header || parts[3] !== this.#nonce) return undefined;
    const { storedKey, serverKey } = this.#verifier;
    const proof = Buffer.from(parts[4]!, "base64");
    if (proof.length !== storedKey.length) return undefined;
    const authMessage = `${this.#first.bare},${this.challenge},${parts[1]}`;
    const signature = hmac(this.#hash, storedKey, authMessage);
    for (let i = 0; i < proof.length; i++) proof[i] = proof[i]! ^ signature[i]!;
    const candidate = createHash(this.#hash).update(proof).digest();
    if (!timingSafeEqual(candidate, storedKey)) return undefined;
    return `v=${hmac(this.#hash, serverKey, authMessage).toString("base64")}`;
  }
}

function hmac(hash: string, key: Buffer, text: string): Buffer {
  return createHmac(hash, key).update(text).digest();
}

/** `=2C` is a comma and `=3D` an equals sign; any other "=" is malformed. */
function unescapeName(name: string): string | undefined {
  if (/=(?!2C|3D)/.test(name)) return undefined;
  return name.replaceAll("=2C", ",").replaceAll("=3D", "=");
}
