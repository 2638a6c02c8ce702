/** Holds the store back before the disk is really full: below the limit it reports why, above it with some margin not. */
import type { Storage } from "./storage-file.ts";

const DEFAULT_LIMIT = 2 ** 30;
/** Of a small file system at most this part is kept free: a limit as large as all of it would never let a message in. */
const LARGEST_PART = 0.25;
const MARGIN = 1.1;
/** So many times the limit are plenty. */
const PLENTY = 4;

export class SpaceWatch {
  readonly #storage: Storage;
  readonly #directory: string;
  #limit = 0;
  /** Why nothing more may be appended, or null. */
  reason: string | null = null;
  /** Less than half of what is kept free is. */
  isNearlyGone = false;
  /** The limit is not far: giving back what nobody needs does not wait for a quiet hour. */
  isScarce = false;

  constructor(storage: Storage, directory: string, limit: number | undefined) {
    this.#storage = storage;
    this.#directory = directory;
    this.keepFree(limit ?? DEFAULT_LIMIT);
  }

  keepFree(limit: number): void {
    const total = this.#storage.totalBytes?.(this.#directory) ?? Number.POSITIVE_INFINITY;
    this.#limit = Math.min(limit, total * LARGEST_PART);
    this.look();
  }

  look(): void {
    let free: number;
    try {
      free = this.#storage.freeBytes(this.#directory);
    } catch (error) {
      // The disk was taken away, or its server is: the clock that asks must not end the process.
      this.isNearlyGone = this.isScarce = true;
      this.reason = `disk gone: ${(error as Error).message}`;
      return;
    }
    this.isNearlyGone = free < this.#limit / 2;
    this.isScarce = free < this.#limit * PLENTY;
    if (free < this.#limit) {
      this.reason =
        `disk low: ${mebibytes(free)} MiB free at ${this.#directory}, ` +
        `less than ${mebibytes(this.#limit)} MiB (store.minFreeBytes)`;
    } else if (free >= this.#limit * MARGIN || this.reason?.startsWith("disk gone")) {
      this.reason = null;
    }
  }
}

const mebibytes = (bytes: number): number => Math.floor(bytes / 2 ** 20);
