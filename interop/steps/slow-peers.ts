/**
 * Peers that do not do their part, against the real process: subscribers that never read, processes that stand still, clients that
 * stop in the middle of saying hello, senders of a byte now and then. The broker's memory stays where it is, everybody
 * else goes on as before, and whoever promised to be heard of and is not is let go.
 */
import type { Socket } from "node:net";
import { type BrokerProcess, sleep } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { MqttPeer } from "../harness/mqtt-peer.ts";
import { ROOT } from "../harness/paths.ts";
import { killGroup, spawnTracked } from "../harness/process.ts";
import { type Step, type StepContext, within } from "../harness/step.ts";
import { mqttConnect, packetHead, StuckPeers } from "../harness/stuck-peers.ts";

const MIB = 1024 * 1024;
const CLIENT = "raw sockets";

/** Subscribers that never read. */
const DEAF = { mqtt0: 20, mqtt1: 20, stomp: 10, amqp: 10 };
const DEAF_COUNT = DEAF.mqtt0 + DEAF.mqtt1 + DEAF.stomp + DEAF.amqp;
const TOPIC = "slow";
const BODY = Buffer.alloc(1024, "x");
const RATE = 1500;
const SECONDS = 20;
/** What one of them may hold: `limits.outputHighBytes`, a run of messages and the rest of a chunk beyond it. */
const OUTPUT_HIGH = 256 * 1024;
const PER_CONNECTION = OUTPUT_HIGH + 512 * 1024;
/** The young generation of JavaScript's heap, pools, the ring's pages that are touched for the first time. */
const SLACK = 96 * MIB;
/** Half of the time is over: it has what it needs. */
const GROWTH_MAX = 12 * MIB;
/** Messages that may wait for a subscriber whose list is in memory. */
const QUEUED_MAX = 4000;

/** As large as a message may be, nearly. */
const LARGE = 15 * MIB;
const KEEP_ALIVE_SECONDS = 2;
const HALF_OPEN = 10;
const HANDSHAKE_MS = 3000;
/** Longer than all these limits. */
const STILL_MS = 8000;
/** On a busy machine. */
const MARGIN_MS = 10_000;
/** What a confirm may take while others do not read, on a machine that may be busy with more than this. */
const LATENCY_MAX_MS = 5000;

/** Publishes at a steady rate and waits for confirms; a subscriber beside it takes everything. */
class Healthy {
  readonly latencies: number[] = [];
  received = 0;
  confirmed = 0;
  readonly #writer: MqttPeer;
  readonly #reader: MqttPeer;
  #isRunning = true;
  readonly #done: Promise<void>;

  private constructor(writer: MqttPeer, reader: MqttPeer, topic: string, rate: number) {
    this.#writer = writer;
    this.#reader = reader;
    this.#done = this.#run(topic, rate);
  }

  static async start(broker: BrokerProcess, topic: string, rate: number): Promise<Healthy> {
    const reader = await MqttPeer.connect(broker, { clientId: `reader of ${topic}` });
    await reader.subscribe(topic, { qos: 1 });
    const writer = await MqttPeer.connect(broker, { clientId: `writer of ${topic}` });
    const healthy = new Healthy(writer, reader, topic, rate);
    reader.client.on("message", () => healthy.received++);
    return healthy;
  }

  async #run(topic: string, rate: number): Promise<void> {
    const began = performance.now();
    const open = new Set<Promise<void>>();
    for (let sent = 0; this.#isRunning; ) {
      const due = ((performance.now() - began) / 1000) * rate;
      for (; sent < due && open.size < 1000; sent++) {
        const at = performance.now();
        const answered = this.#writer.client
          .publishAsync(topic, BODY, { qos: 1 })
          .then(() => {
            this.confirmed++;
            this.latencies.push(performance.now() - at);
          })
          .finally(() => open.delete(answered));
        open.add(answered);
      }
      await sleep(5);
    }
    await Promise.all(open);
  }

  /** Ends it; all that was confirmed has to have come. */
  async stop(): Promise<string> {
    this.#isRunning = false;
    await this.#done;
    for (let i = 0; i < 100 && this.received < this.confirmed; i++) await sleep(50);
    equal(this.received, this.confirmed, "messages to the one that reads");
    truly(this.confirmed > 0, "something was confirmed");
    await this.#writer.end();
    await this.#reader.end();
    const sorted = this.latencies.sort((a, b) => a - b);
    const p99 = sorted[Math.floor(sorted.length * 0.99)]!;
    truly(
      p99 < LATENCY_MAX_MS,
      `99 of 100 confirms within ${LATENCY_MAX_MS} ms (${p99.toFixed(0)})`,
    );
    return `${this.confirmed} messages, p99 ${p99.toFixed(0)} ms`;
  }
}

