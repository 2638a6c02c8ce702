/**
 * Users in a TOML file, by default `users.toml` in the data directory: written by `sluice user` and `sluice grant`,
 * readable and editable by people, read again when it changes.
 *
 *   [[user]]
 *   name = "ann"
 *   password = "scrypt$ln=14,r=8,p=1$…$…"
 *   scram = ["SCRAM-SHA-256$16384:…$…:…", "SCRAM-SHA-512$16384:…$…:…"]
 *   allow = ["send,receive queue:orders", "receive topic:news/#"]
 *   deny = []
 *
 * A file that cannot be read or understood never opens the broker: at start it is an error, later the last good state
 * stays and the log says so.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { parse, stringify } from "smol-toml";
import type { Logger } from "../telemetry/log.ts";
import { hashPassword } from "./password.ts";
import { parseRule } from "./rules.ts";
import { makeVerifier, parseVerifier, printVerifier, SCRAM_HASHES } from "./scram.ts";
import type { UserRecord, UserStore } from "./users.ts";

const HEAD = `# Users of this broker and what they may do. Written by \`sluice user\` and \`sluice grant\`; may be edited by hand,
# also while the broker runs. Passwords are kept as hashes only. Rules: docs/security.md.

`;

class UsersFileError extends Error {}

export class UsersFile implements UserStore {
  readonly path: string;
  generation = 1;
  #users = new Map<string, UserRecord>();
  #stamp = "";

  /** Reads the file; one that is not there has no users. Throws UsersFileError with a sentence for a person. */
  constructor(path: string) {
    this.path = path;
    this.#read();
  }

  find(name: string): UserRecord | undefined {
    return this.#users.get(name);
  }
  get size(): number {
    return this.#users.size;
  }
  all(): IterableIterator<UserRecord> {
    return this.#users.values();
  }

  /** Reads the file again if it changed. Called about once a second. */
  refresh(logger: Logger): void {
    if (stampOf(this.path) === this.#stamp) return;
    try {
      this.#read();
      this.generation++;
      logger.info("users.reloaded", { file: this.path, users: this.#users.size });
    } catch (error) {
      this.#stamp = stampOf(this.path);
      logger.error("users.unreadable", {
        file: this.path,
        message: `${(error as Error).message}; the users of before stay`,
      });
    }
  }

  /** Adds or replaces, and writes the file. */
  put(user: UserRecord): void {
    this.#users.set(user.name, user);
    this.#write();
  }

  remove(name: string): boolean {
    const isThere = this.#users.delete(name);
    if (isThere) this.#write();
    return isThere;
  }

  #read(): void {
    const stamp = stampOf(this.path);
    const users = new Map<string, UserRecord>();
    if (stamp !== "") {
      let content: unknown;
      try {
        content = parse(readFileSync(this.path, "utf8"));
      } catch (error) {
        throw new UsersFileError(
          `${this.path}: cannot be read: ${(error as Error).message.split("\n")[0]}`,
        );
      }
      const list = (content as { user?: unknown }).user ?? [];
      if (!Array.isArray(list)) throw new UsersFileError(`${this.path}: expected [[user]] tables`);
      for (const entry of list) {
        const user = this.#parseUser(entry as Record<string, unknown>);
        if (users.has(user.name)) {
          throw new UsersFileError(`${this.path}: user "${user.name}" is there twice`);
        }
        users.set(user.name, user);
      }
    }
    this.#users = users;
    this.#stamp = stamp;
  }

  #parseUser(entry: Record<string, unknown>): UserRecord {
    const { name, password = "", scram = [], allow = [], deny = [], ...rest } = entry;
    const where = `${this.path}: user "${String(name)}"`;
    if (typeof name !== "string" || name === "") {
      throw new UsersFileError(`${this.path}: a [[user]] without a name`);
    }
    const stranger = Object.keys(rest)[0];
    if (stranger !== undefined) throw new UsersFileError(`${where}: unknown key "${stranger}"`);
    if (typeof password !== "string" || !isTexts(scram) || !isTexts(allow) || !isTexts(deny)) {
      throw new UsersFileError(
        `${where}: expected a text as password, lists of texts as scram, allow and deny`,
      );
    }
    const verifiers: Record<string, NonNullable<ReturnType<typeof parseVerifier>>> = {};
    for (const text of scram) {
      const verifier = parseVerifier(text);
      if (verifier === undefined)
        throw new UsersFileError(`${where}: not a SCRAM verifier: ${text}`);
      verifiers[text.slice(0, text.indexOf("$"))] = verifier;
    }
    for (const rule of [...allow, ...deny]) {
      const problem = parseRule(rule);
      if (typeof problem === "string") throw new UsersFileError(`${where}: ${problem}`);
    }
    return { name, password, scram: verifiers, allow, deny };
  }

  #write(): void {
    const user = [...this.#users.values()].map(({ name, password, scram, allow, deny }) => ({
      name,
      password,
      scram: Object.entries(scram).map(([mechanism, verifier]) =>
        printVerifier(mechanism, verifier),
      ),
      allow: [...allow],
      deny: [...deny],
    }));
    mkdirSync(dirname(this.path), { recursive: true });
    // Written aside, synced, renamed: a crash leaves the old file or the new one.
    const aside = `${this.path}.${randomBytes(4).toString("hex")}`;
    const file = openSync(aside, "wx", 0o600);
    try {
      writeSync(file, HEAD + stringify({ user }));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(aside, this.path);
    this.#stamp = stampOf(this.path);
    this.generation++;
  }
}

/** A user with everything a password login of any mechanism needs. */
export async function makeUser(
  name: string,
  password: string,
  allow: readonly string[],
  deny: readonly string[] = [],
): Promise<UserRecord> {
  const scram: Record<string, Awaited<ReturnType<typeof makeVerifier>>> = {};
  for (const [mechanism, hash] of Object.entries(SCRAM_HASHES)) {
    scram[mechanism] = await makeVerifier(hash, password);
  }
  return { name, password: await hashPassword(password), scram, allow, deny };
}

/** Changes when the file does; "" when there is none. */
function stampOf(path: string): string {
  try {
    const { mtimeMs, size, ino } = statSync(path);
    return `${mtimeMs}:${size}:${ino}`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw new UsersFileError(
      `${path}: cannot be read (${(error as NodeJS.ErrnoException).code ?? error})`,
    );
  }
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((item) => typeof item === "string");
