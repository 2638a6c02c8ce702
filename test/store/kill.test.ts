import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { checkStore } from "../../src/store/check.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { StoreQueue } from "../../src/store/message-store.ts";
import { KILL_OPTIONS } from "../support/appending-process.ts";
import { SILENT } from "../support/built-store.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const ROUNDS = 3;
const program = fileURLToPath(new URL("../support/appending-process.js", import.meta.url));

/** Runs the process until it has confirmed something, and some time on; then kills it. What it confirmed. */
async function runAndKill(
  directory: string,
  entries: number,
  extraMs: number,
): Promise<{ log: number; journal: number }> {
  const child = spawn(process.execPath, [program, directory, String(entries)]);
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (output === "") setTimeout(() => child.kill("SIGKILL"), extraMs);
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  await new Promise((resolve) => child.once("close", resolve));
  // The last line may be cut.
  const lines = output.slice(0, output.lastIndexOf("\n")).split("\n");
  const match = /^log (\d+) journal (\d+)$/.exec(lines.at(-1) ?? "");
  if (match === null) throw new Error(`the appending process failed: ${errors}`);
  return { log: Number(match[1]), journal: Number(match[2]) };
}

const batch = entryBatch();

/** Every message of the queue is whole, in order, and of each batch all are there. */
function verify(t: ExecutionContext, store: CommitLogStore, queue: StoreQueue): void {
  const view = new RecordView();
  for (let offset = queue.minOffset; offset < queue.maxOffset; offset++) {
    store.read(queue, offset, 1, batch);
    if (!store.view(batch.physicalOffset[0]!, batch.size[0]!, view)) {
      t.fail(`no record at ${offset}`);
      return;
    }
    const { buffer, bodyStart, bodyEnd } = view;
    const number = buffer.readUInt32BE(bodyStart);
    if (number !== offset) t.fail(`message ${number} at ${offset}`);
    for (let at = bodyStart + 12; at < bodyEnd; at++) {
      if (buffer[at] !== offset % 251) t.fail(`wrong body at ${offset}`);
    }
    const first = buffer.readUInt32BE(bodyStart + 4);
    const count = buffer.readUInt32BE(bodyStart + 8);
    if (first !== 0xffffffff && first + count > queue.maxOffset) t.fail(`half a batch at ${first}`);
  }
}

test("a process killed at any moment has lost nothing that it confirmed", async (t) => {
  const directory = temporaryFolder(t);
  let entries = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const confirmed = await runAndKill(directory, entries, (round * 97) % 300);
    const report = await checkStore({ directory });
    t.not(
      report.state,
      "damaged",
      JSON.stringify(report.files.filter((f) => f.state === "damaged")),
    );
    const store = new CommitLogStore({ directory, ...KILL_OPTIONS });
    await store.open(SILENT);
    const queue = store.queue("T", 0);
    const light = store.lightQueue("L");
    t.true(queue.maxOffset >= confirmed.log, `${queue.maxOffset} of ${confirmed.log} messages`);
    t.is(light.maxOffset, queue.maxOffset);
    verify(t, store, queue);
    verify(t, store, light);
    const found: number[] = [];
    store.journal.replay((bytes) => void found.push(Number(bytes.toString())));
    t.deepEqual(found, [...found.keys()], "journal entries in order, without a gap");
    t.true(found.length >= confirmed.journal, `${found.length} of ${confirmed.journal} entries`);
    entries = found.length;
    await store.close();
  }
  t.is((await checkStore({ directory })).state, "sound");
});
