/**
 * The pages of one AckState: a byte per offset where somebody holds messages or has just been; two bits per offset for a
 * page that rests, nothing for one of which all is settled. So a queue of which a random half is settled costs a quarter
 * of a byte a message, however far the settled ones are strewn.
 *
 * A page is packed once OPEN_PAGES others were opened after it, unless something in it is held by then: that page will be
 * touched again. Whoever asks for a page gets its bytes, unpacked at need (half a microsecond for 4,096 offsets).
 *
 * Packed, byte i of 1,024 has the states of the offsets i, i + 1024, i + 2048 and i + 3072, the first in its lowest bits:
 * four bytes are put together at once, whatever the machine's order of bytes in a word.
 */

export const STATE = {
  READY: 0,
  ACQUIRED: 1,
  SETTLED: 2,
  /** Ready, and somebody had it before. */
  READY_AGAIN: 3,
  /** Held back (delay, expiry in progress, dead-lettering under way). Not packed: two bits do not say it. */
  PARKED: 4,
} as const;

const PAGE_BITS = 12;
export const PAGE_SIZE = 1 << PAGE_BITS;
export const PAGE_MASK = PAGE_SIZE - 1;
const PACKED_BITS = PAGE_BITS - 2;
const PACKED_SIZE = 1 << PACKED_BITS;
const PACKED_WORDS = PACKED_SIZE / 4;
const TWO_BITS_OF_EACH = 0x03030303;

/** Pages in bytes that nobody holds anything of. */
const OPEN_PAGES = 32;
/** Looked at for each that is opened: where many pages are held they are passed over, and not all of them each time. */
const LOOKS = 2;
const POOL_MAX = 64;

const UNSETTLED = [STATE.READY, STATE.ACQUIRED, STATE.READY_AGAIN, STATE.PARKED] as const;

const pool: Uint8Array[] = [];
/** Stands for every page of which all is settled: what somebody does not finish must not cost the rest its memory. */
const ALL_SETTLED = new Uint8Array(PAGE_SIZE).fill(STATE.SETTLED);
const scratch = new Uint8Array(PAGE_SIZE);

export class StatePages {
  /** In bytes; the one that was opened first is the first. */
  readonly #open = new Map<number, Uint8Array>();
  /** Packed, or ALL_SETTLED. */
  readonly #resting = new Map<number, Uint8Array>();

  /** The page to read and to change; undefined where there is none: all of it is ready. */
  get(number: number): Uint8Array | undefined {
    return this.#open.get(number) ?? this.#wake(number);
  }

  /** As `get`, for one of which all may become settled: that is not written to. */
  getOrAdd(number: number): Uint8Array {
    return this.get(number) ?? this.#add(number, takePage());
  }

  /** The page to read, until the next call; nothing is woken for it. */
  peek(number: number): Uint8Array | undefined {
    const open = this.#open.get(number);
    if (open !== undefined) return open;
    const resting = this.#resting.get(number);
    if (resting === undefined || resting === ALL_SETTLED) return resting;
    unpack(resting, scratch);
    return scratch;
  }

  stateOf(offset: number): number {
    const number = Math.floor(offset / PAGE_SIZE);
    const index = offset & PAGE_MASK;
    const open = this.#open.get(number);
    if (open !== undefined) return open[index]!;
    const resting = this.#resting.get(number);
    if (resting === undefined) return STATE.READY;
    if (resting === ALL_SETTLED) return STATE.SETTLED;
    return (resting[index & (PACKED_SIZE - 1)]! >>> ((index >>> PACKED_BITS) * 2)) & 3;
  }

  /** Whether all of a page that was got is settled, and it must not be written to. */
  isAllSettled(page: Uint8Array): boolean {
    return page === ALL_SETTLED;
  }

  /** The bytes of a page of which all was settled. */
  reopen(number: number): Uint8Array {
    this.#resting.delete(number);
    const page = takePage();
    page.set(ALL_SETTLED);
    return this.#add(number, page);
  }

  /** Gives the bytes of a page back when all of it is settled. */
  closeIfSettled(number: number): void {
    const page = this.#open.get(number);
    if (page === undefined || UNSETTLED.some((state) => page.includes(state))) return;
    this.#open.delete(number);
    this.#resting.set(number, ALL_SETTLED);
    recycle(page);
  }

  drop(number: number): void {
    const page = this.#open.get(number);
    if (page === undefined) this.#resting.delete(number);
    else {
      this.#open.delete(number);
      recycle(page);
    }
  }

  clear(): void {
    for (const page of this.#open.values()) recycle(page);
    this.#open.clear();
    this.#resting.clear();
  }

  /** Bytes of pages. */
  get ownBytes(): number {
    let bytes = this.#open.size * PAGE_SIZE;
    for (const page of this.#resting.values()) if (page !== ALL_SETTLED) bytes += page.length;
    return bytes;
  }

  #wake(number: number): Uint8Array | undefined {
    if (this.#resting.size === 0) return undefined;
    const resting = this.#resting.get(number);
    if (resting === undefined || resting === ALL_SETTLED) return resting;
    this.#resting.delete(number);
    const page = takePage();
    unpack(resting, page);
    return this.#add(number, page);
  }

  #add(number: number, page: Uint8Array): Uint8Array {
    this.#open.set(number, page);
    if (this.#open.size > OPEN_PAGES) this.#restSome();
    return page;
  }

  #restSome(): void {
    for (let looks = LOOKS; looks > 0 && this.#open.size > OPEN_PAGES; looks--) {
      const [number, page] = this.#open.entries().next().value as [number, Uint8Array];
      this.#open.delete(number);
      // Opened anew, as it were: the next look at it comes after the others'.
      if (page.includes(STATE.ACQUIRED) || page.includes(STATE.PARKED)) {
        this.#open.set(number, page);
        continue;
      }
      const isSettled = !page.includes(STATE.READY) && !page.includes(STATE.READY_AGAIN);
      this.#resting.set(number, isSettled ? ALL_SETTLED : packed(page));
      recycle(page);
    }
  }
}

function takePage(): Uint8Array {
  return pool.pop() ?? new Uint8Array(PAGE_SIZE);
}

/** Pages in the pool are all ready. */
function recycle(page: Uint8Array): void {
  if (pool.length >= POOL_MAX) return;
  page.fill(STATE.READY);
  pool.push(page);
}

function packed(page: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(PACKED_SIZE);
  const to = new Uint32Array(bytes.buffer);
  const from = new Uint32Array(page.buffer);
  for (let i = 0; i < PACKED_WORDS; i++) {
    to[i] =
      from[i]! |
      (from[i + PACKED_WORDS]! << 2) |
      (from[i + 2 * PACKED_WORDS]! << 4) |
      (from[i + 3 * PACKED_WORDS]! << 6);
  }
  return bytes;
}

function unpack(bytes: Uint8Array, page: Uint8Array): void {
  const from = new Uint32Array(bytes.buffer);
  const to = new Uint32Array(page.buffer);
  for (let i = 0; i < PACKED_WORDS; i++) {
    const word = from[i]!;
    to[i] = word & TWO_BITS_OF_EACH;
    to[i + PACKED_WORDS] = (word >>> 2) & TWO_BITS_OF_EACH;
    to[i + 2 * PACKED_WORDS] = (word >>> 4) & TWO_BITS_OF_EACH;
    to[i + 3 * PACKED_WORDS] = (word >>> 6) & TWO_BITS_OF_EACH;
  }
}
