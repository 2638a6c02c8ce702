/** RecordFields for tests, filled from plain values. */
import type { RecordFields, StoreQueue } from "../../src/store/message-store.ts";
import { javaHash } from "../../src/store/record.ts";

export interface PlainRecord {
  readonly body: Uint8Array | string;
  readonly tag?: string;
  /** Business keys, separated by spaces. */
  readonly keys?: string;
  /** More properties; names and values without 0x01 and 0x02. */
  readonly properties?: Readonly<Record<string, string>>;
  readonly flag?: number;
  readonly sysFlag?: number;
  readonly bornTimestamp?: number;
  /** 8 or 20 bytes. */
  readonly bornHost?: Buffer;
  readonly reconsumeTimes?: number;
  readonly dispatch?: readonly StoreQueue[];
}

const LOCALHOST = Buffer.from([127, 0, 0, 1, 0, 0, 0x16, 0x28]);

/** What the broker would make of it: `x-enc` first, then tag, keys and the rest. */
export function recordFields(record: PlainRecord): RecordFields {
  const body = Buffer.from(record.body);
  let text = "x-enc\x01raw\x02";
  if (record.tag !== undefined) text += `TAGS\x01${record.tag}\x02`;
  if (record.keys !== undefined) text += `KEYS\x01${record.keys}\x02`;
  for (const [name, value] of Object.entries(record.properties ?? {})) {
    text += `${name}\x01${value}\x02`;
  }
  const properties = Buffer.from(text);
  return {
    body,
    bodyStart: 0,
    bodyEnd: body.length,
    flag: record.flag ?? 0,
    sysFlag: record.sysFlag ?? 0,
    bornTimestamp: record.bornTimestamp ?? 1_700_000_000_000,
    bornHost: record.bornHost ?? LOCALHOST,
    reconsumeTimes: record.reconsumeTimes ?? 0,
    preparedTransactionOffset: 0,
    properties,
    propertiesLength: properties.length,
    tagHash: record.tag === undefined ? 0 : javaHash(record.tag),
    keys: record.keys === undefined ? null : record.keys.split(" "),
    dispatch: record.dispatch ?? null,
  };
}
