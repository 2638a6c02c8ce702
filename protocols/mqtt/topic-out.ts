/**
 * Topics on their way to one client: for each path its encoded name, its alias (MQTT 5) and how the session wants it.
 * Consecutive messages mostly have the same topic, so the last record's topic bytes are compared before anything else.
 */

import type { Grant } from "../../src/broker/session-facade.ts";
import { COPIES_TOPIC, pathOfRecord } from "../../src/model/record-fields.ts";
import { ENCODING, FLAG, type RecordView } from "../../src/model/record-view.ts";

const TAGS = Buffer.from("TAGS\x01", "latin1");
const SEPARATOR = Buffer.from([2]);
const NO_TAG = Buffer.alloc(0);
/** Length of the first property of a record that came over MQTT: `x-enc 0x01 mqtt 0x02`. */
const ENCODING_BYTES = 11;
const CACHE_SIZE = 512;
/** Longer names of topics in the log are shortened ones. */
const NAME_MAX = 106;

/** Did the record come over MQTT? As `record.encoding` tells, in the time of a comparison. */
export function isFromMqtt({ buffer, propertiesStart: at, propertiesEnd }: RecordView): boolean {
  return (
    propertiesEnd - at >= ENCODING_BYTES &&
    buffer[at] === 0x78 &&
    buffer[at + 1] === 0x2d &&
    buffer[at + 5] === 1 &&
    buffer[at + 6] === 0x6d
  );
}

export class TopicOut {
  readonly path: string;
  /** Two bytes of length, then the name. */
  readonly bytes: Buffer;
  /** 0 for none. */
  alias = 0;
  /** The client knows the alias. */
  isAliasSent = false;
  seen = 0;
  /** Among the topics of shared packets; 0: not asked for yet. */
  number = 0;
  /** Answer of `SessionSource.grantFor`, and the version it belongs to. */
  grant: Grant | null = null;
  grantVersion = -1;

  constructor(path: string) {
    const length = Buffer.byteLength(path);
    this.path = path;
    this.bytes = Buffer.allocUnsafe(2 + length);
    this.bytes.writeUInt16BE(length, 0);
    this.bytes.write(path, 2, "utf8");
  }
}

/** Where the tag of a record stands; filled by `findTag`. */
export class TagPlace {
  start = 0;
  end = 0;
  /** Where the properties behind the tag begin. */
  after = 0;

  /** The broker writes `x-enc`, `x-exp` (if the flag says so) and TAGS in this order; foreign records may differ. */
  find(record: RecordView): void {
    const { buffer, propertiesEnd } = record;
    let at = record.propertiesStart;
    this.start = this.end = this.after = at;
    if (at === propertiesEnd) return;
    if (buffer[at] === 0x78) {
      at = afterProperty(buffer, at, propertiesEnd);
      if ((record.flag & FLAG.HAS_EXPIRY) !== 0) at = afterProperty(buffer, at, propertiesEnd);
    }
    this.start = this.end = this.after = at;
    // Only a record that RocketMQ wrote has its tag anywhere.
    const isForeign = record.encoding === ENCODING.FOREIGN;
    while (at < propertiesEnd) {
      if (isTags(buffer, at, propertiesEnd)) {
        this.#set(buffer, at + TAGS.length);
        return;
      }
      if (!isForeign) return;
      at = afterProperty(buffer, at, propertiesEnd);
    }
  }

  #set(buffer: Buffer, start: number): void {
    let end = start;
    while (end < buffer.length && buffer[end] !== 2) end++;
    this.start = start;
    this.end = end;
    this.after = end + 1;
  }
}

function afterProperty(buffer: Buffer, from: number, end: number): number {
  let at = from;
  while (at < end && buffer[at] !== 2) at++;
  return Math.min(at + 1, end);
}

function isTags(buffer: Buffer, at: number, end: number): boolean {
  if (at + TAGS.length > end) return false;
  for (let i = 0; i < TAGS.length; i++) if (buffer[at + i] !== TAGS[i]) return false;
  return true;
}

export class TopicOutCache {
  readonly #byPath = new Map<string, TopicOut>();
  readonly #aliasMaximum: number;
  readonly #aliases: TopicOut[] = [];
  #nextAlias = 0;
  readonly tag = new TagPlace();
  #last: TopicOut | null = null;
  #lastTopic: Buffer = Buffer.alloc(0);
  #lastTag: Buffer = Buffer.alloc(0);
  /** As it stands in the properties. */
  #lastTagText: Buffer = NO_TAG;
  #lastIsPath = false;

