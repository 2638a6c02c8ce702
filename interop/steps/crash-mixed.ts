/**
 * The broker is killed with SIGKILL at random moments while AMQP 1.0, STOMP and MQTT clients work on it at the same time:
 * queues and topics, durable subscriptions, sessions, transactions, delayed and expiring messages. `--rounds N` sets how often;
 * what must hold is what must hold for each of them alone.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sleep } from "../harness/broker-process.ts";
import { CrashTraffic } from "../harness/crash-traffic.ts";
import { truly } from "../harness/expect.ts";
import type { Ledger, Rule } from "../harness/ledger.ts";
import { MqttCrashTraffic } from "../harness/mqtt-crash-traffic.ts";
import { workDir } from "../harness/paths.ts";
import { lastLines } from "../harness/process.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import { reason, type Step, type StepContext } from "../harness/step.ts";
import { StompCrashTraffic } from "../harness/stomp-crash-traffic.ts";
import { TimedCrashTraffic } from "../harness/timed-crash-traffic.ts";
import { drainMoves, Moves, wrongMoves } from "./crash-stomp.ts";

const CLIENT = "rhea, stompit, stompjs, MQTT.js at once";
const DEFAULT_ROUNDS = 5;

const RULES: readonly (readonly [Rule, string])[] = [
  ["lost", "every confirmed message is delivered"],
  ["came back", "no acknowledged message comes back"],
  ["duplicated", "QoS 2: no message is delivered twice"],
  ["invented", "nothing is delivered that was not sent"],
  ["disordered", "each producer's order holds"],
];

class Mixed {
  readonly #context: StepContext;
  readonly #random: () => number;
  readonly amqp: CrashTraffic;
  readonly stomp: StompCrashTraffic;
  readonly moves = new Moves();
  readonly timed: TimedCrashTraffic;
  mqtt!: MqttCrashTraffic;
  moved: readonly string[] = [];
  restartMsMax = 0;
  readonly missed: string[] = [];

  constructor(context: StepContext, random: () => number) {
    this.#context = context;
    this.#random = random;
    this.amqp = new CrashTraffic(random);
    this.stomp = new StompCrashTraffic(random);
    this.timed = new TimedCrashTraffic(random);
  }

  get ledgers(): readonly (readonly [string, Ledger])[] {
    return [
      ["AMQP", this.amqp.ledger],
      ["STOMP", this.stomp.ledger],
      ["MQTT", this.mqtt.ledger],
      ["timed", this.timed.ledger],
    ];
  }

  /** A client that could not connect in time, on a machine that is busy: the others go on, and what was confirmed counts. */
  #missed(round: number, arrivals: readonly PromiseSettledResult<void>[]): void {
    for (const [at, arrival] of arrivals.entries()) {
      if (arrival.status === "fulfilled") continue;
      const who = ["AMQP", "STOMP", "transactions", "delays"][at]!;
      this.missed.push(`round ${round}: ${who}: ${reason(arrival.reason)}`);
      process.stdout.write(`  ${this.missed.at(-1)}\n`);
    }
  }

  async run(rounds: number): Promise<void> {
    const broker = await this.#context.ownBroker();
    this.mqtt = new MqttCrashTraffic(broker, false, this.#random);
    await this.mqtt.start();
    for (let round = 1; round <= rounds; round++) {
      try {
        const { amqp, stomp, moves, timed } = this;
        const arrivals = await Promise.allSettled([
          amqp.live(broker),
          stomp.live(broker),
          moves.live(broker, 2),
          timed.live(broker),
        ]);
        this.#missed(round, arrivals);
        await sleep(200 + this.#random() * 1300);
        this.mqtt.killed();
        for (const { ledger } of [amqp, stomp, timed]) ledger.killed();
        await broker.kill();
        await Promise.all([amqp.ended(), stomp.ended(), moves.end(), timed.ended()]);
        await broker.restart();
        this.restartMsMax = Math.max(this.restartMsMax, Math.round(broker.startMs));
        await this.mqtt.reconnected();
        if (round % 20 === 0) process.stdout.write(`  ${round} of ${rounds} kills\n`);
      } catch (error) {
        const state = broker.isRunning ? "the broker runs" : "the broker is gone";
        const url = `http://${broker.host}:${broker.port}/api/connections`;
        const connections = await fetch(url).then(
          (answer) => answer.text(),
          (problem: unknown) => String(problem),
        );
        throw new Error(
          `round ${round}: ${reason(error)}; ${state}: ${lastLines(broker.output, 15)}; ${connections}`,
          { cause: error },
        );
      }
    }
    await this.mqtt.drain();
    await this.amqp.drain(broker);
    await this.stomp.drain(broker);
    await this.timed.drain(broker);
    // What it throws must not hide what the ledgers say.
    this.moved = await drainMoves(broker, this.moves).catch((error: unknown) => {
      this.timed.wrong.push(`moving on: ${reason(error)}`);
      return [];
    });
    await this.mqtt.end();
    for (const [, ledger] of this.ledgers.slice(0, 3)) ledger.close();
  }
}

const isOften = (missed: readonly string[], rounds: number): string =>
  missed.length > Math.ceil(rounds / 100) ? missed.join("; ") : "";

async function killRounds(context: StepContext, rounds: number): Promise<void> {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const mixed = new Mixed(context, seededRandom(seed));
  const began = performance.now();
  await mixed.run(rounds);
  const { ledgers, moves, moved, timed, restartMsMax } = mixed;
  const sum = (of: (ledger: Ledger) => number): number =>
    ledgers.reduce((total, [, ledger]) => total + of(ledger), 0);
  const results = RULES.map(([rule, promise]) => {
    const broken = ledgers.map(([name, ledger]) => [name, ledger.broken(rule)] as const);
    const wrong = broken.filter(([, text]) => text !== "");
    return [promise, wrong.map(([name, text]) => `${name}: ${text}`).join("; ")] as const;
  });
  results.push(
    ["a transaction's SEND and ACK happen together or not at all", wrongMoves(moved, moves)],
    ["delayed messages are not early, expired ones not late", timed.wrong.slice(0, 5).join("; ")],
    ["sessions are there after each restart", mixed.mqtt.lostSessions.slice(0, 5).join("; ")],
    ["everybody gets in, in 99 of 100 rounds", isOften(mixed.missed, rounds)],
  );
  const summary = {
    date: new Date().toISOString().slice(0, 10),
    seed,
    rounds,
    seconds: Math.round((performance.now() - began) / 1000),
    confirmed: sum((ledger) => ledger.confirmedCount) + moves.confirmed.size,
    delivered: sum((ledger) => ledger.deliveredCount) + moved.length,
    redelivered: sum((ledger) => ledger.redeliveredCount),
    acknowledgementsConfirmed: sum((ledger) => ledger.ackConfirmedCount),
    commits: moves.commits,
    restartMsMax,
    missed: mixed.missed,
    broken: results.filter(([, wrong]) => wrong !== "").map(([, wrong]) => wrong),
  };
  writeFileSync(
    join(workDir("interop"), "crash-mixed.json"),
    `${JSON.stringify(summary, null, 2)}\n`,
  );
  const note =
    `${rounds} kills, ${summary.confirmed} confirmed, ${summary.delivered} delivered, ` +
    `${summary.redelivered} again, ${moves.commits} commits, restart at most ${restartMsMax} ms, SEED=${seed}`;
  for (const [promise, wrong] of results) {
    await context.check(CLIENT, promise, async () => {
      truly(wrong === "", `${wrong}; ${note}`);
      for (const [name, ledger] of ledgers) {
        truly(ledger.confirmedCount > 0, `${name}: something was confirmed`);
      }
      return note;
    });
  }
}

export const crashMixed: Step = {
  name: "crash-mixed",
  about:
    "SIGKILL under AMQP, STOMP and MQTT at once: transactions, sessions, delays, expiry (--rounds N)",
  table: "Crashes",
  isAlone: true,
  limitSeconds: 5400,
  ownBrokerOnly: true,
  run: (context) => killRounds(context, context.rounds ?? DEFAULT_ROUNDS),
};
