/**
 * What CONNECT asks for, checked and brought into one form for all versions: identity, session, will, limits.
 */
import { isUtf8 } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { WillMessage } from "../../src/broker/session-facade.ts";
import { DEFAULT_NAMESPACE } from "../../src/model/address.ts";
import { Draft } from "../../src/model/draft.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import type { ConnectPacket, WillPacket } from "./codec/connect.ts";
import { REASON, VERSION, type Version } from "./codec/constants.ts";
import type { Properties } from "./codec/properties.ts";
import { ProtocolError, protocolError } from "./codec/protocol-error.ts";
import { isTopicNameText } from "./codec/topic.ts";
import { listBytes, messageProperties, propertyText } from "./message-properties.ts";
import type { MqttSettings } from "./settings.ts";

const VARINT_FREE_MAX_PACKET = 268_435_460;

export interface Login {
  readonly version: Version;
  readonly clientId: string;
  readonly isAssignedId: boolean;
  readonly namespace: string;
  /** Without the namespace; null: none was given. */
  readonly user: string | null;
  readonly password: string;
  readonly isCleanStart: boolean;
  readonly expirySeconds: number;
  readonly keepAliveSeconds: number;
  readonly will: WillMessage | null;
  /** Open QoS 1 and 2 messages the client takes. */
  readonly window: number;
  readonly maxPacketBytes: number;
  readonly aliasMaximum: number;
  readonly wantsResponseInfo: boolean;
  /** Reason strings and user properties may be sent with every packet. */
  readonly wantsProblemInfo: boolean;
  readonly authMethod: string;
  readonly authData: Buffer;
}

/** Throws ProtocolError with the reason to refuse the connection for. */
export function readLogin(packet: ConnectPacket, settings: MqttSettings): Login {
  const version = packet.version as Version;
  const { properties } = packet;
  const { namespace, user } = splitUser(packet.user);
  const asked =
    version === VERSION.V5
      ? (properties.sessionExpiry ?? 0)
      : packet.isCleanStart
        ? 0
        : settings.v3SessionExpirySeconds;
  return {
    version,
    ...identify(packet, version, settings),
    namespace,
    user,
    password: packet.password?.toString("utf8") ?? "",
    isCleanStart: packet.isCleanStart,
    expirySeconds: Math.min(asked, settings.maxSessionExpirySeconds),
    keepAliveSeconds:
      version === VERSION.V5
        ? Math.min(packet.keepAliveSeconds, settings.maxKeepAliveSeconds)
        : packet.keepAliveSeconds,
    will: packet.will === null ? null : readWill(packet.will, settings),
    window: Math.min(properties.receiveMaximum ?? settings.maxInflight, 65_535),
    maxPacketBytes: properties.maximumPacketSize ?? VARINT_FREE_MAX_PACKET,
    aliasMaximum: Math.min(properties.topicAliasMaximum ?? 0, settings.outgoingAliasMaximum),
    wantsResponseInfo: properties.requestResponseInfo === 1,
    wantsProblemInfo: properties.requestProblemInfo !== 0,
    authMethod: properties.authMethod ?? "",
    authData: properties.authData ?? Buffer.alloc(0),
  };
}

function identify(
  packet: ConnectPacket,
  version: Version,
  settings: MqttSettings,
): { clientId: string; isAssignedId: boolean } {
  const { clientId } = packet;
  if (clientId === "") {
    // 3.1 knows no empty identifier; 3.1.1 allows it for sessions that end with the connection (MQTT-3.1.3-8).
    if (version === VERSION.V31 || (version === VERSION.V311 && !packet.isCleanStart))
      throw new ProtocolError(
        REASON.CLIENT_ID_NOT_VALID,
        "empty client identifier needs clean session 1",
        "MQTT-3.1.3-8",
      );
    return { clientId: `auto-${randomBytes(15).toString("base64url")}`, isAssignedId: true };
  }
  if (Buffer.byteLength(clientId) > settings.maxClientIdBytes)
    throw new ProtocolError(
      REASON.CLIENT_ID_NOT_VALID,
      "client identifier is longer than the limit",
    );
  return { clientId, isAssignedId: false };
}

/** `namespace:user`, as RabbitMQ spells it. */
function splitUser(name: string | null): { namespace: string; user: string | null } {
  const colon = name?.indexOf(":") ?? -1;
  if (name === null || colon < 1) return { namespace: DEFAULT_NAMESPACE, user: name };
  return { namespace: name.slice(0, colon), user: name.slice(colon + 1) };
}

function readWill(will: WillPacket, settings: MqttSettings): WillMessage {
  const { topic, properties } = will;
  if (!isTopicNameText(topic) || Buffer.byteLength(topic) > settings.maxTopicBytes)
    throw new ProtocolError(REASON.TOPIC_NAME_INVALID, "will topic is not a topic name");
  if (topic.startsWith("$SYS/") || topic.startsWith("$share/"))
    throw new ProtocolError(REASON.TOPIC_NAME_INVALID, "will topic is the broker's own");
  if (properties.responseTopic !== undefined && !isTopicNameText(properties.responseTopic))
    throw protocolError("response topic of the will is not a topic name", "MQTT-3.3.2-14");
  if (properties.payloadFormat === 1 && settings.checkPayloadFormat && !isUtf8(will.payload))
    throw new ProtocolError(REASON.PAYLOAD_FORMAT_INVALID, "will payload is not UTF-8");
  const draft = new Draft();
  draft.bytes = will.payload;
  draft.end = will.payload.length;
  draft.encoding = ENCODING.MQTT;
  draft.isDurable = will.qos > 0;
  draft.isExactlyOnce = will.qos === 2;
  draft.isRetained = will.isRetained;
  if (properties.messageExpiry !== undefined)
    draft.ttlMs = Math.max(1, properties.messageExpiry * 1000);
  draft.properties = propertyText(listBytes(messageProperties(properties)));
  return { topic, draft, delaySeconds: properties.willDelay ?? 0 };
}

/** CONNACK's properties: what differs from the protocol's defaults. */
export function connackProperties(
  login: Login,
  packet: ConnectPacket,
  settings: MqttSettings,
): Properties {
  const out: Properties = {
    receiveMaximum: settings.receiveMaximum,
    maximumPacketSize: settings.maxPacketBytes,
  };
  if (settings.topicAliasMaximum > 0) out.topicAliasMaximum = settings.topicAliasMaximum;
  if (login.expirySeconds !== (packet.properties.sessionExpiry ?? 0))
    out.sessionExpiry = login.expirySeconds;
  if (login.isAssignedId) out.assignedClientId = login.clientId;
  if (login.keepAliveSeconds !== packet.keepAliveSeconds)
    out.serverKeepAlive = login.keepAliveSeconds;
  if (login.wantsResponseInfo) out.responseInfo = `reply/${login.clientId.replace(/[+#]/g, "_")}/`;
  if (login.authMethod !== "") out.authMethod = login.authMethod;
  return out;
}

/** May DISCONNECT change the session's life to this? */
export function checkExpiryChange(current: number, wanted: number): void {
  // §3.14.2.2.2: a session that was to end with its connection cannot be kept after all.
  if (current === 0 && wanted !== 0)
    throw protocolError("session expiry in DISCONNECT, where CONNECT had 0");
}
