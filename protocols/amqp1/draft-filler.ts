/**
 * From a scanned message to the broker's draft: the header, and the few properties and annotations that routing, order,
 * expiry and delay need. The message itself stays as it came.
 */
import type { Draft } from "../../src/model/draft.ts";
import { identifierToText } from "../../src/model/identifiers.ts";
import { ANNOTATION, type MessageScan, PROPERTY } from "./codec/sections.ts";
import { CONDITION, LinkError } from "./errors.ts";
import { toTyped } from "./typed.ts";

/**
 * A message whose format is not 0 is stored behind this mark: a descriptor that no section has, and the format.
 *
 *   00 53 00 70 <format, 4 bytes>
 */
export const OPAQUE_MARK_BYTES = 8;

export function writeOpaqueMark(bytes: Buffer, at: number, messageFormat: number): void {
  bytes.writeUInt32BE(0x00530070, at);
  bytes.writeUInt32BE(messageFormat, at + 4);
}

/** A copy of `bytes[start, end)` behind the mark. */
export function withOpaqueMark(
  bytes: Buffer,
  start: number,
  end: number,
  messageFormat: number,
): Buffer {
  const marked = Buffer.allocUnsafe(OPAQUE_MARK_BYTES + end - start);
  writeOpaqueMark(marked, 0, messageFormat);
  bytes.copy(marked, OPAQUE_MARK_BYTES, start, end);
  return marked;
}

/** The message-format of stored bytes: 0 unless they begin with the mark. */
export function messageFormatOf(bytes: Buffer, start: number, end: number): number {
  if (bytes[start + 2] !== 0 || end - start < OPAQUE_MARK_BYTES) return 0;
  return bytes.readUInt32BE(start) === 0x00530070 ? bytes.readUInt32BE(start + 4) : 0;
}

/** Longest text taken from a message into the record's properties. */
const MAX_TEXT = 4096;

export function fillDraft(draft: Draft, scan: MessageScan): void {
  draft.isDurable = scan.isDurable;
  draft.priority = scan.priority;
  draft.ttlMs = scan.ttlMs;
  if (scan.hasProperties) fillFromProperties(draft, scan);
  if (scan.hasAnnotations) fillFromAnnotations(draft, scan);
}

function fillFromProperties(draft: Draft, scan: MessageScan): void {
  const expiry = scan.property(PROPERTY.ABSOLUTE_EXPIRY);
  // 0 is what JMS clients write for "never".
  if (expiry >= 0) draft.expiresAt = Math.max(0, integer(scan, expiry, "absolute-expiry-time"));
  const creation = scan.property(PROPERTY.CREATION_TIME);
  if (creation >= 0) draft.bornAt = Math.max(0, integer(scan, creation, "creation-time"));
  const group = scan.property(PROPERTY.GROUP_ID);
  if (group >= 0) draft.group = text(scan, group, "group-id");
}

function fillFromAnnotations(draft: Draft, scan: MessageScan): void {
  const time = scan.annotation(ANNOTATION.DELIVERY_TIME);
  const delay = scan.annotation(ANNOTATION.DELIVERY_DELAY);
  const notBefore = scan.annotation(ANNOTATION.NOT_VALID_BEFORE);
  if (time >= 0) {
    draft.deliverAt = Math.max(0, integer(scan, time, "x-opt-delivery-time"));
  } else if (delay >= 0) {
    const ms = integer(scan, delay, "x-opt-delivery-delay");
    if (ms > 0) draft.deliverAt = Date.now() + ms;
  } else if (notBefore >= 0) {
    draft.deliverAt = Math.max(0, integer(scan, notBefore, "x-qpid-not-valid-before"));
  }
  const tag = scan.annotation(ANNOTATION.TAG);
  if (tag >= 0) draft.tag = text(scan, tag, "x-tag");
  const keys = scan.annotation(ANNOTATION.KEYS);
  if (keys >= 0) {
    draft.keys = text(scan, keys, "x-keys");
    draft.isEmptyBody = isEmptyBody(draft.bytes, scan.bodyAt, draft.end);
  }
  const retain = scan.annotation(ANNOTATION.RETAIN);
  if (retain >= 0) draft.isRetained = scan.isTrueAt(retain);
}

/** No section, or one with nothing in it: null, an empty string, or empty bytes. */
function isEmptyBody(bytes: Buffer, at: number, end: number): boolean {
  if (at >= end) return true;
  const isShort = end - at === 4 || (end - at === 5 && bytes[end - 1] === 0);
  if (!isShort || bytes[at] !== 0 || bytes[at + 1] !== 0x53) return false;
  const [section, code] = [bytes[at + 2], bytes[at + 3]];
  // amqp-value with null, str8 or vbin8; data with vbin8.
  if (section === 0x77) return end - at === 4 ? code === 0x40 : code === 0xa1 || code === 0xa0;
  return section === 0x75 && end - at === 5 && code === 0xa0;
}

/** The publisher's message-id in its text form; "" for none. */
export function messageIdOf(scan: MessageScan): string {
  const value = scan.property(PROPERTY.MESSAGE_ID);
  if (value < 0) return "";
  const typed = toTyped(scan.valueAt(value));
  switch (typed.type) {
    case "string":
    case "uuid":
    case "u64":
    case "bytes":
      return identifierToText(typed);
    default:
      return "";
  }
}

function integer(scan: MessageScan, at: number, name: string): number {
  const value = scan.integerAt(at);
  if (Number.isNaN(value)) throw wrong(name, "a whole number");
  return value;
}

/** Goes into the record's properties, whose separators it must not hold. */
function text(scan: MessageScan, at: number, name: string): string {
  const value = scan.textAt(at);
  if (value === undefined) throw wrong(name, "a string");
  if (value.length > MAX_TEXT) throw wrong(name, `at most ${MAX_TEXT} characters long`);
  return value.replaceAll("\x01", "?").replaceAll("\x02", "?");
}

const wrong = (name: string, expected: string): LinkError =>
  new LinkError(CONDITION.INVALID_FIELD, `${name} is not ${expected}.`);
