/** A selector that cannot be compiled: says what was expected, where, and shows the place. */
import { BrokerError } from "../model/errors.ts";

export class SelectorError extends BrokerError {
  /** Index of the first character that is wrong. */
  readonly position: number;

  constructor(reason: string, text: string, position: number) {
    const from = Math.max(0, position - 20);
    const before = `${from > 0 ? "…" : ""}${text.slice(from, position)}`;
    const after = `${text.slice(position, position + 20)}${position + 20 < text.length ? "…" : ""}`;
    const place = after === "" ? `at the end of "${before}"` : `at "${before}→${after}"`;
    super("invalid-argument", `selector: ${reason} (character ${position + 1}, ${place})`, {
      position,
    });
    this.name = "SelectorError";
    this.position = position;
  }
}
