/**
 * PUBLISH packets that many clients of one broker get alike but for the packet identifier: one ring of them per shape
 * (MQTT version, granted QoS, Retain As Published). What differs further between clients — topic aliases, subscription
 * identifiers, a remaining life — is never put here.
 *
 * Of QoS 0, which goes to its readers one message after the other, only the message at hand is kept.
 */
import type { Grant } from "../../src/broker/session-facade.ts";
import { copyBytes, fastBuffer } from "../../src/util/copy-memory.ts";
import { FrameRing } from "../../src/util/frame-ring.ts";
import { TopicNames } from "./topic-names.ts";

/** A larger packet of QoS 0 is written for each client: copying it is most of the work anyway. */
const DIRECT_BYTES_MAX = 16 * 1024;

/** A PUBLISH of QoS 0 that many clients get alike. Kept from the second one on who asks for it. */
class DirectPacket {
  bytes: Buffer | null = null;
  length = 0;
  bodyLength = 0;
  /** Place of the record in the log, or a number that stands for it: no two messages have the same. */
  #key = Number.NaN;
  #asked = Number.NaN;

  holds(key: number): boolean {
    return key === this.#key;
  }

  /** The packet of this message was just written to `out[start, end)`. */
  offer(key: number, out: Buffer, start: number, end: number, bodyLength: number): void {
    if (key !== this.#asked) {
      this.#asked = key;
      return;
    }
    if (end - start > DIRECT_BYTES_MAX) return;
    this.bytes ??= fastBuffer(DIRECT_BYTES_MAX);
    copyBytes(out, start, end, this.bytes, 0);
    this.length = end - start;
    this.bodyLength = bodyLength;
    this.#key = key;
  }
}

export class SharedPackets {
  /** By MQTT version and RETAIN flag. */
  readonly #direct = [
    new DirectPacket(),
    new DirectPacket(),
    new DirectPacket(),
    new DirectPacket(),
  ];
  readonly #rings: Array<FrameRing | undefined> = [];
  readonly topics = new TopicNames();

  directOf(isV5: boolean, isRetained: boolean): DirectPacket {
    return this.#direct[(isV5 ? 1 : 0) | (isRetained ? 2 : 0)]!;
  }

  ringOf(isV5: boolean, grant: Grant): FrameRing {
    const shape = (isV5 ? 1 : 0) | (grant.qos << 1) | (grant.isRetainAsPublished ? 8 : 0);
    let ring = this.#rings[shape];
    if (ring === undefined) {
      ring = new FrameRing();
      this.#rings[shape] = ring;
    }
    return ring;
  }
}

/** What a frame's kind holds: topic and flags of the first byte. */
export const kindOf = (topicNumber: number, flags: number): number => topicNumber * 16 + flags;
export const topicOfKind = (kind: number): number => kind >> 4;
export const flagsOfKind = (kind: number): number => kind & 15;
