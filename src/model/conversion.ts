/**
 * Where protocols meet without knowing each other: each registers how to read its own encoding, and any asks for the
 * neutral message of a record. Read once per record and turn, however many consumers of other protocols get it.
 */
import { BrokerError } from "./errors.ts";
import { decodeForeign, decodeRaw } from "./foreign.ts";
import type { NeutralMessage } from "./neutral.ts";
import { ENCODING, ENCODING_NAMES, type Encoding, type RecordView } from "./record-view.ts";
import type { Typed } from "./values.ts";

export type NeutralDecoder = (record: RecordView) => NeutralMessage;
/**
 * The value of an application property, read where it lies, as the decoder would give it; NOT_ALONE where only the decoder
 * can tell. A selector asks for one of every message it passes over, and decoding makes 3 KB of garbage each.
 */
export type PropertyReader = (
  record: RecordView,
  name: string,
) => Typed | undefined | typeof NOT_ALONE;
export const NOT_ALONE = Symbol("the message has to be decoded");

const decoders: Array<NeutralDecoder | undefined> = [];
const readers: Array<PropertyReader | undefined> = [];
decoders[ENCODING.FOREIGN] = decodeForeign;
decoders[ENCODING.RAW] = decodeRaw;

/** A protocol calls this once, when it is set up; the last registration counts. A decoder starts from `neutralFromRecord`. */
export function registerDecoder(
  encoding: Encoding,
  decoder: NeutralDecoder,
  reader?: PropertyReader,
): void {
  decoders[encoding] = decoder;
  readers[encoding] = reader;
}

/** One application property of a record that nobody has decoded; NOT_ALONE where that is to be done. */
export function readProperty(
  record: RecordView,
  name: string,
): Typed | undefined | typeof NOT_ALONE {
  const reader = readers[record.encoding];
  return reader === undefined ? NOT_ALONE : reader(record, name);
}

/** A power of two: neighbours in the log hardly ever share a place. */
const CACHE_SIZE = 64;
interface Cached {
  readonly buffer: Buffer;
  readonly start: number;
  readonly seq: number;
  readonly message: NeutralMessage;
}
const cache: Array<Cached | undefined> = new Array(CACHE_SIZE).fill(undefined);
let isClearing = false;

/**
 * The neutral message of a record. The same object for the same record while the turn lasts: do not change it. Throws
 * BrokerError when the encoding has no decoder (its protocol is switched off) or the stored bytes cannot be read.
 */
export function toNeutral(record: RecordView): NeutralMessage {
  const seq = record.physicalOffset;
  const place = (seq ^ (seq >>> 7)) & (CACHE_SIZE - 1);
  const cached = cache[place];
  // The bytes at this very place hold this very record, so views into them made earlier are right.
  if (
    cached !== undefined &&
    cached.seq === seq &&
    cached.start === record.start &&
    cached.buffer === record.buffer
  ) {
    return cached.message;
  }
  const message = decode(record);
  cache[place] = { buffer: record.buffer, start: record.start, seq, message };
  if (!isClearing) {
    isClearing = true;
    setImmediate(clear).unref();
  }
  return message;
}

function decode(record: RecordView): NeutralMessage {
  const { encoding } = record;
  const decoder = decoders[encoding];
  if (decoder === undefined) {
    const name = ENCODING_NAMES[encoding];
    throw new BrokerError(
      "not-implemented",
      `the message was published over ${name}, which is switched off here: enable that protocol to read it over another`,
      { encoding: name },
    );
  }
  return decoder(record);
}

/** Cached views must not outlive the turn: they would keep buffers and mapped files alive. */
function clear(): void {
  isClearing = false;
  cache.fill(undefined);
}
