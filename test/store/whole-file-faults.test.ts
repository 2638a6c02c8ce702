/**
 * Every kind of file of a store, with every kind of harm that befalls whole files, met by a plain start: what is sound is
 * served, nothing wrong is, what is lost is told, and no other segment of the log is touched.
 */
import test from "ava";
import { checkStore } from "../../src/store/check.ts";
import type { MemoryStorage } from "../../src/store/memory-storage.ts";
import type { Storage } from "../../src/store/storage-file.ts";
import { StoreOpenError } from "../../src/store/store-lock.ts";
import {
  allFiles,
  type BuiltStore,
  buildStore,
  readBodies,
  SEGMENT_BYTES,
  SILENT,
  storeOn,
} from "../support/built-store.ts";
import { copyStorage } from "../support/copy-storage.ts";
import { Random } from "../support/random.ts";
import { bytesOf, replaceFile } from "../support/whole-files.ts";

const ROOT = "/data";

interface Harm {
  readonly name: string;
  /** False when it cannot be done to this file. */
  apply(storage: Storage, path: string, other: Storage): boolean;
}

const change = (name: string, edit: (bytes: Buffer) => Buffer): Harm => ({
  name,
  apply(storage, path) {
    replaceFile(storage, path, edit(bytesOf(storage, path)));
    return true;
  },
});

const HARMS: readonly Harm[] = [
  {
    name: "missing",
    apply(storage, path) {
      storage.remove(path);
      return true;
    },
  },
  change("empty", () => Buffer.alloc(0)),
  change("cut in half", (bytes) => bytes.subarray(0, bytes.length >> 1)),
  change("one byte short", (bytes) => bytes.subarray(0, bytes.length - 1)),
  change("zeros", (bytes) => Buffer.alloc(bytes.length)),
  change("noise", (bytes) => new Random(bytes.length).bytes(bytes.length)),
  change("a flipped bit", (bytes) => {
    bytes[Math.min(70, bytes.length - 1)]! ^= 4;
    return bytes;
  }),
  {
    name: "exchanged with its neighbour",
    apply(storage, path) {
      const folder = path.slice(0, path.lastIndexOf("/"));
      const neighbour = storage
        .list(folder)
        .map(({ name }) => `${folder}/${name}`)
        .find((each) => each !== path && storage.stat(each)?.isDirectory === false);
      if (neighbour === undefined) return false;
      const bytes = bytesOf(storage, path);
      replaceFile(storage, path, bytesOf(storage, neighbour));
      replaceFile(storage, neighbour, bytes);
      return true;
    },
  },
  {
    name: "exchanged with another queue's",
    apply(storage, path) {
      const other = allFiles(storage, `${ROOT}/consumequeue`).find((file) => file.path !== path);
      if (!path.includes("/consumequeue/") || other === undefined) return false;
      const bytes = bytesOf(storage, path);
      replaceFile(storage, path, bytesOf(storage, other.path));
      replaceFile(storage, other.path, bytes);
      return true;
    },
  },
  {
    name: "of another store",
    apply(storage, path, other) {
      if (other.stat(path) === undefined) return false;
      replaceFile(storage, path, bytesOf(other, path));
      return true;
    },
  },
];

/** One file of each kind; of the log and the journal each. */
function targets(storage: Storage): string[] {
  const kindOf = (path: string): string =>
    /^\/data\/(commitlog|journal)\//.test(path) ? path : path.replace(/\d+$/, "").slice(0, 24);
  const found = new Map<string, string>();
  for (const { path } of allFiles(storage, ROOT)) {
    if (!found.has(kindOf(path))) found.set(kindOf(path), path.startsWith(INDEX) ? INDEX : path);
  }
  return [...found.values()];
}

/** Its files are named by the time. */
const INDEX = `${ROOT}/index`;

const keyOf = (message: { queue: string; queueOffset: number }): string =>
  `${message.queue}@${message.queueOffset}`;

interface Outcome {
  /** Why it does not open; then the rest says nothing. */
  readonly refusal: string;
  readonly missing: ReadonlySet<string>;
  readonly lostEntries: number;
  readonly wrong: readonly string[];
  readonly isTold: boolean;
}

async function startOn(built: BuiltStore, storage: Storage): Promise<Outcome> {
  let isTold = false;
  try {
    const store = storeOn(storage, ROOT);
    const report = await store.open(SILENT);
    isTold = report.warnings.length + report.quarantinedRecords + report.truncatedBytes > 0;
    await store.close();
  } catch (error) {
    if (!(error instanceof StoreOpenError)) throw error;
    const nothing = { missing: new Set<string>(), lostEntries: 0, wrong: [], isTold: true };
    return { refusal: error.message, ...nothing };
  }
  const { bodies, journal } = await readBodies(storeOn(storage, ROOT));
  const missing = new Set<string>();
  const wrong: string[] = [];
  for (const message of built.messages) {
    const body = bodies.get(keyOf(message));
    if (body === undefined) missing.add(keyOf(message));
    else if (!body.equals(message.body)) wrong.push(keyOf(message));
    bodies.delete(keyOf(message));
  }
  wrong.push(...bodies.keys());
  wrong.push(...journal.filter((entry) => !built.journal.includes(entry)));
  const lostEntries = built.journal.filter((entry) => !journal.includes(entry)).length;
  return { refusal: "", missing, lostEntries, wrong, isTold };
}

