/**
 * Root, tag and path – the rule that joins topic trees with topic-plus-tag – and tag expressions `a || b`.
 *
 * Every message of a topic has a root (its home topic) and a tag. When the tag is in the path, path = root "/" tag;
 * otherwise the tag is a label beside the path, and path = root.
 *
 * A tag is tested twice: its 32-bit hash (Java's String.hashCode) lies in the ConsumeQueue entry and rejects nearly all
 * without touching the record; equal hashes prove nothing, so the text on the record decides.
 */

/** Java's String.hashCode: over UTF-16 units, 32-bit signed. "" is 0, which is also the hash of "no tag". */
export function javaHash(text: string): number {
  let hash = 0;
  for (let i = 0; i < text.length; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0;
  return hash;
}

export interface RootAndTag {
  readonly root: string;
  readonly tag: string;
}

/** Length of the root in a canonical path: up to the first "/". */
export function rootLength(path: string): number {
  const slash = path.indexOf("/");
  return slash < 0 ? path.length : slash;
}

/** Default topic mapping: the first level is the root, the rest the tag. `a/` has the path tag "", like `a`; see `pathOf`. */
export function rootAndTag(path: string): RootAndTag {
  const slash = path.indexOf("/");
  return slash < 0
    ? { root: path, tag: "" }
    : { root: path.slice(0, slash), tag: path.slice(slash + 1) };
}

/** The path of a record. The caller sets `tagInPath` whenever the publisher's path had a "/" at all, so `a/` comes back as `a/`. */
export const pathOf = (root: string, tag: string, tagInPath: boolean): string =>
  tagInPath ? `${root}/${tag}` : root;

/** A compiled tag expression. */
export class TagFilter {
  /** No restriction: `*` or "". */
  readonly isAll: boolean;
  readonly tags: readonly string[];
  readonly #hashes: Int32Array;

  constructor(tags: readonly string[]) {
    this.tags = tags;
    this.isAll = tags.length === 0;
    this.#hashes = Int32Array.from(new Set(tags.map(javaHash)));
  }

  /** First test, on the ConsumeQueue entry: false is final, true wants `matchesTag`. */
  matchesHash(hash: number): boolean {
    if (this.isAll) return true;
    const hashes = this.#hashes;
    for (let i = 0; i < hashes.length; i++) if (hashes[i] === hash) return true;
    return false;
  }

  /** Second test, on the record. */
  matchesTag(tag: string): boolean {
    return this.isAll || this.tags.includes(tag);
  }

  /** The expression in its normal spelling. */
  toString(): string {
    return this.isAll ? "*" : this.tags.join(" || ");
  }
}

/** `*` and "" select everything; otherwise tags joined by `||`, blanks around them ignored, repeats dropped. */
export function parseTagExpression(expression: string): TagFilter {
  const tags = new Set<string>();
  for (const piece of expression.split("||")) {
    const tag = piece.trim();
    if (tag === "*") return new TagFilter([]);
    if (tag !== "") tags.add(tag);
  }
  return new TagFilter([...tags]);
}
