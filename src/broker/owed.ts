/**
 * What of a ConsumeQueue somebody is still owed (message-store.ts OwedMask): asked by the store when it looks for space to
 * give back. A node in memory knows; one at rest is read as it lies, without being woken.
 */
import { addressOfTopicName } from "../model/names.ts";
import type { StoreQueue } from "../store/message-store.ts";
import type { CatalogImage } from "./catalog.ts";
import { maskOwed } from "./node.ts";
import { nodeKey } from "./node-key.ts";
import type { NodeRegistry } from "./node-registry.ts";

export function owedOf(
  registry: NodeRegistry,
  queue: StoreQueue,
  from: number,
  count: number,
  into: Uint8Array,
): number {
  const node = registry.ofShard(queue);
  if (node !== undefined) return maskOwed(node, queue, from, count, into);
  const key = keyOf(queue);
  const low = key === undefined || queue.queueId !== 0 ? -1 : registry.resting.ownLow(key);
  if (low >= 0) {
    // Most: nothing has to be unpacked for them.
    const settled = Math.min(count, Math.max(0, low - from));
    into.fill(0, 0, settled);
    into.fill(1, settled, count);
    return count - settled;
  }
  const image = key === undefined ? undefined : registry.resting.image(key);
  if (image !== undefined) return maskAtRest(image, queue, from, count, into);
  // Nobody that is known: control records of transactions, queues that wait to be adopted.
  into.fill(1, 0, count);
  return count;
}

function keyOf(queue: StoreQueue): string | undefined {
  const address = addressOfTopicName(queue.topic);
  if (address === undefined) return undefined;
  if (queue.isLight)
    return address.kind === "sub" ? nodeKey("light", "/", address.name) : undefined;
  if (address.kind !== "queue" && address.kind !== "topic") return undefined;
  return nodeKey(address.kind, address.namespace, address.name);
}

/** The node's entries as its journal has them. */
function maskAtRest(
  image: CatalogImage,
  queue: StoreQueue,
  from: number,
  count: number,
  into: Uint8Array,
): number {
  const [node] = image.nodes.values();
  const index = node?.queueIds.indexOf(queue.queueId) ?? -1;
  const isUnclear = index < 0 || (node!.kind === "queue" && image.groups.size === 0);
  into.fill(isUnclear ? 1 : 0, 0, count);
  if (isUnclear) return count;
  for (const group of image.groups.values()) {
    const low = group.from[index] ?? 0;
    const state = image.progress.get(group.progress[index] ?? -1)?.state;
    if (state === undefined) {
      if (from + count > low) into.fill(1, Math.max(0, low - from), count);
      continue;
    }
    if (low > state.low) state.settleBelow(low);
    state.markOwed(from, count, into);
  }
  let owed = 0;
  for (let i = 0; i < count; i++) owed += into[i]!;
  return owed;
}
