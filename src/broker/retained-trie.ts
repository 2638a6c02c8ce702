/**
 * Retained messages by topic: for each topic three numbers (where its record lies, how large it is, its place in the queue
 * of retained messages), found by exact name or by filter. Made for millions of topics: a tree of levels in typed arrays,
 * the levels' text in one buffer, a hash table for the way down. About 40 bytes a node and the text, once per level.
 */
const NONE = -1;
const ROOT = 0;
const FREE = 0;
const GONE = -1;

const levelHash = (parent: number, text: Uint8Array): number => {
  let hash = Math.imul(parent + 1, 0x9e3779b1);
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text[i]!, 0x01000193);
  hash ^= hash >>> 15;
  return hash >>> 0;
};

export class RetainedTrie {
  // One element per node.
  #parent = new Int32Array(64);
  #firstChild = new Int32Array(64).fill(NONE);
  #next = new Int32Array(64).fill(NONE);
  #previous = new Int32Array(64).fill(NONE);
  #textStart = new Float64Array(64);
  #textLength = new Uint16Array(64);
  #physicalOffset = new Float64Array(64);
  /** 0: the node has no message. */
  #size = new Int32Array(64);
  #offset = new Float64Array(64);
  #used = 1;
  #freeNodes: number[] = [];
  // Open addressing: node number + 1, FREE or GONE.
  #table = new Int32Array(256);
  #filled = 0;
  #text = Buffer.alloc(1024);
  #textEnd = 0;
  #textLost = 0;
  #count = 0;

  /** Topics with a message. */
  get count(): number {
    return this.#count;
  }

  /** The node of a topic that has a message, or -1. */
  find(path: string): number {
    let node = ROOT;
    for (const level of path.split("/")) {
      node = this.#child(node, Buffer.from(level));
      if (node === NONE) return NONE;
    }
    return this.#size[node]! === 0 ? NONE : node;
  }

  physicalOffsetOf(node: number): number {
    return this.#physicalOffset[node]!;
  }
  sizeOf(node: number): number {
    return this.#size[node]!;
  }
  offsetOf(node: number): number {
    return this.#offset[node]!;
  }

