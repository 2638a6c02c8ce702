/**
 * A map from keys to values, both short runs of bytes, for millions of entries that mostly rest: no object for any of
 * them. Records lie one behind the other in chunks; an open-addressing table of 32-bit references finds them by key.
 *
 *   at  size  one record
 *    0     2  length of the key; top bit: deleted
 *    2     2  length of the value
 *    4     -  key, value, zeros up to a multiple of 4
 *
 * A reference is a record's place in all chunks, divided by four: valid until the record is removed or set with a value of
 * another length, or the next `tidy`. Views of values are of the memory itself: for reading at once, or for changing fields
 * of fixed size in place.
 */
const CHUNK_BYTES = 1 << 20;
/** The first one grows: a small table is small. */
const FIRST_BYTES = 1 << 13;
const HEADER = 4;
const DELETED = 0x8000;
const MAX_KEY = 0x7fff;
const MAX_VALUE = 0xffff;
const MIN_SLOTS = 16;
const NONE = 0;
const TAG_SHIFT = 24;
/** Bytes that are copied or compared one by one. */
const SHORT = 96;

export class ByteTable {
  /** Reference + 1, or 0. */
  #slots = new Uint32Array(MIN_SLOTS);
  /** By slot, eight bits of the key's hash: of most others that a search passes nothing else is looked at. */
  #tags = new Uint8Array(MIN_SLOTS);
  readonly #chunks: Buffer[] = [];
  /** Bytes used and bytes of deleted records, by chunk. */
  readonly #used: number[] = [];
  readonly #dead: number[] = [];
  /** Chunks that hold nothing: their memory is given back. */
  readonly #empty: number[] = [];
  /** By chunk, how often it was given back: whoever goes through it stops where it lies no more. */
  readonly #versions: number[] = [];
  #open = -1;
  #size = 0;
  #key = Buffer.allocUnsafe(1024);

  get size(): number {
    return this.#size;
  }

