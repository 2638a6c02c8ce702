/**
 * The broker is killed at random moments under STOMP traffic: plain producers and consumers of queues and durable subscriptions
 * (`harness/stomp-crash-traffic.ts`), and a client that moves messages from one queue to another in transactions, each with the
 * ACK of the message it came from. Whatever happens, what it moved is in the second queue exactly once at the end.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type BrokerProcess, sleep } from "../harness/broker-process.ts";
import { truly } from "../harness/expect.ts";
import type { Rule } from "../harness/ledger.ts";
import { workDir } from "../harness/paths.ts";
import { seededRandom } from "../harness/seeded-random.ts";
import type { Step, StepContext } from "../harness/step.ts";
import { StompCrashTraffic } from "../harness/stomp-crash-traffic.ts";
import { Stompit } from "../harness/stompit-client.ts";

const CLIENT = "stompit, stompjs (WebSocket)";
const DEFAULT_ROUNDS = 5;
const IN = "/queue/crash.stomp.in";
const OUT = "/queue/crash.stomp.out";
const WINDOW = 30;
const QUIET_MS = 2500;
/** Producers wait while more than so many messages are to be moved: they are faster, and all have to be moved in the end. */
const TO_BE_MOVED = 500;

/** Moves messages from one queue to another, each with the ACK of what it came from in one transaction. */
export class Moves {
  readonly confirmed = new Set<string>();
  readonly sent = new Set<string>();
  commits = 0;
  #sequence = 0;
  #isRunning = false;
  #loops: Promise<void>[] = [];
  #clients: Stompit[] = [];

  async live(broker: BrokerProcess, producers: number): Promise<void> {
    this.#isRunning = true;
    for (let n = 0; n < producers; n++) this.#start(this.#produce(await this.#connect(broker)));
    for (let n = 0; n < 2; n++) this.#start(this.#move(await this.#connect(broker)));
  }

  /** Ends every loop; what they were doing stays in doubt. */
  async end(): Promise<void> {
    this.#isRunning = false;
    for (const client of this.#clients.splice(0)) client.drop();
    await Promise.all(this.#loops.splice(0));
  }

  async #connect(broker: BrokerProcess): Promise<Stompit> {
    const client = await Stompit.connect(broker);
    this.#clients.push(client);
    return client;
  }

  /** A loop that the broker's death ends. */
  #start(loop: Promise<void>): void {
    this.#loops.push(loop.catch(() => undefined));
  }

  async #produce(client: Stompit): Promise<void> {
    const pending = new Set<Promise<void>>();
    while (this.#isRunning) {
      const id = `m${this.#sequence++}`;
      this.sent.add(id);
      const confirmed = client
        .send(IN, id, { persistent: "true" })
        .then(() => void this.confirmed.add(id))
        .finally(() => pending.delete(confirmed));
      confirmed.catch(() => undefined);
      pending.add(confirmed);
      if (pending.size >= WINDOW) await Promise.race(pending);
      if (this.#sequence % 20 === 0) await sleep(2);
      while (this.#isRunning && this.confirmed.size - this.commits > TO_BE_MOVED) await sleep(5);
    }
  }

  async #move(client: Stompit): Promise<void> {
    const inbox = await client.subscribe(IN, { ack: "client-individual", "prefetch-count": "20" });
    while (this.#isRunning) {
      const message = await inbox.next(500).catch(() => undefined);
      if (message === undefined) continue;
      const transaction = client.begin();
      const headers = { transaction: transaction.id };
      message.ack(headers);
      client.send(OUT, message.body.toString(), headers).catch(() => undefined);
      await transaction.commit();
      this.commits++;
    }
  }
}

/** Moves on without producing until nothing more is moved, then reads everything. */
export async function drainMoves(broker: BrokerProcess, traffic: Moves): Promise<string[]> {
  await traffic.live(broker, 0);
  for (let before = -1; before !== traffic.commits; ) {
    before = traffic.commits;
    await sleep(QUIET_MS);
  }
  await traffic.end();
  const client = await Stompit.connect(broker);
  const inbox = await client.subscribe(OUT);
  const got: string[] = [];
  for (;;) {
    const message = await inbox.next(QUIET_MS).catch(() => undefined);
    if (message === undefined) break;
    got.push(message.body.toString());
  }
  const rest = await client.subscribe(IN);
  await rest.expectEmpty();
  await client.disconnect();
  return got;
}

