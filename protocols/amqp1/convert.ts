/** Records of other protocols as AMQP 1.0 sections, on their way to an AMQP 1.0 peer. Cold path. */
import type { RecordView } from "../../src/model/record-view.ts";
import { SECTION } from "./codec/codes.ts";
import { encodeValue } from "./codec/encode.ts";
import { binary, described } from "./codec/value.ts";

/** Annotations to footer; the header is written for each delivery. */
export function convertRecord(record: RecordView): Buffer {
  const body = record.buffer.subarray(record.bodyStart, record.bodyEnd);
  return encodeValue(described(SECTION.DATA, binary(body)));
}
