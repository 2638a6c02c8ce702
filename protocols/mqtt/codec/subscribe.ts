/**
 * SUBSCRIBE and UNSUBSCRIBE (§§3.8, 3.10). Whether a filter makes sense is for topic.ts: here it is a valid string.
 */
import { type QoS, VERSION, type Version } from "./constants.ts";
import { PLACE, type Properties, readProperties } from "./properties.ts";
import { malformed, protocolError } from "./protocol-error.ts";
import type { PacketReader } from "./reader.ts";

export interface SubscribeEntry {
  readonly filter: string;
  readonly qos: QoS;
  readonly isNoLocal: boolean;
  readonly isRetainAsPublished: boolean;
  /** 0: send retained messages; 1: only for a new subscription; 2: do not. */
  readonly retainHandling: 0 | 1 | 2;
}

export interface SubscribePacket {
  readonly packetId: number;
  readonly entries: readonly SubscribeEntry[];
  readonly properties: Properties;
}

export interface UnsubscribePacket {
  readonly packetId: number;
  readonly filters: readonly string[];
  readonly properties: Properties;
}

export function decodeSubscribe(reader: PacketReader, version: Version): SubscribePacket {
  const packetId = readPacketId(reader);
  const properties = version === VERSION.V5 ? readProperties(reader, PLACE.SUBSCRIBE) : {};
  const entries: SubscribeEntry[] = [];
  while (reader.remaining > 0) entries.push(readEntry(reader, version));
  if (entries.length === 0) throw protocolError("SUBSCRIBE without a filter", "MQTT-3.8.3-2");
  return { packetId, entries, properties };
}

function readEntry(reader: PacketReader, version: Version): SubscribeEntry {
  const filter = reader.text("topic filter");
  const options = reader.u8("subscription options");
  const qos = options & 3;
  if (qos === 3) throw protocolError("subscription with QoS 3", "MQTT-3.8.3-4");
  const reserved = version === VERSION.V5 ? options & 0xc0 : options & 0xfc;
  if (reserved !== 0) throw malformed("reserved subscription option is set", "MQTT-3.8.3-5");
  const retainHandling = (options >> 4) & 3;
  if (retainHandling === 3) throw protocolError("retain handling 3");
  return {
    filter,
    qos: qos as QoS,
    isNoLocal: (options & 4) !== 0,
    isRetainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  };
}

export function decodeUnsubscribe(reader: PacketReader, version: Version): UnsubscribePacket {
  const packetId = readPacketId(reader);
  const properties = version === VERSION.V5 ? readProperties(reader, PLACE.UNSUBSCRIBE) : {};
  const filters: string[] = [];
  while (reader.remaining > 0) filters.push(reader.text("topic filter"));
  if (filters.length === 0) throw protocolError("UNSUBSCRIBE without a filter", "MQTT-3.10.3-2");
  return { packetId, filters, properties };
}

function readPacketId(reader: PacketReader): number {
  const id = reader.u16("packet identifier");
  if (id === 0) throw protocolError("packet identifier 0", "MQTT-2.2.1-3");
  return id;
}
