/**
 * Retained messages by topic: for each topic three numbers (where its record lies, how large it is, its place in the queue
 * of retained messages), found by exact name or by filter. Made for millions of topics: a tree of levels in typed arrays,
 * the levels' text in one buffer, a hash table for the way down. About 40 bytes a node and the text, once per level.
 */
const NONE = -1;
const ROOT = 0;
const FREE = 0;
const GONE = -1;

const SLASH = 0x2f;

function levelHash(parent: number, text: Uint8Array, start: number, end: number): number {
  let hash = Math.imul(parent + 1, 0x9e3779b1);
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ text[i]!, 0x01000193);
  return hash ^ (hash >>> 15);
}

// The path at hand as bytes, and where its current level ends: scratch of all tries.
let path = Buffer.alloc(1024);
let pathEnd = 0;

function load(text: string): void {
  if (text.length * 3 > path.length) path = Buffer.alloc(text.length * 4);
  pathEnd = path.write(text, 0, "utf8");
}

function levelEnd(start: number): number {
  let at = start;
  while (at < pathEnd && path[at] !== SLASH) at++;
  return at;
}

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
  /** When the message came, on the scale of places; stays when its record moves. */
  #stamp = new Float64Array(64);
  #hash = new Int32Array(64);
  #used = 1;
  #freeNodes: number[] = [];
  // Open addressing: node number + 1, FREE or GONE.
  #table = new Int32Array(256);
  #filled = 0;
  #text = Buffer.alloc(1024);
  #textEnd = 0;
  #textLost = 0;
  #count = 0;
  #bytes = 0;

  /** Topics with a message. */
  get count(): number {
    return this.#count;
  }

  /** Sizes of their records, in all. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The node of a topic that has a message, or -1. */
  find(topic: string): number {
    load(topic);
    let node = ROOT;
    for (let start = 0; start <= pathEnd; ) {
      const end = levelEnd(start);
      node = this.#child(node, path, start, end, levelHash(node, path, start, end));
      if (node === NONE) return NONE;
      start = end + 1;
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
  stampOf(node: number): number {
    return this.#stamp[node]!;
  }

  /** The record of a topic's message lies elsewhere now; the message is the same. */
  move(node: number, physicalOffset: number, size: number, offset: number): void {
    this.#bytes += size - this.#size[node]!;
    this.#physicalOffset[node] = physicalOffset;
    this.#size[node] = size;
    this.#offset[node] = offset;
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
  set(topic: string, physicalOffset: number, size: number, offset: number): number {
    load(topic);
    let node = ROOT;
    for (let start = 0; start <= pathEnd; ) {
      const end = levelEnd(start);
      const hash = levelHash(node, path, start, end);
      const child = this.#child(node, path, start, end, hash);
      node = child === NONE ? this.#add(node, start, end, hash) : child;
      start = end + 1;
    }
    const before = this.#size[node]! === 0 ? NONE : this.#offset[node]!;
    if (before === NONE) this.#count++;
    this.move(node, physicalOffset, size, offset);
    this.#stamp[node] = offset;
    return before;
  }

  /** Returns the place of the message that was there, -1 for none. */
  delete(topic: string): number {
    const node = this.find(topic);
    if (node === NONE) return NONE;
    const before = this.#offset[node]!;
    this.#bytes -= this.#size[node]!;
    this.#size[node] = 0;
    this.#stamp[node] = Number.POSITIVE_INFINITY;
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
      const hash = levelHash(node, level, 0, level.length);
      const child = this.#child(node, level, 0, level.length, hash);
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

  #child(parent: number, text: Uint8Array, start: number, end: number, hash: number): number {
    const mask = this.#table.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#table[slot]!;
      if (entry === FREE) return NONE;
      if (entry === GONE || this.#hash[entry - 1] !== hash) continue;
      if (this.#isLevel(entry - 1, parent, text, start, end)) return entry - 1;
    }
  }

  #isLevel(node: number, parent: number, text: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    if (this.#parent[node] !== parent || this.#textLength[node] !== length) return false;
    const own = this.#textStart[node]!;
    for (let i = 0; i < length; i++) if (this.#text[own + i] !== text[start + i]) return false;
    return true;
  }

  /** A new node for the level `path[start, end)`. */
  #add(parent: number, start: number, end: number, hash: number): number {
    if ((this.#filled + 1) * 3 > this.#table.length * 2) this.#rehash();
    const node = this.#freeNodes.pop() ?? this.#newNode();
    this.#parent[node] = parent;
    this.#firstChild[node] = NONE;
    this.#size[node] = 0;
    this.#stamp[node] = Number.POSITIVE_INFINITY;
    this.#hash[node] = hash;
    this.#textStart[node] = this.#putText(start, end);
    this.#textLength[node] = end - start;
    const sibling = this.#firstChild[parent]!;
    this.#next[node] = sibling;
    this.#previous[node] = NONE;
    if (sibling !== NONE) this.#previous[sibling] = node;
    this.#firstChild[parent] = node;
    this.#insert(node);
    return node;
  }

  #insert(node: number): void {
    const mask = this.#table.length - 1;
    let slot = this.#hash[node]! & mask;
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
      this.#takeOut(at);
      this.#parent[at] = NONE;
      this.#textLost += this.#textLength[at]!;
      this.#freeNodes.push(at);
      at = parent;
    }
    if (this.#textLost > 65_536 && this.#textLost * 2 > this.#textEnd) this.#packText();
  }

  #takeOut(node: number): void {
    const mask = this.#table.length - 1;
    let slot = this.#hash[node]! & mask;
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
      if (this.#parent[node] !== NONE) this.#insert(node);
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
    this.#stamp = grown(this.#stamp, new Float64Array(length));
    this.#hash = grown(this.#hash, new Int32Array(length));
  }

  #putText(start: number, end: number): number {
    const length = end - start;
    if (this.#textEnd + length > this.#text.length) {
      const wider = Buffer.alloc(Math.max(this.#text.length * 2, this.#textEnd + length));
      this.#text.copy(wider, 0, 0, this.#textEnd);
      this.#text = wider;
    }
    path.copy(this.#text, this.#textEnd, start, end);
    this.#textEnd += length;
    return this.#textEnd - length;
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
