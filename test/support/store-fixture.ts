/**
 * A store directory written by RocketMQ, packed small: only what is not zero, gzipped, together with what RocketMQ's own
 * library read out of it. `interop/rocketmq-store/make-fixture.ts` makes it.
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import type { Storage } from "../../src/store/storage-file.ts";

const BLOCK = 4096;

/** One message as RocketMQ's library reports it. */
export interface FixtureMessage {
  readonly topic: string;
  readonly queueId: number;
  readonly queueOffset: number;
  readonly physicalOffset: number;
  readonly size: number;
  readonly bodyCrc: number;
  readonly bodyLength: number;
  readonly flag: number;
  readonly sysFlag: number;
  readonly bornTimestamp: number;
  readonly storeTimestamp: number;
  readonly bornHost: string;
  readonly storeHost: string;
  readonly reconsumeTimes: number;
  readonly properties: Readonly<Record<string, string>>;
}

export interface StoreFixture {
  readonly files: ReadonlyArray<{
    readonly path: string;
    readonly size: number;
    readonly blocks: ReadonlyArray<readonly [position: number, base64: string]>;
  }>;
  readonly segmentBytes: number;
  readonly maxPhysicalOffset: number;
  readonly messages: readonly FixtureMessage[];
}

/** Packs the files below `root` whose path `take` accepts. */
export function packFiles(
  root: string,
  take: (path: string) => boolean,
): Array<StoreFixture["files"][number]> {
  const paths = readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .filter(take)
    .sort();
  return paths.map((path) => packFile(join(root, path), path));
}

function packFile(file: string, path: string): StoreFixture["files"][number] {
  const blocks: Array<[number, string]> = [];
  const zeros = Buffer.alloc(BLOCK);
  const chunk = Buffer.alloc(1 << 20);
  const descriptor = openSync(file, "r");
  const { size } = fstatSync(descriptor);
  for (let position = 0; position < size; ) {
    const count = readSync(descriptor, chunk, 0, chunk.length, position);
    for (let at = 0; at < count; at += BLOCK) {
      const end = Math.min(at + BLOCK, count);
      if (chunk.compare(zeros, 0, end - at, at, end) === 0) continue;
      blocks.push([position + at, chunk.toString("base64", at, end)]);
    }
    position += count;
  }
  closeSync(descriptor);
  return { path, size, blocks };
}

export const encodeFixture = (fixture: StoreFixture): Buffer =>
  gzipSync(JSON.stringify(fixture), { level: 9 });

export function loadFixture(name: string): StoreFixture {
  return JSON.parse(gunzipSync(readFileSync(join(fixtureFolder(), name))).toString());
}

/** `test/fixtures/rocketmq-store` of the sources, also when this file runs from dist. */
function fixtureFolder(): string {
  let root = dirname(fileURLToPath(import.meta.url));
  for (;;) {
    const folder = join(root, "test/fixtures/rocketmq-store");
    try {
      readdirSync(folder);
      return folder;
    } catch {
      if (dirname(root) === root) throw new Error("test/fixtures/rocketmq-store is missing");
      root = dirname(root);
    }
  }
}

/** Makes the directory again, files sparse as they were. */
export function unpackFixture(fixture: StoreFixture, storage: Storage, root: string): void {
  for (const { path, size, blocks } of fixture.files) {
    const full = join(root, path);
    storage.makeDirectory(dirname(full));
    const file = storage.open(full, "new");
    file.truncate(size);
    for (const [position, base64] of blocks) {
      const bytes = Buffer.from(base64, "base64");
      file.write(bytes, 0, bytes.length, position);
    }
    file.close();
  }
}
