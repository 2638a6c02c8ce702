/**
 * Finds where a packet ends (§2.1): one byte of type and flags, then the remaining length in one to four bytes.
 */
import { PACKET, PACKET_NAMES, VERSION, type Version } from "./constants.ts";
import { malformed } from "./protocol-error.ts";

/** Where the packet at hand lies. One object per connection is filled again and again. */
export class Frame {
  /** First byte: type and flags. */
  first = 0;
  /** After the fixed header. */
  bodyStart = 0;
  /** After the packet; it may lie beyond the bytes at hand. */
  end = 0;

  /** False when not even the length is there yet. */
  open(bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start < 2) return false;
    this.first = bytes[start]!;
    const second = bytes[start + 1]!;
    if (second < 0x80) {
      this.bodyStart = start + 2;
      this.end = this.bodyStart + second;
      return true;
    }
    let length = second & 0x7f;
    let at = start + 2;
    for (let shift = 7; shift < 28; shift += 7) {
      if (at >= end) return false;
      const byte = bytes[at++]!;
      length |= (byte & 0x7f) << shift;
      if (byte >= 0x80) continue;
      if (byte === 0) throw malformed("remaining length is longer than needed", "MQTT-1.5.5-1");
      this.bodyStart = at;
      this.end = at + length;
      return true;
    }
    throw malformed("remaining length is longer than four bytes");
  }
}

/** Flag bits every packet but PUBLISH must have (§2.1.3), by type. */
const FIXED_FLAGS = [-1, 0, 0, -1, 0, 0, 2, 0, 2, 0, 2, 0, 0, 0, 0, 0];

/** Checks what can be told from the first byte alone: does this type exist, may a client send it, are its flags right? */
export function checkFirstByte(first: number, version: Version): void {
  const type = first >> 4;
  switch (type) {
    case PACKET.CONNACK:
    case PACKET.SUBACK:
    case PACKET.UNSUBACK:
    case PACKET.PINGRESP:
      throw malformed(`${PACKET_NAMES[type]} comes from servers only`);
    case PACKET.AUTH:
      if (version !== VERSION.V5) throw malformed("AUTH exists in MQTT 5 only");
      break;
    case PACKET.PUBLISH:
      if ((first & 6) === 6) throw malformed("QoS 3", "MQTT-3.3.1-4");
      // MQTT 5 and 3.1.1: DUP must be 0 for QoS 0; 3.1 has no such rule.
      if ((first & 14) === 8 && version !== VERSION.V31)
        throw malformed("DUP set on QoS 0", "MQTT-3.3.1-2");
      return;
    case 0:
      throw malformed("packet type 0");
    default:
  }
  // 3.1 used the DUP and QoS bits of these packets freely; only PUBREL, SUBSCRIBE and UNSUBSCRIBE were QoS 1.
  if (version === VERSION.V31) return;
  if ((first & 15) !== FIXED_FLAGS[type])
    throw malformed(`reserved flags of ${PACKET_NAMES[type]} are ${first & 15}`, "MQTT-2.1.3-1");
}
