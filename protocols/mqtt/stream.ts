/** One stream of messages to a client, as the broker sees it: the sink of one source's consumer. */
import type { DeliveryRun, DeliverySink } from "../../src/broker/facade.ts";
import type { SessionSource } from "../../src/broker/session-facade.ts";
import type { BrokerError } from "../../src/model/errors.ts";
import type { FrameRing } from "../../src/util/frame-ring.ts";

export interface StreamOwner {
  readonly isReady: boolean;
  deliver(stream: Stream, run: DeliveryRun): void;
  onCancel(reason: BrokerError): void;
}

/** Topics a stream is known to get as others do. */
const STREAM_TOPICS_MAX = 1024;

/** One source's deliveries. */
export class Stream implements DeliverySink {
  readonly source: SessionSource;
  readonly index: number;
  /** Packets of others that this client may get as well; null as long as it got none that can be shared. */
  frames: FrameRing | null = null;
  /** Of these topics, by number, as long as the session's subscriptions are the same. */
  #topic = 0;
  #topics: Set<number> | null = null;
  #version = -1;
  readonly #owner: StreamOwner;

  constructor(owner: StreamOwner, source: SessionSource, index: number) {
    this.#owner = owner;
    this.source = source;
    this.index = index;
  }

  /** A packet of this topic, sent to this client, looks as those in `frames`. */
  mayShare(frames: FrameRing, topic: number, version: number): void {
    if (this.frames !== frames || this.#version !== version) {
      this.frames = frames;
      this.#version = version;
      this.#topics = null;
    } else if (this.#topic !== topic) {
      this.#topics ??= new Set([this.#topic]);
      if (this.#topics.size > STREAM_TOPICS_MAX) this.#topics.clear();
      this.#topics.add(topic);
    }
    this.#topic = topic;
  }

  shares(topic: number, version: number): boolean {
    if (this.#version !== version) return false;
    return this.#topic === topic || (this.#topics?.has(topic) ?? false);
  }

  isReady(): boolean {
    return this.#owner.isReady;
  }
  deliver(run: DeliveryRun): void {
    this.#owner.deliver(this, run);
  }
  onDrained(): void {}
  onCancel(reason: BrokerError): void {
    this.#owner.onCancel(reason);
  }
}
