/**
 * Subscriptions by topic filter: finds every value whose canonical filter matches a path.
 *
 * `+` is one level, `#` any number of levels, at the end or in the middle; a path that begins with "$" is not matched by
 * a filter whose first level is a wildcard. Each value is reported once per filter it was added under. A match allocates
 * nothing: levels are compared in place by a 30-bit hash and then by their characters.
 *
 * Cost: a node is visited at most once per position in the path, however many `#` there are, so a hostile set of filters
 * costs at most nodes × levels.
 */
import assert from "node:assert/strict";

/** From this many values on, a node finds a value by a map instead of a scan. */
const INDEXED_FROM = 16;

class Node<T> {
  readonly parent: Node<T> | null;
  /** The literal level, or "+" / "#" for the two wildcard nodes. */
  readonly level: string;
  readonly hash: number;
  /** Another child of the same parent whose level has the same hash. */
  next: Node<T> | null = null;
  /** The literal child while there is one only: most nodes have one, and a map for each would be most of the memory. */
  only: Node<T> | null = null;
  children: Map<number, Node<T>> | null = null;
  plus: Node<T> | null = null;
  any: Node<T> | null = null;
  values: T[] | null = null;
  index: Map<T, number> | null = null;
  /** Of a `#` node: the match it was last visited in, and the earliest position it has covered there. */
  epoch = 0;
  from = 0;

  constructor(parent: Node<T> | null, level: string, hash: number) {
    this.parent = parent;
    this.level = level;
    this.hash = hash;
  }

  get isEmpty(): boolean {
    return (
      this.values === null &&
      this.only === null &&
      this.children === null &&
      this.plus === null &&
      this.any === null
    );
  }
}

export class TopicTrie<T> {
  readonly #root = new Node<T>(null, "", 0);
  #size = 0;
  // The path being matched, and its levels: scratch that lives as long as the trie.
  #path = "";
  #count = 0;
  #starts = new Int32Array(32);
  #ends = new Int32Array(32);
  #hashes = new Int32Array(32);
  #epoch = 0;
  #isMatching = false;
  #callback: (value: T) => void = () => {};

  /** How many (filter, value) pairs there are. */
  get size(): number {
    return this.#size;
  }

  /** False when this value is there under this filter already. */
  add(filter: string, value: T): boolean {
    let node = this.#root;
    let previous = "";
    for (const level of filter.split("/")) {
      // "#/#" is "#", and so is the run of any length.
      if (level === "#" && previous === "#") continue;
      previous = level;
      node = child(node, level) ?? addChild(node, level);
    }
    node.values ??= [];
    if (indexOf(node, value) >= 0) return false;
    node.values.push(value);
    if (node.index !== null) node.index.set(value, node.values.length - 1);
    else if (node.values.length === INDEXED_FROM) {
      node.index = new Map(node.values.map((one, i) => [one, i]));
    }
    this.#size += 1;
    return true;
  }

  /** False when it was not there. */
  remove(filter: string, value: T): boolean {
    const node = this.#find(filter);
    if (node === undefined || node.values === null) return false;
    const at = indexOf(node, value);
    if (at < 0) return false;
    const last = node.values.pop() as T;
    node.index?.delete(value);
    if (at < node.values.length) {
      node.values[at] = last;
      node.index?.set(last, at);
    }
    if (node.values.length === 0) {
      node.values = null;
      node.index = null;
      prune(node);
    }
    this.#size -= 1;
    return true;
  }

  /** The values under exactly this filter; do not change it. */
  get(filter: string): readonly T[] {
    return this.#find(filter)?.values ?? [];
  }

  /**
   * Calls back for every value whose filter matches. The callback must not call this trie again; to change
   * subscriptions for what was found, `collect` first.
   */
  match(path: string, callback: (value: T) => void): void {
    assert(!this.#isMatching, "TopicTrie.match called from its own callback");
    this.#isMatching = true;
    this.#callback = callback;
    try {
      this.#split(path);
      this.#epoch += 1;
      const isSystem = path.charCodeAt(0) === 0x24;
      this.#visit(this.#root, 0, !isSystem);
    } finally {
      this.#isMatching = false;
    }
  }

  /** As match, appending to `into`; returns how many were found. */
  collect(path: string, into: T[]): number {
    const before = into.length;
    this.match(path, (value) => into.push(value));
    return into.length - before;
  }

  #visit(node: Node<T>, at: number, mayWildcard: boolean): void {
    if (mayWildcard && node.any !== null) this.#visitAny(node.any, at);
    if (at === this.#count) {
      if (node.values !== null) this.#emit(node.values);
      return;
    }
    const literal = this.#literal(node, at);
    if (literal !== null) this.#visit(literal, at + 1, true);
    if (mayWildcard && node.plus !== null) this.#visit(node.plus, at + 1, true);
  }

