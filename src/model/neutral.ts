/**
 * The neutral message: what every protocol's message means, whatever bytes it came in (spec protocols.md §4.2). Made
 * only when a message leaves over another protocol than it came, or when a selector asks for something the record's own
 * fields do not tell. A decoder fills one from a record; an encoder writes one in its own form.
 *
 * Strings are "" and numbers 0 when absent, unless said otherwise. `bytes` may be a view of the record: it is valid as long
 * as the record's bytes are, until the end of the turn.
 */
import { Buffer } from "node:buffer";
import { type Address, makeAddress } from "./address.ts";
import type { BodyKind } from "./body-kind.ts";
import type { Death } from "./deaths.ts";
import type { Identifier } from "./identifiers.ts";
import { ENCODING, type Encoding } from "./record-view.ts";
import type { Property, Typed } from "./values.ts";

export interface NeutralMessage {
  /** Position in the log: the broker's own order. */
  readonly seq: number;
  readonly encoding: Encoding;
  /** Publisher's id with its type. */
  readonly id: Identifier | null;
  /** RocketMQ's unique key. */
  readonly uniqueKey: string;
  readonly correlation: Identifier | null;
  /** Where it was sent, canonical. Of a topic the whole path. */
  readonly to: Address;
  readonly tag: string;
  /** The tag is the rest of the path rather than a label. */
  readonly isTagInPath: boolean;
  /** AMQP 0-9-1: exchange it was published to, null when it was not; "" is the default exchange. */
  readonly exchange: string | null;
  readonly routingKeys: readonly string[];
  readonly replyTo: Address | null;
  /** Business keys for the Index. */
  readonly keys: readonly string[];
  /** Ordering key. */
  readonly group: string;
  /** null when absent; negative closes the group (JMS). */
  readonly groupSequence: number | null;
  readonly replyGroup: string;
  readonly isDurable: boolean;
  /** 0..255, or -1 when the publisher gave none: `priorityOf`. */
  readonly priority: number;
  /** As the publisher gave it. */
  readonly ttlMs: number;
  /** ms since the epoch, fixed at arrival. */
  readonly expiresAt: number;
  readonly deliverAt: number;
  /** Publisher's clock. */
  readonly bornAt: number;
  /** Broker's clock. */
  readonly storedAt: number;
  readonly userId: Uint8Array | null;
  readonly appId: string;
  /** JMSType, AMQP 1.0 subject, AMQP 0-9-1 type. */
  readonly type: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  /** Application properties, headers, user properties: in order, repeats kept. */
  readonly properties: readonly Property[];
  /** Message annotations and `x-…` headers. */
  readonly annotations: readonly Property[];
  readonly bodyKind: BodyKind;
  /** bytes, object: the payload; text: UTF-8; amqp: encoded AMQP 1.0 body sections; map, list, none: empty. */
  readonly bytes: Buffer;
  /** map, list: the content. */
  readonly value: Typed | null;
  readonly isRetained: boolean;
  /** Client id of the publisher, where it was kept. */
  readonly origin: string;
  /** Deliveries that RocketMQ counted before the message came here. */
  readonly reconsumeTimes: number;
  readonly deaths: readonly Death[];
}

const EMPTY = Buffer.alloc(0);
const NOWHERE = makeAddress("queue", "");

/** A neutral message to fill. */
export class Neutral implements NeutralMessage {
  seq = 0;
  encoding: Encoding = ENCODING.RAW;
  id: Identifier | null = null;
  uniqueKey = "";
  correlation: Identifier | null = null;
  to: Address = NOWHERE;
  tag = "";
  isTagInPath = false;
  exchange: string | null = null;
  routingKeys: readonly string[] = [];
  replyTo: Address | null = null;
  keys: readonly string[] = [];
  group = "";
  groupSequence: number | null = null;
  replyGroup = "";
  isDurable = true;
  priority = -1;
  ttlMs = 0;
  expiresAt = 0;
  deliverAt = 0;
  bornAt = 0;
  storedAt = 0;
  userId: Uint8Array | null = null;
  appId = "";
  type = "";
  contentType = "";
  contentEncoding = "";
  properties: Property[] = [];
  annotations: Property[] = [];
  bodyKind: BodyKind = "bytes";
  bytes: Buffer = EMPTY;
  value: Typed | null = null;
  isRetained = false;
  origin = "";
  reconsumeTimes = 0;
  deaths: readonly Death[] = [];
}

/** Priority with the default for everybody. */
export const priorityOf = (message: NeutralMessage): number =>
  message.priority < 0 ? 4 : message.priority;
