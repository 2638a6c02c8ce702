/**
 * The traffic of the crash rounds: producers that go on as fast as they are confirmed, consumers that acknowledge in both
 * settle modes, give some messages back, and sometimes lag so that a backlog is there when the kill comes. All of them are
 * bound to one life of the broker and start anew in the next; what they know is in the ledger.
 */
import type { Message } from "rhea";
import type { Endpoint } from "./broker-process.ts";
import { Ledger } from "./ledger.ts";
import { RheaPeer, type RheaReceiver, type RheaSender, textOf } from "./rhea-peer.ts";

interface Destination {
  readonly address: string;
  readonly kind: "queue" | "topic";
  readonly producers: number;
  readonly groups: readonly Group[];
}

interface Group {
  readonly name: string;
  readonly consumers: number;
  /** Acknowledgements are confirmed by the broker (receiver settle mode second). */
  readonly isConfirming: boolean;
  /** Share of the deliveries given back instead of acknowledged. */
  readonly releases: number;
}

const DESTINATIONS: readonly Destination[] = [
  {
    address: "crash.one",
    kind: "queue",
    producers: 2,
    groups: [{ name: "one", consumers: 1, isConfirming: true, releases: 0 }],
  },
  {
    address: "crash.many",
    kind: "queue",
    producers: 2,
    groups: [{ name: "many", consumers: 3, isConfirming: false, releases: 0.05 }],
  },
  {
    address: "crash.topic",
    kind: "topic",
    producers: 1,
    groups: [
      { name: "sub-a", consumers: 1, isConfirming: false, releases: 0 },
      { name: "sub-b", consumers: 1, isConfirming: true, releases: 0 },
    ],
  },
];

const WINDOW = 50;
const PAUSE_EVERY = 20;
const CREDIT = 100;
const QUIET_MS = 1500;
const DRAIN_LIMIT_MS = 120_000;

export class CrashTraffic {
  readonly ledger = new Ledger();
  readonly #random: () => number;
  /** Next sequence number of each producer; goes on over the broker's lives. */
  readonly #sequence = new Map<string, number>();
  #loops: Promise<void>[] = [];
  #peers: RheaPeer[] = [];
  #isProducing = false;
  #lastDeliveryAt = 0;

  constructor(random: () => number) {
    this.#random = random;
    for (const { groups } of DESTINATIONS)
      for (const { name } of groups) this.ledger.addGroup(name);
  }

  /** Connects everybody and lets them run until the broker dies. */
  async live(broker: Endpoint): Promise<void> {
    this.#isProducing = true;
    this.ledger.restarted();
    await this.#consume(broker, 0.7);
    for (const destination of DESTINATIONS) {
      for (let index = 0; index < destination.producers; index++) {
        const peer = await this.#connect(broker, `producer-${destination.address}-${index}`);
        const sender = await peer.sender(destination.address, destination.kind);
        this.#loops.push(this.#produce(sender, destination, `${destination.address}-${index}`));
      }
    }
  }

  /** Resolves once every loop has noticed that the broker is gone. */
  async ended(): Promise<void> {
    this.#isProducing = false;
    for (const peer of this.#peers.splice(0)) peer.abort();
    await Promise.all(this.#loops.splice(0));
  }

  /** Consumes without producing until nothing is owed and nothing more comes. */
  async drain(broker: Endpoint): Promise<void> {
    this.ledger.restarted();
    await this.#consume(broker, 1);
    const began = performance.now();
    this.#lastDeliveryAt = began;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = performance.now();
      if (now - began > DRAIN_LIMIT_MS || now - this.#lastDeliveryAt > 10_000) break;
      if (this.ledger.owed === 0 && now - this.#lastDeliveryAt > QUIET_MS) break;
    }
    await this.ended();
  }

  async #connect(broker: Endpoint, containerId: string): Promise<RheaPeer> {
    const peer = await RheaPeer.connect(broker, { containerId: `crash-${containerId}` });
    this.#peers.push(peer);
    return peer;
  }

  /** Attaches consumers; each group takes part with the given likelihood, except that subscriptions must exist. */
  async #consume(broker: Endpoint, likelihood: number): Promise<void> {
    for (const { address, kind, groups } of DESTINATIONS) {
      for (const group of groups) {
        const isLagging = this.#random() > likelihood;
        if (isLagging && kind === "queue") continue;
        for (let index = 0; index < group.consumers; index++) {
          const peer = await this.#connect(broker, `consumer-${group.name}-${index}`);
          const receiver = await peer.receiver({
            name: group.name,
            rcv_settle_mode: group.isConfirming ? 1 : 0,
            source: {
              address,
              capabilities: [kind],
              ...(kind === "topic" ? { durable: 2, expiry_policy: "never" } : {}),
            },
          });
          if (!isLagging) this.#receive(receiver, group);
        }
      }
    }
  }

  async #produce(sender: RheaSender, destination: Destination, producer: string): Promise<void> {
    const groups = destination.groups.map(({ name }) => name);
    const pending = new Set<Promise<void>>();
    let sequence = this.#sequence.get(producer) ?? 0;
    try {
      while (this.#isProducing) {
        const id = `${producer}:${sequence++}`;
        this.#sequence.set(producer, sequence);
        this.ledger.sent(groups, id);
        const confirmed = sender
          .send(this.#message(id), 60_000)
          .then(({ outcome }) => {
            if (outcome === "accepted") this.ledger.confirmed(groups, id);
          })
          .catch(() => undefined)
          .finally(() => pending.delete(confirmed));
        pending.add(confirmed);
        if (pending.size >= WINDOW) await Promise.race(pending);
        if (sequence % PAUSE_EVERY === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        if (sender.isBroken) return;
      }
    } catch {
      // The broker is gone; what was not confirmed stays in doubt.
    }
  }

  #message(id: string): Message {
    const large = this.#random() < 0.01;
    const padding = Math.floor(this.#random() * (large ? 200_000 : 1500));
    return { body: `${id}|${"x".repeat(padding)}`, durable: true };
  }

  #receive(receiver: RheaReceiver, group: Group): void {
    const lastOf = new Map<string, number>();
    const isOrdered = group.consumers === 1;
    receiver.each(CREDIT, ({ message, delivery }) => {
      const text = textOf(message);
      const id = text.slice(0, text.indexOf("|"));
      this.#lastDeliveryAt = performance.now();
      this.ledger.delivered(group.name, id);
      if (isOrdered) this.#checkOrder(lastOf, group.name, id);
      if (this.#random() < group.releases) {
        // In a turn of its own: rhea merges the dispositions of one turn without looking at their outcome.
        setImmediate(() => delivery.release());
        return;
      }
      delivery.accept();
      // By the next turn the disposition has been written to the socket.
      setImmediate(() => this.ledger.acknowledged(group.name, id));
      if (group.isConfirming) {
        receiver.onSettled(delivery, () => this.ledger.acknowledgementConfirmed(group.name, id));
      }
    });
  }

  #checkOrder(lastOf: Map<string, number>, group: string, id: string): void {
    const colon = id.lastIndexOf(":");
    const producer = id.slice(0, colon);
    const sequence = Number(id.slice(colon + 1));
    const last = lastOf.get(producer) ?? -1;
    if (sequence <= last) {
      this.ledger.disordered(`${group}: ${id} came after ${producer}:${last}`);
    }
    lastOf.set(producer, Math.max(last, sequence));
  }
}
