/** Which keys differ between two configurations; lists count as one key. */

type Tree = { readonly [key: string]: unknown };

/** Dotted paths, in the order of the first. */
export function changedKeys(before: Tree, after: Tree, prefix = ""): string[] {
  const changed: string[] = [];
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [before[key], after[key]];
    const path = `${prefix}${key}`;
    if (isTree(old) && isTree(now)) changed.push(...changedKeys(old, now, `${path}.`));
    else if (JSON.stringify(old) !== JSON.stringify(now)) changed.push(path);
  }
  return changed;
}

/** `before` with the values of `after` at these paths. */
export function withKeys<T extends Tree>(before: T, after: T, paths: readonly string[]): T {
  const merged = structuredClone(before);
  for (const path of paths) {
    const parts = path.split(".");
    const last = parts.pop()!;
    let to = merged as Record<string, unknown>;
    let from = after as Record<string, unknown>;
    for (const part of parts) {
      to = to[part] as Record<string, unknown>;
      from = from[part] as Record<string, unknown>;
    }
    if (last in from) to[last] = from[last];
    else delete to[last];
  }
  return merged;
}

const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);
