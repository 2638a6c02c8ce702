/**
 * The load generator in every mode, short: nothing lost, duplicated, out of order, rejected or left unconfirmed.
 * It measures nothing here; `bench/` does.
 */
import type { Endpoint } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import { type LoadProtocol, loadgen, loadgenProgram } from "../harness/loadgen.ts";
import { RheaPeer, textOf } from "../harness/rhea-peer.ts";
import type { Step, StepContext } from "../harness/step.ts";

interface Mode {
  readonly row: string;
  readonly args: readonly string[];
}

const mode = (row: string, args: string): Mode => ({ row, args: args.split(" ") });

/** Each its own addresses, so that one mode's leftovers are not another's. */
const COMMON: readonly Mode[] = [
  mode("1 producer, 1 consumer", "-n 60000 -b 1024"),
  mode("the same, every message acknowledged by itself", "-n 20000 -b 100 --ack each"),
  mode("4 producers, 4 consumers, 4 queues", "-P 4 -C 4 -Q 4 -n 60000 -b 1024"),
  mode("16 producers on 1 queue", "-P 16 -C 1 -Q 1 -n 48000 -b 200"),
  mode("body of 28 bytes", "-n 60000 -b 28"),
  mode("body of 64 KiB", "-n 2000 -b 65536 --window 100"),
  mode("body of 1 MiB", "-n 100 -b 1048576 --window 10"),
  mode("one unconfirmed at a time", "-n 1000 --window 1 -b 1024"),
  mode("backlog of 100,000, then drained", "--mode backlog -n 100000 -b 1024"),
  mode("open loop at 2,000 messages/s", "--mode latency --rate 2000 -s 3 -b 1024"),
  mode("fan-out to 10", "--mode fanout -C 10 -n 10000 -b 1024"),
];

const TABLE = "Load: nothing lost, duplicated or out of order";
const LARGEST = mode("body of 10 MiB", "-n 10 -b 10485760 --window 2");
const CONNECTIONS = 10_000;

async function runModes(
  context: StepContext,
  protocol: LoadProtocol,
  client: string,
  options: { readonly endpoint: Endpoint; readonly modes: readonly Mode[] },
): Promise<void> {
  for (const [at, { row, args }] of options.modes.entries()) {
    await context.check(
      client,
      row,
      async () => {
        const all = [...args, ...addresses(protocol, args, at)];
        if (args.includes("backlog")) await makeSessions(protocol, options.endpoint, all);
        const result = await loadgen(protocol, options.endpoint, all);
        truly(result.ok, result.text);
      },
      130_000,
    );
  }
}

/** Over MQTT nobody keeps a backlog but a session, so the sessions have to be there before it. */
export async function makeSessions(
  protocol: LoadProtocol,
  endpoint: Endpoint,
  args: readonly string[],
): Promise<void> {
  if (!protocol.startsWith("mqtt")) return;
  const brief = ["--mode", "throughput", "-n", "10"];
  const result = await loadgen(protocol, endpoint, [...args, ...brief]);
  truly(result.ok, result.text);
}

function addresses(protocol: LoadProtocol, args: readonly string[], at: number): string[] {
  if (args.includes("fanout") || args.includes("connections")) return [];
  const names = {
    amqp10: "load",
    amqp091: "load",
    stomp: "/queue/load",
    "stomp-ws": "/queue/load",
    mqtt: "load",
    "mqtt-ws": "load",
  };
  const separator = protocol.startsWith("mqtt") ? "/" : ".";
  return ["--addr", `${names[protocol]}${separator}${at}${separator}{}`];
}

/** The modes that every protocol has, and idle connections; the generator's defaults say how each of them acknowledges. */
function protocolStep(protocol: LoadProtocol, client: string, more: readonly string[] = []): Step {
  return {
    name: `load-${protocol}`,
    about: `the load generator over ${client} in every mode, short`,
    table: TABLE,
    isAlone: true,
    limitSeconds: 240,
    needs: [loadgenProgram],
    async run(context) {
      const endpoint = await context.broker();
      const modes = COMMON.map(({ row, args }) => ({ row, args: [...args, ...more] }));
      await runModes(context, protocol, client, { endpoint, modes });
      await context.check(
        client,
        "2,000 connections, subscribed",
        async () => {
          const args = ["--mode", "connections", "--attach", "-n", "2000", "--hold", "1"];
          const result = await loadgen(protocol, endpoint, args);
          truly(result.ok, result.text);
          equal(result.numbers["alive_after_hold"], 2000, "connections alive");
        },
        60_000,
      );
    },
  };
}

export const loadStomp = protocolStep("stomp", "STOMP");
export const loadStompWebSocket = protocolStep("stomp-ws", "STOMP (WebSocket)");
/** Sessions are kept, so that a message at QoS 1 is the broker's to keep. */
export const loadMqtt = protocolStep("mqtt", "MQTT", ["--persistent-session"]);
export const loadMqttWebSocket = protocolStep("mqtt-ws", "MQTT (WebSocket)", [
  "--persistent-session",
]);

/** One message to each of many queues, then some of them looked up at random: none is missing or in a foreign queue. */
async function manyQueues(endpoint: Endpoint, count: number): Promise<void> {
  const peer = await RheaPeer.connect(endpoint);
  const sender = await peer.sender({ target: {} });
  await sender.deliverAll(count, (index) => ({
    to: `load.many.${index}`,
    message_annotations: { "x-opt-jms-dest": 0 },
    body: String(index),
    durable: true,
  }));
  for (let look = 0; look < 100; look++) {
    const index = Math.floor((look * count) / 100) + (look % 7);
    const receiver = await peer.receiver(`load.many.${index}`);
    const { message, delivery } = await receiver.next();
    equal(textOf(message), String(index), `message in load.many.${index}`);
    delivery.accept();
    await receiver.close();
  }
  await peer.close();
}

export const loadAmqp: Step = {
  name: "load-amqp10",
  about: "the load generator over AMQP 1.0 in every mode, short",
  table: TABLE,
  isAlone: true,
  limitSeconds: 300,
  needs: [loadgenProgram],
  async run(context) {
    const endpoint = await context.broker();
    const client = "AMQP 1.0";
    await runModes(context, "amqp10", client, { endpoint, modes: [...COMMON, LARGEST] });
    await context.check(
      client,
      `${CONNECTIONS} connections, a consumer on a queue of its own each`,
      async () => {
        const args = ["--mode", "connections", "--attach", "-n", String(CONNECTIONS)];
        const more = ["-Q", String(CONNECTIONS), "--addr", "load.idle.{}", "--hold", "2"];
        const result = await loadgen("amqp10", endpoint, [...args, ...more]);
        truly(result.ok, result.text);
        equal(result.numbers["alive_after_hold"], CONNECTIONS, "connections alive");
      },
      130_000,
    );
    await context.check(client, "10,000 queues with a message each", () =>
      manyQueues(endpoint, 10_000),
    );
  },
};
