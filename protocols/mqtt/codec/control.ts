/**
 * The packets that begin, keep and end a conversation: DISCONNECT and AUTH as clients send them, and every answer of a
 * server that is not on the hot path (CONNACK, SUBACK, UNSUBACK, DISCONNECT, AUTH, acknowledgements with properties).
 */
import { PACKET, REASON, VERSION, type Version } from "./constants.ts";
import { PLACE, type Properties, readProperties, writeProperties } from "./properties.ts";
import { malformed, protocolError } from "./protocol-error.ts";
import type { PacketReader } from "./reader.ts";
import { PacketWriter } from "./writer.ts";

export interface ReasonPacket {
  readonly reason: number;
  readonly properties: Properties;
}

const NOTHING: Properties = {};

/** Reason codes a client may give in DISCONNECT. */
const DISCONNECT_REASONS: ReadonlySet<number> = new Set([
  REASON.SUCCESS,
  REASON.DISCONNECT_WITH_WILL,
  REASON.UNSPECIFIED,
  REASON.MALFORMED_PACKET,
  REASON.PROTOCOL_ERROR,
  REASON.IMPLEMENTATION_SPECIFIC,
  REASON.TOPIC_NAME_INVALID,
  REASON.RECEIVE_MAXIMUM_EXCEEDED,
  REASON.TOPIC_ALIAS_INVALID,
  REASON.PACKET_TOO_LARGE,
  REASON.MESSAGE_RATE_TOO_HIGH,
  REASON.QUOTA_EXCEEDED,
  REASON.ADMINISTRATIVE_ACTION,
  REASON.PAYLOAD_FORMAT_INVALID,
]);

export function decodeDisconnect(reader: PacketReader, version: Version): ReasonPacket {
  if (version !== VERSION.V5) {
    reader.end("DISCONNECT");
    return { reason: REASON.SUCCESS, properties: NOTHING };
  }
  if (reader.remaining === 0) return { reason: REASON.SUCCESS, properties: NOTHING };
  const reason = reader.u8("reason code");
  if (!DISCONNECT_REASONS.has(reason))
    throw protocolError(`reason code ${reason} in DISCONNECT`, "MQTT-3.14.2-1");
  if (reader.remaining === 0) return { reason, properties: NOTHING };
  const properties = readProperties(reader, PLACE.DISCONNECT);
  reader.end("DISCONNECT");
  return { reason, properties };
}

export function decodeAuth(reader: PacketReader): ReasonPacket {
  if (reader.remaining === 0) throw protocolError("AUTH with reason 0 from a client");
  const reason = reader.u8("reason code");
  if (reason !== REASON.CONTINUE_AUTHENTICATION && reason !== REASON.RE_AUTHENTICATE)
    throw protocolError(`reason code ${reason} in AUTH`, "MQTT-3.15.2-1");
  if (reader.remaining === 0) throw protocolError("AUTH without authentication method");
  const properties = readProperties(reader, PLACE.AUTH);
  reader.end("AUTH");
  if (properties.authMethod === undefined)
    throw protocolError("AUTH without authentication method");
  return { reason, properties };
}

export function decodeEmpty(reader: PacketReader, what: string): void {
  if (reader.remaining > 0) throw malformed(`${what} is not empty`);
}

const writer = new PacketWriter();

/** The bytes are valid until the next call of an encoder in this file. */
export function encodeConnack(
  version: Version,
  isSessionPresent: boolean,
  code: number,
  properties: Properties = NOTHING,
): Buffer {
  writer.begin(PACKET.CONNACK).u8(isSessionPresent ? 1 : 0);
  writer.u8(code);
  if (version === VERSION.V5) writeProperties(writer, properties);
  return writer.finish();
}

export function encodeSuback(
  version: Version,
  packetId: number,
  codes: readonly number[],
  properties: Properties = NOTHING,
): Buffer {
  writer.begin(PACKET.SUBACK).u16(packetId);
  if (version === VERSION.V5) writeProperties(writer, properties);
  for (const code of codes) writer.u8(code);
  return writer.finish();
}

/** UNSUBACK; in MQTT 3 it carries no codes. */
export function encodeUnsuback(
  version: Version,
  packetId: number,
  codes: readonly number[],
  properties: Properties = NOTHING,
): Buffer {
  writer.begin(PACKET.UNSUBACK).u16(packetId);
  if (version === VERSION.V5) {
    writeProperties(writer, properties);
    for (const code of codes) writer.u8(code);
  }
  return writer.finish();
}

/** DISCONNECT from a server exists in MQTT 5 only. */
export function encodeDisconnect(reason: number, properties: Properties = NOTHING): Buffer {
  writer.begin(PACKET.DISCONNECT).u8(reason);
  writeProperties(writer, properties);
  return writer.finish();
}

export function encodeAuth(reason: number, properties: Properties): Buffer {
  writer.begin(PACKET.AUTH).u8(reason);
  writeProperties(writer, properties);
  return writer.finish();
}

export const PINGRESP_BYTES: Uint8Array = Uint8Array.of(PACKET.PINGRESP << 4, 0);
