/**
 * Topics on their way to one client: for each path its encoded name, its alias (MQTT 5) and how the session wants it.
 * Consecutive messages mostly have the same topic, so the last record's topic bytes are compared before anything else.
 */

import type { Grant } from "../../src/broker/session-facade.ts";
import { pathOfRecord } from "../../src/model/record-fields.ts";
import { ENCODING, FLAG, type RecordView } from "../../src/model/record-view.ts";
import type { TopicKey, TopicName, TopicNames } from "./topic-names.ts";

const TAGS = Buffer.from("TAGS\x01", "latin1");
/** Length of the first property of a record that came over MQTT: `x-enc 0x01 mqtt 0x02`. */
const ENCODING_BYTES = 11;
/** Topics that are kept for one client, a power of two: one of each number modulo this. */
const CACHE_SIZE = 512;

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
  readonly name: TopicName;
  /** 0 for none. */
  alias = 0;
  /** The client knows the alias. */
  isAliasSent = false;
  seen = 0;
  /** Answer of `SessionSource.grantFor`, and the version it belongs to. */
  grant: Grant | null = null;
  grantVersion = -1;

  constructor(name: TopicName) {
    this.name = name;
  }

  get path(): string {
    return this.name.path;
  }
  /** Two bytes of length, then the name. */
  get bytes(): Buffer {
    return this.name.bytes;
  }
}

/** Where the tag of a record stands; filled by `findTag`. */
class TagPlace {
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
  readonly #names: TopicNames;
  /** A map: a client with one topic has room for one. */
  readonly #slots = new Map<number, TopicOut>();
  readonly #aliasMaximum: number;
  readonly #aliases: TopicOut[] = [];
  #nextAlias = 0;
  readonly tag = new TagPlace();
  #last: TopicOut | null = null;
  #lastKey: TopicKey | null = null;

  constructor(names: TopicNames, aliasMaximum: number) {
    this.#names = names;
    this.#aliasMaximum = aliasMaximum;
  }

  /** The topic of a record. `tag` then tells where its tag is. */
  ofRecord(record: RecordView): TopicOut {
    const { tag } = this;
    if (this.#lastKey !== null && this.#isLast(record, this.#lastKey)) return this.#last!;
    tag.find(record);
    const key = this.#names.ofRecord(record, tag.start, tag.end);
    if (key === null) return this.ofPath(pathOfRecord(record));
    const topic = this.#of(key.name);
    this.#last = topic;
    this.#lastKey = key;
    return topic;
  }

  /** The usual record: over MQTT, without expiry, of the same topic as the one before. Compares, and looks for nothing. */
  #isLast(record: RecordView, { topic, isPath, tagText }: TopicKey): boolean {
    const { buffer, topicStart, topicEnd, propertiesStart, propertiesEnd, flag } = record;
    const isPlain = (flag & (FLAG.TAG_IN_PATH | FLAG.HAS_EXPIRY)) === FLAG.TAG_IN_PATH;
    if (!isPlain || !isPath || !isFromMqtt(record)) return false;
    if (!isEqual(buffer, topicStart, topicEnd, topic)) return false;
    const start = propertiesStart + ENCODING_BYTES;
    const end = start + tagText.length;
    if (end > propertiesEnd || !isEqual(buffer, start, end, tagText)) return false;
    if (tagText.length === 0 && isTags(buffer, start, propertiesEnd)) return false;
    this.tag.after = end;
    return true;
  }

  ofPath(path: string): TopicOut {
    return this.#of(this.#names.ofPath(path));
  }

  #of(name: TopicName): TopicOut {
    const slot = name.number & (CACHE_SIZE - 1);
    let topic = this.#slots.get(slot);
    if (topic?.name !== name) {
      topic = new TopicOut(name);
      this.#slots.set(slot, topic);
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
}

function isEqual(buffer: Buffer, start: number, end: number, other: Buffer): boolean {
  if (end - start !== other.length) return false;
  for (let i = 0; i < other.length; i++) if (buffer[start + i] !== other[i]) return false;
  return true;
}
