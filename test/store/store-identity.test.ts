/** A journal file of another store under the right name: whole in itself, and never applied. */
import test from "ava";
import { checkStore } from "../../src/store/check.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { StoreOpenError } from "../../src/store/store-lock.ts";
import { crc32 } from "../../src/util/crc32.ts";
import {
  type BuiltStore,
  buildStore,
  readBodies,
  SILENT,
  storeOn,
} from "../support/built-store.ts";
import { FaultyStorage } from "../support/faulty-storage.ts";
import { copyFiles } from "../support/log-broker.ts";
import { Random } from "../support/random.ts";
import { bytesOf, replaceFile } from "../support/whole-files.ts";

const ROOT = "/data";
const JOURNAL = `${ROOT}/journal`;

const journalOf = ({ storage }: BuiltStore): string[] =>
  storage
    .list(JOURNAL)
    .map(({ name }) => name)
    .sort();

async function startOn({ storage }: BuiltStore): Promise<string> {
  const store = storeOn(storage, ROOT);
  const { warnings } = await store.open(SILENT);
  await store.close();
  return warnings.join("\n");
}

test("each file of another store's journal is set aside with a report, and only what it stands for is missing", async (t) => {
  const other = await buildStore(2, ROOT, 150);
  for (const name of journalOf(other)) {
    const own = await buildStore(1, ROOT, 150);
    const isOwn = journalOf(own).includes(name);
    replaceFile(own.storage, `${JOURNAL}/${name}`, bytesOf(other.storage, `${JOURNAL}/${name}`));
    const found = await checkStore({ storage: own.storage, directory: ROOT });
    const file = found.files.find(({ path }) => path === `journal/${name}`);
    t.regex(file?.findings.join() ?? "", /another store/, name);
    t.regex(await startOn(own), new RegExp(`journal/${name} is of another store`));
    const kept = own.storage.list(`${ROOT}/quarantine`).map((each) => each.name);
    t.true(
      kept.includes(`foreign-journal-${name}`) && kept.includes(`foreign-journal-${name}.json`),
    );
    const { bodies, journal } = await readBodies(storeOn(own.storage, ROOT));
    t.is(bodies.size, own.messages.length, "the log has nothing to do with it");
    t.deepEqual(
      journal.filter((entry) => !own.journal.includes(entry)),
      [],
    );
    if (!isOwn) t.deepEqual(journal, own.journal);
  }
});

test("a file beyond the journal's end, and entries beside it, of another store cost nothing", async (t) => {
  const other = await buildStore(2, ROOT, 150);
  const own = await buildStore(1, ROOT, 150);
  const bytes = bytesOf(other.storage, `${JOURNAL}/${journalOf(other).at(-1)}`);
  for (const name of ["00000000000000000099", "ahead-00000000000000000000"]) {
    replaceFile(own.storage, `${JOURNAL}/${name}`, bytes);
  }
  t.is((await startOn(own)).match(/is of another store/g)?.length, 2);
  t.deepEqual((await readBodies(storeOn(own.storage, ROOT))).journal, own.journal);
});

test("a whole journal, or an identity, of another store stops the start, and nothing is changed", async (t) => {
  for (const what of ["journal", "identity"]) {
    const own = await buildStore(1, ROOT, 150);
    const other = await buildStore(2, ROOT, 150);
    if (what === "journal") {
      for (const name of journalOf(own)) own.storage.remove(`${JOURNAL}/${name}`);
      copyFiles(other.storage, own.storage, JOURNAL);
    } else replaceFile(own.storage, `${ROOT}/identity`, bytesOf(other.storage, `${ROOT}/identity`));
    const before = journalOf(own);
    const error = await t.throwsAsync(startOn(own), { instanceOf: StoreOpenError });
    t.regex(error?.message ?? "", /journal of another store/);
    t.deepEqual(journalOf(own), before);
    t.deepEqual(own.storage.list(`${ROOT}/quarantine`), []);
  }
});

test("without its identity, or with noise for it, a store takes that of its journal", async (t) => {
  for (const noise of [null, Buffer.alloc(0), Buffer.alloc(20, 0x5b)]) {
    const own = await buildStore(1, ROOT, 150);
    const before = bytesOf(own.storage, `${ROOT}/identity`);
    if (noise === null) own.storage.remove(`${ROOT}/identity`);
    else replaceFile(own.storage, `${ROOT}/identity`, noise);
    t.is(await startOn(own), "");
    t.deepEqual(bytesOf(own.storage, `${ROOT}/identity`), before);
    t.deepEqual((await readBodies(storeOn(own.storage, ROOT))).journal, own.journal);
  }
});

test("journal files of version 1, which have no identity, are read as before, and the next ones have it", async (t) => {
  const own = await buildStore(1, ROOT, 150);
  own.storage.remove(`${ROOT}/identity`);
  const old = journalOf(own);
  for (const name of old) {
    const bytes = bytesOf(own.storage, `${JOURNAL}/${name}`);
    const header = Buffer.concat([Buffer.from("SLUICEJ1"), bytes.subarray(8, 16), Buffer.alloc(4)]);
    header.writeUInt32BE(crc32(header, 0, 16), 16);
    replaceFile(own.storage, `${JOURNAL}/${name}`, Buffer.concat([header, bytes.subarray(28)]));
  }
  const store = storeOn(own.storage, ROOT);
  const { warnings } = await store.open(SILENT);
  store.journal.append(Buffer.from("next"), 0, 4);
  store.publish(true);
  await store.close();
  t.deepEqual(warnings, []);
  const added = journalOf(own).filter((name) => !old.includes(name));
  t.true(added.length > 0);
  for (const name of added) {
    t.is(bytesOf(own.storage, `${JOURNAL}/${name}`).toString("latin1", 0, 8), "SLUICEJ2");
  }
  t.deepEqual((await readBodies(storeOn(own.storage, ROOT))).journal, [...own.journal, "next"]);
});

test("two stores have two identities, and a copy of a whole store its own", async (t) => {
  const [one, two] = [await buildStore(1, ROOT, 60), await buildStore(1, ROOT, 60)];
  const identity = (storage: Storage): Buffer => bytesOf(storage, `${ROOT}/identity`);
  t.notDeepEqual(identity(one.storage), identity(two.storage));
  const copy = new FaultyStorage(new Random(3));
  copyFiles(one.storage, copy, ROOT);
  t.is(await startOn({ ...one, storage: copy }), "");
  t.deepEqual((await readBodies(storeOn(copy, ROOT))).journal, one.journal);
});
