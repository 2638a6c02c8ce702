/** Who is known: the seam between the login and the place users are kept. */
import { createHash } from "node:crypto";
import type { ScramVerifier } from "./scram.ts";

export interface UserRecord {
  readonly name: string;
  /** scrypt hash (password.ts), or "" for a user that logs in by certificate only. */
  readonly password: string;
  /** By mechanism name. */
  readonly scram: Readonly<Record<string, ScramVerifier>>;
  /** Rules (rules.ts), as written. */
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}

export interface UserStore {
  find(name: string): UserRecord | undefined;
  readonly size: number;
  /** Grows whenever anything changed: cached answers of an older generation are void. */
  readonly generation: number;
}

const fingerprints = new WeakMap<UserRecord, string>();

/** Another text once the user's password is another one. Nobody can tell the password from it, nor its hash. */
export function credentialsOf(user: UserRecord): string {
  let fingerprint = fingerprints.get(user);
  if (fingerprint === undefined) {
    const digest = createHash("sha256").update(user.password);
    for (const { storedKey } of Object.values(user.scram)) digest.update(storedKey);
    fingerprint = digest.digest("base64url").slice(0, 16);
    fingerprints.set(user, fingerprint);
  }
  return fingerprint;
}

export const NO_USERS: UserStore = { find: () => undefined, size: 0, generation: 0 };
