/**
 * Turns a Draft into the fields of a record: flag bits and property text. `x-enc` always comes first, `x-exp` second, so
 * that readers find them without a walk (model/record-view.ts). The constant part is encoded once per target and encoding.
 */
import type { Draft } from "../model/draft.ts";
import { BrokerError } from "../model/errors.ts";
import { ENCODING, ENCODING_NAMES, type Encoding, FLAG } from "../model/record-view.ts";
import { javaHash } from "../model/tag.ts";
import type { RecordFields, StoreQueue } from "../store/message-store.ts";
import { fastBuffer } from "../util/copy-memory.ts";

/** Where a message comes from that the broker made itself: address and port, as records hold it. */
export const LOOPBACK = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);

/** The length field is a signed short; room is left for what the store adds (dispatch list, record CRC). */
export const PROPERTIES_MAX_BYTES = 31_000;

/** Longest text that tells the path, in characters, that surely leaves room for other properties. */
const LONG_PATH = 8_000;

/** The property `x-enc` of each encoding. */
const PREFIXES: readonly Buffer[] = ENCODING_NAMES.map((name) =>
  Buffer.from(`x-enc\x01${name}\x02`),
);

/** What is the same for all messages of one target. */
export class RecordTemplate {
  /** Path tag of a topic, "" for none. */
  readonly pathTag: string;
  /** Of the tag of messages that bring none of their own. */
  readonly ownTagHash: number;
  /** The head of the encoding used last: a target's messages mostly come over one protocol. */
  #head: Buffer | null = null;
  #headEncoding: Encoding = ENCODING.RAW;

  /** The path has levels below its root, if only an empty one (`a/`). */
  readonly isInPath: boolean;
  /** Canonical address, where the record's topic does not tell it (its name was shortened); "" otherwise. */
  readonly to: string;
  /** The tag beside the path of messages that bring none of their own; "" for none. */
  readonly label: string;

  constructor(pathTag: string, isInPath = pathTag !== "", to = "", label = "") {
    this.pathTag = pathTag;
    this.isInPath = isInPath;
    this.to = to;
    this.label = label;
    const tag = isInPath || label === "" ? pathTag : label;
    this.ownTagHash = tag === "" ? 0 : javaHash(tag);
  }

  /** For messages that are not stored: their readers are told the path, and a very long one fits into no record. */
  get direct(): RecordTemplate {
    return this.pathTag.length + this.to.length < LONG_PATH ? this : UNTAGGED;
  }

  prefix(encoding: Encoding): Buffer {
    return PREFIXES[encoding]!;
  }

  /** Everything up to the first property that differs between messages without expiry: encoding and path tag. */
  head(encoding: Encoding): Buffer {
    if (this.pathTag === "") return PREFIXES[encoding]!;
    if (this.#head === null || this.#headEncoding !== encoding) {
      const tag = Buffer.from(`TAGS\x01${this.pathTag}\x02`);
      this.#head = Buffer.concat([PREFIXES[encoding]!, tag]);
      this.#headEncoding = encoding;
    }
    return this.#head;
  }
}

const UNTAGGED = new RecordTemplate("");

export class RecordComposer {
  readonly fields: RecordFields & { properties: Buffer } = {
    body: Buffer.alloc(0),
    bodyStart: 0,
    bodyEnd: 0,
    flag: 0,
    sysFlag: 0,
    bornTimestamp: 0,
    bornHost: Buffer.alloc(8),
    reconsumeTimes: 0,
    preparedTransactionOffset: 0,
    properties: fastBuffer(PROPERTIES_MAX_BYTES + 1024),
    propertiesLength: 0,
    tagHash: 0,
    keys: null,
    dispatch: null,
  };

  /** `fields.properties` still begins with what a message of this template had, which said nothing of its own but its text. */
  #sameTemplate: RecordTemplate | null = null;
  #sameEncoding: Encoding = ENCODING.RAW;
  #sameText = "";
  #sameLength = 0;

  /** The last property text, and its bytes once it came twice. */
  #lastText = "";
  #lastBytes: Buffer | null = null;

