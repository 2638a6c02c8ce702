/** How many connections the system's limit on file descriptors allows, with some kept back for the store. */
import { readFile } from "node:fs/promises";

const KEPT_BACK = 512;

/** Infinity where the system does not say. */
export async function spareDescriptors(): Promise<number> {
  const limits = await readFile("/proc/self/limits", "utf8").catch(() => "");
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  if (soft === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(64, Number(soft) - KEPT_BACK);
}