async function deafSubscribers(broker: BrokerProcess): Promise<string> {
  const before = broker.residentKb() * 1024;
  const stuck = new StuckPeers(broker);
  for (let i = 0; i < DEAF.mqtt0; i++) await stuck.mqttSubscriber(`deaf 0 ${i}`, TOPIC, 0);
  for (let i = 0; i < DEAF.mqtt1; i++) await stuck.mqttSubscriber(`deaf 1 ${i}`, TOPIC, 1);
  for (let i = 0; i < DEAF.stomp; i++) await stuck.stompSubscriber(`/topic/${TOPIC}`);
  for (let i = 0; i < DEAF.amqp; i++) await stuck.amqpSubscriber(`topic://${TOPIC}`);
  const healthy = await Healthy.start(broker, TOPIC, RATE);
  const samples: number[] = [];
  const end = performance.now() + SECONDS * 1000;
  while (performance.now() < end) {
    await sleep(250);
    samples.push(broker.residentKb() * 1024);
  }
  const note = await healthy.stop();
  equal(stuck.closed, 0, "connections that were closed");
  stuck.end();
  const half = Math.floor(samples.length / 2);
  const [first, second] = [samples.slice(0, half), samples.slice(half)].map((part) =>
    Math.max(...part!),
  ) as [number, number];
  const bound = before + DEAF_COUNT * PER_CONNECTION + SLACK;
  const shown = [before, first, second, bound].map((bytes) => Math.round(bytes / MIB));
  const figures = `RSS ${shown[0]} MiB before, at most ${shown[1]} in the first half, ${shown[2]} in the second; bound ${shown[3]}`;
  truly(second <= first + GROWTH_MAX, `memory is flat in the second half: ${figures}`);
  truly(second <= bound, `memory is within its bound: ${figures}`);
  return `${DEAF_COUNT} of them, ${figures}; ${note}`;
}

/** Clients that are logged in, as the broker counts them. */
async function connections(broker: BrokerProcess): Promise<number> {
  const answer = await fetch(`http://${broker.host}:${broker.port}/metrics`);
  const text = await answer.text();
  let sum = 0;
  for (const [, count] of text.matchAll(/^sluice_connections(?:\{[^}]*\})? (\d+)/gm)) {
    sum += Number(count);
  }
  return sum;
}

/** Ends in the ms it took, or fails. */
async function until(
  what: string,
  limitMs: number,
  holds: () => Promise<boolean> | boolean,
): Promise<number> {
  const began = performance.now();
  while (!(await holds())) {
    truly(performance.now() - began < limitMs, `${what} within ${limitMs} ms`);
    await sleep(50);
  }
  return Math.round(performance.now() - began);
}

async function halfOpen(broker: BrokerProcess): Promise<string> {
  const before = await connections(broker);
  const script = `${ROOT}/dist/interop/harness/half-open-client.js`;
  const args = [script, String(broker.port), String(HALF_OPEN), String(KEEP_ALIVE_SECONDS)];
  const child = spawnTracked(process.execPath, args);
  const ready = new Promise<void>((resolve) => child.stdout!.once("data", () => resolve()));
  await ready;
  equal(await connections(broker), before + 3 * HALF_OPEN, "connections");
  // Longer than they may be silent: they are kept as long as they speak.
  await sleep(KEEP_ALIVE_SECONDS * 2500);
  equal(await connections(broker), before + 3 * HALF_OPEN, "connections that are spoken to");
  killGroup(child, "SIGSTOP");
  const limit = KEEP_ALIVE_SECONDS * 2000 + MARGIN_MS;
  const took = await until("they are let go", limit, async () => {
    return (await connections(broker)) === before;
  });
  killGroup(child, "SIGKILL");
  return `${3 * HALF_OPEN} connections, keep-alive, heart-beat and idle time-out of ${KEEP_ALIVE_SECONDS} s: gone after ${took} ms`;
}

/** A paused machine, a disk that keeps it waiting: what clients said meanwhile lies in the sockets, unread. */
async function stoodStill(broker: BrokerProcess): Promise<string> {
  const stuck = new StuckPeers(broker);
  const stops: Array<() => void> = [];
  const beatMs = KEEP_ALIVE_SECONDS * 1000;
  for (let i = 0; i < HALF_OPEN; i++) {
    const mqtt = await stuck.mqttClient(`speaks ${i}`, KEEP_ALIVE_SECONDS);
    stops.push(stuck.trickle(mqtt, Buffer.from([0xc0, 0]), beatMs / 4));
    const stomp = await stuck.stompClient(beatMs);
    stops.push(stuck.trickle(stomp, Buffer.from("\n"), beatMs / 4));
  }
  const speaking = stuck.count;
  const greeting: Socket[] = [];
  for (let i = 0; i < HALF_OPEN; i++) greeting.push(await stuck.open());
  // All of them are accepted.
  await sleep(500);
  broker.pause();
  for (const [i, socket] of greeting.entries()) socket.write(mqttConnect(`says hello ${i}`, 0));
  const answered = Promise.all(
    greeting.map((socket) => new Promise<void>((resolve) => socket.once("data", () => resolve()))),
  );
  await sleep(STILL_MS);
  broker.resume();
  await within(MARGIN_MS, answered, "answers to those who said hello meanwhile");
  // Several ticks of a second: whoever was to be let go would be.
  await sleep(3000);
  const { closed } = stuck;
  for (const stop of stops) stop();
  stuck.end();
  equal(closed, 0, "connections that were closed");
  return `${speaking + greeting.length} connections, keep-alive and heart-beat ${KEEP_ALIVE_SECONDS} s, handshake limit ${HANDSHAKE_MS} ms, stopped for ${STILL_MS} ms`;
}

