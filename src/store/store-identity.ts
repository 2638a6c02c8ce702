/**
 * Whose a journal file is: `identity` in the store's folder holds eight random bytes that every file of the journal begins with
 * (journal-format.ts). Entries of another store's journal are whole in themselves, and would settle messages of this one.
 *
 *   at  size  field
 *    0     8  "SLUICEI1"
 *    8     8  the identity
 *   16     4  CRC-32 of bytes 0..16, big-endian
 *
 * The file is durable before any journal file names it. Where it is missing or damaged, the identity is that of most
 * files of the journal. Eight zeros say nothing: files of a store that had no identity, or could not be given one.
 */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { crc32 } from "../util/crc32.ts";
import { identityOfJournal } from "./journal-format.ts";
import type { Quarantine } from "./quarantine.ts";
import { isSystemError, type Storage } from "./storage-file.ts";
import { StoreOpenError } from "./store-lock.ts";

const MAGIC = Buffer.from("SLUICEI1", "latin1");
const FILE_BYTES = 20;
const HEADER_MAX = 64;
export const NO_IDENTITY = "0000000000000000";

const pathIn = (directory: string): string => join(directory, "identity");

/** In hexadecimal; NO_IDENTITY when there is none that is whole. */
export function readIdentity(storage: Storage, directory: string): string {
  const bytes = readHead(storage, pathIn(directory), FILE_BYTES);
  const isWhole =
    bytes.length === FILE_BYTES &&
    bytes.compare(MAGIC, 0, 8, 0, 8) === 0 &&
    bytes.readUInt32BE(16) === crc32(bytes, 0, 16);
  return isWhole ? bytes.toString("hex", 8, 16) : NO_IDENTITY;
}

/** Files of the journal folder that name another store, and how many name this one. */
export function foreignJournals(
  storage: Storage,
  directory: string,
  identity: string,
): { readonly foreign: readonly string[]; readonly own: number } {
  const foreign: string[] = [];
  let own = 0;
  for (const [name, found] of journalIdentities(storage, directory)) {
    if (found === identity) own++;
    else if (identity !== NO_IDENTITY) foreign.push(name);
  }
  return { foreign, own };
}

/**
 * At a start, before the journal is read: gives the store an identity when it has none, and takes what names another one out
 * of the journal. Returns a sentence about each such file.
 */
export function claimJournal(
  storage: Storage,
  directory: string,
  quarantine: Quarantine,
): { readonly identity: string; readonly warnings: string[] } {
  const identity = ensureIdentity(storage, directory);
  const { foreign, own } = foreignJournals(storage, directory, identity);
  if (foreign.length > 0 && own === 0) {
    throw new StoreOpenError(
      `${join(directory, "journal")} is the journal of another store, or ${pathIn(directory)} is: the two do not belong ` +
        'together. Put the right one back; remove "identity" if the journal is the right one',
    );
  }
  const warnings = foreign.map((name) => {
    const place = quarantine.setJournalAside(join(directory, "journal", name), name);
    return `journal/${name} is of another store: it is ${place} now. Stop the broker and put the right file back, if there was one`;
  });
  return { identity, warnings };
}

/** Of files that name one. */
function journalIdentities(storage: Storage, directory: string): Map<string, string> {
  const found = new Map<string, string>();
  const folder = join(directory, "journal");
  for (const { name, isDirectory } of storage.list(folder)) {
    if (isDirectory || name.endsWith(".new")) continue;
    const identity = identityOfJournal(readHead(storage, join(folder, name), HEADER_MAX));
    if (identity !== undefined && identity !== NO_IDENTITY) found.set(name, identity);
  }
  return found;
}

function ensureIdentity(storage: Storage, directory: string): string {
  const known = readIdentity(storage, directory);
  if (known !== NO_IDENTITY) return known;
  const votes = new Map<string, number>();
  for (const identity of journalIdentities(storage, directory).values()) {
    votes.set(identity, (votes.get(identity) ?? 0) + 1);
  }
  const [most] = [...votes].sort((a, b) => b[1] - a[1]);
  const identity = most?.[0] ?? randomBytes(8).toString("hex");
  try {
    write(storage, directory, identity);
  } catch (error) {
    // A full disk keeps no store from its start: it goes on without, and the next start tries again.
    if (!isSystemError(error)) throw error;
    return most?.[0] ?? NO_IDENTITY;
  }
  return identity;
}

function write(storage: Storage, directory: string, identity: string): void {
  const bytes = Buffer.alloc(FILE_BYTES);
  MAGIC.copy(bytes);
  bytes.write(identity, 8, "hex");
  bytes.writeUInt32BE(crc32(bytes, 0, 16), 16);
  const file = storage.open(pathIn(directory), "create");
  try {
    file.truncate(0);
    file.write(bytes, 0, bytes.length, 0);
    file.sync();
  } finally {
    file.close();
  }
  storage.syncDirectory(directory);
}

function readHead(storage: Storage, path: string, most: number): Buffer {
  const size = Math.min(storage.stat(path)?.size ?? 0, most);
  const bytes = Buffer.alloc(size);
  if (size === 0) return bytes;
  const file = storage.open(path, "read");
  try {
    return bytes.subarray(0, file.readInto(bytes, 0, size, 0));
  } finally {
    file.close();
  }
}
