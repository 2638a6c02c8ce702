/**
 * What a selector sees of a stored message: JMS header names, properties, and the field names of AMQP's filter language.
 * Names that the record's own fixed fields answer never decode the message, nor do properties that its protocol can read
 * alone; others decode it once (model/conversion.ts).
 *
 * A name is looked up in this order: JMS names and names the broker defines; the message's property of that name; the
 * prefixed forms `properties.x`, `header.x`, `application-properties.x`, `message-annotations.x` (also `p. h. a. m.`, "-"
 * and "_" alike); the tag and the keys for `tag` and `keys`; the annotation of that name.
 */
import { Buffer } from "node:buffer";
import type { Address } from "../model/address.ts";
import { formatAddress } from "../model/address-dialects.ts";
import { NOT_ALONE, readProperty, toNeutral } from "../model/conversion.ts";
import {
  type Identifier,
  identifierToText,
  jmsCorrelationId,
  jmsMessageId,
} from "../model/identifiers.ts";
import type { NeutralMessage } from "../model/neutral.ts";
import { RECORD_PROPERTY } from "../model/properties.ts";
import { standardProperty } from "../model/record-fields.ts";
import type { RecordView } from "../model/record-view.ts";
import { findProperty, type Typed } from "../model/values.ts";
import type { Accessor, SelectorValue } from "./compile.ts";

/** One message while it is tested. Reused. */
export class MessageSource {
  record!: RecordView;
  /** Failed deliveries before this one. */
  deliveryCount = 0;
  #neutral: NeutralMessage | null = null;

  open(record: RecordView, deliveryCount: number): this {
    this.record = record;
    this.deliveryCount = deliveryCount;
    this.#neutral = null;
    return this;
  }

  get message(): NeutralMessage {
    this.#neutral ??= toNeutral(this.record);
    return this.#neutral;
  }

  property(name: string): Typed | undefined {
    if (this.#neutral === null) {
      const value = readProperty(this.record, name);
      if (value !== NOT_ALONE) return value;
    }
    return findProperty(this.message.properties, name);
  }

  close(): void {
    this.#neutral = null;
  }
}

type Read = (source: MessageSource) => SelectorValue;

const text = (value: string): string | null => (value === "" ? null : value);
const OPAQUE = Symbol("a value that compares with nothing");

/** A destination as its application wrote it: JMS shows names without a scheme. */
const destination = (address: Address | null): string | null =>
  address === null ? null : formatAddress(address, "amqp1");

const tagOf: Read = ({ record }) => text(standardProperty(record, RECORD_PROPERTY.TAG) ?? "");
const keysOf: Read = ({ record }) => text(standardProperty(record, RECORD_PROPERTY.KEYS) ?? "");
const userOf: Read = ({ message: { userId } }) =>
  userId === null ? null : Buffer.from(userId).toString("utf8");
const timeOf: Read = ({ message: { deliverAt, bornAt } }) => deliverAt || bornAt;

/** Names that an application property can not take over. */
const FIXED: Readonly<Record<string, Read>> = {
  JMSDeliveryMode: ({ record }) => (record.isDurable ? "PERSISTENT" : "NON_PERSISTENT"),
  JMSPriority: ({ record }) => Math.min(9, record.priority),
  JMSTimestamp: ({ record }) => record.bornTimestamp,
  JMSExpiration: ({ record }) => record.expiresAt,
  JMSDeliveryTime: timeOf,
  JMSMessageID: ({ message: { id } }) => (id === null ? null : jmsMessageId(id)),
  JMSCorrelationID: ({ message: { correlation } }) =>
    correlation === null ? null : jmsCorrelationId(correlation),
  JMSType: ({ message }) => text(message.type),
  JMSDestination: ({ message }) => destination(message.to),
  JMSReplyTo: ({ message }) => destination(message.replyTo),
  JMSRedelivered: ({ deliveryCount }) => deliveryCount > 0,
  JMSXDeliveryCount: ({ deliveryCount }) => deliveryCount + 1,
  JMSXGroupID: ({ message }) => text(message.group),
  JMSXGroupSeq: ({ message }) => message.groupSequence,
  JMSXUserID: userOf,
  JMSXAppID: ({ message }) => text(message.appId),
  JMS_AMQP_TTL: ({ message }) => message.ttlMs || null,
  JMS_AMQP_REPLY_TO_GROUP_ID: ({ message }) => text(message.replyGroup),
  x_tag: tagOf,
  TAGS: tagOf,
  x_keys: keysOf,
  KEYS: keysOf,
};

