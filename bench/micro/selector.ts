/**
 * What a selector costs per message: on fields the record tells by itself, and on properties of a message that has to be
 * decoded first.
 * Run: node --import tsx bench/micro/selector.ts
 */
import { Draft } from "../../src/model/draft.ts";
import { fillRawDraft } from "../../src/model/foreign.ts";
import { Neutral } from "../../src/model/neutral.ts";
import { i32, string } from "../../src/model/values.ts";
import { compileSelector } from "../../src/selector/selector.ts";
import { buildRecord } from "../../test/support/record-builder.ts";

const ROUNDS = 300_000;
const message = new Neutral();
message.type = "order";
message.properties = [
  { name: "region", value: string("eu") },
  { name: "amount", value: i32(120) },
  { name: "customer", value: string("c-4711") },
];
const record = buildRecord(fillRawDraft(new Draft(), message), { topic: "Q-orders" });
const expected = [true, true, true, false];
[
  "JMSPriority > 3 AND JMSDeliveryMode = 'PERSISTENT'",
  "region = 'eu'",
  "region IN ('eu', 'us') AND amount BETWEEN 100 AND 200 AND customer LIKE 'c-%'",
  "JMSType = 'order' AND amount > 1000",
].forEach((text, index) => {
  const selector = compileSelector(text);
  const run = (vary: boolean): number => {
    const started = process.hrtime.bigint();
    for (let i = 0; i < ROUNDS; i++) {
      // Another physical offset is another message: it has to be decoded.
      if (vary) record.buffer.writeUInt32BE(i, record.start + 32);
      if (selector.byRecord(record) !== expected[index]) throw new Error(text);
    }
    return Number(process.hrtime.bigint() - started) / ROUNDS;
  };
  run(true);
  process.stdout.write(
    `${run(true).toFixed(0).padStart(6)} ns with decoding, ${run(false).toFixed(0).padStart(5)} ns without   ${text}\n`,
  );
});
