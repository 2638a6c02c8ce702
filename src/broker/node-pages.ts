/**
 * Queues and topics in pages, in the order of their numbers: a list of a hundred thousand is looked at a thousand at a
 * time, and those at rest stay there.
 */
import type { Node } from "./node.ts";
import { nodeKey } from "./node-key.ts";
import type { NodeRegistry } from "./node-registry.ts";
import type { NodeAtRest } from "./node-views.ts";

export interface PageRequest {
  /** Numbers above this one; the first page without. */
  readonly after?: number;
  readonly max?: number;
  /** Only those of this namespace whose names begin so. */
  readonly prefix?: { readonly namespace: string; readonly name: string };
  /** Only those in memory: whatever is in use, and what was lately. */
  readonly isAwake?: boolean;
}

const PAGE_NODES = 1000;

/** Shows each node of the page. Returns what to ask for the next one after, or null. Temporary ones are on the first. */
export function forEachOfPage(
  registry: NodeRegistry,
  kinds: ReadonlyArray<"queue" | "topic">,
  { after, max = PAGE_NODES, prefix, isAwake }: PageRequest,
  show: (node: Node) => void,
  showAtRest: (node: NodeAtRest) => void,
): number | null {
  const found: Array<readonly [id: number, key: string]> = [];
  for (const node of registry.awake()) {
    if (!kinds.includes(node.kind)) continue;
    const { namespace, name } = node.address;
    if (prefix && (namespace !== prefix.namespace || !name.startsWith(prefix.name))) continue;
    if (node.id > (after ?? 0)) found.push([node.id, keyOf(node)]);
    else if (node.id < 0 && after === undefined) show(node);
  }
  for (const kind of isAwake === true ? [] : kinds) {
    const start = prefix ? nodeKey(kind, prefix.namespace, prefix.name) : "";
    for (const one of registry.resting.page(kind, after ?? 0, max + 1, start)) found.push(one);
  }
  found.sort((a, b) => a[0] - b[0]);
  const page = found.slice(0, max);
  for (const [, key] of page) registry.look(key, show, showAtRest);
  return found.length > max ? page.at(-1)![0] : null;
}

const keyOf = ({ kind, address }: Node): string => nodeKey(kind, address.namespace, address.name);
