/**
 * Records without an encoding of a protocol of ours: FOREIGN (written by RocketMQ) and RAW (payload bytes with neutral text
 * properties, properties.ts), both ways.
 *
 * FOREIGN bodies may be compressed; what cannot be inflated here is given as it is, with its content encoding told.
 */
import { Buffer } from "node:buffer";
import * as zlib from "node:zlib";
import { printAddress } from "./address.ts";
import { rocketmqBodyKind } from "./body-kind.ts";
import { deathsToText } from "./deaths.ts";
import type { Draft } from "./draft.ts";
import { identifierToText } from "./identifiers.ts";
import type { Neutral, NeutralMessage } from "./neutral.ts";
import { payloadOf, setPayload } from "./payload.ts";
import {
  annotationText,
  propertyText,
  RECORD_PROPERTY,
  readForeignProperty,
  readUserProperty,
  userPropertyText,
} from "./properties.ts";
import { neutralFromRecord } from "./record-fields.ts";
import { ENCODING, type RecordView } from "./record-view.ts";

const P = RECORD_PROPERTY;
const SYS_COMPRESSED = 1;
const COMPRESSION_MASK = 0x700;
const COMPRESSION = { LEGACY_ZLIB: 0, LZ4: 0x100, ZSTD: 0x200, ZLIB: 0x300 } as const;
/** A compressed body grows at most to this: RocketMQ's own limit is 4 MiB before compression. */
const MAX_INFLATED_BYTES = 64 * 1024 * 1024;

type Inflate = (bytes: Buffer, options: { maxOutputLength: number }) => Buffer;

export function decodeForeign(record: RecordView): Neutral {
  const hints = { bodyKind: "", isEmpty: false };
  const message: Neutral = neutralFromRecord(record, readForeignProperty, hints);
  if (hints.isEmpty && record.bodyLength === 1) message.bytes = Buffer.alloc(0);
  else message.bytes = record.buffer.subarray(record.bodyStart, record.bodyEnd);
  if (record.sysFlag & SYS_COMPRESSED) inflate(message, record.sysFlag & COMPRESSION_MASK);
  setPayload(message, rocketmqBodyKind(hints.bodyKind), message.bytes);
  return message;
}

export function decodeRaw(record: RecordView): Neutral {
  const hints = { bodyKind: "", isEmpty: false };
  const message = neutralFromRecord(record, readUserProperty, hints);
  const bytes = record.buffer.subarray(record.bodyStart, record.bodyEnd);
  setPayload(message, rocketmqBodyKind(hints.bodyKind), bytes);
  return message;
}

function inflate(message: Neutral, type: number): void {
  const options = { maxOutputLength: MAX_INFLATED_BYTES };
  // Zstandard came to Node after our oldest supported version.
  const zstd = (zlib as unknown as { zstdDecompressSync?: Inflate }).zstdDecompressSync;
  try {
    if (type === COMPRESSION.LEGACY_ZLIB || type === COMPRESSION.ZLIB) {
      message.bytes = zlib.inflateSync(message.bytes, options);
      return;
    }
    if (type === COMPRESSION.ZSTD && zstd !== undefined) {
      message.bytes = zstd(message.bytes, options);
      return;
    }
  } catch {
    // Damaged or too large: the reader gets the bytes as they are and can see why.
  }
  message.contentEncoding =
    type === COMPRESSION.LZ4 ? "lz4" : type === COMPRESSION.ZSTD ? "zstd" : "deflate";
}

/**
 * Fills a draft so that the record says the same in RAW form: for messages that no protocol encoded (management, bridges,
 * conversions before storing). Address, expiry and durability are the draft's own fields.
 */
export function fillRawDraft(draft: Draft, message: NeutralMessage): Draft {
  const payload = payloadOf(message);
  draft.reset();
  draft.encoding = ENCODING.RAW;
  draft.bytes = payload.bytes;
  draft.start = 0;
  draft.end = payload.bytes.length;
  draft.isDurable = message.isDurable;
  draft.priority = message.priority;
  draft.ttlMs = message.ttlMs;
  draft.expiresAt = message.expiresAt;
  draft.deliverAt = message.deliverAt;
  draft.bornAt = message.bornAt;
  draft.isRetained = message.isRetained;
  draft.tag = message.isTagInPath ? "" : message.tag;
  draft.keys = message.keys.join(" ");
  draft.group = message.group;
  draft.properties = rawProperties(message, payload.contentType, payload.bodyKind);
  return draft;
}

function rawProperties(message: NeutralMessage, contentType: string, kind: string): string {
  let text = "";
  const put = (name: string, value: string): void => {
    if (value !== "") text += propertyText(name, value);
  };
  if (message.id !== null) put(P.MESSAGE_ID, identifierToText(message.id));
  put(P.UNIQUE_KEY, message.uniqueKey);
  if (message.correlation !== null) put(P.CORRELATION, identifierToText(message.correlation));
  if (message.replyTo !== null) put(P.REPLY_TO, printAddress(message.replyTo));
  if (message.exchange !== null) text += propertyText(P.EXCHANGE, message.exchange);
  for (const key of message.routingKeys) text += propertyText(P.ROUTING_KEY, key);
  if (message.groupSequence !== null) put(P.GROUP_SEQUENCE, String(message.groupSequence));
  put(P.REPLY_GROUP, message.replyGroup);
  if (message.ttlMs > 0) put(P.TTL, String(message.ttlMs));
  if (message.userId !== null) put(P.USER_ID, Buffer.from(message.userId).toString("utf8"));
  put(P.APP_ID, message.appId);
  put(P.TYPE, message.type);
  put(P.CONTENT_TYPE, contentType);
  put(P.CONTENT_ENCODING, message.contentEncoding);
  put(P.BODY_KIND, kind !== "" ? kind : message.bodyKind === "bytes" ? "" : message.bodyKind);
  if (message.deaths.length > 0) put(P.DEATHS, deathsToText(message.deaths));
  for (const property of message.properties) text += userPropertyText(property);
  for (const annotation of message.annotations) text += annotationText(annotation);
  return text;
}
