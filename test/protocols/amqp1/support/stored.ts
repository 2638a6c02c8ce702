/** A record as the broker keeps what an AMQP 1.0 peer sent. */
import { MessageScan } from "../../../../protocols/amqp1/codec/sections.ts";
import { Draft } from "../../../../src/model/draft.ts";
import { ENCODING, type RecordView } from "../../../../src/model/record-view.ts";
import { buildRecord } from "../../../support/record-builder.ts";

const scan = new MessageScan();
let offset = 1000;

/** `message` begins with its first section. */
export function stored(message: Buffer, change: (draft: Draft) => void = () => {}): RecordView {
  scan.scan(message, 0, message.length);
  return storedAsIs(message, scan.start, change);
}

/** Bytes that are not looked into. */
export function storedAsIs(
  message: Buffer,
  start = 0,
  change: (draft: Draft) => void = () => {},
): RecordView {
  const draft = new Draft().reset();
  draft.encoding = ENCODING.AMQP1;
  draft.bytes = message;
  draft.start = start;
  draft.end = message.length;
  change(draft);
  return buildRecord(draft, { topic: "Q-Q", physicalOffset: ++offset });
}
