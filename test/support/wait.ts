/** Waits for a condition instead of for a time. */
export async function until(
  reason: string,
  condition: () => boolean,
  timeoutMs = 10_000,
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`still not: ${reason}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
