/**
 * What is known about expiry in a stretch of a shard, as an entry of the journal (catalog.ts), so that a start need not
 * read the messages again: pages of 4,096 offsets that hold a message with an expiry, and when the first one there is over.
 *
 *   EXPIRY  0d | u32 node | u32 queueId | f64 owed | f64 from | f64 to | (gap, earliest)…
 *
 * big-endian; `gap`, `earliest`: varints (util/varint.ts). Each pair is a page: so far behind the one
 * before, the first behind the page of `from`; ms since the epoch, 0 when nobody has looked. Pages of [from, to) that are
 * not named hold no such message. Nobody is owed what lies below `owed`. The last entry that speaks of a page counts. What
 * no entry speaks of is not known: it is looked at. So an entry may be lost, and none speaks of more than is durable.
 */
import { VARINT_MAX, VarintReader, writeVarint } from "../util/varint.ts";

/** The entry's type, among those of catalog.ts. */
export const EXPIRY_ENTRY = 13;
/** Offsets in a page: part of the format. */
export const EXPIRY_PAGE = 4096;

const HEADER = 33;
/** Gap and earliest. */
const LONGEST_PAIR = 2 * VARINT_MAX;
const ENTRY_BYTES = 16_384;

/** What a journal says of one shard. */
export interface ShardExpiries {
  readonly queueId: number;
  /** Nothing is known before this offset, nor from `to` on. */
  from: number;
  to: number;
  /** Page → earliest expiry, 0: not known. */
  pages: Map<number, number> | null;
}

/** By node; there may be a million. */
export type ExpiryImage = Map<number, ShardExpiries[]>;

export interface ExpiryStretch {
  readonly node: number;
  readonly queueId: number;
  readonly owed: number;
  readonly from: number;
  readonly to: number;
  /** Earliest expiry in a page; infinite when nothing expires there, 0 when nobody knows. */
  earliestOf(page: number): number;
  /** No page holds anything: none need be asked for. */
  readonly isClear: boolean;
}

const bytes = Buffer.alloc(ENTRY_BYTES);

/** Appends the entries of a stretch: one, or several when many pages hold something. */
export function writeExpiries(
  { node, queueId, owed, from, to, isClear, earliestOf }: ExpiryStretch,
  append: (bytes: Buffer, end: number) => void,
): void {
  let start = from;
  let before = Math.floor(from / EXPIRY_PAGE);
  let at = HEADER;
  const flush = (end: number): void => {
    bytes[0] = EXPIRY_ENTRY;
    bytes.writeUInt32BE(node, 1);
    bytes.writeUInt32BE(queueId, 5);
    bytes.writeDoubleBE(owed, 9);
    bytes.writeDoubleBE(start, 17);
    bytes.writeDoubleBE(end, 25);
    append(bytes, at);
  };
  for (let page = before; !isClear && page * EXPIRY_PAGE < to; page++) {
    const earliest = earliestOf(page);
    if (earliest === Number.POSITIVE_INFINITY) continue;
    if (at + LONGEST_PAIR > ENTRY_BYTES) {
      flush(page * EXPIRY_PAGE);
      start = page * EXPIRY_PAGE;
      before = page;
      at = HEADER;
    }
    at = writeVarint(bytes, at, page - before);
    at = writeVarint(bytes, at, Math.max(0, Math.floor(earliest)));
    before = page;
  }
  flush(to);
}

/** Takes an entry over into what is known. */
export function applyExpiries(image: ExpiryImage, entry: Buffer): void {
  const node = entry.readUInt32BE(1);
  const queueId = entry.readUInt32BE(5);
  const owed = entry.readDoubleBE(9);
  const from = entry.readDoubleBE(17);
  const to = entry.readDoubleBE(25);
  const known = shardOf(image, node, queueId);
  const pages = known.pages ?? new Map<number, number>();
  for (const page of pages.keys()) if ((page + 1) * EXPIRY_PAGE <= owed) pages.delete(page);
  // A stretch of which the entry is lost.
  const first = pageOf(from);
  for (let page = pageOf(Math.max(known.to, owed)); page < first; page++) pages.set(page, 0);
  if (pages.size > 0) {
    for (let page = first; page * EXPIRY_PAGE < to; page++) {
      // An entry that is older than what a snapshot says, and comes behind it, does not know the end of its last page.
      if (known.to <= to || (page + 1) * EXPIRY_PAGE <= to) pages.delete(page);
    }
  }
  let page = first;
  const reader = new VarintReader(entry, HEADER, entry.length);
  while (reader.at < entry.length) {
    page += reader.next();
    // Of a pair that is cut off, 0: somebody looks.
    const earliest = reader.next();
    pages.set(page, Math.min(pages.get(page) ?? Number.POSITIVE_INFINITY, earliest));
  }
  known.pages = pages.size === 0 ? null : pages;
  known.from = Math.max(known.from, owed);
  known.to = Math.max(known.to, to);
}

function shardOf(image: ExpiryImage, node: number, queueId: number): ShardExpiries {
  const shards = image.get(node);
  const found = shards?.find((shard) => shard.queueId === queueId);
  if (found !== undefined) return found;
  const made: ShardExpiries = { queueId, from: 0, to: 0, pages: null };
  if (shards === undefined) image.set(node, [made]);
  else shards.push(made);
  return made;
}

const pageOf = (offset: number): number => Math.floor(offset / EXPIRY_PAGE);
