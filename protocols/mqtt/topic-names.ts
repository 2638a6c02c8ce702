/**
 * Topics of messages that go out, the same for all clients of one broker: for each path the name as it goes over the
 * wire, found by the bytes that a record has. So a client that gets thousands of topics in turn costs no string and no
 * buffer for each message.
 */
import { Buffer } from "node:buffer";
import { COPIES_TOPIC, pathOfRecord } from "../../src/model/record-fields.ts";
import { FLAG, type RecordView } from "../../src/model/record-view.ts";

const TAGS = Buffer.from("TAGS\x01", "latin1");
const SEPARATOR = Buffer.from([2]);
const NO_TAG = Buffer.alloc(0);
/** Longer names of topics in the log are shortened ones. */
const NAME_MAX = 106;
/** More topics than this and they begin anew: packets that are shared by topic are not found any more. */
const PATHS_MAX = 65_536;
/** Numbers fit into the kind of a shared frame beside four bits of flags. */
const NUMBER_MAX = 2 ** 26;
const SLOTS_MIN = 256;
const SLOTS_MAX = 32_768;

export class TopicName {
  readonly path: string;
  /** Two bytes of length, then the name. */
  readonly bytes: Buffer;
  /** Tells topics apart without comparing their names. */
  readonly number: number;

  constructor(path: string, number: number) {
    const length = Buffer.byteLength(path);
    this.path = path;
    this.bytes = Buffer.allocUnsafe(2 + length);
    this.bytes.writeUInt16BE(length, 0);
    this.bytes.write(path, 2, "utf8");
    this.number = number;
  }
}

/** What records of a topic have in common. */
export interface TopicKey {
  readonly name: TopicName;
  /** Of the record. */
  readonly topic: Buffer;
  /** The path goes on in the tag. */
  readonly isPath: boolean;
  /** The tag as it stands in the properties; empty when there is none, or when it is no part of the path. */
  readonly tagText: Buffer;
}

export class TopicNames {
  readonly #byPath = new Map<string, TopicName>();
  #lastNumber = 0;
  /** By the hash of a record's bytes; the newest of those that fall together. */
  #slots: Array<TopicKey | undefined> = new Array<TopicKey | undefined>(SLOTS_MIN);
  #used = 0;

  ofPath(path: string): TopicName {
    let name = this.#byPath.get(path);
    if (name === undefined) {
      if (this.#byPath.size >= PATHS_MAX) {
        this.#byPath.clear();
        this.#resize(SLOTS_MIN);
      }
      this.#lastNumber = this.#lastNumber >= NUMBER_MAX ? 1 : this.#lastNumber + 1;
      name = new TopicName(path, this.#lastNumber);
      this.#byPath.set(path, name);
    }
    return name;
  }

  /** Null: the bytes of this record do not tell its topic. Its tag is `[tagStart, tagEnd)`. */
  ofRecord(record: RecordView, tagStart: number, tagEnd: number): TopicKey | null {
    const { buffer, topicStart, topicEnd } = record;
    if (topicEnd - topicStart > NAME_MAX || isCopy(buffer, topicStart)) return null;
    const isPath = (record.flag & FLAG.TAG_IN_PATH) !== 0;
    let hash = hashOf(buffer, topicStart, topicEnd, 0);
    if (isPath) hash = hashOf(buffer, tagStart, tagEnd, hash + 1);
    hash ^= hash >>> 15;
    const known = this.#slots[hash & (this.#slots.length - 1)];
    if (known !== undefined && isKeyOf(known, record, isPath, tagStart, tagEnd)) return known;
    const key = {
      name: this.ofPath(pathOfRecord(record)),
      topic: Buffer.from(buffer.subarray(topicStart, topicEnd)),
      isPath,
      tagText:
        !isPath || tagEnd === tagStart
          ? NO_TAG
          : Buffer.concat([TAGS, buffer.subarray(tagStart, tagEnd), SEPARATOR]),
    };
    if (known === undefined && ++this.#used > this.#slots.length / 2) {
      if (this.#slots.length < SLOTS_MAX) this.#resize(this.#slots.length * 4);
    }
    this.#slots[hash & (this.#slots.length - 1)] = key;
    return key;
  }

  /** They find their places again as they are asked for. */
  #resize(slots: number): void {
    this.#slots = new Array<TopicKey | undefined>(Math.min(slots, SLOTS_MAX));
    this.#used = 0;
  }
}

function isKeyOf(
  key: TopicKey,
  record: RecordView,
  isPath: boolean,
  tagStart: number,
  tagEnd: number,
): boolean {
  const { buffer, topicStart, topicEnd } = record;
  const { topic, tagText } = key;
  if (key.isPath !== isPath || topicEnd - topicStart !== topic.length) return false;
  if (!isPart(buffer, topicStart, topicEnd, topic, 0)) return false;
  if (!isPath) return true;
  if (tagText.length === 0) return tagStart === tagEnd;
  const tagLength = tagText.length - TAGS.length - SEPARATOR.length;
  return tagEnd - tagStart === tagLength && isPart(buffer, tagStart, tagEnd, tagText, TAGS.length);
}

function hashOf(buffer: Buffer, start: number, end: number, seed: number): number {
  let hash = seed;
  for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + buffer[i]!) | 0;
  return hash;
}

/** Was the record stored again for some readers, so that its topic is not its home? */
function isCopy(buffer: Buffer, at: number): boolean {
  for (let i = 0; i < COPIES_TOPIC.length; i++) {
    if (buffer[at + i] !== COPIES_TOPIC.charCodeAt(i)) return false;
  }
  return true;
}

/** Are these the bytes of `other` from `at` on? */
function isPart(buffer: Buffer, start: number, end: number, other: Buffer, from: number): boolean {
  let at = from;
  for (let i = start; i < end; i++, at++) if (buffer[i] !== other[at]) return false;
  return true;
}
