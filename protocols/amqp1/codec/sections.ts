/**
 * Finds what the broker needs in an encoded message without decoding it: the bounds of its sections, the header, and
 * a few properties and annotations. One scan is reused for every message; its positions hold for the bytes of the last.
 *
 * Guarantees that the sections fill the message exactly and come in their order (AMQP 1.0 part 3, 3.2); values inside
 * maps and bodies are not looked at.
 */
import { decodeError } from "../errors.ts";
import { CODE, SECTION } from "./codes.ts";
import { Decoder, decodeValue, descriptorNumber, skipValue } from "./decode.ts";
import type { Value } from "./value.ts";

const NONE = -1;

/** Positions of a properties section's fields. */
export const PROPERTY = {
  MESSAGE_ID: 0,
  USER_ID: 1,
  TO: 2,
  SUBJECT: 3,
  REPLY_TO: 4,
  CORRELATION_ID: 5,
  CONTENT_TYPE: 6,
  CONTENT_ENCODING: 7,
  ABSOLUTE_EXPIRY: 8,
  CREATION_TIME: 9,
  GROUP_ID: 10,
  GROUP_SEQUENCE: 11,
  REPLY_TO_GROUP_ID: 12,
} as const;
const PROPERTY_COUNT = 13;

/** Annotations that mean something to the broker. */
export const ANNOTATION = {
  DELIVERY_TIME: 0,
  DELIVERY_DELAY: 1,
  NOT_VALID_BEFORE: 2,
  TAG: 3,
  KEYS: 4,
  JMS_DEST: 5,
  RETAIN: 6,
} as const;
const ANNOTATION_NAMES = [
  "x-opt-delivery-time",
  "x-opt-delivery-delay",
  "x-qpid-not-valid-before",
  "x-tag",
  "x-keys",
  "x-opt-jms-dest",
  "x-opt-retain",
].map((name) => Buffer.from(name, "latin1"));

export class MessageScan {
  #bytes: Buffer = Buffer.alloc(0);
  /** First byte that is stored: message-annotations or what follows them. */
  start = 0;
  end = 0;
  isDurable = false;
  /** NONE (-1) when the header gives none. */
  priority = NONE;
  /** 0 when the header gives none. */
  ttlMs = 0;
  hasAnnotations = false;
  hasProperties = false;
  /** First byte of the value of each section; NONE when absent. */
  annotationsAt = NONE;
  propertiesAt = NONE;
  applicationPropertiesAt = NONE;
  /** First byte of the body's first section, its descriptor included; `end` when there is none. */
  bodyAt = 0;
  /** First byte of the footer section; NONE when absent. */
  footerAt = NONE;
  readonly #properties = new Int32Array(PROPERTY_COUNT).fill(NONE);
  readonly #annotations = new Int32Array(ANNOTATION_NAMES.length).fill(NONE);

  /** For bytes that are not looked into: all of them are stored, durable, and nothing is known of them. */
  skip(start: number, end: number): void {
    this.#reset(start, end);
    this.isDurable = true;
  }