const RULES: readonly (readonly [Rule, string])[] = [
  ["lost", "every message with a receipt arrives"],
  ["came back", "no acknowledged message comes back"],
  ["invented", "nothing is delivered that was not sent"],
  ["disordered", "each producer's order holds"],
];
const BOTH = "a transaction's SEND and ACK happen together or not at all";

/** What is wrong with the messages that transactions moved. */
export function wrongMoves(got: readonly string[], { confirmed, sent }: Moves): string {
  const counts = new Map<string, number>();
  for (const id of got) counts.set(id, (counts.get(id) ?? 0) + 1);
  const wrong = [
    ...[...confirmed].filter((id) => !counts.has(id)).map((id) => `${id} is lost`),
    ...[...counts].filter(([, count]) => count > 1).map(([id, count]) => `${id} ×${count}`),
    ...[...counts.keys()].filter((id) => !sent.has(id)).map((id) => `${id} was not sent`),
  ];
  return wrong.length === 0 ? "" : `${wrong.length}: ${wrong.slice(0, 5).join("; ")}`;
}

async function killRounds(context: StepContext, rounds: number): Promise<void> {
  const seed = Number(process.env["SEED"] ?? Date.now() % 1_000_000);
  const random = seededRandom(seed);
  const broker = await context.ownBroker();
  const moves = new Moves();
  const plain = new StompCrashTraffic(random);
  let restartMsMax = 0;
  const began = performance.now();
  for (let round = 0; round < rounds; round++) {
    await plain.live(broker);
    await moves.live(broker, 2);
    await sleep(200 + random() * 1300);
    plain.ledger.killed();
    await broker.kill();
    await Promise.all([plain.ended(), moves.end()]);
    await broker.restart();
    restartMsMax = Math.max(restartMsMax, Math.round(broker.startMs));
  }
  await plain.drain(broker);
  const got = await drainMoves(broker, moves);
  const { ledger } = plain;
  ledger.close();
  const results = [
    ...RULES.map(([rule, promise]) => [promise, ledger.broken(rule)] as const),
    [BOTH, wrongMoves(got, moves)] as const,
  ];
  const summary = {
    date: new Date().toISOString().slice(0, 10),
    seed,
    rounds,
    seconds: Math.round((performance.now() - began) / 1000),
    confirmed: ledger.confirmedCount + moves.confirmed.size,
    delivered: ledger.deliveredCount + got.length,
    redelivered: ledger.redeliveredCount,
    acknowledgementsConfirmed: ledger.ackConfirmedCount,
    commits: moves.commits,
    restartMsMax,
    broken: results.filter(([, wrong]) => wrong !== "").map(([, wrong]) => wrong),
  };
  const file = join(workDir("interop"), "crash-stomp.json");
  writeFileSync(file, `${JSON.stringify(summary, null, 2)}\n`);
  const note =
    `${rounds} kills, ${summary.confirmed} confirmed, ${summary.redelivered} redelivered, ` +
    `${moves.commits} commits, restart at most ${restartMsMax} ms, SEED=${seed}`;
  for (const [promise, wrong] of results) {
    await context.check(CLIENT, promise, async () => {
      truly(wrong === "", `${wrong}; ${note}`);
      truly(ledger.confirmedCount > 0 && moves.confirmed.size > 0, "something was confirmed");
      return note;
    });
  }
}

export const crashStomp: Step = {
  name: "crash-stomp",
  about: "SIGKILL under STOMP over TCP and WebSocket, plain and in transactions (--rounds N)",
  table: "Crashes",
  isAlone: true,
  limitSeconds: 1800,
  ownBrokerOnly: true,
  run: (context) => killRounds(context, context.rounds ?? DEFAULT_ROUNDS),
};
