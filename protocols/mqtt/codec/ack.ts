/**
 * PUBACK, PUBREC, PUBREL and PUBCOMP (§§3.4-3.7): four packets of one shape. Reading fills a view; writing puts four
 * bytes for success, five with a reason.
 */
import { PACKET, PACKET_NAMES, REASON, VERSION, type Version } from "./constants.ts";
import { PLACE, readProperties } from "./properties.ts";
import { malformed, protocolError } from "./protocol-error.ts";
import { PacketReader } from "./reader.ts";

const reader = new PacketReader();

/** Reason codes a client may give in PUBACK and PUBREC. */
const PUBLISH_REASONS: ReadonlySet<number> = new Set([
  REASON.SUCCESS,
  REASON.NO_MATCHING_SUBSCRIBERS,
  REASON.UNSPECIFIED,
  REASON.IMPLEMENTATION_SPECIFIC,
  REASON.NOT_AUTHORIZED,
  REASON.TOPIC_NAME_INVALID,
  REASON.PACKET_ID_IN_USE,
  REASON.QUOTA_EXCEEDED,
  REASON.PAYLOAD_FORMAT_INVALID,
]);
const RELEASE_REASONS: ReadonlySet<number> = new Set([REASON.SUCCESS, REASON.PACKET_ID_NOT_FOUND]);

export class AckView {
  packetId = 0;
  /** 0 in MQTT 3. */
  reason = 0;

  open(bytes: Buffer, type: number, start: number, end: number, version: Version): this {
    const length = end - start;
    if (length < 2) throw malformed(`${PACKET_NAMES[type]} without packet identifier`);
    this.packetId = (bytes[start]! << 8) | bytes[start + 1]!;
    this.reason = 0;
    if (this.packetId === 0) throw protocolError("packet identifier 0", "MQTT-2.2.1-3");
    if (length === 2) return this;
    if (version !== VERSION.V5) throw malformed(`${PACKET_NAMES[type]} is too long`);
    this.reason = bytes[start + 2]!;
    const allowed =
      type === PACKET.PUBACK || type === PACKET.PUBREC ? PUBLISH_REASONS : RELEASE_REASONS;
    if (!allowed.has(this.reason))
      throw protocolError(`reason code ${this.reason} in ${PACKET_NAMES[type]}`, "MQTT-3.4.2-1");
    if (length === 3) return this;
    reader.open(bytes, start + 3, end);
    const properties = readProperties(reader, PLACE.PUBLISH_ACK);
    reader.end(PACKET_NAMES[type]!);
    // Reason String and User Property are for people; nothing here depends on them.
    void properties;
    return this;
  }
}

/** Bytes `putAck` may write. */
export const ACK_SIZE_MAX = 5;

/** Writes an acknowledgement at `at`; `reason` is left out when 0, as it must be in MQTT 3. Returns the index after it. */
export function putAck(
  out: Buffer,
  at: number,
  type: number,
  packetId: number,
  reason: number,
): number {
  out[at] = (type << 4) | (type === PACKET.PUBREL ? 2 : 0);
  out[at + 1] = reason === 0 ? 2 : 3;
  out[at + 2] = packetId >> 8;
  out[at + 3] = packetId & 0xff;
  if (reason === 0) return at + 4;
  out[at + 4] = reason;
  return at + 5;
}
