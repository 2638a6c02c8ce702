/**
 * Where protocols meet without knowing each other: each registers how to read its own encoding, and any asks for the
 * neutral message of a record. Read once per record and turn, however many consumers of other protocols get it.
 */
import { BrokerError } from "./errors.ts";
import { decodeForeign, decodeRaw } from "./foreign.ts";
import type { NeutralMessage } from "./neutral.ts";
import { ENCODING, ENCODING_NAMES, type Encoding, type RecordView } from "./record-view.ts";
import { TurnMemo } from "./turn-memo.ts";
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

const memo = new TurnMemo<NeutralMessage>();

/**
 * The neutral message of a record. The same object for the same record while the turn lasts: do not change it. Throws
 * BrokerError when the encoding has no decoder (its protocol is switched off) or the stored bytes cannot be read.
 */
export const toNeutral = (record: RecordView): NeutralMessage =>
  memo.find(record) ?? memo.keep(record, decode(record));

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
