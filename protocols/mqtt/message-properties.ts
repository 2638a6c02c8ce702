/**
 * The MQTT 5 properties of a message, as a record keeps them: property `x-pl` holds the bytes of the property list in
 * base64, without Topic Alias (a matter of one connection) and Message Expiry Interval (it is in `x-exp`). MQTT in, MQTT
 * out is byte-faithful, and a message without properties has no `x-pl`.
 *
 * Publishers send the same list again and again, and so do subscribers get it: both sides remember the last one.
 */
import type { RecordView } from "../../src/model/record-view.ts";
import { type Properties, writeProperties } from "./codec/properties.ts";
import { protocolError } from "./codec/protocol-error.ts";
import { PublishProperties } from "./codec/publish.ts";
import { isTopicName } from "./codec/topic.ts";
import { PacketWriter } from "./codec/writer.ts";

/** Name of the record property, with its separator. */
const NAME = "x-pl\x01";
const NAME_BYTES = Buffer.from(NAME, "latin1");
const AFTER_SEPARATOR = Buffer.from(`\x02${NAME}`, "latin1");
/** Lists up to this length are remembered. */
const REMEMBERED_BYTES = 1024;
const NOTHING = Buffer.alloc(0);

/** User properties with a meaning for the broker (spec protocols.md §4.3). */
export interface BrokerHints {
  priority: number;
  keys: string;
  group: string;
  deliverAt: number;
  messageId: string;
}

/** Reads property lists of incoming messages; one per connection. */
export class IncomingProperties {
  readonly parsed = new PublishProperties();
  /** For Draft.properties. */
  text = "";
  readonly hints: BrokerHints = { priority: -1, keys: "", group: "", deliverAt: 0, messageId: "" };
  #last: Buffer = Buffer.alloc(64);
  /** -1: nothing is remembered. */
  #lastLength = -1;

