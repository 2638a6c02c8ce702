/**
 * Replays the journal: into an image of nodes and groups as objects (catalog.ts), or, where a node is of the usual kind, into
 * packed bytes where it lies (packed-node.ts). Nobody need be made an object only to be put to rest again: what is known of
 * a node that was new, or woken, is its number and how far its group has got.
 *
 * Whatever does not fit into these bytes makes an object of it: another group, messages settled out of order, attempts.
 */
import { ByteTable } from "../util/byte-table.ts";
import { NumberMap } from "../util/number-map.ts";
import {
  applyEntry,
  type CatalogImage,
  ENTRY,
  emptyImage,
  forEachLow,
  forgetNamed,
  groupOf,
  keyOfEntry,
  nodeOf,
  setGroup,
  setNode,
} from "./catalog.ts";
import {
  factsOf,
  idOf,
  ownLowOf,
  ownProgressOf,
  PACKED,
  raiseOwnLow,
  unpackInto,
} from "./packed-node.ts";
import { forEachPacked } from "./packed-rows.ts";

export class JournalReplay {
  readonly image: CatalogImage = emptyImage();
  readonly packed = new ByteTable();
  /** Of the packed nodes, those that were in use: records of the table, by number of the node and of its own progress. */
  readonly #used = new NumberMap();
  readonly #progress = new NumberMap();

  /** Packed nodes of which the queues may know more than these bytes, as records of the table. */
  get used(): Iterable<number> {
    return this.#used.values();
  }

  apply(entry: Buffer): void {
    switch (entry[0]) {
      case ENTRY.RESTING:
        forEachPacked(entry, (key, value) => this.#rest(key, value));
        return;
      case ENTRY.BORN:
        forEachPacked(entry, (key, value) => this.#born(key, value));
        return;
      case ENTRY.WOKEN:
        this.#woken(entry.subarray(1));
        return;
      case ENTRY.LOW:
      case ENTRY.LOWS:
        forEachLow(entry, (number, low) => this.#low(number, low));
        return;
      case ENTRY.NODE_GONE:
        if (!this.#gone(entry.readUInt32BE(1))) applyEntry(this.image, entry);
        return;
      case ENTRY.NODE: {
        const node = nodeOf(entry);
        // Something happens to a node that should have been woken before, but for an entry that is lost: not to two of it.
        if (this.packed.size > 0) this.unpack(this.packed.find(keyOfEntry(node)));
        setNode(this.image, node);
        return;
      }
      case ENTRY.EXPIRY:
        this.#expiries(entry.readUInt32BE(1));
        break;
      case ENTRY.GROUP: {
        const group = groupOf(entry);
        if (this.#used.size > 0) this.unpack(this.#used.get(group.node));
        setGroup(this.image, group);
        return;
      }
      case ENTRY.GROUP_GONE:
      case ENTRY.RUN:
      case ENTRY.RUNS:
      case ENTRY.MASK:
      case ENTRY.ATTEMPTS:
        this.unpack(this.#progress.get(entry.readUInt32BE(1)));
        break;
      default:
    }
    applyEntry(this.image, entry);
  }

  #rest(key: Buffer, value: Buffer): void {
    if (this.#used.size > 0) this.#forget(this.packed.findBytes(key));
    // A snapshot met it before it went to rest, when bytes did not suffice.
    if (this.image.ids.size > 0) forgetNamed(this.image, key.toString("utf8"), -1);
    this.packed.setBytes(key, value);
  }

  #born(key: Buffer, value: Buffer): void {
    const id = idOf(value);
    // A snapshot may have met it before it comes to what was journaled meanwhile: it only ever gets further.
    if (this.image.nodes.has(id)) return;
    const known = this.#used.get(id);
    if (known !== undefined) {
      const isOwn = (this.packed.valueOf(known)[0]! & value[0]! & PACKED.OWN) !== 0;
      if (isOwn) raiseOwnLow(this.packed.valueOf(known), ownLowOf(value));
      return;
    }
    if (this.image.ids.size > 0) forgetNamed(this.image, key.toString("utf8"), id);
    const before = this.packed.findBytes(key);
    this.#forget(before);
    const { packed } = this;
    this.#use(before < 0 ? packed.addBytes(key, value) : packed.setBytes(key, value), value);
  }

  #woken(key: Buffer): void {
    const found = this.packed.findBytes(key);
    if (found < 0) return;
    const value = this.packed.valueOf(found);
    if ((value[0]! & PACKED.ENTRIES) === 0) this.#use(found, value);
    else this.unpack(found);
  }

  #use(reference: number, value: Buffer): void {
    this.#used.set(idOf(value), reference);
    if ((value[0]! & PACKED.OWN) !== 0) this.#progress.set(ownProgressOf(value), reference);
  }

  #low(number: number, low: number): void {
    const reference = this.#progress.get(number);
    if (reference !== undefined) raiseOwnLow(this.packed.valueOf(reference), low);
    else this.image.progress.get(number)?.state.settleBelow(low);
  }

  /** What was known of the messages of a node at rest is lost with its bytes: an object keeps it. */
  #expiries(id: number): void {
    const reference = this.#used.get(id);
    if (reference === undefined || factsOf(this.packed.valueOf(reference)).backlog === 0) return;
    this.unpack(reference);
  }

  #gone(id: number): boolean {
    const reference = this.#used.get(id);
    if (reference === undefined) return false;
    this.#forget(reference);
    this.packed.deleteAt(reference);
    this.image.expiry.delete(id);
    return true;
  }

  /** An object from here on. */
  unpack(reference: number | undefined): void {
    if (reference === undefined || reference < 0) return;
    const { packed, image } = this;
    const key = packed.keyOf(reference);
    unpackInto(image, key, packed.valueOf(reference), (entry) => applyEntry(image, entry));
    this.#forget(reference);
    packed.deleteAt(reference);
  }

  /** The record is about to change or to go. */
  #forget(reference: number): void {
    if (reference < 0) return;
    const value = this.packed.valueOf(reference);
    this.#used.delete(idOf(value));
    if ((value[0]! & PACKED.OWN) !== 0) this.#progress.delete(ownProgressOf(value));
  }
}
