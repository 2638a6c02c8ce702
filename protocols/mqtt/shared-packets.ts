/**
 * PUBLISH packets that many clients of one broker get alike but for the packet identifier: one ring of them per shape
 * (MQTT version, granted QoS, Retain As Published). What differs further between clients — topic aliases, subscription
 * identifiers, a remaining life — is never put here.
 */
import type { Grant } from "../../src/broker/session-facade.ts";
import { FrameRing } from "../../src/util/frame-ring.ts";
import type { TopicOut } from "./topic-out.ts";

/** More topics than this and the numbering begins anew: the old packets are not found any more. */
const TOPICS_MAX = 65_536;
/** Numbers fit into a frame's kind beside four bits of flags. */
const NUMBER_MAX = 2 ** 26;

export class SharedPackets {
  readonly #rings: Array<FrameRing | undefined> = [];
  readonly #topics = new Map<string, number>();
  #lastNumber = 0;

  ringOf(isV5: boolean, grant: Grant): FrameRing {
    const shape = (isV5 ? 1 : 0) | (grant.qos << 1) | (grant.isRetainAsPublished ? 8 : 0);
    let ring = this.#rings[shape];
    if (ring === undefined) {
      ring = new FrameRing();
      this.#rings[shape] = ring;
    }
    return ring;
  }

  /** Tells topics apart without comparing their names; the same for all clients. */
  numberOf(topic: TopicOut): number {
    if (topic.number !== 0) return topic.number;
    let number = this.#topics.get(topic.path);
    if (number === undefined) {
      if (this.#topics.size >= TOPICS_MAX) this.#topics.clear();
      this.#lastNumber = this.#lastNumber >= NUMBER_MAX ? 1 : this.#lastNumber + 1;
      number = this.#lastNumber;
      this.#topics.set(topic.path, number);
    }
    topic.number = number;
    return number;
  }
}

/** What a frame's kind holds: topic and flags of the first byte. */
export const kindOf = (topicNumber: number, flags: number): number => topicNumber * 16 + flags;
export const topicOfKind = (kind: number): number => kind >> 4;
export const flagsOfKind = (kind: number): number => kind & 15;
