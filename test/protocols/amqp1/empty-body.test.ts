/** Which AMQP 1.0 messages with a key say that there is no body: a last-value topic forgets the key for it. */
import test from "ava";
import { MessageScan } from "../../../protocols/amqp1/codec/sections.ts";
import { fillDraft } from "../../../protocols/amqp1/draft-filler.ts";
import { Draft } from "../../../src/model/draft.ts";

const annotations = (): Buffer => {
  const map = Buffer.concat([Buffer.from("\x02\xa3\x06x-keys\xa1\x01k", "latin1")]);
  return Buffer.concat([Buffer.from([0, 0x53, 0x72, 0xc1, map.length]), map]);
};

const isEmpty = (...body: number[]): boolean => {
  const bytes = Buffer.concat([annotations(), Buffer.from(body)]);
  const scan = new MessageScan();
  scan.scan(bytes, 0, bytes.length);
  const draft = new Draft();
  draft.bytes = bytes;
  draft.end = bytes.length;
  fillDraft(draft, scan);
  if (draft.keys !== "k") throw new Error("the key was not found");
  return draft.isEmptyBody;
};

test("no section, null, an empty string and empty bytes are no body", (t) => {
  t.true(isEmpty());
  t.true(isEmpty(0, 0x53, 0x77, 0x40));
  t.true(isEmpty(0, 0x53, 0x77, 0xa1, 0));
  t.true(isEmpty(0, 0x53, 0x77, 0xa0, 0));
  t.true(isEmpty(0, 0x53, 0x75, 0xa0, 0));
});

test("whatever else there is, is a body, also one that ends like an empty one", (t) => {
  t.false(isEmpty(0, 0x53, 0x77, 0x41));
  t.false(isEmpty(0, 0x53, 0x77, 0x44));
  t.false(isEmpty(0, 0x53, 0x77, 0x54, 0));
  t.false(isEmpty(0, 0x53, 0x77, 0xa1, 1, 0x20));
  t.false(isEmpty(0, 0x53, 0x77, 0x45));
  t.false(isEmpty(0, 0x53, 0x75, 0xa0, 4, 0, 0x53, 0x77, 0x40));
  t.false(isEmpty(0, 0x53, 0x75, 0xa0, 5, 0, 0x53, 0x75, 0xa0, 0));
});
