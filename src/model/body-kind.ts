/**
 * What kind of body a message has, decided where it comes in, by the rules of its protocol (spec protocols.md §4.5).
 * Each function is the whole rule for one protocol; nothing is guessed from the bytes.
 */
import { AMQP_TYPE, isTextual, JAVA_OBJECT, JSON_TYPE, mediaType } from "./content-type.ts";

/** "amqp": any other AMQP 1.0 body (several data sections, numbers, described values), kept as encoded sections. */
const BODY_KINDS = ["none", "bytes", "text", "map", "list", "object", "amqp"] as const;
export type BodyKind = (typeof BODY_KINDS)[number];

/** Annotation `x-opt-jms-msg-type`, a byte. */
export const JMS_MESSAGE_TYPE = { none: 0, object: 1, map: 2, bytes: 3, list: 4, text: 5 } as const;

/** The shape of an AMQP 1.0 body: its sections, and of a single `amqp-value` the type of the value. */
export type AmqpBodyShape =
  | "absent"
  | "data"
  | "sequence"
  | "value-null"
  | "value-string"
  | "value-binary"
  | "value-map"
  | "value-list"
  | "other";

const KINDS_BY_JMS_TYPE: readonly BodyKind[] = ["none", "object", "map", "bytes", "list", "text"];
const AGREES: Record<BodyKind, readonly AmqpBodyShape[]> = {
  none: ["absent", "value-null"],
  object: ["data"],
  map: ["value-map"],
  bytes: ["data", "value-binary", "absent"],
  list: ["sequence", "value-list", "absent"],
  text: ["value-string", "data"],
  amqp: [],
};

/** `jmsType`: the annotation's number, or -1 without it. */
export function amqp1BodyKind(
  shape: AmqpBodyShape,
  jmsType: number,
  contentType: string,
): BodyKind {
  const said = KINDS_BY_JMS_TYPE[jmsType];
  // A TextMessage in a data section stays bytes: its content type says that it is text.
  if (said !== undefined && AGREES[said].includes(shape)) {
    return said === "text" && shape === "data" ? "bytes" : said;
  }
  switch (shape) {
    case "absent":
    case "value-null":
      return "none";
    case "data":
      return mediaType(contentType) === JAVA_OBJECT ? "object" : "bytes";
    case "value-string":
      return "text";
    case "value-binary":
      return "bytes";
    case "value-map":
      return "map";
    case "value-list":
    case "sequence":
      return "list";
    default:
      return "amqp";
  }
}

const named = (kind: string | undefined): BodyKind | undefined =>
  BODY_KINDS.includes(kind as BodyKind) ? (kind as BodyKind) : undefined;

/** `type`: the basic property; `xBodyKind`: header `x-body-kind`. */
export function amqp091BodyKind(
  type: string,
  xBodyKind: string | undefined,
  contentType: string,
): BodyKind {
  if (type === "amqp-1.0") return "amqp";
  return named(xBodyKind) ?? (mediaType(contentType) === JAVA_OBJECT ? "object" : "bytes");
}

export interface StompBodyHints {
  readonly hasContentLength: boolean;
  readonly contentType: string;
  /** Header amq-msg-type. */
  readonly amqMsgType?: string | undefined;
  readonly transformation?: string | undefined;
  readonly xBodyKind?: string | undefined;
}

export function stompBodyKind(hints: StompBodyHints): BodyKind {
  const { amqMsgType, transformation, contentType } = hints;
  if (amqMsgType === "text" || amqMsgType === "bytes") return amqMsgType;
  const said = named(hints.xBodyKind);
  if (said !== undefined) return said;
  if (transformation === "jms-map-json") return "map";
  if (contentType !== "") {
    if (mediaType(contentType) === JAVA_OBJECT) return "object";
    if (mediaType(contentType) === AMQP_TYPE) return "amqp";
    if (isTextual(contentType)) return "text";
  }
  return hints.hasContentLength ? "bytes" : "text";
}

/** `isUtf8Payload`: Payload Format Indicator 1. MQTT 3: `mqttBodyKind(false, "", undefined)`. */
export function mqttBodyKind(
  isUtf8Payload: boolean,
  contentType: string,
  xBodyKind: string | undefined,
): BodyKind {
  const said = named(xBodyKind);
  const type = mediaType(contentType);
  if (said === "map" || said === "list")
    return type === JSON_TYPE ? said : textOrBytes(isUtf8Payload);
  if (said !== undefined) return said;
  if (type === AMQP_TYPE) return "amqp";
  if (type === JAVA_OBJECT) return "object";
  return textOrBytes(isUtf8Payload);
}

const textOrBytes = (isText: boolean): BodyKind => (isText ? "text" : "bytes");

export const rocketmqBodyKind = (xBodyKind: string | undefined): BodyKind =>
  named(xBodyKind) ?? "bytes";