  /** The list is `bytes[start, end)`; throws ProtocolError when it may not stand in a PUBLISH from a client. */
  open(bytes: Buffer, start: number, end: number): void {
    const length = end - start;
    if (length === this.#lastLength && this.#isSame(bytes, start, length)) return;
    this.#lastLength = -1;
    const { parsed } = this;
    parsed.open(bytes, start, end);
    if (
      parsed.responseTopicStart >= 0 &&
      !isTopicName(bytes, parsed.responseTopicStart, parsed.responseTopicEnd)
    )
      throw protocolError("response topic is not a topic name", "MQTT-3.3.2-14");
    this.text = parsed.hasMessageProperties ? textOf(bytes, start, end, parsed) : "";
    readHints(bytes, start, end, this.hints);
    if (length > REMEMBERED_BYTES) return;
    if (this.#last.length < length) this.#last = Buffer.alloc(length * 2);
    bytes.copy(this.#last, 0, start, end);
    this.#lastLength = length;
  }

  #isSame(bytes: Buffer, start: number, length: number): boolean {
    const last = this.#last;
    for (let i = 0; i < length; i++) if (bytes[start + i] !== last[i]) return false;
    return true;
  }
}

/** A property list as record property: for messages that do not come as PUBLISH (wills). */
export const propertyText = (list: Buffer): string =>
  list.length === 0 ? "" : `${NAME}${list.toString("base64")}\x02`;

function textOf(bytes: Buffer, start: number, end: number, parsed: PublishProperties): string {
  const { topicAliasAt, messageExpiryAt } = parsed;
  let list = bytes.subarray(start, end);
  if (topicAliasAt >= 0 || messageExpiryAt >= 0) {
    const kept = Buffer.allocUnsafe(end - start);
    let to = 0;
    for (let at = start; at < end; ) {
      if (at === topicAliasAt) at += 3;
      else if (at === messageExpiryAt) at += 5;
      else kept[to++] = bytes[at++]!;
    }
    list = kept.subarray(0, to);
  }
  return propertyText(list);
}

/** Calls back for each user property of a list that was checked before. */
function forEachUserProperty(
  bytes: Buffer,
  start: number,
  end: number,
  callback: (name: string, value: string) => void,
): void {
  walkList(bytes, start, end, (id, at, size) => {
    if (id !== 0x26) return;
    const nameLength = bytes.readUInt16BE(at);
    callback(
      bytes.toString("utf8", at + 2, at + 2 + nameLength),
      bytes.toString("utf8", at + 4 + nameLength, at + size),
    );
  });
}

/** Calls back with the number, place and size of each property's value, in a message's property list that was checked before. */
function walkList(
  bytes: Buffer,
  start: number,
  end: number,
  callback: (id: number, at: number, size: number) => void,
): void {
  for (let at = start; at < end; ) {
    const id = bytes[at++]!;
    let size: number;
    if (id === 0x01) size = 1;
    else if (id === 0x02) size = 4;
    else if (id === 0x23) size = 2;
    else size = 2 + bytes.readUInt16BE(at);
    if (id === 0x26) size += 2 + bytes.readUInt16BE(at + size);
    callback(id, at, size);
    at += size;
  }
}

function readHints(bytes: Buffer, start: number, end: number, hints: BrokerHints): void {
  hints.priority = -1;
  hints.keys = "";
  hints.group = "";
  hints.deliverAt = 0;
  hints.messageId = "";
  forEachUserProperty(bytes, start, end, (name, value) => {
    if (!name.startsWith("x-") || isUnfit(value)) return;
    if (name === "x-priority" && /^\d{1,3}$/.test(value)) {
      hints.priority = Math.min(255, Number(value));
    } else if (name === "x-keys") hints.keys = value;
    else if (name === "x-group-id") hints.group = value;
    else if (name === "x-message-id") hints.messageId = value;
    else if (name === "x-deliver-at" && /^\d{1,15}$/.test(value)) hints.deliverAt = Number(value);
  });
}

/** Record properties are separated by these. */
const isUnfit = (value: string): boolean => value.includes("\x01") || value.includes("\x02");

/** What the receivers of a message see of its properties. */
export function messageProperties(properties: Properties): Properties {
  const { payloadFormat, contentType, responseTopic, correlationData, userProperties } = properties;
  const kept: Properties = {};
  if (payloadFormat !== undefined) kept.payloadFormat = payloadFormat;
  if (contentType !== undefined) kept.contentType = contentType;
  if (responseTopic !== undefined) kept.responseTopic = responseTopic;
  if (correlationData !== undefined) kept.correlationData = correlationData;
  if (userProperties !== undefined) kept.userProperties = userProperties;
  return kept;
}

const writer = new PacketWriter();

/** A property list without its length; a copy. */
export function listBytes(properties: Properties): Buffer {
  writer.begin(0);
  writeProperties(writer, properties);
  const packet = writer.finish();
  // Two lengths stand in front: the packet's and the list's own.
  let at = 1;
  for (let skip = 0; skip < 2; skip++) {
    while (packet[at]! >= 0x80) at++;
    at++;
  }
  return Buffer.from(packet.subarray(at));
}

/** The property list of one record; empty when it has none. Off the hot path. */
export function listOf(record: RecordView): Buffer {
  const text = record.property("x-pl");
  return text === undefined ? NOTHING : Buffer.from(text, "base64");
}

/** Finds property lists of outgoing records; one per connection. */
export class OutgoingProperties {
  #text: Buffer = NOTHING;
  #list: Buffer = NOTHING;

  /** The MQTT property list of a record of ours; empty when it has none. `from` is where properties other than the tag begin. */
  of(record: RecordView, from: number): Buffer {
    const { buffer, propertiesEnd } = record;
    const start = this.#find(buffer, from, propertiesEnd);
    if (start < 0) return NOTHING;
    const end = buffer.indexOf(2, start);
    const length = end - start;
    if (length === this.#text.length && buffer.compare(this.#text, 0, length, start, end) === 0) {
      return this.#list;
    }
    this.#text = Buffer.from(buffer.subarray(start, end));
    this.#list = Buffer.from(this.#text.toString("latin1"), "base64");
    return this.#list;
  }

  #find(buffer: Buffer, from: number, end: number): number {
    if (from + NAME_BYTES.length > end) return -1;
    const first = buffer[from]!;
    if (first === 0x78) {
      let i = 1;
      while (i < NAME_BYTES.length && buffer[from + i] === NAME_BYTES[i]) i++;
      if (i === NAME_BYTES.length) return from + i;
    }
    // Only KEYS and __SHARDINGKEY may stand before it; what the store adds (INNER…, __CRC32#) comes after.
    if (first === 0x49 || (first === 0x5f && buffer[from + 2] === 0x43)) return -1;
    const at = buffer.indexOf(AFTER_SEPARATOR, from - 1);
    return at < 0 || at >= end ? -1 : at + AFTER_SEPARATOR.length;
  }
}
