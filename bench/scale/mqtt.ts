/** MQTT at scale through a real broker process: retained topics, kept sessions, wildcard filters. */
import { readFileSync } from "node:fs";
import { BrokerProcess, sleep } from "../../interop/harness/broker-process.ts";
import { publishPacket, RawMqtt, subscribePacket } from "./mqtt-raw.ts";

export type Facts = Record<string, number>;

const WINDOW = 2000;
const SETTLE_MS = 5000;
const TICKS_PER_SECOND = 100;

/** User and system time of all threads so far, in microseconds. */
function cpuMicros(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1e6) / TICKS_PER_SECOND;
}

const mib = (kb: number): number => Math.round(kb / 1024);

/** End of the log. */
async function logBytes(broker: BrokerProcess): Promise<number> {
  const text = await (await fetch(`http://${broker.host}:${broker.port}/metrics`)).text();
  return Number(/^sluice_log_appended_bytes_total (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

/** Publishes at QoS 1 with a window; resolves when all are confirmed. */
async function publishAll(
  client: RawMqtt,
  count: number,
  make: (i: number, id: number) => Buffer,
): Promise<void> {
  const before = client.counts[4]!;
  for (let sent = 0; sent < count; ) {
    const batch: Buffer[] = [];
    for (let i = 0; i < 200 && sent < count; i++, sent++)
      batch.push(make(sent, (sent % 60_000) + 1));
    client.send(Buffer.concat(batch));
    const needed = sent;
    await client.until(() => needed - (client.counts[4]! - before) < WINDOW);
  }
  await client.until(() => client.counts[4]! - before === count);
}

export async function retained(count: number): Promise<Facts> {
  const broker = await BrokerProcess.start();
  const emptyKb = broker.residentKb();
  const client = new RawMqtt(broker.port);
  await client.open("scale");
  const began = performance.now();
  const payload = Buffer.from("21.5 degrees");
  await publishAll(client, count, (i, id) =>
    publishPacket(`site/${i % 1000}/device/${Math.floor(i / 1000)}/temp`, payload, id, true),
  );
  const seconds = (performance.now() - began) / 1000;
  const fullKb = broker.residentKb();
  client.leave();
  await broker.kill();
  await broker.restart();
  const reader = new RawMqtt(broker.port);
  await reader.open("reader");
  const againKb = broker.residentKb();
  const startMs = broker.startMs;
  reader.send(subscribePacket(["site/7/device/+/temp"], 1));
  await reader.until(() => reader.counts[3]! >= count / 1000);
  reader.destroy();
  await broker.dispose();
  return {
    topics: count,
    perSecond: Math.round(count / seconds),
    emptyMiB: mib(emptyKb),
    residentMiB: mib(fullKb),
    startAfterKillMs: Math.round(startMs),
    residentAfterRestartMiB: mib(againKb),
  };
}

export async function sessions(count: number, messages: number): Promise<Facts> {
  const broker = await BrokerProcess.start();
  const emptyKb = broker.residentKb();
  const made: Promise<void>[] = [];
  for (let i = 0; i < count; i++) {
    made.push(keepSession(broker.port, `session-${i}`));
    if (made.length === 200) await Promise.all(made.splice(0));
  }
  await Promise.all(made);
  // Opened again, so that what was needed to make them is not among it.
  await broker.stop();
  await broker.restart();
  await sleep(SETTLE_MS);
  const idleKb = broker.residentKb();
  const client = new RawMqtt(broker.port);
  await client.open("publisher");
  const before = await logBytes(broker);
  const cpu = cpuMicros(broker.pid);
  const payload = Buffer.alloc(1024, 0x61);
  await publishAll(client, messages, (_, id) => publishPacket("news/today", payload, id));
  const micros = cpuMicros(broker.pid) - cpu;
  const grown = (await logBytes(broker)) - before;
  client.leave();
  await broker.kill();
  await broker.restart();
  const startMs = broker.startMs;
  let received = 0;
  const readers = Math.min(count, 200);
  for (let i = 0; i < readers; i++) {
    const reader = new RawMqtt(broker.port);
    await reader.open(`session-${Math.floor((i * count) / readers)}`, false);
    await reader.until(() => reader.counts[3]! >= messages);
    received += reader.counts[3]!;
    reader.leave();
  }
  const afterKb = broker.residentKb();
  await broker.dispose();
  return {
    sessions: count,
    messages,
    bytesPerSession: Math.round(((idleKb - emptyKb) * 1024) / count),
    logBytesPerMessage: Math.round(grown / messages),
    cpuMicrosPerEntry: Number((micros / messages / count).toFixed(3)),
    startAfterKillMs: Math.round(startMs),
    sessionsRead: readers,
    receivedPerSession: received / readers,
    residentAfterMiB: mib(afterKb),
  };
}

async function keepSession(port: number, name: string): Promise<void> {
  const client = new RawMqtt(port);
  await client.open(name, false);
  client.send(subscribePacket(["news/#"], 1));
  await client.until(() => client.counts[9]! > 0);
  client.leave();
}

const SITES = 500;
const DEVICES = 20_000;

function filterOf(i: number): string {
  const site = i % SITES;
  const device = i % DEVICES;
  switch (i % 4) {
    case 0:
      return `site/${site}/device/${device}/+`;
    case 1:
      return `site/+/device/${device}/temp`;
    case 2:
      return `site/${site}/device/${device}/#`;
    default:
      return `+/${site}/+/${device}/temp`;
  }
}

export async function wildcards(count: number, messages: number): Promise<Facts> {
  const broker = await BrokerProcess.start();
  const publisher = new RawMqtt(broker.port);
  await publisher.open("publisher");
  const payload = Buffer.alloc(100, 0x61);
  const path = (i: number): string => `site/${(i * 7) % SITES}/device/${(i * 31) % DEVICES}/temp`;
  const run = async (): Promise<number> => {
    const cpu = cpuMicros(broker.pid);
    await publishAll(publisher, messages, (i, id) => publishPacket(path(i), payload, id));
    return (cpuMicros(broker.pid) - cpu) / messages;
  };
  await run();
  const without = await run();
  const clients: RawMqtt[] = [];
  const PER_CLIENT = 10_000;
  const emptyKb = broker.residentKb();
  for (let from = 0; from < count; from += PER_CLIENT) {
    const client = new RawMqtt(broker.port);
    await client.open(`wild-${from}`);
    for (let i = from; i < Math.min(from + PER_CLIENT, count); i += 500) {
      const filters = Array.from({ length: Math.min(500, count - i) }, (_, k) => filterOf(i + k));
      client.send(subscribePacket(filters, 1 + ((i / 500) | 0)));
    }
    const packets = Math.ceil(Math.min(PER_CLIENT, count - from) / 500);
    await client.until(() => client.counts[9]! >= packets);
    clients.push(client);
  }
  const fullKb = broker.residentKb();
  await run();
  const withAll = await run();
  const delivered = clients.reduce((sum, client) => sum + client.counts[3]!, 0);
  publisher.destroy();
  for (const client of clients) client.destroy();
  await broker.dispose();
  return {
    filters: count,
    bytesPerFilter: Math.round(((fullKb - emptyKb) * 1024) / count),
    cpuMicrosWithout: Number(without.toFixed(2)),
    cpuMicrosWith: Number(withAll.toFixed(2)),
    deliveriesPerPublish: Number((delivered / messages / 2).toFixed(2)),
  };
}
