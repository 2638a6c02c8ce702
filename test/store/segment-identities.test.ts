/** A segment of another store under the right name: whole in itself, and never served. */
import test, { type ExecutionContext } from "ava";
import { checkStore } from "../../src/store/check.ts";
import { StoreOpenError } from "../../src/store/store-lock.ts";
import {
  type BuiltStore,
  buildStore,
  readBodies,
  SILENT,
  storeOn,
} from "../support/built-store.ts";
import { copyFiles } from "../support/log-broker.ts";

const ROOT = "/data";
const LOG = `${ROOT}/commitlog`;

async function twoStores() {
  const own = await buildStore(1, ROOT, 300);
  const other = await buildStore(2, ROOT, 300);
  const names = own.storage.list(LOG).map(({ name }) => name);
  names.sort();
  return { own, other, names };
}

function exchange(own: BuiltStore, other: BuiltStore, path: string): void {
  const folder = path.slice(0, path.lastIndexOf("/"));
  copyFiles(other.storage, own.storage, folder, (each, bytes) => {
    if (each === path) return bytes;
    const before = own.storage.open(each, "create");
    const kept = Buffer.alloc(before.size());
    before.readInto(kept, 0, kept.length, 0);
    before.close();
    return kept;
  });
}

async function startOn(own: BuiltStore): Promise<readonly string[]> {
  const store = storeOn(own.storage, ROOT);
  const { warnings } = await store.open(SILENT);
  await store.close();
  return warnings;
}

async function bodiesOf(t: ExecutionContext, own: BuiltStore): Promise<number> {
  const { bodies } = await readBodies(storeOn(own.storage, ROOT));
  for (const [key, body] of bodies) {
    const message = own.messages.find((each) => `${each.queue}@${each.queueOffset}` === key);
    t.true(message?.body.equals(body), `${key} is another store's`);
  }
  return bodies.size;
}

test("a segment of another store is set aside with a report, what it stands for is missing, and put back it is there", async (t) => {
  const { own, other, names } = await twoStores();
  t.true(names.length >= 3);
  const path = `${LOG}/${names[1]}`;
  const right = Buffer.alloc(own.storage.stat(path)!.size);
  own.storage.open(path, "read").readInto(right, 0, right.length, 0);
  exchange(own, other, path);
  const found = await checkStore({ storage: own.storage, directory: ROOT });
  t.regex(
    found.files.find((file) => file.path.endsWith(names[1]!))!.findings.join(),
    /another store/,
  );
  t.regex((await startOn(own)).join(), /held the log of another store/);
  t.is(own.storage.stat(path), undefined);
  const kept = own.storage.list(`${ROOT}/quarantine`).map(({ name }) => name);
  t.true(kept.includes(`foreign-${names[1]}`) && kept.includes(`foreign-${names[1]}.json`));
  const left = await bodiesOf(t, own);
  t.true(left > 0 && left < own.messages.length);
  const file = own.storage.open(path, "create");
  file.write(right, 0, right.length, 0);
  file.close();
  await startOn(own);
  t.is(await bodiesOf(t, own), own.messages.length);
});

test("the segment in which the log ends, a whole log, or a list of segments of another store stop the start, and nothing is changed", async (t) => {
  const cases: Array<(names: readonly string[]) => readonly string[]> = [
    (names) => [`${LOG}/${names.at(-2)}`],
    (names) => names.map((name) => `${LOG}/${name}`),
    () => [`${ROOT}/segments`],
  ];
  for (const pathsOf of cases) {
    const { own, other, names } = await twoStores();
    const paths = pathsOf(names).filter((path) => other.storage.stat(path) !== undefined);
    for (const path of paths) exchange(own, other, path);
    const error = await t.throwsAsync(startOn(own), { instanceOf: StoreOpenError });
    t.regex(error?.message ?? "", /another store/);
    t.deepEqual(own.storage.list(`${ROOT}/quarantine`), []);
  }
});

test("without the list of segments, or with noise for it, everything is served, and the next checkpoint makes it again", async (t) => {
  for (const noise of [Buffer.alloc(0), Buffer.alloc(48, 0x5b)]) {
    const { own } = await twoStores();
    const file = own.storage.open(`${ROOT}/segments`, "create");
    const size = file.size();
    t.true(size >= 32);
    file.truncate(0);
    if (noise.length > 0) file.write(noise, 0, noise.length, 0);
    file.close();
    t.deepEqual(await startOn(own), []);
    t.is(await bodiesOf(t, own), own.messages.length);
  }
});
