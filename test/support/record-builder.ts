/** Builds a stored record from a draft, as broker and store do together, for tests that read records. */
import type { Draft } from "../../src/model/draft.ts";
import { ENCODING_NAMES, FLAG, RecordView } from "../../src/model/record-view.ts";

export interface RecordOptions {
  /** Name on disk (model/names). */
  readonly topic: string;
  /** Path tag; makes the record one of a topic tree. */
  readonly pathTag?: string;
  readonly physicalOffset?: number;
  readonly storeTimestamp?: number;
  readonly sysFlag?: number;
  readonly reconsumeTimes?: number;
  /** Written by RocketMQ: no `x-enc`, no flags, `properties` as they are. */
  readonly isForeign?: boolean;
}

export function buildRecord(draft: Draft, options: RecordOptions): RecordView {
  let flag = 0;
  let properties = "";
  const put = (name: string, value: string): void => {
    properties += `${name}\x01${value}\x02`;
  };
  if (!options.isForeign) {
    put("x-enc", ENCODING_NAMES[draft.encoding] ?? "");
    if (draft.priority >= 0) flag |= FLAG.HAS_PRIORITY | draft.priority;
    if (!draft.isDurable) flag |= FLAG.NOT_DURABLE;
    if (draft.isRetained) flag |= FLAG.RETAIN;
    if (draft.isExactlyOnce) flag |= FLAG.EXACTLY_ONCE;
    if (draft.group !== "") flag |= FLAG.HAS_KEY;
    if (draft.expiresAt > 0) {
      flag |= FLAG.HAS_EXPIRY;
      put("x-exp", String(draft.expiresAt));
    }
    if (options.pathTag !== undefined) {
      flag |= FLAG.TAG_IN_PATH;
      put("TAGS", options.pathTag);
    }
  }
  if (options.pathTag === undefined && draft.tag !== "") put("TAGS", draft.tag);
  if (draft.keys !== "") put("KEYS", draft.keys);
  if (draft.group !== "") put("__SHARDINGKEY", draft.group);
  if (draft.deliverAt > 0) put("TIMER_DELIVER_MS", String(draft.deliverAt));
  const text = Buffer.from(properties + draft.properties);
  const topic = Buffer.from(options.topic);
  const body = draft.bytes.subarray(draft.start, draft.end);
  const size = 91 + body.length + topic.length + text.length;
  const bytes = Buffer.alloc(size);
  bytes.writeInt32BE(size, 0);
  bytes.writeUInt32BE(0xdaa320a7, 4);
  bytes.writeInt32BE(flag, 16);
  bytes.writeBigInt64BE(BigInt(options.physicalOffset ?? 0), 28);
  bytes.writeInt32BE(options.sysFlag ?? 0, 36);
  bytes.writeBigInt64BE(BigInt(draft.bornAt), 40);
  bytes.writeBigInt64BE(BigInt(options.storeTimestamp ?? 0), 56);
  bytes.writeInt32BE(options.reconsumeTimes ?? 0, 72);
  let at = 84;
  at = bytes.writeInt32BE(body.length, at);
  at += body.copy(bytes, at);
  at = bytes.writeUInt8(topic.length, at);
  at += topic.copy(bytes, at);
  at = bytes.writeUInt16BE(text.length, at);
  text.copy(bytes, at);
  return new RecordView().open(bytes, 0);
}
