/**
 * Remembers passwords that were right, so that thousands of connections of one user cost one hash. What is kept is a keyed
 * digest under a key of this process, never the password; it is void as soon as the users change.
 */
import { createHmac, randomBytes } from "node:crypto";

const ENTRIES_MAX = 10_000;

export class CredentialCache {
  readonly #key = randomBytes(32);
  readonly #seen = new Set<string>();
  /** Checks that are on their way: whoever asks the same waits for the same answer. */
  readonly #running = new Map<string, Promise<boolean>>();
  #generation = -1;

  /** Was this right, or else what does `verify` say? */
  async check(
    user: string,
    password: string,
    generation: number,
    verify: () => Promise<boolean>,
  ): Promise<boolean> {
    if (generation !== this.#generation) {
      this.#generation = generation;
      this.#seen.clear();
      this.#running.clear();
    }
    const digest = createHmac("sha256", this.#key)
      .update(`${user.length}:${user}${password}`)
      .digest("base64");
    if (this.#seen.has(digest)) return true;
    const earlier = this.#running.get(digest);
    if (earlier !== undefined) return earlier;
    const check = verify();
    this.#running.set(digest, check);
    try {
      const isRight = await check;
      if (isRight && generation === this.#generation) this.#remember(digest);
      return isRight;
    } finally {
      if (this.#running.get(digest) === check) this.#running.delete(digest);
    }
  }

  #remember(digest: string): void {
    if (this.#seen.size >= ENTRIES_MAX) {
      for (const oldest of this.#seen) {
        this.#seen.delete(oldest);
        break;
      }
    }
    this.#seen.add(digest);
  }
}
