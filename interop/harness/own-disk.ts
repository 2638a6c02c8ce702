/** File systems of one step: a small one in memory, and one on a file that can be made to fail. Needs root. */
import { execFileSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { scratchDir } from "./paths.ts";

const MIB = 2 ** 20;

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();

/** A mount of its own; `dispose` unmounts it and removes what it was made of. */
export class OwnDisk {
  readonly path: string;
  readonly #folder: string;
  readonly #device: string;

  private constructor(folder: string, device: string) {
    this.#folder = folder;
    this.#device = device;
    this.path = join(folder, "mount");
  }

  /** Null where this user may not mount. */
  static inMemory(mebibytes: number): OwnDisk | null {
    return OwnDisk.#make((folder, path) => {
      run("mount", "-t", "tmpfs", "-o", `size=${mebibytes}m`, "tmpfs", path);
      return folder;
    });
  }

  /** ext4 on a file, which goes read-only when it meets an error. Null where there is no such thing. */
  static ext4(mebibytes: number): OwnDisk | null {
    return OwnDisk.#make((folder, path) => {
      const image = join(folder, "image");
      writeFileSync(image, "");
      truncateSync(image, mebibytes * MIB);
      run("mkfs.ext4", "-q", "-F", image);
      run("mount", "-o", "loop,errors=remount-ro", image, path);
      return run("findmnt", "-no", "SOURCE", path).replace("/dev/", "");
    });
  }

  static #make(mount: (folder: string, path: string) => string): OwnDisk | null {
    if (process.platform !== "linux" || process.getuid?.() !== 0) return null;
    const folder = scratchDir("disk");
    try {
      mkdirSync(join(folder, "mount"));
      return new OwnDisk(folder, mount(folder, join(folder, "mount")));
    } catch {
      rmSync(folder, { recursive: true, force: true });
      return null;
    }
  }

  get freeBytes(): number {
    const found = statfsSync(this.path);
    return found.bavail * found.bsize;
  }

  /** Takes all but `leave` bytes away. Returns how to give them back. */
  fill(leave: number): () => void {
    const path = join(this.path, "ballast");
    const ballast = openSync(path, "w");
    const chunk = Buffer.alloc(64 << 10, 1);
    try {
      while (this.freeBytes > leave) {
        writeSync(ballast, chunk, 0, Math.max(1, Math.min(chunk.length, this.freeBytes - leave)));
      }
    } catch {
      // Somebody else took the last bytes meanwhile.
    }
    closeSync(ballast);
    return () => rmSync(path);
  }

  /** What the kernel does when the disk fails: from now on every write to a file of ext4 is refused. */
  break(): void {
    writeFileSync(`/sys/fs/ext4/${this.#device}/trigger_fs_error`, "1");
  }

  /** Repairs it and mounts it again; nobody may have it open. */
  repair(mode: "rw" | "ro"): void {
    run("umount", this.path);
    const image = join(this.#folder, "image");
    try {
      run("e2fsck", "-p", "-f", image);
    } catch {
      // Its status says that it has corrected something.
    }
    run("mount", "-o", `loop,${mode},errors=remount-ro`, image, this.path);
  }

  dispose(): void {
    try {
      run("umount", "-l", this.path);
    } finally {
      rmSync(this.#folder, { recursive: true, force: true });
    }
  }
}
