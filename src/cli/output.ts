/**
 * Standard output as it has to be used by commands that end the process when they are done: what was said is with whoever
 * reads it before that, however slowly he reads, and a reader who has had enough (`| head`) is no error.
 */
import { writeSync } from "node:fs";

const STDOUT = 1;
const CHUNK_BYTES = 64 << 10;
const PAUSE_MS = 2;

/** Nobody reads the output any more. */
export class OutputClosedError extends Error {
  override name = "OutputClosedError";
}

/** Lines in any number: they are written in pieces, and whoever makes them waits until they are. */
export class LineOutput {
  readonly #descriptor: number;
  readonly #pause = new Int32Array(new SharedArrayBuffer(4));
  #lines: string[] = [];
  #bytes = 0;

  constructor(descriptor = STDOUT) {
    this.#descriptor = descriptor;
  }

  line(text: string): void {
    this.#lines.push(text, "\n");
    this.#bytes += text.length + 1;
    if (this.#bytes >= CHUNK_BYTES) this.flush();
  }

  /** Throws OutputClosedError, and what the file system throws when a file is written to. */
  flush(): void {
    const bytes = Buffer.from(this.#lines.join(""));
    this.#lines = [];
    this.#bytes = 0;
    for (let at = 0; at < bytes.length; ) at += this.#write(bytes, at);
  }

  #write(bytes: Buffer, at: number): number {
    try {
      return writeSync(this.#descriptor, bytes, at);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EPIPE")
        throw new OutputClosedError("nobody reads the output", { cause: error });
      if (code !== "EAGAIN") throw error;
      // A pipe that is full, and that somebody has made non-blocking.
      Atomics.wait(this.#pause, 0, 0, PAUSE_MS);
      return 0;
    }
  }
}

/** Resolves once everything written to the stream so far has been taken, or nobody is there to take it. */
export function taken(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.once("error", () => resolve());
    stream.write("", () => resolve());
  });
}
