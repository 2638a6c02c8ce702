import { deflateSync } from "node:zlib";
import test from "ava";
import { redraft } from "../../src/broker/redraft.ts";
import { Draft } from "../../src/model/draft.ts";
import { decodeRaw } from "../../src/model/foreign.ts";
import { ENCODING } from "../../src/model/record-view.ts";
import { buildRecord } from "../support/record-builder.ts";

test("a copy of a compressed RocketMQ message is a message of ours with its plain body and its properties", (t) => {
  const source = new Draft();
  source.bytes = deflateSync("hello");
  source.end = source.bytes.length;
  source.tag = "T1";
  source.properties = "region\x01eu\x02WAIT\x01true\x02";
  const record = buildRecord(source, { topic: "T", isForeign: true, sysFlag: 0x301 });
  record.buffer.writeInt32BE(-1, 16);
  record.open(record.buffer, 0);
  const copy = new Draft();
  redraft(record, copy, () => true);
  t.is(copy.encoding, ENCODING.RAW);
  t.is(copy.bytes.toString(), "hello");
  t.false(copy.isRetained);
  t.false(copy.isExactlyOnce);
  t.is(copy.priority, -1);
  const back = decodeRaw(buildRecord(copy, { topic: "Q-DLQ%2Eq" }));
  t.is(back.bytes.toString(), "hello");
  t.is(back.tag, "T1");
  t.deepEqual(
    back.properties.map(({ name, value }) => `${name}=${value.value}`),
    ["region=eu"],
  );
});

test("a body that cannot be inflated keeps its bytes and says how it is encoded", (t) => {
  const source = new Draft();
  source.bytes = Buffer.from("lz4 bytes");
  source.end = source.bytes.length;
  const copy = new Draft();
  redraft(buildRecord(source, { topic: "T", isForeign: true, sysFlag: 0x101 }), copy, () => true);
  const back = decodeRaw(buildRecord(copy, { topic: "T" }));
  t.is(back.bytes.toString(), "lz4 bytes");
  t.is(back.contentEncoding, "lz4");
});
