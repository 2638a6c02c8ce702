/** Transfers that several peers get alike, encoded once: those sent settled, and the others. Made with the first link. */
import { FrameRing } from "../../src/util/frame-ring.ts";

export class SharedTransfers {
  #settled: FrameRing | null = null;
  #unsettled: FrameRing | null = null;

  get settled(): FrameRing {
    this.#settled ??= new FrameRing();
    return this.#settled;
  }

  get unsettled(): FrameRing {
    this.#unsettled ??= new FrameRing();
    return this.#unsettled;
  }
}
