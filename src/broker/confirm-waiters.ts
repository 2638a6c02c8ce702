/** Who waits for messages or settlements to be safe: asked whenever a watermark has moved. */
import type { ConfirmWaiter } from "./facade.ts";

export class ConfirmWaiters {
  readonly #waiters: ConfirmWaiter[] = [];

  add(waiter: ConfirmWaiter): void {
    this.#waiters.push(waiter);
  }

  onWatermark(): void {
    const waiters = this.#waiters;
    let kept = 0;
    const count = waiters.length;
    for (let i = 0; i < count; i++) {
      const waiter = waiters[i]!;
      if (waiter.onConfirm()) waiters[kept++] = waiter;
    }
    // Those who registered meanwhile stay.
    for (let i = count; i < waiters.length; i++) waiters[kept++] = waiters[i]!;
    waiters.length = kept;
  }
}
