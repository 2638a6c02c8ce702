/**
 * Queues and topics in pages, in the order of their numbers: a list of a hundred thousand is looked at a thousand at a
 * time, and those at rest go back to it.
 */
import type { Node } from "./node.ts";
import { nodeKey } from "./node-key.ts";
import type { NodeRegistry } from "./node-registry.ts";

export interface PageRequest {
  /** Numbers above this one; the first page without. */
  readonly after?: number;
  readonly max?: number;
}

export const PAGE_NODES = 1000;

/** Shows each node of the page. Returns what to ask for the next one after, or null. Temporary ones are on the first. */
export function forEachOfPage(
  registry: NodeRegistry,
  kinds: ReadonlyArray<"queue" | "topic">,
  { after, max = PAGE_NODES }: PageRequest,
  show: (node: Node) => void,
): number | null {
  const found: Array<readonly [id: number, key: string]> = [];
  for (const node of registry.awake()) {
    if (!kinds.includes(node.kind)) continue;
    if (node.id > (after ?? 0)) found.push([node.id, keyOf(node)]);
    else if (node.id < 0 && after === undefined) show(node);
  }
  for (const kind of kinds) found.push(...registry.resting.page(kind, after ?? 0, max + 1));
  found.sort((a, b) => a[0] - b[0]);
  const page = found.slice(0, max);
  for (const [, key] of page) registry.look(key, show);
  return found.length > max ? page.at(-1)![0] : null;
}

const keyOf = ({ kind, address }: Node): string => nodeKey(kind, address.namespace, address.name);
