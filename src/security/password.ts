/**
 * Password hashes: scrypt with its parameters in the text, so that they can grow later.
 *
 *   scrypt$ln=14,r=8,p=1$<salt, base64>$<hash, base64>
 *
 * Hashing takes tens of milliseconds and 16 MiB, on the thread pool; at most two run at a time, so that a flood of logins
 * neither eats the memory nor blocks the pool's other work.
 */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";

const COST_LOG2 = 14;
const BLOCK = 8;
const PARALLEL = 1;
const SALT_BYTES = 16;
const HASH_BYTES = 32;
const CONCURRENT_MAX = 2;
/** Logins that may wait for their hash; more are told to come back later. */
const WAITING_MAX = 2000;

/** The same password typed on different keyboards is the same bytes. */
export const preparePassword = (password: string): string => password.normalize("NFKC");

export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  const hash = await derive(password, salt, HASH_BYTES, COST_LOG2, BLOCK, PARALLEL);
  const parameters = `ln=${COST_LOG2},r=${BLOCK},p=${PARALLEL}`;
  return `scrypt$${parameters}$${salt.toString("base64")}$${hash.toString("base64")}`;
}

/** Rejects with `BusyError` when too many wait already, with an Error when `stored` is not a hash of ours. */
export async function verifyPassword(password: string, stored: string): Promise<boolean> {
  const parts = /^scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/=]+)\$([\w+/=]+)$/.exec(
    stored,
  );
  if (parts === null) throw new Error("not a password hash that this version can read");
  const salt = Buffer.from(parts[4]!, "base64");
  const expected = Buffer.from(parts[5]!, "base64");
  const [costLog2, block, parallel] = [Number(parts[1]), Number(parts[2]), Number(parts[3])];
  const hash = await derive(password, salt, expected.length, costLog2, block, parallel);
  return timingSafeEqual(hash, expected);
}

export class BusyError extends Error {}

let running = 0;
const waiting: Array<() => void> = [];

async function derive(
  password: string,
  salt: Buffer,
  bytes: number,
  costLog2: number,
  block: number,
  parallel: number,
): Promise<Buffer> {
  if (running >= CONCURRENT_MAX) {
    if (waiting.length >= WAITING_MAX) throw new BusyError("too many logins at once");
    await new Promise<void>((resolve) => waiting.push(resolve));
  }
  running++;
  try {
    const options = { N: 2 ** costLog2, r: block, p: parallel, maxmem: 256 << 20 };
    return await new Promise<Buffer>((resolve, reject) =>
      scrypt(preparePassword(password), salt, bytes, options, (error, hash) =>
        error === null ? resolve(hash) : reject(error),
      ),
    );
  } finally {
    running--;
    waiting.shift()?.();
  }
}
