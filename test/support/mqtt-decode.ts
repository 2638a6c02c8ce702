/** Any packet a client sends, decoded by our codec into one plain object, for tests. */
import { AckView } from "../../protocols/mqtt/codec/ack.ts";
import { ConnectPacket, decodeConnect } from "../../protocols/mqtt/codec/connect.ts";
import { PACKET, PACKET_NAMES, type Version } from "../../protocols/mqtt/codec/constants.ts";
import { decodeAuth, decodeDisconnect, decodeEmpty } from "../../protocols/mqtt/codec/control.ts";
import { checkFirstByte, Frame } from "../../protocols/mqtt/codec/framing.ts";
import { PublishProperties, PublishView } from "../../protocols/mqtt/codec/publish.ts";
import { PacketReader } from "../../protocols/mqtt/codec/reader.ts";
import { decodeSubscribe, decodeUnsubscribe } from "../../protocols/mqtt/codec/subscribe.ts";

/** null: the packet is not complete. Throws ProtocolError. */
export function decodeClient(bytes: Buffer, version: Version): Record<string, unknown> | null {
  const frame = new Frame();
  if (!frame.open(bytes, 0, bytes.length)) return null;
  checkFirstByte(frame.first, version);
  if (frame.end > bytes.length) return null;
  const type = frame.first >> 4;
  const { bodyStart: start, end } = frame;
  const reader = new PacketReader().open(bytes, start, end);
  const name = PACKET_NAMES[type]!;
  switch (type) {
    case PACKET.CONNECT: {
      const packet = new ConnectPacket();
      decodeConnect(reader, packet);
      return { name, ...packet };
    }
    case PACKET.PUBLISH: {
      const view = new PublishView().open(bytes, frame.first, start, end, version);
      const properties = new PublishProperties();
      if (view.propertiesEnd > view.propertiesStart)
        properties.open(bytes, view.propertiesStart, view.propertiesEnd);
      return {
        name,
        topic: bytes.toString("utf8", view.topicStart, view.topicEnd),
        payload: bytes.toString("latin1", view.payloadStart, view.payloadEnd),
        qos: view.qos,
        isDup: view.isDup,
        isRetained: view.isRetained,
        packetId: view.packetId,
        topicAlias: properties.topicAlias,
        messageExpiry: properties.messageExpiry,
        payloadFormat: properties.payloadFormat,
      };
    }
    case PACKET.PUBACK:
    case PACKET.PUBREC:
    case PACKET.PUBREL:
    case PACKET.PUBCOMP: {
      const view = new AckView().open(bytes, type, start, end, version);
      return { name, packetId: view.packetId, reason: view.reason };
    }
    case PACKET.SUBSCRIBE:
      return { name, ...decodeSubscribe(reader, version) };
    case PACKET.UNSUBSCRIBE:
      return { name, ...decodeUnsubscribe(reader, version) };
    case PACKET.DISCONNECT:
      return { name, ...decodeDisconnect(reader, version) };
    case PACKET.AUTH:
      return { name, ...decodeAuth(reader) };
    default:
      decodeEmpty(reader, name);
      return { name };
  }
}
