/** What the store notes in the log for itself: records of internal topics that are in no queue, and that RocketMQ skips. */
import type { RecordFields } from "./message-store.ts";
import { LOCALHOST, SYS_FLAG } from "./record.ts";

/** A half message that was rolled back. */
const ROLLED_BACK = SYS_FLAG.NOT_DISPATCHED | (1 << 3);
const PROPERTIES = Buffer.from("x-enc\x01raw\x02");

export function ownRecordFields(body: Buffer): RecordFields {
  return {
    body,
    bodyStart: 0,
    bodyEnd: body.length,
    flag: 0,
    sysFlag: ROLLED_BACK,
    bornTimestamp: Date.now(),
    bornHost: LOCALHOST,
    reconsumeTimes: 0,
    preparedTransactionOffset: 0,
    properties: PROPERTIES,
    propertiesLength: PROPERTIES.length,
    tagHash: 0,
    keys: null,
    dispatch: null,
  };
}
