/**
 * One application property of a stored message, read where it lies: what a selector asks of every message it passes over.
 * The same value as `decodeAmqp1` gives. Whatever is out of the ordinary (keys that are no strings, one that is there
 * twice, a value that was text for another protocol's sake, a map that does not add up) is left to that one.
 */
import { NOT_ALONE } from "../../src/model/conversion.ts";
import { JSON_SUFFIX } from "../../src/model/property-text.ts";
import type { RecordView } from "../../src/model/record-view.ts";
import type { Typed } from "../../src/model/values.ts";
import { CODE } from "./codec/codes.ts";
import { decodeValue, skipValue } from "./codec/decode.ts";
import { MessageScan } from "./codec/sections.ts";
import { messageFormatOf } from "./draft-filler.ts";
import { toTyped } from "./typed.ts";

const SCAN = new MessageScan();
const NOT_IT = 0;
const IT = 1;
const UNUSUAL = 2;

export function readAmqp1Property(
  { buffer, bodyStart, bodyEnd }: RecordView,
  name: string,
): Typed | undefined | typeof NOT_ALONE {
  if (messageFormatOf(buffer, bodyStart, bodyEnd) !== 0) return NOT_ALONE;
  SCAN.scan(buffer, bodyStart, bodyEnd);
  const map = SCAN.applicationPropertiesAt;
  if (map < 0) return undefined;
  const isSmall = buffer[map] === CODE.MAP8;
  if (!isSmall && buffer[map] !== CODE.MAP32) return NOT_ALONE;
  const end = skipValue(buffer, map, bodyEnd);
  let at = map + (isSmall ? 3 : 9);
  if (at > end) return NOT_ALONE;
  let left = isSmall ? buffer[map + 2]! : buffer.readUInt32BE(map + 5);
  let valueAt = -1;
  for (; left > 0; left -= 2) {
    const next = skipValue(buffer, at, end);
    const match = compareKey(buffer, at, next, name);
    if (match === UNUSUAL || (match === IT && valueAt >= 0)) return NOT_ALONE;
    if (match === IT) valueAt = next;
    at = skipValue(buffer, next, end);
  }
  if (left !== 0 || at !== end) return NOT_ALONE;
  return valueAt < 0 ? undefined : toTyped(decodeValue(buffer, valueAt, end));
}

/** Is the key at `bytes[at, end)` this name? */
function compareKey(
  bytes: Buffer,
  at: number,
  end: number,
  name: string,
): typeof NOT_IT | typeof IT | typeof UNUSUAL {
  const code = bytes[at];
  if (code !== CODE.STRING8 && code !== CODE.STRING32) return UNUSUAL;
  const start = at + (code === CODE.STRING8 ? 2 : 5);
  const length = end - start;
  if (length < name.length) return NOT_IT;
  for (let i = 0; i < name.length; i++) {
    const character = name.charCodeAt(i);
    if (character >= 0x80) return UNUSUAL;
    if (bytes[start + i] !== character) return NOT_IT;
  }
  if (length === name.length) return name.endsWith(JSON_SUFFIX) ? UNUSUAL : IT;
  // A list or map that became text on its way: it has this name when it is read.
  if (length !== name.length + JSON_SUFFIX.length) return NOT_IT;
  return bytes.toString("latin1", start + name.length, end) === JSON_SUFFIX ? UNUSUAL : NOT_IT;
}
