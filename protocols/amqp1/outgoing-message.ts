/**
 * The sections of a record as an AMQP 1.0 peer gets them, where they are not simply the stored bytes: records of other
 * protocols are converted (once per turn, however many consumers get them), dead letters get their history added.
 */
import { toNeutral } from "../../src/model/conversion.ts";
import { deathList } from "../../src/model/deaths.ts";
import { neutralFromRecord } from "../../src/model/record-fields.ts";
import { ENCODING, type RecordView } from "../../src/model/record-view.ts";
import { TurnMemo } from "../../src/model/turn-memo.ts";
import { SECTION } from "./codec/codes.ts";
import { decodeValue, skipValue } from "./codec/decode.ts";
import { Encoder } from "./codec/encode.ts";
import { MessageScan } from "./codec/sections.ts";
import { binary, described, map, string, symbol, type Value } from "./codec/value.ts";
import { encodeAmqp1 } from "./neutral.ts";
import { fromTyped } from "./typed.ts";

const memo = new TurnMemo<Buffer>();

/** Message-annotations to footer of a record that cannot go out as it is stored. */
export const outgoingSections = (record: RecordView): Buffer =>
  memo.find(record) ?? memo.keep(record, make(record));

function make(record: RecordView): Buffer {
  try {
    return record.encoding === ENCODING.AMQP1 ? withDeaths(record) : encodeAmqp1(toNeutral(record));
  } catch (error) {
    return unconverted(record, error instanceof Error ? error.message : String(error));
  }
}

/** A record that cannot be converted goes out as it is, and says so. */
function unconverted(record: RecordView, reason: string): Buffer {
  const encoder = new Encoder();
  const annotation: [Value, Value] = [symbol("x-opt-conversion-error"), string(reason)];
  encoder.value(described(SECTION.MESSAGE_ANNOTATIONS, map([annotation])));
  const body = record.buffer.subarray(record.bodyStart, record.bodyEnd);
  encoder.value(described(SECTION.DATA, binary(body)));
  return Buffer.from(encoder.bytes());
}

const SCAN = new MessageScan();
const DEATHS = "x-opt-deaths";

/** The stored sections with `x-opt-deaths` among their annotations; everything else byte for byte. */
function withDeaths(record: RecordView): Buffer {
  const { buffer, bodyStart, bodyEnd } = record;
  const { deaths } = neutralFromRecord(record);
  SCAN.scan(buffer, bodyStart, bodyEnd);
  const at = SCAN.annotationsAt;
  const old = at < 0 ? undefined : decodeValue(buffer, at, bodyEnd);
  const kept = old?.type === "map" ? old.value.filter(([key]) => key.value !== DEATHS) : [];
  const encoder = new Encoder();
  encoder.value(
    described(
      SECTION.MESSAGE_ANNOTATIONS,
      map([...kept, [symbol(DEATHS), fromTyped(deathList(deaths))]]),
    ),
  );
  const rest = at < 0 ? bodyStart : skipValue(buffer, at, bodyEnd);
  encoder.raw(buffer.subarray(rest, bodyEnd));
  return Buffer.from(encoder.bytes());
}

/** How far into the properties the broker's notes on dead letters are looked for: they come early. */
const LOOK_BYTES = 256;
const MARK = Buffer.from("\x02x-death", "latin1");

/** Records with hardly any properties, nearly all, are told by their length alone. */
export function hasDeaths(record: RecordView): boolean {
  const { buffer, propertiesStart } = record;
  const length = record.propertiesEnd - propertiesStart;
  if (length < 48) return false;
  const end = propertiesStart + Math.min(length, LOOK_BYTES) - MARK.length;
  for (let at = propertiesStart; at < end; at++) {
    if (buffer[at] !== 0x02 || buffer[at + 3] !== 0x64) continue;
    let same = 1;
    while (same < MARK.length && buffer[at + same] === MARK[same]) same++;
    if (same === MARK.length) return true;
  }
  return false;
}
