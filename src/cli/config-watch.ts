/** Looks at the configuration file once a second; a change counts once the file has stayed the same for a round. */
import { statSync } from "node:fs";

const LOOK_MS = 1000;

export class ConfigWatch {
  readonly #file: string;
  readonly #timer: NodeJS.Timeout;
  #inForce: string;
  #seen: string;

  constructor(file: string, onChange: () => void) {
    this.#file = file;
    this.#inForce = this.#seen = this.#stamp();
    this.#timer = setInterval(() => {
      const stamp = this.#stamp();
      // Whoever writes it may not be done.
      const isSettled = stamp === this.#seen;
      this.#seen = stamp;
      if (!isSettled || stamp === this.#inForce || stamp === "") return;
      this.#inForce = stamp;
      onChange();
    }, LOOK_MS);
    this.#timer.unref();
  }

  /** It is being read now, for another reason. */
  note(): void {
    this.#inForce = this.#seen = this.#stamp();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** "" when there is none, as between an editor's steps. */
  #stamp(): string {
    const status = statSync(this.#file, { throwIfNoEntry: false });
    return status === undefined ? "" : `${status.mtimeMs}:${status.size}:${status.ino}`;
  }
}
