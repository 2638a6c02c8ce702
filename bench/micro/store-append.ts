/**
 * What an append costs: CPU of all threads per message, for append + checksums + write + fdatasync (+ queue entry).
 * Usage: node dist/bench/micro/store-append.js [seconds per case, default 2] [part of the case's name]
 *
 * `batch`: messages appended per event-loop turn. `open loop`: that many per second, each in a turn of its own where
 * the clock allows. `lone`: one at a time, the next when the last is durable.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { entryBatch } from "../../src/model/entry-batch.ts";
import { RecordView } from "../../src/model/record-view.ts";
import { CommitLogStore } from "../../src/store/commit-log-store.ts";
import type { RecordFields, StoreEvents } from "../../src/store/message-store.ts";

const seconds = Number(process.argv[2] ?? 2);
const wanted = process.argv[3] ?? "";
const HOST = Buffer.from([127, 0, 0, 1, 0, 0, 0, 0]);

function fieldsOf(bodyBytes: number): RecordFields {
  const properties = Buffer.from("x-enc\x01amqp\x02");
  return {
    body: Buffer.alloc(bodyBytes, 7),
    bodyStart: 0,
    bodyEnd: bodyBytes,
    flag: 0,
    sysFlag: 0,
    bornTimestamp: Date.now(),
    bornHost: HOST,
    reconsumeTimes: 0,
    preparedTransactionOffset: 0,
    properties,
    propertiesLength: properties.length,
    tagHash: 0,
    keys: null,
    dispatch: null,
  };
}

class Events implements StoreEvents {
  callback: (() => void) | null = null;
  wakes = 0;
  onWatermark(): void {
    this.wakes++;
    this.callback?.();
  }
  onRoom(): void {
    this.callback?.();
  }
  onHealth(): void {}
  onReadable(): void {}
}

async function run(
  name: string,
  body: (store: CommitLogStore, events: Events) => Promise<{ messages: number; note?: string }>,
): Promise<void> {
  if (!name.includes(wanted)) return;
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  const events = new Events();
  const store = new CommitLogStore({ directory });
  await store.open(events);
  const cpu = process.cpuUsage();
  const begun = performance.now();
  const { messages, note } = await body(store, events);
  const ms = performance.now() - begun;
  const used = process.cpuUsage(cpu);
  await store.close();
  rmSync(directory, { recursive: true });
  const perMessage = (used.user + used.system) / messages;
  console.log(
    `${name.padEnd(34)} ${Math.round((messages / ms) * 1000)
      .toString()
      .padStart(9)} msg/s  ${perMessage.toFixed(2).padStart(7)} us CPU  ` +
      `user ${(used.user / messages).toFixed(2)} system ${(used.system / messages).toFixed(2)}  ` +
      `${events.wakes} wake-ups ${note ?? ""}`,
  );
}

function flood(bodyBytes: number, batch: number, sync: boolean, reads: boolean) {
  return async (store: CommitLogStore, events: Events) => {
    const queue = store.queue("bench", 0);
    const fields = fieldsOf(bodyBytes);
    const end = performance.now() + seconds * 1000;
    const entries = entryBatch(batch);
    const view = new RecordView();
    let messages = 0;
    let checksum = 0;
    await new Promise<void>((resolve) => {
      const turn = (): void => {
        if (performance.now() > end) {
          resolve();
          return;
        }
        if (!store.hasRoom(batch * (bodyBytes + 200))) {
          events.callback = () => {
            events.callback = null;
            setImmediate(turn);
          };
          return;
        }
        for (let i = 0; i < batch; i++) store.append(queue, fields);
        store.publish(sync);
        if (reads) {
          store.read(queue, messages, batch, entries);
          for (let i = 0; i < batch; i++) {
            store.view(entries.physicalOffset[i]!, entries.size[i]!, view);
            checksum += view.bodyLength;
          }
          store.trim(queue, messages + batch);
        }
        messages += batch;
        setImmediate(turn);
      };
      turn();
    });
    await durable(store, events);
    return { messages, ...(checksum === -1 ? { note: "?" } : {}) };
  };
}

function durable(store: CommitLogStore, events: Events): Promise<void> {
  const to = store.watermarks.appended;
  store.publish(true);
  return new Promise((resolve) => {
    const look = (): void => {
      if (store.watermarks.durable < to) return;
      events.callback = null;
      resolve();
    };
    events.callback = look;
    look();
  });
}

/** Appends at a fixed rate and measures from append to durable. */
function openLoop(bodyBytes: number, rate: number) {
  return async (store: CommitLogStore, events: Events) => {
    const queue = store.queue("bench", 0);
    const fields = fieldsOf(bodyBytes);
    const begun = performance.now();
    const latencies: number[] = [];
    const waiting: Array<[position: number, at: number]> = [];
    let waitingAt = 0;
    let messages = 0;
    events.callback = () => {
      const now = performance.now();
      const to = store.watermarks.durable;
      while (waitingAt < waiting.length && waiting[waitingAt]![0] <= to) {
        latencies.push(now - waiting[waitingAt++]![1]);
      }
    };
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        const now = performance.now();
        const due = Math.floor(((now - begun) / 1000) * rate);
        for (; messages < due; messages++) {
          waiting.push([store.append(queue, fields), now]);
        }
        store.publish(true);
        if (now - begun > seconds * 1000) {
          clearInterval(timer);
          resolve();
        }
      }, 1);
    });
    await durable(store, events);
    return { messages, note: percentiles(latencies) };
  };
}

