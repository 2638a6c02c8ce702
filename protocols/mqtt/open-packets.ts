/**
 * Packet identifiers of what one client has not finished with, and what an earlier connection of its session left open.
 *
 * Identifiers 1..32,768 belong to the session's own messages (offset in its index, modulo): they stay the same over a
 * reconnect. The others serve shared subscriptions and retained messages.
 */
import type { Grant, KeptDelivery } from "../../src/broker/session-facade.ts";
import { OPEN, PacketIdRing } from "./packet-id-ring.ts";
import type { Stream } from "./stream.ts";

const OWN_FIRST = 1;
const OWN_SPAN = 32_768;
const OTHER_FIRST = OWN_FIRST + OWN_SPAN;
const OTHER_SPAN = 65_535 - OWN_SPAN;

/** Stream index of retained messages: nothing is settled for them. */
export const RETAINED = 0xffff;
/** Stream index of what an earlier connection left. */
const PENDING = 0xfffe;

export interface UnfinishedShared extends KeptDelivery {
  readonly packetId: number;
}

export interface UnfinishedRetained {
  readonly packetId: number;
  readonly state: number;
  readonly place: { readonly physicalOffset: number; readonly size: number };
  readonly path: string;
  readonly grant: Grant;
}

/** What a session remembers between connections; an index in the log remembers the session's own messages. */
export class Unfinished {
  readonly shared: UnfinishedShared[] = [];
  readonly retained: UnfinishedRetained[] = [];
}

type LeftOpen = { readonly packetId: number } | UnfinishedRetained | UnfinishedShared;

export class OpenPackets {
  readonly own = new PacketIdRing(OWN_FIRST, OWN_SPAN);
  readonly others = new PacketIdRing(OTHER_FIRST, OTHER_SPAN);
  /** Retained messages that are open, by packet identifier. */
  readonly retained = new Map<number, UnfinishedRetained>();
  /** QoS 1 and 2 messages that are open. */
  count = 0;

  /** The ring that has this identifier. */
  ringOf(packetId: number): PacketIdRing {
    return packetId < OTHER_FIRST ? this.own : this.others;
  }

  close(ring: PacketIdRing, sequence: number): void {
    if (ring === this.others && this.retained.size > 0) this.retained.delete(ring.idOf(sequence));
    ring.free(sequence);
    this.count--;
  }

  /** Identifiers of the upper half are handed out in a row: in this order, behind those that are still in use. */
  inOrder(completing: readonly number[], left: Unfinished | null): LeftOpen[] {
    return [
      ...completing.filter((packetId) => packetId >= OTHER_FIRST).map((packetId) => ({ packetId })),
      ...(left?.retained ?? []),
      ...(left?.shared ?? []),
    ].sort((a, b) => a.packetId - b.packetId);
  }

  /** Can an identifier of an earlier connection be taken again? */
  fits(packetId: number): boolean {
    return this.others.fits(packetId - OTHER_FIRST);
  }

  /** Takes it; `fits` was asked. */
  restore(one: LeftOpen): void {
    const sequence = one.packetId - OTHER_FIRST;
    if ("source" in one) {
      // Sent again once its stream is open.
      this.others.put(sequence, PENDING, one.delivery, OPEN.AWAITS_RECEIVED);
      this.count++;
    } else if ("place" in one) {
      this.others.put(sequence, RETAINED, 0, one.state);
      this.retained.set(one.packetId, one);
      this.count++;
    } else this.others.put(sequence, PENDING, 0, OPEN.AWAITS_COMPLETE);
  }

  /** What the client may have taken although its answer did not come. */
  unfinished(streams: ReadonlyArray<Stream | undefined>): Unfinished {
    const left = new Unfinished();
    const ring = this.others;
    ring.forEach((sequence) => {
      const state = ring.stateOf(sequence);
      const stream = streams[ring.sourceOf(sequence)];
      if (state === OPEN.AWAITS_RECEIVED && stream !== undefined) {
        const { source } = stream;
        const delivery = ring.deliveryOf(sequence);
        left.shared.push({ packetId: ring.idOf(sequence), source, delivery });
      }
    });
    for (const one of this.retained.values()) left.retained.push(one);
    return left;
  }
}