/** Names that mean something only when no property has them. */
const FALLBACK: Readonly<Record<string, Read>> = { tag: tagOf, keys: keysOf };

/** An id as AMQP's own filters name it: its plain value, binary as text. */
const plainId = (id: Identifier | null): SelectorValue =>
  id === null ? null : id.type === "bytes" ? identifierToText(id) : id.value;

const PROPERTIES: Readonly<Record<string, Read>> = {
  "message-id": ({ message }) => plainId(message.id),
  "user-id": userOf,
  to: ({ message }) => destination(message.to),
  subject: FIXED["JMSType"]!,
  "reply-to": FIXED["JMSReplyTo"]!,
  "correlation-id": ({ message }) => plainId(message.correlation),
  "content-type": ({ message }) => text(message.contentType),
  "content-encoding": ({ message }) => text(message.contentEncoding),
  "absolute-expiry-time": ({ record }) => record.expiresAt || null,
  "creation-time": FIXED["JMSTimestamp"]!,
  "group-id": FIXED["JMSXGroupID"]!,
  "group-sequence": FIXED["JMSXGroupSeq"]!,
  "reply-to-group-id": FIXED["JMS_AMQP_REPLY_TO_GROUP_ID"]!,
};

const HEADER: Readonly<Record<string, Read>> = {
  durable: ({ record }) => record.isDurable,
  priority: ({ record }) => record.priority,
  ttl: FIXED["JMS_AMQP_TTL"]!,
  "delivery-count": ({ deliveryCount }) => deliveryCount,
  "first-acquirer": ({ deliveryCount }) => deliveryCount === 0,
};

function selectorValue(value: Typed | undefined): SelectorValue {
  if (value === undefined) return null;
  switch (value.type) {
    case "decimal":
      return Number(value.value);
    case "bytes":
    case "list":
    case "map":
      return OPAQUE;
    default:
      return value.value;
  }
}

const isFloat = (value: Typed | undefined): boolean =>
  value !== undefined && (value.type === "f32" || value.type === "f64" || value.type === "decimal");

/** The accessor of an identifier; found once, when the selector is compiled. */
export function messageAccessor(name: string): Accessor<MessageSource> {
  const fixed = own(FIXED, name);
  if (fixed !== undefined) return { get: fixed };
  const otherwise = prefixed(name) ?? own(FALLBACK, name) ?? annotation(name);
  return {
    get(source) {
      const value = source.property(name);
      return value === undefined ? otherwise(source) : selectorValue(value);
    },
    isApproximate: (source) => isFloat(source.property(name)),
  };
}

const own = (table: Readonly<Record<string, Read>>, name: string): Read | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;

const annotation =
  (name: string): Read =>
  ({ message }) =>
    selectorValue(findProperty(message.annotations, name));

function prefixed(name: string): Read | undefined {
  const dot = name.indexOf(".");
  if (dot < 1) return undefined;
  const rest = name.slice(dot + 1);
  switch (name.slice(0, dot).replaceAll("_", "-")) {
    case "properties":
    case "p":
      return own(PROPERTIES, rest.replaceAll("_", "-"));
    case "header":
    case "h":
      return own(HEADER, rest.replaceAll("_", "-"));
    case "application-properties":
    case "a":
      return (source) => selectorValue(source.property(rest));
    case "message-annotations":
    case "m":
      return annotation(rest);
    default:
      return undefined;
  }
}