  /** Bytes of memory held. */
  get bytes(): number {
    let bytes = this.#slots.byteLength + this.#tags.byteLength;
    for (const chunk of this.#chunks) bytes += chunk.length;
    return bytes;
  }

  /** The record of this key, or -1. */
  find(key: string): number {
    if (this.#size === 0) return -1;
    return this.#find(this.#key, this.#encode(key));
  }

  /** Can a record hold a key and a value like these? */
  static fits(key: string, valueLength: number): boolean {
    return key.length * 3 <= MAX_KEY && valueLength <= MAX_VALUE;
  }

  /** So many more records are to come: the table grows once. */
  reserve(records: number): void {
    let slots = this.#slots.length;
    while ((this.#size + records) * 4 > slots * 3) slots *= 2;
    if (slots > this.#slots.length) this.#resize(slots);
  }

  /** Sets the value of a key; both are copied. */
  set(key: string, value: Uint8Array, length = value.length): void {
    if (!ByteTable.fits(key, length)) {
      throw new RangeError(
        `byte table: key of ${key.length} characters, value of ${length} bytes, at most ${Math.floor(MAX_KEY / 3)} and ${MAX_VALUE} are possible`,
      );
    }
    this.#set(this.#encode(key), value, length);
  }

  /** The same with a key that is there as bytes already, UTF-8. Returns the record. */
  setBytes(key: Uint8Array, value: Uint8Array): number {
    demandFits(key.length, value.length);
    copy(key, key.length, this.keyRoom(key.length), 0);
    return this.#set(key.length, value, value.length);
  }

  /** The same with a key that is known not to be there. */
  addBytes(key: Uint8Array, value: Uint8Array): number {
    demandFits(key.length, value.length);
    return this.#add(key, key.length, value, value.length);
  }

  /** Where a key can be written that `setWritten` is to take. */
  keyRoom(length: number): Buffer {
    if (length > this.#key.length) this.#key = Buffer.allocUnsafe(length);
    return this.#key;
  }

  /** The same with the key that was written there, and the first bytes of a value. */
  setWritten(keyLength: number, value: Uint8Array, length: number): void {
    demandFits(keyLength, length);
    this.#set(keyLength, value, length);
  }

  /** The record of a key that is there as bytes, or -1. */
  findBytes(key: Uint8Array): number {
    if (this.#size === 0 || key.length > MAX_KEY) return -1;
    return this.#find(key, key.length);
  }

  /** The key is in `#key`. */
  #set(keyLength: number, value: Uint8Array, length: number): number {
    const known = this.#find(this.#key, keyLength);
    if (known >= 0) {
      const { chunk, at } = this.#at(known);
      if (read16(chunk, at + 2) === length) {
        copy(value, length, chunk, at + HEADER + keyLength);
        return known;
      }
      this.#remove(known);
    }
    return this.#add(this.#key, keyLength, value, length);
  }

  #add(key: Uint8Array, keyLength: number, value: Uint8Array, length: number): number {
    if ((this.#size + 1) * 4 > this.#slots.length * 3) this.#resize(this.#slots.length * 2);
    const reference = this.#allocate(HEADER + keyLength + length);
    const { chunk, at } = this.#at(reference);
    write16(chunk, at, keyLength);
    write16(chunk, at + 2, length);
    copy(key, keyLength, chunk, at + HEADER);
    copy(value, length, chunk, at + HEADER + keyLength);
    this.#enter(reference, hashOf(key, 0, keyLength));
    this.#size++;
    return reference;
  }

  delete(key: string): boolean {
    const known = this.find(key);
    if (known < 0) return false;
    this.#remove(known);
    return true;
  }

  clear(): void {
    this.#slots = new Uint32Array(MIN_SLOTS);
    this.#tags = new Uint8Array(MIN_SLOTS);
    for (let number = 0; number < this.#chunks.length; number++) this.#giveBack(number);
    this.#chunks.length = this.#used.length = this.#dead.length = this.#empty.length = 0;
    this.#open = -1;
    this.#size = 0;
  }

  /** Does the key begin so? */
  startsWith(reference: number, prefix: Uint8Array): boolean {
    const { chunk, at } = this.#at(reference);
    if ((read16(chunk, at) & ~DELETED) < prefix.length) return false;
    return isEqual(prefix, chunk, at + HEADER, prefix.length);
  }

  /** Removes a record that is there. */
  deleteAt(reference: number): void {
    this.#remove(reference);
  }

  /** Copies the key to `into`; returns its length. */
  copyKey(reference: number, into: Buffer, at: number): number {
    const { chunk, at: from } = this.#at(reference);
    const start = from + HEADER;
    return chunk.copy(into, at, start, start + (read16(chunk, from) & ~DELETED));
  }

  keyLengthOf(reference: number): number {
    const { chunk, at } = this.#at(reference);
    return read16(chunk, at) & ~DELETED;
  }

  /** First byte of the key. */
  headOf(reference: number): number {
    const { chunk, at } = this.#at(reference);
    return chunk[at + HEADER]!;
  }

  keyOf(reference: number): string {
    const { chunk, at } = this.#at(reference);
    return chunk.toString("utf8", at + HEADER, at + HEADER + read16(chunk, at));
  }

  /** The bytes themselves. */
  valueOf(reference: number): Buffer {
    const { chunk, at } = this.#at(reference);
    const start = at + HEADER + (read16(chunk, at) & ~DELETED);
    return chunk.subarray(start, start + read16(chunk, at + 2));
  }

  /**
   * All records, in the order in which they lie. Between two steps records may be deleted, and those not reached yet
   * are left out then; what is set meanwhile may or may not be met: nothing behind `until`, an `end` of before.
   */
  *references(until = Number.POSITIVE_INFINITY): Generator<number> {
    for (let number = 0; number < this.#chunks.length; number++) {
      const version = this.#versions[number];
      for (let at = 0; at < this.#used[number]! && this.#versions[number] === version; ) {
        if ((number * CHUNK_BYTES + at) / 4 >= until) return;
        const chunk = this.#chunks[number]!;
        const head = read16(chunk, at);
        const size = sizeOf(chunk, at);
        if ((head & DELETED) === 0) yield (number * CHUNK_BYTES + at) / 4;
        at += size;
      }
    }
  }

  /**
   * The same with those only of which the bytes of the value say that they are wanted; all others cost a hundredth of a
   * microsecond. After every `most` of those there is a -1: the caller may have other things to do.
   */
  *seek(isWanted: (view: DataView, at: number) => boolean, most: number): Generator<number> {
    let left = most;
    for (let number = 0; number < this.#chunks.length; number++) {
      const version = this.#versions[number];
      let chunk = this.#chunks[number]!;
      let view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
      for (let at = 0; at < this.#used[number]! && this.#versions[number] === version; ) {
        const key = chunk[at]! | (chunk[at + 1]! << 8);
        const length = (key & ~DELETED) + (chunk[at + 2]! | (chunk[at + 3]! << 8));
        if ((key & DELETED) === 0 && isWanted(view, at + HEADER + key)) {
          yield (number * CHUNK_BYTES + at) / 4;
        } else if (--left === 0) {
          left = most;
          yield -1;
        }
        // It may have grown meanwhile.
        if (chunk !== this.#chunks[number]) {
          chunk = this.#chunks[number]!;
          view = new DataView(chunk.buffer, chunk.byteOffset, chunk.length);
        }
        at += (HEADER + length + 3) & ~3;
      }
    }
  }

  /** Behind all records. */
  get end(): number {
    const last = this.#chunks.length - 1;
    return last < 0 ? 0 : (last * CHUNK_BYTES + this.#used[last]!) / 4;
  }

  /**
   * Each record whose key begins with this byte, with the 32-bit field at this place of its value: what `references` and a
   * view of each value give, at a tenth of the cost. Nothing may change meanwhile.
   */
  scan(head: number, field: number, visit: (reference: number, value: number) => void): void {
    for (let number = 0; number < this.#chunks.length; number++) {
      const chunk = this.#chunks[number]!;
      const used = this.#used[number]!;
      for (let at = 0; at < used; ) {
        const key = chunk[at]! | (chunk[at + 1]! << 8);
        const length = (key & ~DELETED) + (chunk[at + 2]! | (chunk[at + 3]! << 8));
        if ((key & DELETED) === 0 && chunk[at + HEADER] === head) {
          const place = at + HEADER + key + field;
          const low = chunk[place]! | (chunk[place + 1]! << 8) | (chunk[place + 2]! << 16);
          visit((number * CHUNK_BYTES + at) / 4, (low | (chunk[place + 3]! << 24)) >>> 0);
        }
        at += (HEADER + length + 3) & ~3;
      }
    }
  }

  /** Makes room where more than half of a chunk is deleted records: one chunk at most. True when there was one. */
  tidy(): boolean {
    const number = this.#dead.findIndex(
      (dead, at) => at !== this.#open && dead * 2 > this.#used[at]! && this.#used[at]! > 0,
    );
    if (number < 0) return false;
    const chunk = this.#chunks[number]!;
    for (let at = 0; at < this.#used[number]!; ) {
      const head = read16(chunk, at);
      const size = sizeOf(chunk, at);
      if ((head & DELETED) === 0) this.#move(number, at, size);
      at += size;
    }
    this.#giveBack(number);
    return true;
  }

  #move(number: number, at: number, size: number): void {
    const chunk = this.#chunks[number]!;
    const slot = this.#slotOf((number * CHUNK_BYTES + at) / 4);
    const reference = this.#allocate(size);
    const to = this.#at(reference);
    chunk.copy(to.chunk, to.at, at, at + size);
    this.#slots[slot] = reference + 1;
  }

  #giveBack(number: number): void {
    this.#chunks[number] = EMPTY;
    this.#used[number] = 0;
    this.#dead[number] = 0;
    this.#versions[number] = (this.#versions[number] ?? 0) + 1;
    this.#empty.push(number);
  }

  #at(reference: number): { chunk: Buffer; at: number } {
    const place = reference * 4;
    const number = Math.floor(place / CHUNK_BYTES);
    return { chunk: this.#chunks[number]!, at: place - number * CHUNK_BYTES };
  }

  #allocate(length: number): number {
    const size = (length + 3) & ~3;
    if (this.#open < 0 || this.#used[this.#open]! + size > CHUNK_BYTES) {
      const number = this.#empty.pop() ?? this.#chunks.length;
      const isFirst = this.#chunks.length === 0;
      const bytes = isFirst ? Math.max(FIRST_BYTES, size) : CHUNK_BYTES;
      this.#chunks[number] = Buffer.allocUnsafeSlow(bytes);
      this.#used[number] = 0;
      this.#dead[number] = 0;
      this.#versions[number] ??= 0;
      this.#open = number;
    }
    const at = this.#used[this.#open]!;
    if (at + size > this.#chunks[this.#open]!.length) this.#growOpen(at + size);
    this.#used[this.#open] = at + size;
    return (this.#open * CHUNK_BYTES + at) / 4;
  }

  #growOpen(length: number): void {
    const chunk = this.#chunks[this.#open]!;
    const larger = Buffer.allocUnsafeSlow(
      Math.min(CHUNK_BYTES, Math.max(length, chunk.length * 2)),
    );
    chunk.copy(larger, 0, 0, this.#used[this.#open]!);
    this.#chunks[this.#open] = larger;
  }

  #encode(key: string): number {
    if (key.length * 3 > this.#key.length) this.#key = Buffer.allocUnsafe(key.length * 3);
    return this.#key.write(key, 0, "utf8");
  }

  #find(key: Uint8Array, length: number): number {
    const mask = this.#slots.length - 1;
    const slots = this.#slots;
    const tags = this.#tags;
    const hash = hashOf(key, 0, length);
    const tag = hash >>> TAG_SHIFT;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = slots[slot]!;
      if (entry === NONE) return -1;
      if (tags[slot] !== tag) continue;
      const { chunk, at } = this.#at(entry - 1);
      if (read16(chunk, at) !== length) continue;
      if (isEqual(key, chunk, at + HEADER, length)) return entry - 1;
    }
  }

  #hashAt(reference: number): number {
    const { chunk, at } = this.#at(reference);
    return hashOf(chunk, at + HEADER, at + HEADER + (read16(chunk, at) & ~DELETED));
  }

  #slotOf(reference: number): number {
    const mask = this.#slots.length - 1;
    let slot = this.#hashAt(reference) & mask;
    while (this.#slots[slot] !== reference + 1) slot = (slot + 1) & mask;
    return slot;
  }

  #enter(reference: number, hash: number): void {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    while (this.#slots[slot] !== NONE) slot = (slot + 1) & mask;
    this.#slots[slot] = reference + 1;
    this.#tags[slot] = hash >>> TAG_SHIFT;
  }

  #remove(reference: number): void {
    const slot = this.#slotOf(reference);
    const { chunk, at } = this.#at(reference);
    const number = Math.floor((reference * 4) / CHUNK_BYTES);
    this.#dead[number] = this.#dead[number]! + sizeOf(chunk, at);
    write16(chunk, at, read16(chunk, at) | DELETED);
    this.#size--;
    this.#vacate(slot);
    if (number !== this.#open && this.#dead[number] === this.#used[number]) this.#giveBack(number);
  }

  /** Empties a slot; what was pushed aside by its entry moves back. */
  #vacate(slot: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = slot;
    for (let next = (slot + 1) & mask; slots[next] !== NONE; next = (next + 1) & mask) {
      const home = this.#hashAt(slots[next]! - 1) & mask;
      // May it move? Only when its home does not lie between the hole and where it is.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      slots[hole] = slots[next]!;
      this.#tags[hole] = this.#tags[next]!;
      hole = next;
    }
    slots[hole] = NONE;
    if (slots.length > MIN_SLOTS && this.#size * 8 < slots.length) this.#resize(slots.length / 2);
  }

  /** Records are read as they lie, one after the other: in the order of the slots each would be far from the last. */
  #resize(length: number): void {
    this.#slots = new Uint32Array(length);
    this.#tags = new Uint8Array(length);
    for (let number = 0; number < this.#chunks.length; number++) {
      const chunk = this.#chunks[number]!;
      for (let at = 0; at < this.#used[number]!; at += sizeOf(chunk, at)) {
        const head = read16(chunk, at);
        if ((head & DELETED) !== 0) continue;
        const hash = hashOf(chunk, at + HEADER, at + HEADER + head);
        this.#enter((number * CHUNK_BYTES + at) / 4, hash);
      }
    }
  }
}

const EMPTY = Buffer.alloc(0);

function demandFits(keyLength: number, length: number): void {
  if (keyLength <= MAX_KEY && length <= MAX_VALUE) return;
  throw new RangeError(
    `byte table: key of ${keyLength} bytes, value of ${length}, at most ${MAX_KEY} and ${MAX_VALUE} are possible`,
  );
}

function sizeOf(chunk: Buffer, at: number): number {
  const length = (read16(chunk, at) & ~DELETED) + read16(chunk, at + 2);
  return (HEADER + length + 3) & ~3;
}

const read16 = (bytes: Uint8Array, at: number): number => bytes[at]! | (bytes[at + 1]! << 8);

function write16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
}

/** Mostly a few bytes: done here before a native copy has begun. */
function copy(from: Uint8Array, length: number, into: Uint8Array, at: number): void {
  if (length > SHORT) into.set(from.subarray(0, length), at);
  else for (let i = 0; i < length; i++) into[at + i] = from[i]!;
}

function isEqual(key: Uint8Array, chunk: Buffer, at: number, length: number): boolean {
  if (length > SHORT) return chunk.compare(key, 0, length, at, at + length) === 0;
  for (let i = 0; i < length; i++) if (key[i] !== chunk[at + i]) return false;
  return true;
}

/** FNV-1a with a last mix: neighbouring numbers in names spread over the table. */
function hashOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
