/**
 * CONNECT (§3.1) of all three versions. The packet object is filled from the front, so that its `version` tells in
 * which form to refuse when something behind it is wrong.
 */
import { type QoS, REASON, VERSION, type Version } from "./constants.ts";
import { PLACE, type Properties, readProperties } from "./properties.ts";
import { malformed, ProtocolError } from "./protocol-error.ts";
import type { PacketReader } from "./reader.ts";

const FLAG = {
  RESERVED: 0x01,
  CLEAN: 0x02,
  WILL: 0x04,
  WILL_QOS_SHIFT: 3,
  WILL_RETAIN: 0x20,
  PASSWORD: 0x40,
  USER: 0x80,
} as const;

export interface WillPacket {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: QoS;
  readonly isRetained: boolean;
  readonly properties: Properties;
}

export class ConnectPacket {
  /** 0 until the protocol level was read. */
  version: Version | 0 = 0;
  isCleanStart = false;
  keepAliveSeconds = 0;
  clientId = "";
  user: string | null = null;
  password: Buffer | null = null;
  will: WillPacket | null = null;
  properties: Properties = {};
}

/** Fills `packet`; throws ProtocolError, UNSUPPORTED_VERSION when the level is not 3, 4 or 5. */
export function decodeConnect(reader: PacketReader, packet: ConnectPacket): void {
  readVersion(reader, packet);
  const isV5 = packet.version === VERSION.V5;
  const flags = reader.u8("connect flags");
  if ((flags & FLAG.RESERVED) !== 0 && packet.version !== VERSION.V31)
    throw malformed("reserved connect flag is set", "MQTT-3.1.2-3");
  checkFlags(flags, packet.version as Version);
  packet.isCleanStart = (flags & FLAG.CLEAN) !== 0;
  packet.keepAliveSeconds = reader.u16("keep alive");
  if (isV5) {
    packet.properties = readProperties(reader, PLACE.CONNECT);
    if (packet.properties.authData !== undefined && packet.properties.authMethod === undefined)
      throw new ProtocolError(
        REASON.PROTOCOL_ERROR,
        "authentication data without authentication method",
      );
  }
  packet.clientId = reader.text("client identifier");
  if ((flags & FLAG.WILL) !== 0) packet.will = readWill(reader, flags, isV5);
  if ((flags & FLAG.USER) !== 0) packet.user = reader.text("user name");
  if ((flags & FLAG.PASSWORD) !== 0) packet.password = reader.binary("password");
  reader.end("CONNECT");
}

function readVersion(reader: PacketReader, packet: ConnectPacket): void {
  const name = reader.text("protocol name");
  const level = reader.u8("protocol level");
  if (name !== "MQTT" && name !== "MQIsdp")
    throw new ProtocolError(REASON.UNSUPPORTED_VERSION, "unknown protocol name", "MQTT-3.1.2-1");
  if (name === "MQIsdp" ? level === 3 : level === 4 || level === 5) {
    packet.version = level as Version;
    return;
  }
  // The refusal must be one the peer can read: a level above 5 gets the form of 5, others that of 3.1.1.
  packet.version = level > 5 && level < 0x80 ? VERSION.V5 : VERSION.V311;
  throw new ProtocolError(REASON.UNSUPPORTED_VERSION, `protocol level ${level}`, "MQTT-3.1.2-2");
}

function checkFlags(flags: number, version: Version): void {
  const willQoS = (flags >> FLAG.WILL_QOS_SHIFT) & 3;
  if ((flags & FLAG.WILL) === 0) {
    if (willQoS !== 0) throw malformed("will QoS without will", "MQTT-3.1.2-11");
    if ((flags & FLAG.WILL_RETAIN) !== 0)
      throw malformed("will retain without will", "MQTT-3.1.2-13");
  } else if (willQoS === 3) {
    throw malformed("will QoS 3", "MQTT-3.1.2-12");
  }
  // MQTT 5 lets a password stand alone, for tokens.
  if (version !== VERSION.V5 && (flags & FLAG.PASSWORD) !== 0 && (flags & FLAG.USER) === 0)
    throw malformed("password without user name", "MQTT-3.1.2-22");
}

function readWill(reader: PacketReader, flags: number, isV5: boolean): WillPacket {
  const properties = isV5 ? readProperties(reader, PLACE.WILL) : {};
  const topic = reader.text("will topic");
  const payload = reader.binary("will payload");
  return {
    topic,
    payload,
    properties,
    qos: ((flags >> FLAG.WILL_QOS_SHIFT) & 3) as QoS,
    isRetained: (flags & FLAG.WILL_RETAIN) !== 0,
  };
}
