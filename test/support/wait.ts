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

/** Resolves when a socket is gone, whether in peace or not. */
export function closed(socket: {
  readonly destroyed: boolean;
  once(event: "close", listener: () => void): unknown;
}): Promise<void> {
  return new Promise((resolve) => {
    if (socket.destroyed) resolve();
    else socket.once("close", resolve);
  });
}