async function halfSaid(broker: BrokerProcess): Promise<string> {
  const stuck = new StuckPeers(broker);
  const beginnings: Array<Uint8Array | string> = [
    "",
    "AMQP",
    Buffer.from("AMQP\x03\x01\x00\x00", "latin1"),
    mqttConnect("half", 0).subarray(0, 9),
    "CONNECT\naccept-version:1.2\nhost:",
    "GET /metrics HTTP/1.1\r\nHost: x\r\n",
    Buffer.from([0x16, 3, 1, 2, 0, 1]),
  ];
  for (const bytes of beginnings) for (let i = 0; i < 5; i++) await stuck.silentAfter(bytes);
  const all = stuck.count;
  const took = await until("they are let go", HANDSHAKE_MS + MARGIN_MS, () => stuck.closed === all);
  stuck.end();
  return `${all} connections, handshake limit ${HANDSHAKE_MS} ms: gone after ${took} ms`;
}

async function slowSenders(broker: BrokerProcess): Promise<string> {
  const stuck = new StuckPeers(broker);
  const before = broker.residentKb() * 1024;
  const stops: Array<() => void> = [];
  // A login that takes for ever ends with the handshake limit.
  for (let i = 0; i < 20; i++) {
    const socket = await stuck.open();
    stops.push(stuck.trickle(socket, mqttConnect(`loris ${i} ${"x".repeat(200)}`, 0), 100));
  }
  const logins = stuck.count;
  // Large messages, so they say, a byte at a time.
  for (let i = 0; i < 20; i++) {
    const socket = await stuck.mqttClient(`large ${i}`, 0);
    socket.write(packetHead(0x32, LARGE));
    stops.push(stuck.trickle(socket, Buffer.from([0, 1, 0x74, 0, 1]), 100));
  }
  for (let i = 0; i < 20; i++) {
    const socket = await stuck.open();
    socket.write("CONNECT\naccept-version:1.2\nhost:/\n\n\0SEND\ndestination:/queue/slow\n");
    socket.write(`content-length:${LARGE}\n\n`);
    stops.push(stuck.trickle(socket, Buffer.from("y"), 100));
  }
  const took = await until("logins that take too long end", HANDSHAKE_MS + MARGIN_MS, () => {
    return stuck.closed >= logins;
  });
  truly(took > HANDSHAKE_MS / 2, `they had their time (${took} ms)`);
  equal(stuck.closed, logins, "connections that were closed");
  const grown = broker.residentKb() * 1024 - before;
  for (const stop of stops) stop();
  stuck.end();
  truly(grown < 32 * MIB, `a byte costs little: ${Math.round(grown / MIB)} MiB more`);
  return `20 logins gone after ${took} ms; 40 large messages a byte at a time: ${Math.max(0, Math.round(grown / MIB))} MiB more`;
}

async function run(context: StepContext): Promise<void> {
  const settings = [
    `limits.outputHighBytes=${OUTPUT_HIGH}`,
    `limits.handshakeTimeout=${HANDSHAKE_MS}ms`,
    `stomp.heartbeatReceive=${KEEP_ALIVE_SECONDS}s`,
    `amqp.idleTimeout=${KEEP_ALIVE_SECONDS * 2}s`,
    `mqtt.queuedInMemoryMax=${QUEUED_MAX}`,
    `mqtt.directBytesMax=${OUTPUT_HIGH}`,
  ];
  const args = settings.flatMap((setting) => ["--set", setting]);
  const broker = await context.ownBroker({ args });
  await context.check(CLIENT, "subscribers that never read: memory is flat, others go on", () =>
    deafSubscribers(broker),
  );
  const beside = await Healthy.start(broker, "beside", 50);
  await context.check(CLIENT, "processes that stand still are let go", () => halfOpen(broker));
  await context.check(CLIENT, "half a handshake is let go", () => halfSaid(broker));
  await context.check(CLIENT, "a byte now and then: logins end, memory stays", () =>
    slowSenders(broker),
  );
  await context.check(CLIENT, "others go on meanwhile", () => beside.stop());
  await context.check(CLIENT, "a broker that stood still itself blames nobody", () =>
    stoodStill(broker),
  );
}

export const slowPeers: Step = {
  name: "slow-peers",
  about:
    "subscribers that never read, half-open peers, half handshakes, a byte at a time: memory and the others",
  table: "Slow and silent peers",
  isAlone: true,
  limitSeconds: 180,
  ownBrokerOnly: true,
  run,
};