  #reset(start: number, end: number): void {
    this.start = start;
    this.end = end;
    this.isDurable = false;
    this.priority = NONE;
    this.ttlMs = 0;
    this.hasAnnotations = false;
    this.hasProperties = false;
    this.annotationsAt = NONE;
    this.propertiesAt = NONE;
    this.applicationPropertiesAt = NONE;
    this.bodyAt = end;
    this.footerAt = NONE;
  }

  /** Reads `bytes[start, end)`, a whole message. Throws a decode error. */
  scan(bytes: Buffer, start: number, end: number): void {
    this.#bytes = bytes;
    this.#reset(start, end);
    let at = start;
    let previous = 0;
    while (at < end) {
      const sectionAt = at;
      let section: number;
      if (bytes[at] === 0 && bytes[at + 1] === CODE.SMALL_ULONG && at + 3 < end) {
        section = bytes[at + 2]!;
        at += 3;
      } else {
        at = this.#longDescriptor(at);
        section = this.#section;
      }
      if (section <= previous && (section !== previous || !isRepeatable(section))) {
        throw decodeError("The sections of a message are not in their order.");
      }
      const next = skipValue(bytes, at, end);
      switch (section) {
        case SECTION.HEADER:
          this.#header(at, next);
          this.start = next;
          break;
        case SECTION.DELIVERY_ANNOTATIONS:
          this.start = next;
          break;
        case SECTION.MESSAGE_ANNOTATIONS:
          this.annotationsAt = at;
          this.hasAnnotations = true;
          this.#scanAnnotations(at, next);
          break;
        case SECTION.PROPERTIES:
          this.propertiesAt = at;
          this.hasProperties = true;
          this.#scanProperties(at, next);
          break;
        case SECTION.APPLICATION_PROPERTIES:
          this.applicationPropertiesAt = at;
          break;
        case SECTION.DATA:
        case SECTION.SEQUENCE:
        case SECTION.VALUE:
          if (previous < SECTION.DATA) this.bodyAt = sectionAt;
          else if (previous !== section) throw decodeError("A message has bodies of two kinds.");
          if (
            section === SECTION.DATA &&
            bytes[at] !== CODE.BINARY8 &&
            bytes[at] !== CODE.BINARY32
          ) {
            throw decodeError("A data section is not binary.");
          }
          break;
        case SECTION.FOOTER:
          this.footerAt = sectionAt;
          break;
        default:
          throw decodeError(`0x${section.toString(16)} is not a section of a message.`);
      }
      previous = section;
      at = next;
    }
  }

  /** Where a property's value begins; -1 when absent or null. */
  property(index: number): number {
    return this.hasProperties ? this.#properties[index]! : NONE;
  }

  annotation(index: number): number {
    return this.hasAnnotations ? this.#annotations[index]! : NONE;
  }

  /** A number at `at` as ms or count: any integer type, timestamp. NaN for other types. */
  integerAt(at: number): number {
    const bytes = this.#bytes;
    switch (bytes[at]) {
      case CODE.TIMESTAMP:
      case CODE.LONG:
        return bytes.readInt32BE(at + 1) * 2 ** 32 + bytes.readUInt32BE(at + 5);
      case CODE.ULONG:
        return bytes.readUInt32BE(at + 1) * 2 ** 32 + bytes.readUInt32BE(at + 5);
      case CODE.UINT:
        return bytes.readUInt32BE(at + 1);
      case CODE.INT:
        return bytes.readInt32BE(at + 1);
      case CODE.SMALL_UINT:
      case CODE.SMALL_ULONG:
      case CODE.UBYTE:
        return bytes[at + 1]!;
      case CODE.SMALL_INT:
      case CODE.SMALL_LONG:
      case CODE.BYTE:
        return bytes.readInt8(at + 1);
      case CODE.USHORT:
        return bytes.readUInt16BE(at + 1);
      case CODE.SHORT:
        return bytes.readInt16BE(at + 1);
      case CODE.UINT0:
      case CODE.ULONG0:
        return 0;
      default:
        return Number.NaN;
    }
  }

  /** The string or symbol at `at`; undefined for other types. */
  textAt(at: number): string | undefined {
    const bytes = this.#bytes;
    switch (bytes[at]) {
      case CODE.STRING8:
      case CODE.SYMBOL8:
        return bytes.toString("utf8", at + 2, at + 2 + bytes[at + 1]!);
      case CODE.STRING32:
      case CODE.SYMBOL32:
        return bytes.toString("utf8", at + 5, at + 5 + bytes.readUInt32BE(at + 1));
      default:
        return undefined;
    }
  }

  /** Any value at `at`, decoded. For what is seldom asked. */
  valueAt(at: number): Value {
    return decodeValue(this.#bytes, at, this.end);
  }

  isTrueAt(at: number): boolean {
    return (
      this.#bytes[at] === CODE.TRUE ||
      (this.#bytes[at] === CODE.BOOLEAN && this.#bytes[at + 1] === 1)
    );
  }

  #section = 0;

  /** A section whose descriptor is not the one-byte form. */
  #longDescriptor(at: number): number {
    if (this.#bytes[at] !== CODE.DESCRIBED)
      throw decodeError("A message section has no descriptor.");
    const decoder = new Decoder(this.#bytes, at + 1, this.end);
    this.#section = descriptorNumber(decoder.value());
    return decoder.at;
  }

  #header(at: number, end: number): void {
    let count = this.#countAt(at, end, CODE.LIST8, CODE.LIST32, "header");
    at = this.#first;
    const bytes = this.#bytes;
    for (let field = 0; field < 3 && count > 0; field++, count--) {
      if (at >= end) throw decodeError("The header section is cut off.");
      const next = skipValue(bytes, at, end);
      if (bytes[at] !== CODE.NULL) {
        if (field === 0) {
          const octet = bytes[at];
          if (octet !== CODE.TRUE && octet !== CODE.FALSE && octet !== CODE.BOOLEAN) {
            throw decodeError("header.durable is not a boolean.");
          }
          this.isDurable = this.isTrueAt(at);
        } else if (field === 1) {
          if (bytes[at] !== CODE.UBYTE) throw decodeError("header.priority is not a ubyte.");
          this.priority = bytes[at + 1]!;
        } else {
          if (
            bytes[at] !== CODE.UINT &&
            bytes[at] !== CODE.SMALL_UINT &&
            bytes[at] !== CODE.UINT0
          ) {
            throw decodeError("header.ttl is not a uint.");
          }
          this.ttlMs = this.integerAt(at);
        }
      }
      at = next;
    }
  }

  #scanProperties(at: number, end: number): void {
    const positions = this.#properties;
    positions.fill(NONE);
    const count = Math.min(
      this.#countAt(at, end, CODE.LIST8, CODE.LIST32, "properties"),
      PROPERTY_COUNT,
    );
    at = this.#first;
    const bytes = this.#bytes;
    for (let field = 0; field < count; field++) {
      if (at >= end) throw decodeError("The properties section is cut off.");
      if (bytes[at] === CODE.NULL) {
        at += 1;
        continue;
      }
      positions[field] = at;
      at = skipValue(bytes, at, end);
    }
  }

  #scanAnnotations(at: number, end: number): void {
    const positions = this.#annotations;
    positions.fill(NONE);
    const bytes = this.#bytes;
    let count = this.#countAt(at, end, CODE.MAP8, CODE.MAP32, "message-annotations");
    at = this.#first;
    if (count % 2 !== 0)
      throw decodeError("The message-annotations section has a key without a value.");
    for (; count > 0; count -= 2) {
      if (at >= end) throw decodeError("The message-annotations section is cut off.");
      const valueAt = skipValue(bytes, at, end);
      const next = skipValue(bytes, valueAt, end);
      if (bytes[at] === CODE.SYMBOL8) {
        const index = annotationAt(bytes, at + 2, bytes[at + 1]!);
        if (index >= 0 && bytes[valueAt] !== CODE.NULL) positions[index] = valueAt;
      }
      at = next;
    }
  }

  #first = 0;

  /** How many elements the list or map at `at` has; `#first` is where they begin. */
  #countAt(at: number, end: number, small: number, large: number, name: string): number {
    const bytes = this.#bytes;
    if (bytes[at] === small && at + 3 <= end) {
      this.#first = at + 3;
      return bytes[at + 2]!;
    }
    if (bytes[at] === large && at + 9 <= end) {
      this.#first = at + 9;
      return bytes.readUInt32BE(at + 5);
    }
    if (bytes[at] === CODE.LIST0 && small === CODE.LIST8) {
      this.#first = at + 1;
      return 0;
    }
    throw decodeError(`The ${name} section is not a ${small === CODE.LIST8 ? "list" : "map"}.`);
  }
}

const isRepeatable = (section: number): boolean =>
  section === SECTION.DATA || section === SECTION.SEQUENCE;

/** Index into ANNOTATION of the key at `bytes[at, at + length)`, or -1. */
function annotationAt(bytes: Buffer, at: number, length: number): number {
  if (bytes[at] !== 0x78) return -1; // all begin with "x"
  for (let i = 0; i < ANNOTATION_NAMES.length; i++) {
    const name = ANNOTATION_NAMES[i]!;
    if (name.length !== length) continue;
    let same = 1;
    while (same < length && bytes[at + same] === name[same]) same++;
    if (same === length) return i;
  }
  return -1;
}
