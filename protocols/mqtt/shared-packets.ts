/**
 * PUBLISH packets that many clients of one broker get alike but for the packet identifier: one ring of them per shape
 * (MQTT version, granted QoS, Retain As Published). What differs further between clients — topic aliases, subscription
 * identifiers, a remaining life — is never put here.
 */
import type { Grant } from "../../src/broker/session-facade.ts";
import { FrameRing } from "../../src/util/frame-ring.ts";
import { TopicNames } from "./topic-names.ts";

export class SharedPackets {
  readonly #rings: Array<FrameRing | undefined> = [];
  readonly topics = new TopicNames();

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