  /** A `#` node stands for every position from `at` on; what an earlier visit covered is not done again. */
  #visitAny(node: Node<T>, at: number): void {
    let until = this.#count;
    if (node.epoch === this.#epoch) until = node.from - 1;
    else {
      node.epoch = this.#epoch;
      if (node.values !== null) this.#emit(node.values);
    }
    if (at > until) return;
    node.from = at;
    if (node.only === null && node.children === null && node.plus === null) return;
    for (let position = at; position <= until && position < this.#count; position++) {
      const literal = this.#literal(node, position);
      if (literal !== null) this.#visit(literal, position + 1, true);
      if (node.plus !== null) this.#visit(node.plus, position + 1, true);
    }
  }

  #emit(values: readonly T[]): void {
    const callback = this.#callback;
    for (let i = 0; i < values.length; i++) callback(values[i]!);
  }

  #literal(node: Node<T>, at: number): Node<T> | null {
    const hash = this.#hashes[at]!;
    let found = node.only;
    if (found === null) {
      if (node.children === null) return null;
      found = node.children.get(hash) ?? null;
    }
    for (; found !== null; found = found.next) {
      if (found.hash === hash && this.#isLevel(found.level, at)) return found;
    }
    return null;
  }

  #isLevel(level: string, at: number): boolean {
    const start = this.#starts[at]!;
    const length = this.#ends[at]! - start;
    if (level.length !== length) return false;
    const path = this.#path;
    for (let i = 0; i < length; i++) {
      if (path.charCodeAt(start + i) !== level.charCodeAt(i)) return false;
    }
    return true;
  }

  #split(path: string): void {
    this.#path = path;
    let count = 0;
    let start = 0;
    let hash = 0;
    const { length } = path;
    for (let i = 0; i <= length; i++) {
      const code = i === length ? 0x2f : path.charCodeAt(i);
      if (code !== 0x2f) {
        hash = (Math.imul(hash, 31) + code) | 0;
        continue;
      }
      if (count === this.#starts.length) this.#grow();
      this.#starts[count] = start;
      this.#ends[count] = i;
      this.#hashes[count] = hash & 0x3fffffff;
      count += 1;
      start = i + 1;
      hash = 0;
    }
    this.#count = count;
  }

  #grow(): void {
    for (const name of [0, 1, 2]) {
      const old = name === 0 ? this.#starts : name === 1 ? this.#ends : this.#hashes;
      const wider = new Int32Array(old.length * 2);
      wider.set(old);
      if (name === 0) this.#starts = wider;
      else if (name === 1) this.#ends = wider;
      else this.#hashes = wider;
    }
  }

  #find(filter: string): Node<T> | undefined {
    let node: Node<T> | undefined = this.#root;
    let previous = "";
    for (const level of filter.split("/")) {
      if (level === "#" && previous === "#") continue;
      previous = level;
      node = child(node, level);
      if (node === undefined) return undefined;
    }
    return node;
  }
}

function levelHash(level: string): number {
  let hash = 0;
  for (let i = 0; i < level.length; i++) hash = (Math.imul(hash, 31) + level.charCodeAt(i)) | 0;
  return hash & 0x3fffffff;
}

function child<T>(node: Node<T>, level: string): Node<T> | undefined {
  if (level === "+") return node.plus ?? undefined;
  if (level === "#") return node.any ?? undefined;
  let found: Node<T> | null = node.only ?? node.children?.get(levelHash(level)) ?? null;
  while (found !== null && found.level !== level) found = found.next;
  return found ?? undefined;
}

function addChild<T>(node: Node<T>, level: string): Node<T> {
  const added = new Node<T>(node, level, level === "+" || level === "#" ? 0 : levelHash(level));
  if (level === "+") node.plus = added;
  else if (level === "#") node.any = added;
  else if (node.only === null && node.children === null) node.only = added;
  else {
    if (node.children === null) {
      node.children = new Map([[node.only!.hash, node.only!]]);
      node.only = null;
    }
    added.next = node.children.get(added.hash) ?? null;
    node.children.set(added.hash, added);
  }
  return added;
}

/** Takes empty nodes out, from `node` up. */
function prune<T>(node: Node<T>): void {
  let empty = node;
  while (empty.parent !== null && empty.isEmpty) {
    const { parent } = empty;
    if (parent.plus === empty) parent.plus = null;
    else if (parent.any === empty) parent.any = null;
    else if (parent.only === empty) parent.only = null;
    else unlink(parent, empty);
    empty = parent;
  }
}

function unlink<T>(parent: Node<T>, node: Node<T>): void {
  const children = parent.children!;
  const head = children.get(node.hash)!;
  if (head === node) {
    if (node.next === null) children.delete(node.hash);
    else children.set(node.hash, node.next);
  } else {
    let before = head;
    while (before.next !== node) before = before.next!;
    before.next = node.next;
  }
  node.next = null;
  if (children.size === 0) parent.children = null;
}

function indexOf<T>(node: Node<T>, value: T): number {
  return node.index === null ? node.values!.indexOf(value) : (node.index.get(value) ?? -1);
}
