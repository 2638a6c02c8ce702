/**
 * Makes test/fixtures/rocketmq-store again: stores written by RocketMQ, and what RocketMQ reads out of them.
 *
 *   npm run build && node dist/interop/rocketmq-store/make-fixture.js
 */
import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { encodeFixture, packFiles } from "../../test/support/store-fixture.ts";
import { ROOT, scratchDir } from "../harness/paths.ts";
import { readStore, rocketmqStore, SEGMENT_BYTES, writeStore } from "./java-store.ts";

const folder = join(ROOT, "test/fixtures/rocketmq-store");
mkdirSync(folder, { recursive: true });
await rocketmqStore.prepare();
for (const hasRecordCrc of [false, true]) {
  const directory = scratchDir("fixture");
  await writeStore(directory, hasRecordCrc);
  const files = packFiles(
    directory,
    (path) => /^(commitlog|consumequeue|index)\//.test(path) || path === "checkpoint",
  );
  // Reading changes the directory: read a copy that keeps the holes.
  const copy = scratchDir("fixture-read");
  for (const name of ["commitlog", "consumequeue", "index", "checkpoint"]) {
    cpSync(join(directory, name), join(copy, name), { recursive: true });
  }
  const { messages, problems, maxPhysicalOffset } = await readStore(copy, hasRecordCrc);
  if (problems.length > 0)
    throw new Error(`RocketMQ finds fault with its own store: ${problems[0]}`);
  const packed = encodeFixture({
    files,
    segmentBytes: SEGMENT_BYTES,
    maxPhysicalOffset,
    messages,
  });
  const name = hasRecordCrc ? "with-record-crc.json.gz" : "plain.json.gz";
  writeFileSync(join(folder, name), packed);
  process.stdout.write(`${name}: ${messages.length} messages, ${packed.length} bytes\n`);
  rmSync(directory, { recursive: true });
  rmSync(copy, { recursive: true });
}
