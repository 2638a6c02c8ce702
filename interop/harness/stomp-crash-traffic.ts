/**
 * The traffic of the STOMP crash rounds beside its transactions: producers that go on as fast as receipts come, consumers of
 * queues and of durable subscriptions, some of them with a receipt for every ACK. stompit over TCP and @stomp/stompjs over
 * WebSocket. All are bound to one life of the broker; what they know is in the ledger.
 */
import { type Endpoint, sleep } from "./broker-process.ts";
import { Ledger } from "./ledger.ts";
import type { ConnectOptions, Headers, Received, StompClient } from "./stomp-client.ts";
import { Stompit } from "./stompit-client.ts";
import { Stompjs } from "./stompjs-client.ts";

type Open = (endpoint: Endpoint, options: ConnectOptions) => Promise<StompClient>;

const overTcp: Open = (endpoint, options) => Stompit.connect(endpoint, options);
const overWebSocket: Open = (endpoint, options) =>
  Stompjs.connect(endpoint, { ...options, webSocket: true });

interface Group {
  readonly name: string;
  readonly destination: string;
  readonly open: Open;
  readonly consumers: number;
  /** A durable subscription of this name; else a queue. */
  readonly durable?: string;
  /** Each ACK asks for a receipt. */
  readonly isConfirming: boolean;
}

const QUEUE = "/queue/crash.plain";
const SHARED_QUEUE = "/queue/crash.divided";
const TOPIC = "/topic/crash.stomp.topic";

const GROUPS: readonly Group[] = [
  { name: "queue", destination: QUEUE, open: overTcp, consumers: 1, isConfirming: true },
  {
    name: "divided",
    destination: SHARED_QUEUE,
    open: overWebSocket,
    consumers: 3,
    isConfirming: false,
  },
  {
    name: "tcp",
    destination: TOPIC,
    open: overTcp,
    consumers: 1,
    durable: "tcp",
    isConfirming: false,
  },
  {
    name: "ws",
    destination: TOPIC,
    open: overWebSocket,
    consumers: 1,
    durable: "ws",
    isConfirming: true,
  },
];

const PRODUCERS: readonly (readonly [string, Open])[] = [
  [QUEUE, overTcp],
  [QUEUE, overWebSocket],
  [SHARED_QUEUE, overTcp],
  [TOPIC, overTcp],
  [TOPIC, overWebSocket],
];

const WINDOW = 30;
const PAUSE_EVERY = 20;
const QUIET_MS = 1500;
const DRAIN_LIMIT_MS = 60_000;

export class StompCrashTraffic {
  readonly ledger = new Ledger();
  readonly #random: () => number;
  readonly #sequences = PRODUCERS.map(() => 0);
  #loops: Promise<void>[] = [];
  #clients: StompClient[] = [];
  #isRunning = false;
  #lastDeliveryAt = 0;

  constructor(random: () => number) {
    this.#random = random;
    for (const { name } of GROUPS) this.ledger.addGroup(name);
  }

  /** Connects everybody and lets them run until the broker dies; a queue's consumers are away now and then. */
  async live(broker: Endpoint): Promise<void> {
    this.#isRunning = true;
    this.ledger.restarted();
    await this.#consume(broker, 0.7);
    for (const [at, [destination, open]] of PRODUCERS.entries()) {
      const client = await this.#connect(broker, open, {});
      this.#start(this.#produce(client, destination, at));
    }
  }

  /** Resolves once every loop has noticed that the broker is gone. */
  async ended(): Promise<void> {
    this.#isRunning = false;
    for (const client of this.#clients.splice(0)) client.drop();
    await Promise.all(this.#loops.splice(0));
  }

  /** Consumes without producing until nothing is owed and nothing more comes. */
  async drain(broker: Endpoint): Promise<void> {
    this.#isRunning = true;
    this.ledger.restarted();
    await this.#consume(broker, 1);
    const began = performance.now();
    this.#lastDeliveryAt = began;
    for (;;) {
      await sleep(100);
      const now = performance.now();
      if (now - began > DRAIN_LIMIT_MS || now - this.#lastDeliveryAt > 10_000) break;
      if (this.ledger.owed === 0 && now - this.#lastDeliveryAt > QUIET_MS) break;
    }
    await this.ended();
  }

  /** A loop that the broker's death ends. */
  #start(loop: Promise<void>): void {
    this.#loops.push(loop.catch(() => undefined));
  }

  async #connect(broker: Endpoint, open: Open, options: ConnectOptions): Promise<StompClient> {
    const client = await open(broker, options);
    this.#clients.push(client);
    return client;
  }

  async #consume(broker: Endpoint, likelihood: number): Promise<void> {
    for (const group of GROUPS) {
      const { durable } = group;
      if (durable === undefined && this.#random() > likelihood) continue;
      for (let index = 0; index < group.consumers; index++) {
        const identity = durable === undefined ? {} : { clientId: `crash-${durable}` };
        const client = await this.#connect(broker, group.open, identity);
        const headers: Headers = {
          ack: "client-individual",
          "prefetch-count": "100",
          ...(durable === undefined ? {} : { "durable-subscription-name": durable }),
        };
        const inbox = await client.subscribe(group.destination, headers);
        this.#start(this.#receive(group, () => inbox.next(500)));
      }
    }
  }

  async #produce(client: StompClient, destination: string, at: number): Promise<void> {
    const groups = GROUPS.filter((group) => group.destination === destination).map(
      ({ name }) => name,
    );
    const pending = new Set<Promise<void>>();
    while (this.#isRunning) {
      const id = `${at}:${this.#sequences[at]!++}`;
      this.ledger.sent(groups, id);
      const body = `${id}|${"x".repeat(Math.floor(this.#random() * 800))}`;
      const answered = client
        .send(destination, body, { persistent: "true" })
        .then(() => this.ledger.confirmed(groups, id))
        .finally(() => pending.delete(answered));
      answered.catch(() => undefined);
      pending.add(answered);
      if (pending.size >= WINDOW) await Promise.race(pending);
      if (this.#sequences[at]! % PAUSE_EVERY === 0) await sleep(5);
    }
  }

  async #receive(group: Group, next: () => Promise<Received>): Promise<void> {
    const lastOf = new Map<string, number>();
    while (this.#isRunning) {
      const message = await next().catch(() => undefined);
      if (message === undefined) continue;
      const text = message.body.toString();
      const id = text.slice(0, text.indexOf("|"));
      this.#lastDeliveryAt = performance.now();
      this.ledger.delivered(group.name, id);
      if (group.consumers === 1) this.#checkOrder(lastOf, group.name, id);
      this.#acknowledge(group, message, id);
    }
  }

  #acknowledge(group: Group, message: Received, id: string): void {
    const { ledger } = this;
    if (group.isConfirming) {
      message.acknowledge().then(
        () => ledger.acknowledgementConfirmed(group.name, id),
        () => undefined,
      );
    } else message.ack();
    // By the next turn the frame has been written.
    setImmediate(() => ledger.acknowledged(group.name, id));
  }

  #checkOrder(lastOf: Map<string, number>, group: string, id: string): void {
    const [producer, text] = id.split(":") as [string, string];
    const last = lastOf.get(producer) ?? -1;
    if (Number(text) <= last) this.ledger.disordered(`${group}: ${id} came after ${last}`);
    lastOf.set(producer, Math.max(last, Number(text)));
  }
}
