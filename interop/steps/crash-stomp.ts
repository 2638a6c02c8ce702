/**
 * The broker is killed while a STOMP client moves messages from one queue to another in transactions, each with the ACK of the
 * message it came from. Whatever happens, every message whose receipt came is in the second queue exactly once at the end.
 */
import { type BrokerProcess, sleep } from "../harness/broker-process.ts";
import { truly } from "../harness/expect.ts";
import type { Step, StepContext } from "../harness/step.ts";
import { Stompit } from "../harness/stompit-client.ts";

const CLIENT = "stompit";
const DEFAULT_ROUNDS = 5;
const IN = "/queue/crash.stomp.in";
const OUT = "/queue/crash.stomp.out";
const WINDOW = 30;
const QUIET_MS = 700;

class Traffic {
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
async function drain(broker: BrokerProcess, traffic: Traffic): Promise<string[]> {
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

async function killRounds(context: StepContext, rounds: number): Promise<void> {
  const broker = await context.ownBroker();
  const traffic = new Traffic();
  for (let round = 0; round < rounds; round++) {
    await traffic.live(broker, 2);
    await sleep(200 + Math.random() * 1000);
    await broker.kill();
    await traffic.end();
    await broker.restart();
  }
  const got = await drain(broker, traffic);
  const counts = new Map<string, number>();
  for (const id of got) counts.set(id, (counts.get(id) ?? 0) + 1);
  const note = `${rounds} kills, ${traffic.confirmed.size} confirmed, ${traffic.commits} commits`;
  const check = (promise: string, wrong: readonly string[]): Promise<boolean> =>
    context.check(CLIENT, promise, async () => {
      truly(wrong.length === 0, `${wrong.length}: ${wrong.slice(0, 5).join(" ")}; ${note}`);
      truly(traffic.confirmed.size > 0, "something was confirmed");
      return note;
    });
  await check(
    "every message with a receipt arrives",
    [...traffic.confirmed].filter((id) => !counts.has(id)),
  );
  await check(
    "a transaction's SEND and ACK happen together or not at all",
    [...counts].filter(([, count]) => count > 1).map(([id, count]) => `${id} ×${count}`),
  );
  await check(
    "nothing arrives that was not sent",
    [...counts.keys()].filter((id) => !traffic.sent.has(id)),
  );
}

export const crashStomp: Step = {
  name: "crash-stomp",
  about: "SIGKILL while STOMP transactions move messages (--rounds N)",
  table: "Crashes",
  isAlone: true,
  limitSeconds: 600,
  ownBrokerOnly: true,
  run: (context) => killRounds(context, context.rounds ?? DEFAULT_ROUNDS),
};
