/**
 * The broker is killed with SIGKILL at random moments under MQTT traffic of every QoS, over TCP and over WebSocket, and started
 * again on its data. QoS 2 arrives exactly once, QoS 1 at least once; and sessions, subscriptions, retained messages and
 * wills are after each restart what they were before: in every round some of each are changed right before the kill.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BrokerProcess, sleep } from "../harness/broker-process.ts";
import { equal, truly } from "../harness/expect.ts";
import type { Rule } from "../harness/ledger.ts";
import { MqttCrashTraffic } from "../harness/mqtt-crash-traffic.ts";
import { type MqttOptions, MqttPeer } from "../harness/mqtt-peer.ts";
import { RetainedWriter } from "../harness/mqtt-retained-writer.ts";
import { MqttWillRounds } from "../harness/mqtt-will-rounds.ts";
import { workDir } from "../harness/paths.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { reason, type Step, type StepContext } from "../harness/step.ts";

const DEFAULT_ROUNDS = 5;

const RULES: readonly (readonly [Rule, string])[] = [
  ["lost", "QoS 1 and 2: every confirmed message is delivered"],
  ["duplicated", "QoS 2: no message is delivered twice"],
  ["came back", "QoS 1: no acknowledged message comes back"],
  ["invented", "nothing is delivered that was not sent"],
  ["disordered", "each producer's order holds"],
];
const SESSIONS = "sessions and their subscriptions are what they were";
const RETAINED = "retained messages are what they were";
const WILLS = "wills: of who stayed away, each once; of who came back or said goodbye, none";

class Rounds {
  readonly wrong = new Map<string, string[]>([
    [SESSIONS, []],
    [RETAINED, []],
    [WILLS, []],
  ]);
  readonly restarts: number[] = [];
  readonly #broker: BrokerProcess;
  readonly #random: () => number;
  readonly #webSocket: boolean;
  readonly traffic: MqttCrashTraffic;

  constructor(broker: BrokerProcess, webSocket: boolean, random: () => number) {
    this.#broker = broker;
    this.#webSocket = webSocket;
    this.#random = random;
    this.traffic = new MqttCrashTraffic(broker, webSocket, random);
  }

  #connect(options: MqttOptions): Promise<MqttPeer> {
    return MqttPeer.connect(this.#broker, { webSocket: this.#webSocket, ...options });
  }

  async run(rounds: number): Promise<void> {
    const { traffic } = this;
    const connect = (options: MqttOptions): Promise<MqttPeer> => this.#connect(options);
    const wills = new MqttWillRounds(connect);
    const retained = new RetainedWriter(await traffic.client("retained", 5), connect);
    wills.watch(await traffic.client("wills", 5));
    await traffic.start();
    for (let round = 1; round <= rounds; round++) {
      const writing = retained.write(this.#random);
      await sleep(200 + this.#random() * 1300);
      const session = await this.#changeSession(round);
      await wills.prepare(round);
      traffic.killed();
      await this.#broker.kill();
      await this.#broker.restart();
      this.restarts.push(this.#broker.startMs);
      await wills.comeBack();
      await this.#note(SESSIONS, `round ${round}`, session);
      await traffic.reconnected();
      retained.stop();
      await writing;
      await this.#note(RETAINED, `round ${round}`, () => retained.check());
    }
    await traffic.drain();
    await wills.settled();
    this.wrong.get(WILLS)!.push(...wills.wrong());
    this.wrong.get(SESSIONS)!.push(...traffic.lostSessions.map((name) => `${name} was gone`));
    traffic.ledger.close();
    await traffic.end();
  }

  /** Makes a session right before the kill; what it returns checks after the restart that it is as it was. */
  async #changeSession(round: number): Promise<() => Promise<void>> {
    const version = round % 2 === 0 ? 4 : 5;
    const mine: MqttOptions = {
      version,
      clientId: `session ${round}`,
      clean: false,
      ...(version === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {}),
    };
    const first = await this.#connect(mine);
    await first.subscribe(`session/${round}/kept`, { qos: 2 });
    await first.subscribe(`session/${round}/gone`, { qos: 1 });
    await first.unsubscribe(`session/${round}/gone`);
    return async () => {
      const publisher = await this.#connect({ version });
      await publisher.publish(`session/${round}/gone`, "gone", { qos: 1 });
      await publisher.publish(`session/${round}/kept`, "kept", { qos: 2 });
      await publisher.end();
      const second = await this.#connect(mine);
      equal(second.sessionPresent, true, "session present");
      const message = await second.next();
      equal(message.payload.toString(), "kept", "what came meanwhile");
      equal(message.qos, 2, "its QoS");
      await second.end();
    };
  }

  async #note(promise: string, when: string, check: () => Promise<void>): Promise<void> {
    await check().catch((error) => this.wrong.get(promise)!.push(`${when}: ${reason(error)}`));
  }
}

async function killRounds(context: StepContext, client: string, webSocket: boolean): Promise<void> {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const count = context.rounds ?? DEFAULT_ROUNDS;
  const rounds = new Rounds(await context.ownBroker(), webSocket, seededRandom(seed));
  const began = performance.now();
  await rounds.run(count);
  const { ledger } = rounds.traffic;
  const restartMsMax = Math.round(Math.max(...rounds.restarts));
  const results = [
    ...RULES.map(([rule, promise]) => [promise, ledger.broken(rule)] as const),
    ...[...rounds.wrong].map(([promise, wrong]) => [promise, shown(wrong)] as const),
  ];
  const summary = {
    date: new Date().toISOString().slice(0, 10),
    seed,
    rounds: count,
    seconds: Math.round((performance.now() - began) / 1000),
    confirmed: ledger.confirmedCount,
    delivered: ledger.deliveredCount,
    redelivered: ledger.redeliveredCount,
    reconnects: rounds.traffic.reconnects,
    restartMsMax,
    broken: results.filter(([, wrong]) => wrong !== "").map(([, wrong]) => wrong),
  };
  const file = join(workDir("interop"), `crash-${webSocket ? "mqtt-ws" : "mqtt"}.json`);
  writeFileSync(file, `${JSON.stringify(summary, null, 2)}\n`);
  const note =
    `${count} kills, ${ledger.confirmedCount} confirmed, ${ledger.deliveredCount} delivered, ` +
    `${ledger.redeliveredCount} again, restart at most ${restartMsMax} ms, SEED=${seed}`;
  for (const [promise, wrong] of results) {
    await context.check(client, promise, async () => {
      truly(wrong === "", `${wrong}; ${note}`);
      truly(ledger.confirmedCount > 0, "something was confirmed");
      return note;
    });
  }
}

const shown = (wrong: readonly string[]): string =>
  wrong.length === 0 ? "" : `${wrong.length} times: ${wrong.slice(0, 5).join("; ")}`;

const crashStep = (name: string, client: string, webSocket: boolean): Step => ({
  name,
  about: `SIGKILL under ${client} of every QoS; sessions, retained messages and wills (--rounds N)`,
  table: "Crashes",
  isAlone: true,
  limitSeconds: 1800,
  ownBrokerOnly: true,
  run: (context) => killRounds(context, client, webSocket),
});

export const crashMqtt = crashStep("crash-mqtt", "MQTT.js", false);
export const crashMqttWebSocket = crashStep("crash-mqtt-ws", "MQTT.js (WebSocket)", true);
