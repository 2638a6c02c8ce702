/** Who is known: the seam between the login and the place users are kept. */
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

export const NO_USERS: UserStore = { find: () => undefined, size: 0, generation: 0 };
