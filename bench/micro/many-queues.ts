/**
 * The path of a message without sockets and codecs, through one queue or through many in turn, with the real store at fsync.
 * `node dist/bench/micro/many-queues.js [queues] [messages] [links] [burst]`: microseconds of CPU per message, by thread.
 */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareBroker } from "../bare-broker.ts";
import { through } from "../scale/busy.ts";

const queues = Number(process.argv[2] ?? 10_000);
const messages = Number(process.argv[3] ?? 300_000);
const links = Number(process.argv[4] ?? queues);
const burst = Number(process.argv[5] ?? 1);

/** User and system time in ms, by thread. */
async function threads(): Promise<Map<string, [user: number, system: number]>> {
  const times = new Map<string, [number, number]>();
  for (const task of await readdir("/proc/self/task")) {
    const text = await readFile(`/proc/self/task/${task}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    times.set(task, [Number(fields[11]) * 10, Number(fields[12]) * 10]);
  }
  return times;
}

const directory = await mkdtemp(join(tmpdir(), "sluice-many-"));
const broker = bareBroker(directory);
const { turn } = broker;
await broker.open();
let before = new Map<string, [number, number]>();
const { rate, micros } = await through(broker, turn, {
  ...{ links, queues, messages, burst, times: 1 },
  onWarm: async () => {
    before = await threads();
  },
});
const parts: string[] = [];
for (const [task, [user, system]] of await threads()) {
  const [userBefore, systemBefore] = before.get(task) ?? [0, 0];
  const used = user + system - userBefore - systemBefore;
  if (used * 1000 < messages * 0.05) continue;
  const name = task === String(process.pid) ? "loop" : `thread ${task}`;
  const each = (ms: number): string => ((ms * 1000) / messages).toFixed(2);
  parts.push(`${name} ${each(user - userBefore)} + ${each(system - systemBefore)}`);
}
process.stdout.write(
  `${queues} queues, ${links} links, bursts of ${burst}: ${micros.toFixed(2)} us CPU per message (${parts.join(", ")}), ${rate} msg/s\n`,
);
await broker.close();
await rm(directory, { recursive: true });