  constructor(aliasMaximum: number) {
    this.#aliasMaximum = aliasMaximum;
  }

  /** The topic of a record. `tag` then tells where its tag is. */
  ofRecord(record: RecordView): TopicOut {
    const { tag } = this;
    if (this.#last !== null && this.#isLast(record)) return this.#last;
    tag.find(record);
    const isPath = (record.flag & FLAG.TAG_IN_PATH) !== 0;
    const { buffer, topicStart, topicEnd } = record;
    // A shortened topic name does not tell the topic: nothing to compare.
    if (topicEnd - topicStart > NAME_MAX || isCopy(buffer, topicStart)) {
      return this.ofPath(pathOfRecord(record));
    }
    if (
      this.#last !== null &&
      isPath === this.#lastIsPath &&
      isEqual(buffer, topicStart, topicEnd, this.#lastTopic) &&
      (!isPath || isEqual(buffer, tag.start, tag.end, this.#lastTag))
    ) {
      return this.#last;
    }
    this.#lastTopic = Buffer.from(buffer.subarray(topicStart, topicEnd));
    this.#lastTag = Buffer.from(buffer.subarray(tag.start, tag.end));
    this.#lastIsPath = isPath;
    this.#lastTagText =
      tag.end === tag.start ? NO_TAG : Buffer.concat([TAGS, this.#lastTag, SEPARATOR]);
    this.#last = this.ofPath(pathOfRecord(record));
    return this.#last;
  }

  /** The usual record: over MQTT, without expiry, of the same topic as the one before. Compares, and looks for nothing. */
  #isLast(record: RecordView): boolean {
    const { buffer, topicStart, topicEnd, propertiesStart, propertiesEnd, flag } = record;
    const isPlain = (flag & (FLAG.TAG_IN_PATH | FLAG.HAS_EXPIRY)) === FLAG.TAG_IN_PATH;
    if (!isPlain || !this.#lastIsPath || !isFromMqtt(record)) return false;
    if (!isEqual(buffer, topicStart, topicEnd, this.#lastTopic)) return false;
    const start = propertiesStart + ENCODING_BYTES;
    const end = start + this.#lastTagText.length;
    if (end > propertiesEnd || !isEqual(buffer, start, end, this.#lastTagText)) return false;
    if (this.#lastTagText.length === 0 && isTags(buffer, start, propertiesEnd)) return false;
    this.tag.after = end;
    return true;
  }

  ofPath(path: string): TopicOut {
    let topic = this.#byPath.get(path);
    if (topic === undefined) {
      if (this.#byPath.size >= CACHE_SIZE) this.#forgetSome();
      topic = new TopicOut(path);
      this.#byPath.set(path, topic);
    }
    return topic;
  }

  /** Gives a topic that is seen again an alias, taking the oldest one when all are in use. */
  useAlias(topic: TopicOut): void {
    if (topic.alias !== 0 || ++topic.seen < 2 || this.#aliasMaximum === 0) return;
    const index = this.#nextAlias;
    this.#nextAlias = (index + 1) % this.#aliasMaximum;
    const old = this.#aliases[index];
    if (old !== undefined) {
      old.alias = 0;
      old.isAliasSent = false;
      old.seen = 0;
    }
    this.#aliases[index] = topic;
    topic.alias = index + 1;
  }

  #forgetSome(): void {
    for (const [path, topic] of this.#byPath) if (topic.alias === 0) this.#byPath.delete(path);
    this.#last = null;
  }
}

/** Was the record stored again for some readers, so that its topic is not its home? */
function isCopy(buffer: Buffer, at: number): boolean {
  for (let i = 0; i < COPIES_TOPIC.length; i++) {
    if (buffer[at + i] !== COPIES_TOPIC.charCodeAt(i)) return false;
  }
  return true;
}

function isEqual(buffer: Buffer, start: number, end: number, other: Buffer): boolean {
  if (end - start !== other.length) return false;
  for (let i = 0; i < other.length; i++) if (buffer[start + i] !== other[i]) return false;
  return true;
}
