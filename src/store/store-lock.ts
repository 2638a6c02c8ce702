/**
 * One process per store. The file `lock` says who (pid); what is exclusive is a socket `lock.socket` beside it, on which
 * the process listens: the kernel closes it with the process, however that ends, and another container on the same
 * machine sees it too. A socket left by a dead process refuses connections and is replaced.
 * Where sockets cannot be made (Windows, some network file systems) the pid in the file has to do.
 */
import { closeSync, openSync, readFileSync, statSync, unlinkSync, writeFileSync } from "node:fs";
import { createConnection, createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** The store cannot be opened; the message is a sentence for the person who started it. */
export class StoreOpenError extends Error {
  override name = "StoreOpenError";
}

const SETTLE_MS = 20;
/** Socket addresses are short (sun_path has 104 to 108 bytes). */
const MAX_SOCKET_PATH = 100;

export class StoreLock {
  readonly #file: string;
  readonly #socket: string;
  #server: Server | null = null;
  #folder = -1;

  constructor(directory: string) {
    this.#file = join(directory, "lock");
    this.#socket = join(directory, "lock.socket");
  }

  async acquire(): Promise<void> {
    try {
      if (process.platform === "win32") this.#checkPid();
      else await this.#listen();
      writeFileSync(this.#file, `${process.pid}\n`);
    } catch (error) {
      this.#closeFolder();
      this.#server?.close();
      this.#server = null;
      throw error;
    }
  }

  release(): void {
    if (this.#server !== null) {
      this.#server.close();
      this.#server = null;
      ignoreMissing(() => unlinkSync(this.#socket));
    }
    this.#closeFolder();
    ignoreMissing(() => unlinkSync(this.#file));
  }

  async #listen(): Promise<void> {
    const address = this.#address();
    if (address === null) return this.#checkPid();
    for (let attempt = 0; attempt < 3; attempt++) {
      const outcome = await tryListen(address);
      if (typeof outcome === "object") {
        this.#server = outcome;
        if (attempt > 0) await this.#checkStillOurs();
        return;
      }
      if (outcome !== "EADDRINUSE") return this.#checkPid();
      if (await isAnswered(address)) throw this.#heldError();
      // Nobody listens: its process is gone.
      ignoreMissing(() => unlinkSync(this.#socket));
    }
    throw this.#heldError();
  }

  /** Two processes may have found the same dead socket: the second one has removed the socket of the first. */
  async #checkStillOurs(): Promise<void> {
    const mine = statSync(this.#socket).ino;
    await delay(SETTLE_MS);
    let now = -1;
    ignoreMissing(() => {
      now = statSync(this.#socket).ino;
    });
    if (now !== mine) throw this.#heldError();
  }

  /** A path that is short enough, or null. */
  #address(): string | null {
    if (Buffer.byteLength(this.#socket) <= MAX_SOCKET_PATH) return this.#socket;
    if (process.platform !== "linux") return null;
    this.#folder = openSync(join(this.#socket, ".."), "r");
    return `/proc/self/fd/${this.#folder}/lock.socket`;
  }

  #checkPid(): void {
    const pid = this.#holder();
    if (pid > 0 && pid !== process.pid && isAlive(pid)) throw this.#heldError();
  }

  #holder(): number {
    try {
      return Number.parseInt(readFileSync(this.#file, "latin1"), 10) || 0;
    } catch {
      return 0;
    }
  }

  #heldError(): StoreOpenError {
    const pid = this.#holder();
    const who = pid > 0 ? `process ${pid}` : "another process";
    return new StoreOpenError(
      `store ${join(this.#file, "..")}: in use by ${who}; stop it, or use another directory`,
    );
  }

  #closeFolder(): void {
    if (this.#folder >= 0) closeSync(this.#folder);
    this.#folder = -1;
  }
}

/** The server, or the code of the error. */
function tryListen(path: string): Promise<Server | string> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "unknown"));
    server.listen(path, () => {
      server.removeAllListeners("error");
      server.on("error", () => {});
      server.unref();
      resolve(server);
    });
  });
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error: NodeJS.ErrnoException) =>
      // Anything but "nobody there" is taken for a holder.
      resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function ignoreMissing(action: () => void): void {
  try {
    action();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
