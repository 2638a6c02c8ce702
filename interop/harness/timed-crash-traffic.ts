/**
 * Messages with a time, from one protocol to the other, while the broker is killed again and again: delayed ones, which come
 * neither early nor never, and ones that expire, which do not come late. Sent by rhea, received by stompit; bound to one life
 * of the broker.
 */
import { type Endpoint, sleep } from "./broker-process.ts";
import { Ledger } from "./ledger.ts";
import { RheaPeer } from "./rhea-peer.ts";
import { Stompit } from "./stompit-client.ts";

const LATER = "crash.later";
const SOON = "crash.soon";
const DELAY_MAX_MS = 3000;
const TTL_MS = 400;
/** What a message may take from the broker's decision to our hands on a busy machine. */
const LATE_MS = 2000;
const PAUSE_MS = 10;
const DRAIN_LIMIT_MS = 30_000;

export class TimedCrashTraffic {
  readonly ledger = new Ledger();
  readonly wrong: string[] = [];
  expired = 0;
  readonly #random: () => number;
  /** By id: when it may come at the earliest, or at the latest. */
  readonly #times = new Map<string, number>();
  #sequence = 0;
  #isRunning = false;
  #loops: Promise<void>[] = [];
  #drops: Array<() => void> = [];

  constructor(random: () => number) {
    this.#random = random;
    this.ledger.addGroup(LATER);
    this.ledger.addGroup(SOON);
  }

  async live(broker: Endpoint): Promise<void> {
    await this.#consume(broker);
    const peer = await RheaPeer.connect(broker, { containerId: "crash-timed" });
    this.#drops.push(() => peer.abort());
    const later = await peer.sender(LATER);
    const soon = await peer.sender(SOON);
    this.#start(async () => {
      while (this.#isRunning) {
        const id = `later:${this.#sequence++}`;
        const delay = Math.floor(this.#random() * DELAY_MAX_MS);
        this.#times.set(id, Date.now() + delay);
        this.ledger.sent([LATER], id);
        const message_annotations = { "x-opt-delivery-delay": delay };
        await later.deliver({ body: id, durable: true, message_annotations });
        this.ledger.confirmed([LATER], id);
        await sleep(PAUSE_MS);
      }
    });
    this.#start(async () => {
      while (this.#isRunning) {
        const id = `soon:${this.#sequence++}`;
        this.ledger.sent([SOON], id);
        await soon.deliver({ body: id, durable: true, ttl: TTL_MS });
        // Its time began when it arrived, which was before it was confirmed; how long it lay in a socket is not known.
        this.#times.set(id, Date.now() + TTL_MS);
        await sleep(PAUSE_MS);
      }
    });
  }

  async ended(): Promise<void> {
    this.#isRunning = false;
    for (const drop of this.#drops.splice(0)) drop();
    await Promise.all(this.#loops.splice(0));
  }

  /** Until every confirmed delayed message has come. */
  async drain(broker: Endpoint): Promise<void> {
    await this.#consume(broker);
    const end = performance.now() + DRAIN_LIMIT_MS;
    while (this.ledger.owed > 0 && performance.now() < end) await sleep(100);
    await this.ended();
    this.ledger.close();
  }

  async #consume(broker: Endpoint): Promise<void> {
    this.#isRunning = true;
    this.ledger.restarted();
    const client = await Stompit.connect(broker);
    this.#drops.push(() => client.drop());
    for (const queue of [LATER, SOON]) {
      const inbox = await client.subscribe(`/queue/${queue}`, { ack: "client-individual" });
      this.#start(async () => {
        while (this.#isRunning) {
          const message = await inbox.next(500).catch(() => undefined);
          if (message === undefined) continue;
          this.#take(queue, message.body.toString());
          message.ack();
        }
      });
    }
  }

  #take(queue: string, id: string): void {
    const now = Date.now();
    this.ledger.delivered(queue, id);
    setImmediate(() => this.ledger.acknowledged(queue, id));
    const time = this.#times.get(id);
    if (time === undefined) return;
    if (queue === LATER && now < time) this.wrong.push(`${id} came ${time - now} ms early`);
    if (queue === SOON && now > time + LATE_MS) this.wrong.push(`${id} came ${now - time} ms late`);
  }

  /** A loop that the broker's death ends. */
  #start(loop: () => Promise<void>): void {
    this.#loops.push(loop().catch(() => undefined));
  }
}
