/** A topic's root (its first level) and the rest of a path or filter. */

/** Does the filter's first level match any topic? */
export function isWild(filter: string): boolean {
  const first = rootOf(filter);
  return first === "+" || first === "#";
}

/** Levels below the root. */
export function restOf(path: string): string {
  const slash = path.indexOf("/");
  return slash < 0 ? "" : path.slice(slash + 1);
}

export function rootOf(path: string): string {
  const slash = path.indexOf("/");
  return slash < 0 ? path : path.slice(0, slash);
}
