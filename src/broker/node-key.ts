/** What a node is called, in one string: "q", "t" or "l" for a queue, a topic, a light node; NUL, namespace, NUL, name. */
export type NodeClass = "queue" | "topic" | "light";

export const nodeKey = (kind: NodeClass, namespace: string, name: string): string =>
  `${kind[0]}\x00${namespace}\x00${name}`;

export function namesOfKey(key: string): { kind: NodeClass; namespace: string; name: string } {
  const end = key.indexOf("\x00", 2);
  const kind = key[0] === "q" ? "queue" : key[0] === "t" ? "topic" : "light";
  return { kind, namespace: key.slice(2, end), name: key.slice(end + 1) };
}
