/**
 * Bodies between kinds and bytes: what a message's body is for protocols that carry octets (AMQP 0-9-1, STOMP, MQTT,
 * RocketMQ), and back (spec protocols.md §4.5).
 */
import { Buffer } from "node:buffer";
import type { BodyKind } from "./body-kind.ts";
import { AMQP_TYPE, decodeText, isValidUtf8, JAVA_OBJECT, JSON_TYPE } from "./content-type.ts";
import type { Neutral, NeutralMessage } from "./neutral.ts";
import { fromTypedJson, toTypedJson } from "./typed-json.ts";

export interface Payload {
  readonly bytes: Buffer;
  /** The message's own, or what its kind demands; "" when neither says anything (text included: see `TEXT_PLAIN`). */
  readonly contentType: string;
  /** For header `x-body-kind`: "map", "list" or "none" when only that tells a reader what the bytes are, else "". */
  readonly bodyKind: "" | "map" | "list" | "none";
  readonly isText: boolean;
}

const EMPTY = Buffer.alloc(0);

export function payloadOf(message: NeutralMessage): Payload {
  const { bodyKind, contentType, bytes, value } = message;
  switch (bodyKind) {
    case "none":
      return { bytes: EMPTY, contentType, bodyKind: "none", isText: false };
    case "map":
    case "list": {
      const json = value === null ? (bodyKind === "map" ? "{}" : "[]") : toTypedJson(value);
      return { bytes: Buffer.from(json), contentType: JSON_TYPE, bodyKind, isText: true };
    }
    case "object":
      return { bytes, contentType: contentType || JAVA_OBJECT, bodyKind: "", isText: false };
    case "amqp":
      return { bytes, contentType: AMQP_TYPE, bodyKind: "", isText: false };
    default:
      return { bytes, contentType, bodyKind: "", isText: bodyKind === "text" };
  }
}

/**
 * Sets the body from a payload that a rule of body-kind.ts called `kind`. Where the bytes do not keep the promise (JSON
 * that does not parse, text that is not valid), the message has bytes: nothing is lost and nobody is refused.
 */
export function setPayload(message: Neutral, kind: BodyKind, payload: Buffer): void {
  message.bytes = payload;
  message.value = null;
  message.bodyKind = kind;
  switch (kind) {
    case "none":
      message.bytes = EMPTY;
      if (payload.length > 0) {
        message.bodyKind = "bytes";
        message.bytes = payload;
      }
      return;
    case "map":
    case "list": {
      const value = isValidUtf8(payload) ? fromTypedJson(payload.toString("utf8")) : undefined;
      if (value === undefined || value.type !== kind) {
        message.bodyKind = "bytes";
        return;
      }
      message.value = value;
      message.bytes = EMPTY;
      return;
    }
    case "text": {
      if (isValidUtf8(payload) && !/charset/i.test(message.contentType)) return;
      const text = decodeText(payload, message.contentType);
      if (text === undefined) message.bodyKind = "bytes";
      else if (!isUtf8Charset(message.contentType)) {
        message.bytes = Buffer.from(text, "utf8");
        message.contentType = message.contentType.replace(
          /charset\s*=\s*"?[^";\s]+"?/i,
          "charset=utf-8",
        );
      }
      return;
    }
    default:
  }
}

const isUtf8Charset = (contentType: string): boolean =>
  /charset\s*=\s*"?(utf-?8|us-ascii|ascii)\b/i.test(contentType);

/** The text of a text body, and of a bytes body whose content type makes it text; undefined otherwise. */
export const textOf = (message: NeutralMessage): string | undefined =>
  message.bodyKind === "text"
    ? message.bytes.toString("utf8")
    : message.bodyKind === "bytes"
      ? decodeText(message.bytes, message.contentType)
      : undefined;