  /** Fills `fields`. `expiresAt` is the effective expiry, 0 for none. */
  compose(
    template: RecordTemplate,
    draft: Draft,
    bornHost: Buffer,
    now: number,
    expiresAt: number,
    dispatch: readonly StoreQueue[] | null,
  ): RecordFields {
    const fields = this.fields;
    fields.body = draft.bytes;
    fields.bodyStart = draft.start;
    fields.bodyEnd = draft.end;
    fields.bornHost = bornHost;
    fields.bornTimestamp = draft.bornAt === 0 ? now : draft.bornAt;
    fields.dispatch = dispatch;
    fields.reconsumeTimes = 0;
    fields.keys = null;

    let flag = 0;
    if (draft.priority >= 0) flag |= FLAG.HAS_PRIORITY | (draft.priority & FLAG.PRIORITY_MASK);
    if (!draft.isDurable) flag |= FLAG.NOT_DURABLE;
    if (draft.isRetained) flag |= FLAG.RETAIN;
    if (draft.isExactlyOnce) flag |= FLAG.EXACTLY_ONCE;

    const isOrdinary =
      expiresAt === 0 &&
      draft.tag === "" &&
      draft.keys === "" &&
      draft.group === "" &&
      draft.headStart === draft.headEnd;
    if (
      isOrdinary &&
      template === this.#sameTemplate &&
      draft.encoding === this.#sameEncoding &&
      draft.properties === this.#sameText
    ) {
      fields.flag = template.isInPath ? flag | FLAG.TAG_IN_PATH : flag;
      fields.tagHash = template.ownTagHash;
      fields.propertiesLength = this.#sameLength;
      return fields;
    }
    this.#sameTemplate = null;

    const prefix =
      expiresAt === 0 ? template.head(draft.encoding) : template.prefix(draft.encoding);
    this.#check(0, prefix.length);
    const out = fields.properties;
    let at = prefix.length;
    // Mostly few bytes: a loop beats the call of copy.
    if (at > 48) prefix.copy(out);
    else for (let i = 0; i < at; i++) out[i] = prefix[i]!;
    if (expiresAt !== 0) {
      flag |= FLAG.HAS_EXPIRY;
      at += out.write(`x-exp\x01${expiresAt}\x02`, at, "latin1");
    }
    let tagHash = template.ownTagHash;
    if (template.isInPath) {
      flag |= FLAG.TAG_IN_PATH;
      if (expiresAt !== 0 && template.pathTag !== "") at = this.#put(at, "TAGS", template.pathTag);
    } else if (draft.tag !== "" || template.label !== "") {
      const tag = draft.tag === "" ? template.label : draft.tag;
      if (draft.tag !== "") tagHash = javaHash(tag);
      at = this.#put(at, "TAGS", tag);
    }
    if (template.to !== "") at = this.#put(at, "x-to", template.to);
    if (draft.keys !== "") {
      at = this.#put(at, "KEYS", draft.keys);
      fields.keys = draft.keys.split(" ").filter((key) => key !== "");
    }
    if (draft.group !== "") {
      flag |= FLAG.HAS_KEY;
      at = this.#put(at, "__SHARDINGKEY", draft.group);
    }
    const headLength = draft.headEnd - draft.headStart;
    if (headLength > 0) {
      this.#check(at, headLength);
      const { head, headStart } = draft;
      const to = fields.properties;
      if (headLength > 48) head.copy(to, at, headStart, draft.headEnd);
      else for (let i = 0; i < headLength; i++) to[at + i] = head[headStart + i]!;
      at += headLength;
    }
    if (draft.properties !== "") {
      at = this.#putText(at, draft.properties);
    }
    if (at > PROPERTIES_MAX_BYTES) throw tooLarge(at);
    if (isOrdinary) {
      this.#sameTemplate = template;
      this.#sameEncoding = draft.encoding;
      this.#sameText = draft.properties;
      this.#sameLength = at;
    }
    fields.flag = flag;
    fields.tagHash = tagHash;
    fields.propertiesLength = at;
    return fields;
  }

  /** Property text as it is. Many producers send the same again and again: the second time its bytes are kept. */
  #putText(at: number, text: string): number {
    this.#check(at, text.length * 3);
    const out = this.fields.properties;
    if (text !== this.#lastText) {
      this.#lastText = text;
      this.#lastBytes = null;
      return at + out.write(text, at, "utf8");
    }
    this.#lastBytes ??= Buffer.from(text);
    const bytes = this.#lastBytes;
    const { length } = bytes;
    if (length > 48) bytes.copy(out, at);
    else for (let i = 0; i < length; i++) out[at + i] = bytes[i]!;
    return at + length;
  }

  /** Adds one more property to `fields`. */
  add(name: string, value: string): void {
    const { propertiesLength } = this.fields;
    this.fields.propertiesLength = this.#put(propertiesLength, name, value);
  }

  #put(at: number, name: string, value: string): number {
    this.#check(at, name.length + 2 + value.length * 3);
    const out = this.fields.properties;
    at += out.write(name, at, "latin1");
    out[at++] = 1;
    at += out.write(value, at, "utf8");
    out[at++] = 2;
    return at;
  }

  /** Grows nothing: what might not fit is measured exactly before it is refused. */
  #check(at: number, atMost: number): void {
    if (at + atMost <= this.fields.properties.length) return;
    const room = Buffer.alloc(at + atMost + 1024);
    this.fields.properties.copy(room, 0, 0, at);
    this.fields.properties = room;
  }
}

export function tooLarge(bytes: number): BrokerError {
  return new BrokerError(
    "properties-too-large",
    `the message's headers take ${bytes} bytes; at most ${PROPERTIES_MAX_BYTES} fit into a record: send less in headers and more in the body`,
    { bytes },
  );
}
