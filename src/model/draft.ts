/**
 * What a publisher hands to the broker: a view of the encoded message plus the few decoded fields that routing,
 * expiry and ordering need. One object per connection is filled again for each message: no allocation on the hot path.
 */
import { ENCODING, type Encoding } from "./record-view.ts";

const NOTHING = Buffer.alloc(0);

export class Draft {
  /** The record body lies in `bytes[start, end)`. A view of the socket's chunk: the broker copies it before it returns. */
  bytes: Buffer = Buffer.alloc(0);
  start = 0;
  end = 0;
  encoding: Encoding = ENCODING.RAW;
  isDurable = true;
  /** 0..255, or -1 when the publisher gave none (then 4 for everybody). */
  priority = -1;
  /** Relative time to live in ms; 0 for none. */
  ttlMs = 0;
  /** Absolute expiry, ms since the epoch; 0 for none. The earlier of the two wins. */
  expiresAt = 0;
  /** Not to be delivered before, ms since the epoch; 0 for now. */
  deliverAt = 0;
  /** Publisher's clock, ms; 0 takes the broker's. */
  bornAt = 0;
  isRetained = false;
  /** There are encoded bytes, and they say that there is no body. Asked only of messages with keys. */
  isEmptyBody = false;
  /** The publisher asked for exactly-once (MQTT QoS 2). */
  isExactlyOnce = false;
  /** An explicit tag (RocketMQ sense); "" for none. A topic's own path tag comes from the target. */
  tag = "";
  /** Business keys, separated by spaces; "" for none. Each gets an Index entry. */
  keys = "";
  /** Ordering key (message group, sharding key); "" for none. */
  group = "";
  /** Publisher's message id in text form for duplicate detection; "" when unknown or not wanted. */
  dedupId = "";
  /**
   * Record properties that come before `properties`, in the same form, as UTF-8 in `head[headStart, headEnd)`. Like the
   * body a view, valid until `publish` returns: not for a transaction, nor with `deliverAt`, which keep text.
   */
  head: Buffer = NOTHING;
  headStart = 0;
  headEnd = 0;
  /** More record properties as `name 0x01 value 0x02` repeated; names and values hold neither 0x01 nor 0x02. */
  properties = "";

  reset(): this {
    this.encoding = ENCODING.RAW;
    this.isDurable = true;
    this.priority = -1;
    this.ttlMs = 0;
    this.expiresAt = 0;
    this.deliverAt = 0;
    this.bornAt = 0;
    this.isRetained = false;
    this.isEmptyBody = false;
    this.isExactlyOnce = false;
    this.tag = "";
    this.keys = "";
    this.group = "";
    this.dedupId = "";
    this.headStart = this.headEnd = 0;
    this.properties = "";
    return this;
  }

  /** Everything but the body as in the other one. */
  like(other: Draft): this {
    this.encoding = other.encoding;
    this.isDurable = other.isDurable;
    this.priority = other.priority;
    this.ttlMs = other.ttlMs;
    this.expiresAt = other.expiresAt;
    this.deliverAt = other.deliverAt;
    this.bornAt = other.bornAt;
    this.isRetained = other.isRetained;
    this.isEmptyBody = other.isEmptyBody;
    this.isExactlyOnce = other.isExactlyOnce;
    this.tag = other.tag;
    this.keys = other.keys;
    this.group = other.group;
    this.dedupId = other.dedupId;
    this.head = other.head;
    this.headStart = other.headStart;
    this.headEnd = other.headEnd;
    this.properties = other.properties;
    return this;
  }
}
