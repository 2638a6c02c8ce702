/**
 * PUBLISH (§3.3) where it lies: a view with offsets, filled again for each packet. Nothing is allocated or copied; the
 * topic's characters are not looked at here (topic.ts does, once per new topic of a connection).
 */
import { VERSION, type Version } from "./constants.ts";
import { PROPERTY } from "./properties.ts";
import { malformed, protocolError } from "./protocol-error.ts";
import { isMqttUtf8 } from "./utf8.ts";

export class PublishView {
  qos = 0;
  isDup = false;
  isRetained = false;
  /** 0 for QoS 0. */
  packetId = 0;
  topicStart = 0;
  topicEnd = 0;
  /** The property list without its length; both 0 when there is none. */
  propertiesStart = 0;
  propertiesEnd = 0;
  payloadStart = 0;
  payloadEnd = 0;

  /** `first` is the packet's first byte, `bytes[start, end)` what follows the fixed header. */
  open(bytes: Buffer, first: number, start: number, end: number, version: Version): this {
    this.qos = (first >> 1) & 3;
    this.isDup = (first & 8) !== 0;
    this.isRetained = (first & 1) !== 0;
    if (end - start < 2) throw malformed("PUBLISH without topic");
    const topicLength = (bytes[start]! << 8) | bytes[start + 1]!;
    let at = start + 2;
    this.topicStart = at;
    at += topicLength;
    this.topicEnd = at;
    if (this.qos !== 0) {
      if (at + 2 > end) throw malformed("PUBLISH ends before its packet identifier");
      this.packetId = (bytes[at]! << 8) | bytes[at + 1]!;
      if (this.packetId === 0) throw protocolError("packet identifier 0", "MQTT-2.2.1-3");
      at += 2;
    } else {
      if (at > end) throw malformed("topic name is longer than the packet");
      this.packetId = 0;
    }
    if (version === VERSION.V5) at = this.#openProperties(bytes, at, end);
    else this.propertiesStart = this.propertiesEnd = 0;
    this.payloadStart = at;
    this.payloadEnd = end;
    return this;
  }

  #openProperties(bytes: Buffer, start: number, end: number): number {
    let at = start;
    let length = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= end) throw malformed("PUBLISH ends before its properties");
      if (shift === 28) throw malformed("property length is longer than four bytes");
      const byte = bytes[at++]!;
      length |= (byte & 0x7f) << shift;
      if (byte >= 0x80) continue;
      if (byte === 0 && shift > 0) throw malformed("property length is longer than needed");
      break;
    }
    if (length > end - at) throw malformed("property list is longer than the packet");
    this.propertiesStart = at;
    this.propertiesEnd = at + length;
    return at + length;
  }
}

/** What the properties of a PUBLISH say to the server; the rest is carried along. */
export class PublishProperties {
  /** 0 for none. */
  topicAlias = 0;
  /** Seconds; -1 for none. */
  messageExpiry = -1;
  /** 0 for none or "bytes". */
  payloadFormat = 0;
  /** Is there anything the receiver of the message must see, besides the expiry? */
  hasMessageProperties = false;
  /** Where these two stand, identifier included (3 and 5 bytes); -1 for none. They are not for the receiver. */
  topicAliasAt = -1;
  messageExpiryAt = -1;
  /** Offsets of the response topic's characters; start is -1 for none. */
  responseTopicStart = -1;
  responseTopicEnd = 0;

  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  #end = 0;
  #seen = 0;
  #textStart = 0;

  clear(): void {
    this.topicAlias = 0;
    this.messageExpiry = -1;
    this.payloadFormat = 0;
    this.hasMessageProperties = false;
    this.responseTopicStart = -1;
    this.topicAliasAt = -1;
    this.messageExpiryAt = -1;
    this.#seen = 0;
  }

  /** Walks and checks a property list as a client may send it. */
  open(bytes: Buffer, start: number, end: number): this {
    this.clear();
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    while (this.#at < end) this.#one(bytes[this.#at++]!);
    return this;
  }

  #one(id: number): void {
    // All identifiers are below 0x80: a longer Variable Byte Integer is none of them.
    if (id < 0x20 && id !== PROPERTY.SUBSCRIPTION_ID) {
      const bit = 1 << id;
      if ((this.#seen & bit) !== 0) throw protocolError(`property ${id} given twice`);
      this.#seen |= bit;
    }
    switch (id) {
      case PROPERTY.USER_PROPERTY:
        this.#text("user property name");
        this.#text("user property value");
        this.hasMessageProperties = true;
        return;
      case PROPERTY.CONTENT_TYPE:
        this.#text("content type");
        this.hasMessageProperties = true;
        return;
      case PROPERTY.RESPONSE_TOPIC:
        this.responseTopicEnd = this.#text("response topic");
        this.responseTopicStart = this.#textStart;
        this.hasMessageProperties = true;
        return;
      case PROPERTY.CORRELATION_DATA:
        this.#sized("correlation data");
        this.hasMessageProperties = true;
        return;
      case PROPERTY.PAYLOAD_FORMAT:
        this.#need(1);
        this.payloadFormat = this.#bytes[this.#at++]!;
        if (this.payloadFormat > 1) throw protocolError("payload format indicator above 1");
        this.hasMessageProperties = true;
        return;
      case PROPERTY.MESSAGE_EXPIRY:
        this.#need(4);
        this.messageExpiryAt = this.#at - 1;
        this.messageExpiry = this.#bytes.readUInt32BE(this.#at);
        this.#at += 4;
        return;
      case PROPERTY.TOPIC_ALIAS:
        this.#alias();
        return;
      case PROPERTY.SUBSCRIPTION_ID:
        throw protocolError("subscription identifier from a client", "MQTT-3.3.4-6");
      default:
        throw malformed(`property ${id} does not belong into PUBLISH`);
    }
  }

  #alias(): void {
    if (this.topicAlias !== 0) throw protocolError("topic alias given twice");
    this.#need(2);
    this.topicAliasAt = this.#at - 1;
    this.topicAlias = (this.#bytes[this.#at]! << 8) | this.#bytes[this.#at + 1]!;
    this.#at += 2;
    // The reason code has its own number; the connection knows the maximum.
    if (this.topicAlias === 0) this.topicAlias = -1;
  }

  #text(what: string): number {
    this.#textStart = this.#at + 2;
    const end = this.#sized(what);
    if (!isMqttUtf8(this.#bytes, this.#textStart, end))
      throw malformed(`${what} is not valid UTF-8`, "MQTT-1.5.4-1");
    return end;
  }

  #sized(what: string): number {
    this.#need(2);
    const length = (this.#bytes[this.#at]! << 8) | this.#bytes[this.#at + 1]!;
    this.#at += 2;
    if (length > this.#end - this.#at) throw malformed(`${what} is longer than the property list`);
    this.#at += length;
    return this.#at;
  }

  #need(bytes: number): void {
    if (this.#at + bytes > this.#end) throw malformed("property list ends inside a property");
  }
}
