/**
 * Nodes that were in use when the journal ended, and that nobody need make objects of (journal-replay.ts): what their bytes
 * say is brought in line with the queues that recovery found, where they lie.
 */
import { makeAddress } from "../model/address.ts";
import { addressOfTopicName, lightNameOf, topicNameOf } from "../model/names.ts";
import type { MessageStore, QueueRange, StoreQueue } from "../store/message-store.ts";
import type { JournalReplay } from "./journal-replay.ts";
import { namesOfKey, nodeKey } from "./node-key.ts";
import { WILDCARD_PREFIX } from "./node-restorer.ts";
import { ownLowOf, PACKED, setOwnRange } from "./packed-node.ts";

/**
 * `changed`: queues that may differ from what the last snapshot knew. Where bytes do not suffice the node becomes an object of
 * the image: what expires in a queue and what a topic keeps is not told by them.
 */
export function reconcile(
  replay: JournalReplay,
  changed: readonly StoreQueue[],
  store: MessageStore,
): void {
  const { packed } = replay;
  const range = { minOffset: 0, maxOffset: 0 };
  const toUnpack = new Set<number>();
  for (const reference of replay.used) {
    const key = packed.keyOf(reference);
    const { kind, namespace, name } = namesOfKey(key);
    const address = makeAddress(kind === "light" ? "sub" : kind, name, { namespace });
    const isLight = kind === "light";
    const topic = isLight ? lightNameOf(address) : topicNameOf(address);
    store.rangeOf(topic, 0, isLight, range);
    if (!bringInLine(packed.valueOf(reference), key, range)) toUnpack.add(reference);
  }
  for (const queue of changed) {
    const address = queue.isLight ? addressOfTopicName(queue.topic) : undefined;
    if (address === undefined) continue;
    const key = nodeKey("light", "/", address.name);
    const reference = packed.find(key);
    if (reference < 0) continue;
    if (!bringInLine(packed.valueOf(reference), key, queue)) toUnpack.add(reference);
  }
  for (const reference of toUnpack) replay.unpack(reference);
}

/** False when bytes do not suffice. */
function bringInLine(value: Buffer, key: string, range: QueueRange): boolean {
  const { minOffset: min, maxOffset: max } = range;
  const isLight = (value[0]! & PACKED.LIGHT) !== 0;
  if (!isLight && min < max) return false;
  if ((value[0]! & PACKED.OWN) === 0) return (value[0]! & PACKED.ENTRIES) === 0;
  if (!setOwnRange(value, min, max)) return false;
  if (max > ownLowOf(value)) {
    value[0]! |= PACKED.MAY_EXPIRE;
    // Ordering keys are told apart in indexes of wildcard subscriptions only.
    if (key.startsWith(WILDCARD_PREFIX, 3)) value[0]! |= PACKED.MAY_HAVE_KEYS;
  }
  return true;
}