/** `senders` of them, each with one message on its way. */
function senders(bodyBytes: number, count: number) {
  return async (store: CommitLogStore, events: Events) => {
    const queue = store.queue("bench", 0);
    const fields = fieldsOf(bodyBytes);
    const end = performance.now() + seconds * 1000;
    const latencies: number[] = [];
    let waiting: Array<[position: number, at: number]> = [];
    let messages = 0;
    await new Promise<void>((resolve) => {
      const send = (now: number): void => {
        waiting.push([store.append(queue, fields), now]);
        messages++;
      };
      events.callback = () => {
        const now = performance.now();
        const done = waiting.filter(([position]) => position <= store.watermarks.durable);
        waiting = waiting.filter(([position]) => position > store.watermarks.durable);
        for (const [, at] of done) latencies.push(now - at);
        if (now > end) {
          if (waiting.length === 0) resolve();
          return;
        }
        if (done.length === 0) return;
        for (let i = 0; i < done.length; i++) send(now);
        store.publish(true);
      };
      for (let i = 0; i < count; i++) send(performance.now());
      store.publish(true);
    });
    return { messages, note: percentiles(latencies) };
  };
}

function percentiles(values: number[]): string {
  values.sort((a, b) => a - b);
  const at = (part: number): string =>
    (values[Math.min(values.length - 1, Math.floor(values.length * part))] ?? 0).toFixed(3);
  return `p50 ${at(0.5)} p99 ${at(0.99)} p99.9 ${at(0.999)} ms`;
}

for (const bytes of [100, 1024]) {
  for (const batch of [1, 16, 256]) {
    await run(`${bytes} B, batch ${batch}, fsync`, flood(bytes, batch, true, false));
  }
  await run(`${bytes} B, batch 256, written only`, flood(bytes, 256, false, false));
  await run(`${bytes} B, batch 256, fsync, read back`, flood(bytes, 256, true, true));
}
await run("1 KiB, lone sender", senders(1024, 1));
await run("1 KiB, 10 senders", senders(1024, 10));
await run("1 KiB, 50 senders", senders(1024, 50));
await run("1 KiB, open loop 1,000/s", openLoop(1024, 1000));
await run("1 KiB, open loop 10,000/s", openLoop(1024, 10_000));