  pathOf(node: number): string {
    const levels: string[] = [];
    for (let at = node; at !== ROOT; at = this.#parent[at]!) {
      const start = this.#textStart[at]!;
      levels.push(this.#text.toString("utf8", start, start + this.#textLength[at]!));
    }
    return levels.reverse().join("/");
  }

  /** Returns the place of the message that was there before, -1 for none. */
  set(path: string, physicalOffset: number, size: number, offset: number): number {
    let node = ROOT;
    for (const level of path.split("/")) {
      const text = Buffer.from(level);
      let child = this.#child(node, text);
      if (child === NONE) child = this.#add(node, text);
      node = child;
    }
    const before = this.#size[node]! === 0 ? NONE : this.#offset[node]!;
    if (before === NONE) this.#count++;
    this.#physicalOffset[node] = physicalOffset;
    this.#size[node] = size;
    this.#offset[node] = offset;
    return before;
  }

  /** Returns the place of the message that was there, -1 for none. */
  delete(path: string): number {
    const node = this.find(path);
    if (node === NONE) return NONE;
    const before = this.#offset[node]!;
    this.#size[node] = 0;
    this.#offset[node] = Number.POSITIVE_INFINITY;
    this.#count--;
    this.#prune(node);
    return before;
  }

  /** Nodes with a message whose topic matches the filter. */
  match(filter: string): Int32Array {
    const found = new NodeList();
    const levels = filter.split("/").map((level) => Buffer.from(level));
    this.#match(ROOT, levels, 0, found);
    return found.take();
  }

  #match(node: number, levels: readonly Buffer[], at: number, found: NodeList): void {
    if (at === levels.length) {
      if (this.#size[node]! !== 0) found.push(node);
      return;
    }
    const level = levels[at]!;
    if (isWildcard(level, 0x23)) {
      this.#matchRest(node, levels, at, found);
      return;
    }
    if (!isWildcard(level, 0x2b)) {
      const child = this.#child(node, level);
      if (child !== NONE) this.#match(child, levels, at + 1, found);
      return;
    }
    for (let c = this.#firstChild[node]!; c !== NONE; c = this.#next[c]!) {
      if (node !== ROOT || !this.#isSystem(c)) this.#match(c, levels, at + 1, found);
    }
  }

  /** "#": the node itself and all below. In the middle of a filter it is not used by MQTT. */
  #matchRest(node: number, levels: readonly Buffer[], at: number, found: NodeList): void {
    const isLast = at === levels.length - 1;
    if (isLast && this.#size[node]! !== 0) found.push(node);
    if (!isLast) this.#match(node, levels, at + 1, found);
    for (let c = this.#firstChild[node]!; c !== NONE; c = this.#next[c]!) {
      if (node !== ROOT || !this.#isSystem(c)) this.#matchRest(c, levels, at, found);
    }
  }

  /** MQTT-4.7.2-1: wildcards at the first level do not reach topics that begin with "$". */
  #isSystem(node: number): boolean {
    return this.#textLength[node]! > 0 && this.#text[this.#textStart[node]!] === 0x24;
  }

  // ── nodes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #child(parent: number, text: Buffer): number {
    const mask = this.#table.length - 1;
    for (let slot = levelHash(parent, text) & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#table[slot]!;
      if (entry === FREE) return NONE;
      if (entry !== GONE && this.#isLevel(entry - 1, parent, text)) return entry - 1;
    }
  }

  #isLevel(node: number, parent: number, text: Buffer): boolean {
    if (this.#parent[node] !== parent || this.#textLength[node] !== text.length) return false;
    const start = this.#textStart[node]!;
    for (let i = 0; i < text.length; i++) if (this.#text[start + i] !== text[i]) return false;
    return true;
  }

  #add(parent: number, text: Buffer): number {
    if ((this.#filled + 1) * 3 > this.#table.length * 2) this.#rehash();
    const node = this.#freeNodes.pop() ?? this.#newNode();
    this.#parent[node] = parent;
    this.#firstChild[node] = NONE;
    this.#size[node] = 0;
    this.#offset[node] = Number.POSITIVE_INFINITY;
    this.#textStart[node] = this.#putText(text);
    this.#textLength[node] = text.length;
    const sibling = this.#firstChild[parent]!;
    this.#next[node] = sibling;
    this.#previous[node] = NONE;
    if (sibling !== NONE) this.#previous[sibling] = node;
    this.#firstChild[parent] = node;
    this.#insert(node, text);
    return node;
  }

  #insert(node: number, text: Uint8Array): void {
    const mask = this.#table.length - 1;
    let slot = levelHash(this.#parent[node]!, text) & mask;
    while (this.#table[slot]! > FREE) slot = (slot + 1) & mask;
    if (this.#table[slot] === FREE) this.#filled++;
    this.#table[slot] = node + 1;
  }

  /** Takes out nodes that lead nowhere, from `node` up. */
  #prune(node: number): void {
    let at = node;
    while (at !== ROOT && this.#size[at] === 0 && this.#firstChild[at] === NONE) {
      const parent = this.#parent[at]!;
      const previous = this.#previous[at]!;
      const next = this.#next[at]!;
      if (previous === NONE) this.#firstChild[parent] = next;
      else this.#next[previous] = next;
      if (next !== NONE) this.#previous[next] = previous;
      this.#takeOut(at, parent);
      this.#parent[at] = NONE;
      this.#textLost += this.#textLength[at]!;
      this.#freeNodes.push(at);
      at = parent;
    }
    if (this.#textLost > 65_536 && this.#textLost * 2 > this.#textEnd) this.#packText();
  }

  #takeOut(node: number, parent: number): void {
    const start = this.#textStart[node]!;
    const text = this.#text.subarray(start, start + this.#textLength[node]!);
    const mask = this.#table.length - 1;
    let slot = levelHash(parent, text) & mask;
    while (this.#table[slot] !== node + 1) slot = (slot + 1) & mask;
    this.#table[slot] = GONE;
  }

  #rehash(): void {
    const live = this.#used - this.#freeNodes.length;
    let length = 256;
    while (length < (live + 1) * 2) length *= 2;
    this.#table = new Int32Array(length);
    this.#filled = 0;
    for (let node = 1; node < this.#used; node++) {
      if (this.#parent[node] === NONE) continue;
      const start = this.#textStart[node]!;
      this.#insert(node, this.#text.subarray(start, start + this.#textLength[node]!));
    }
  }

  #newNode(): number {
    if (this.#used === this.#parent.length) this.#growNodes();
    return this.#used++;
  }

  #growNodes(): void {
    const length = this.#parent.length * 2;
    const grown = <T extends Int32Array | Float64Array | Uint16Array>(old: T, wider: T): T => {
      wider.set(old);
      return wider;
    };
    this.#parent = grown(this.#parent, new Int32Array(length));
    this.#firstChild = grown(this.#firstChild, new Int32Array(length).fill(NONE));
    this.#next = grown(this.#next, new Int32Array(length));
    this.#previous = grown(this.#previous, new Int32Array(length));
    this.#textStart = grown(this.#textStart, new Float64Array(length));
    this.#textLength = grown(this.#textLength, new Uint16Array(length));
    this.#physicalOffset = grown(this.#physicalOffset, new Float64Array(length));
    this.#size = grown(this.#size, new Int32Array(length));
    this.#offset = grown(this.#offset, new Float64Array(length));
  }

  #putText(text: Buffer): number {
    if (this.#textEnd + text.length > this.#text.length) {
      const wider = Buffer.alloc(Math.max(this.#text.length * 2, this.#textEnd + text.length));
      this.#text.copy(wider, 0, 0, this.#textEnd);
      this.#text = wider;
    }
    text.copy(this.#text, this.#textEnd);
    this.#textEnd += text.length;
    return this.#textEnd - text.length;
  }

  #packText(): void {
    const packed = Buffer.alloc(Math.max(1024, (this.#textEnd - this.#textLost) * 2));
    let at = 0;
    for (let node = 1; node < this.#used; node++) {
      if (this.#parent[node] === NONE) continue;
      const start = this.#textStart[node]!;
      this.#text.copy(packed, at, start, start + this.#textLength[node]!);
      this.#textStart[node] = at;
      at += this.#textLength[node]!;
    }
    this.#text = packed;
    this.#textEnd = at;
    this.#textLost = 0;
  }
}

const isWildcard = (level: Buffer, character: number): boolean =>
  level.length === 1 && level[0] === character;

/** Node numbers, collected. */
class NodeList {
  #nodes = new Int32Array(16);
  #length = 0;

  push(node: number): void {
    if (this.#length === this.#nodes.length) {
      const wider = new Int32Array(this.#length * 2);
      wider.set(this.#nodes);
      this.#nodes = wider;
    }
    this.#nodes[this.#length++] = node;
  }

  take(): Int32Array {
    return this.#nodes.subarray(0, this.#length);
  }
}