const segmentsOf = (storage: Storage): string[] =>
  storage.list(`${ROOT}/commitlog`).map(({ name }) => name);

/** Messages of segments that this harm cannot have reached. */
function mustBeThere(built: BuiltStore, path: string, harm: Harm): Set<string> {
  const start = Number(/commitlog\/(\d+)$/.exec(path)?.[1] ?? -1);
  const isHit = ({ from, to }: { from: number; to: number }): boolean => {
    if (start < 0) return false;
    // Which neighbour it was exchanged with does not matter here: only the first and the second segment are each other's.
    const last = harm.name.startsWith("exchanged")
      ? Number.POSITIVE_INFINITY
      : start + SEGMENT_BYTES;
    const first = harm.name.startsWith("exchanged") ? 0 : start;
    return from < last && to > first;
  };
  const hit = built.messages.filter(isHit);
  const batches = new Set(hit.map(({ batch }) => batch).filter((batch) => batch > 0));
  return new Set(
    built.messages.filter((each) => !hit.includes(each) && !batches.has(each.batch)).map(keyOf),
  );
}

interface Templates {
  readonly built: BuiltStore;
  readonly files: MemoryStorage;
  readonly others: Storage;
}

/** What does not hold. */
async function tryHarm(templates: Templates, target: string, harm: Harm): Promise<string[]> {
  const { built, files, others } = templates;
  const storage = files.copy();
  const path = target === INDEX ? `${INDEX}/${storage.list(INDEX)[0]!.name}` : target;
  if (!harm.apply(storage, path, others)) return [];
  const before = segmentsOf(storage);
  const isLog = path.includes("/commitlog/");
  const isJournal = path.includes("/journal/");
  const isFound = (await checkStore({ storage, directory: ROOT })).state !== "sound";
  let outcome = await startOn(built, storage);
  // What is derived may be found out only when it is read; the start after that makes it again.
  if (outcome.missing.size > 0 && !isLog && !isJournal) outcome = await startOn(built, storage);
  if (outcome.refusal !== "") return outcome.refusal.includes(ROOT) ? [] : [outcome.refusal];
  const problems: string[] = [];
  if (outcome.wrong.length > 0) {
    problems.push(`wrong: ${outcome.wrong.slice(0, 5).join(" ")}`);
  }
  const needed = mustBeThere(built, path, harm);
  const lost = [...outcome.missing].filter((key) => needed.has(key));
  if (lost.length > 0) {
    problems.push(`lost more than was hit: ${lost.slice(0, 5).join(" ")}`);
  }
  const hasLost = outcome.missing.size > 0 || outcome.lostEntries > 0;
  if (hasLost && !outcome.isTold && !isFound) problems.push("nobody was told");
  if (!isJournal && outcome.lostEntries > 0) problems.push("journal entries are lost");
  const after = new Set(segmentsOf(storage));
  const gone = before.filter((name) => !after.has(name) && !path.endsWith(name));
  if (gone.length > 0) problems.push(`segments are gone: ${gone.join(" ")}`);
  return problems.map((problem) => `${path}: ${harm.name}: ${problem}`);
}

async function makeTemplates(): Promise<Templates> {
  const built = await buildStore(1, ROOT, 150);
  const other = await buildStore(2, ROOT, 150);
  const files = copyStorage(built.storage, ROOT);
  return { built, files, others: copyStorage(other.storage, ROOT) };
}

let made: Promise<Templates> | null = null;

const PARTS = ["commitlog", "consumequeue", "queues/arena", "queues/catalog", "queues/check"];
for (const part of [
  ...PARTS,
  "data/checkpoint",
  "data/segments",
  "data/identity",
  "index",
  "journal",
]) {
  test.serial(
    `${part}: whole files that are harmed cost what was in them, are told, and leave the rest alone`,
    async (t) => {
      made ??= makeTemplates();
      const templates = await made;
      const paths = targets(templates.files).filter((path) => path.includes(part));
      t.true(paths.length >= (part === "commitlog" || part === "journal" ? 2 : 1));
      for (const path of paths) {
        for (const harm of HARMS) t.deepEqual(await tryHarm(templates, path, harm), []);
      }
    },
  );
}

test("the abort mark is only looked for: whatever is in it, or lost with it, the log decides", async (t) => {
  for (const content of [Buffer.alloc(0), Buffer.from("noise"), Buffer.alloc(5000, 0xff)]) {
    const built = await buildStore(1, ROOT, 60);
    replaceFile(built.storage, `${ROOT}/abort`, content);
    const { missing, wrong, lostEntries } = await startOn(built, built.storage);
    t.deepEqual([missing.size, wrong.length, lostEntries], [0, 0, 0]);
  }
});
